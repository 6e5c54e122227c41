//! The hot store's own process.

fn main() -> std::process::ExitCode {
    atalaya_chassis::main::<atalaya_hot_store::Service>()
}
