//! The correlator as a process of its own.

fn main() -> std::process::ExitCode {
    atalaya_chassis::main::<atalaya_correlator::Service>()
}
