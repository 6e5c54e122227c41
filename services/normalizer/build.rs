//! Lists the mappings, so that a new file in `mappings/` needs no Rust.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("mappings");
    let mut list = String::from("&[\n");
    for kind in names(&root)? {
        for file in names(&root.join(&kind))?.iter().filter(|name| name.ends_with(".yaml")) {
            let path = format!("/mappings/{kind}/{file}");
            writeln!(list, "({kind:?}, {file:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))),")?;
        }
    }
    list.push(']');
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("mappings.rs"), list)?;
    writeln!(std::io::stdout(), "cargo::rerun-if-changed=mappings")?;
    Ok(())
}

fn names(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = std::fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}
