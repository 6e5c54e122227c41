//! The normalizer's own process.

fn main() -> std::process::ExitCode {
    atalaya_chassis::main::<atalaya_normalizer::Service>()
}
