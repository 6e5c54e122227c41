//! The cold archive's own process.

fn main() -> std::process::ExitCode {
    atalaya_chassis::main::<atalaya_cold_archive::Service>()
}
