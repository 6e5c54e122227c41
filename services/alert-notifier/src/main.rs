//! The notifier's own process.

fn main() -> std::process::ExitCode {
    atalaya_chassis::main::<atalaya_alert_notifier::Service>()
}
