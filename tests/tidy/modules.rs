//! Which files the crates reach.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use toml::{Table, Value};

use crate::{Findings, tree};

/// Every file that no crate root reaches.
pub fn findings() -> Findings {
    let mut reached = BTreeSet::new();
    for manifest in tree::files("toml").iter().filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml"))
    {
        roots(manifest.parent().unwrap(), &tree::read(manifest))
            .iter()
            .for_each(|root| reach(root, true, &mut reached));
    }
    let lost = tree::files("rs").into_iter().filter(|path| !reached.contains(path));
    lost.map(|path| format!("{}: no crate root reaches it", path.display())).collect()
}

/// The crate roots of a package: those Cargo finds by itself and those its manifest names.
fn roots(folder: &Path, manifest: &str) -> Vec<PathBuf> {
    let manifest: Table = toml::from_str(manifest).unwrap();
    let mut roots: Vec<_> = ["src/lib.rs", "src/main.rs", "build.rs"].map(|name| folder.join(name)).into();
    for place in ["tests", "benches", "examples", "src/bin"] {
        let entries = std::fs::read_dir(tree::root().join(folder).join(place)).into_iter().flatten();
        for path in entries.map(|entry| entry.unwrap().path()) {
            let root = if path.is_dir() { path.join("main.rs") } else { path };
            roots.push(root.strip_prefix(tree::root()).unwrap().to_owned());
        }
    }
    for section in ["test", "bench", "bin", "example"] {
        for target in manifest.get(section).and_then(Value::as_array).into_iter().flatten() {
            roots.extend(target.get("path").and_then(Value::as_str).map(|path| folder.join(path)));
        }
    }
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "rs");
    roots.retain(|path| is_rust(path) && tree::root().join(path).is_file());
    roots
}

fn reach(path: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    if !reached.insert(path.to_owned()) {
        return;
    }
    let folder = path.parent().unwrap();
    let owns_folder = is_root || path.file_name().is_some_and(|name| name == "mod.rs");
    let inside = if owns_folder { folder.to_owned() } else { path.with_extension("") };
    let mut modules = Modules { folder, inside, found: Vec::new() };
    modules.visit_file(&syn::parse_file(&tree::read(path)).unwrap());
    for candidates in modules.found {
        let there = candidates.into_iter().find(|candidate| tree::root().join(candidate).is_file());
        if let Some(there) = there {
            reach(&there, false, reached);
        }
    }
}

struct Modules<'a> {
    folder: &'a Path,
    inside: PathBuf,
    found: Vec<Vec<PathBuf>>,
}

impl<'a> Visit<'a> for Modules<'_> {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        let name = module.ident.to_string();
        if module.content.is_some() {
            self.inside.push(&name);
            visit::visit_item_mod(self, module);
            self.inside.pop();
            return;
        }
        let named = module.attrs.iter().find(|attribute| attribute.path().is_ident("path"));
        self.found.push(match named.and_then(|attribute| attribute.meta.require_name_value().ok()) {
            Some(syn::MetaNameValue { value: syn::Expr::Lit(literal), .. }) => match &literal.lit {
                syn::Lit::Str(path) => vec![self.folder.join(path.value())],
                _ => Vec::new(),
            },
            _ => vec![self.inside.join(format!("{name}.rs")), self.inside.join(name).join("mod.rs")],
        });
    }
}
