//! The name under which a process holds leases: for people to read, and no other process's.

/// `SERVICE@HOST-PID-RANDOM`: in containers hosts are pods, and every process has the id 1.
#[must_use]
pub fn holder_name(service: &str) -> String {
    let named = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"));
    let host = named.unwrap_or_default();
    let host = if host.trim().is_empty() { "host" } else { host.trim() };
    format!("{service}@{host}-{}-{:08x}", std::process::id(), rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_are_the_same() {
        let (one, other) = (holder_name("correlator"), holder_name("correlator"));
        assert!(one.starts_with("correlator@") && one.contains(&format!("-{}-", std::process::id())), "{one}");
        assert_ne!(one, other);
    }
}
