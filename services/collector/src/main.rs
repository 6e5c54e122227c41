//! The collector's own binary.

fn main() -> std::process::ExitCode {
    atalaya_chassis::main::<atalaya_collector::Service>()
}
