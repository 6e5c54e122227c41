//! Length and completeness of Rust files.

use std::path::Path;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::{Findings, tree};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_MAIN_LINES: usize = 15;
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Every breach.
pub fn findings() -> Findings {
    tree::files("rs").iter().flat_map(|path| of_file(path, &tree::read(path))).collect()
}

fn of_file(path: &Path, text: &str) -> Findings {
    let mut lines = Lines { path, findings: Findings::new() };
    let count = text.lines().count();
    if count > MAX_FILE_LINES {
        lines.find(MAX_FILE_LINES + 1, &format!("{count} lines, {MAX_FILE_LINES} at most"));
    }
    if path.ends_with("src/main.rs") && path.starts_with("services") && count > MAX_MAIN_LINES {
        lines.find(MAX_MAIN_LINES + 1, &format!("a main of {count} lines, {MAX_MAIN_LINES} at most"));
    }
    match syn::parse_file(text) {
        Ok(file) => lines.visit_file(&file),
        Err(error) => lines.find(error.span().start().line, &error.to_string()),
    }
    lines.findings
}

struct Lines<'a> {
    path: &'a Path,
    findings: Findings,
}

impl Lines<'_> {
    fn find(&mut self, line: usize, what: &str) {
        self.findings.push(format!("{}:{line}: {what}", self.path.display()));
    }

    fn function(&mut self, name: &syn::Ident, whole: &dyn SpannedLines) {
        let (first, last) = whole.lines();
        let count = last + 1 - first;
        if count > MAX_FUNCTION_LINES {
            self.find(first, &format!("{name} has {count} lines, {MAX_FUNCTION_LINES} at most"));
        }
    }
}

trait SpannedLines {
    fn lines(&self) -> (usize, usize);
}

impl<T: Spanned> SpannedLines for T {
    fn lines(&self) -> (usize, usize) {
        (self.span().start().line, self.span().end().line)
    }
}

impl<'a> Visit<'a> for Lines<'_> {
    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.function(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.function(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        if let Some(name) = call.path.segments.last().map(|segment| segment.ident.to_string())
            && UNFINISHED.contains(&name.as_str())
        {
            self.find(call.span().start().line, &format!("{name}! is not finished"));
        }
        visit::visit_macro(self, call);
    }
}

#[test]
fn breaches_are_found() {
    let long = format!("fn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(70));
    let path = Path::new("services/x/src/main.rs");
    assert!(of_file(path, &long).iter().any(|line| line.contains("long has 72 lines")));
    assert!(of_file(path, &long).iter().any(|line| line.contains("a main of 72 lines")));
    assert!(of_file(path, "fn f() { todo!() }\n")[0].ends_with("main.rs:1: todo! is not finished"));
    assert!(of_file(path, &"\n".repeat(501)).len() == 2);
    assert_eq!(of_file(path, "fn main() {}\n"), Findings::new());
}
