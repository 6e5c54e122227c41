//! The README's first command.

use crate::atalaya::Atalaya;

#[test]
fn the_demo_finds_its_attacks_and_nothing_else() {
    for seed in ["1", "2"] {
        let atalaya = Atalaya::new();
        let output = atalaya.run(&["demo", "--once", "--seed", seed, "--speed", "8000"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        for attack in ["port scan", "DNS tunnel", "SQL injection", "password spray", "flood"] {
            assert!(text.lines().any(|line| line.starts_with(attack) && line.contains(" × ")), "{attack}: {text}");
        }
        assert!(text.contains("the books balance"), "{text}");
    }
}
