//! The gateway's own process.

fn main() -> std::process::ExitCode {
    atalaya_chassis::main::<atalaya_query_gateway::Service>()
}
