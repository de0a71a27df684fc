//! `cargo xtask tidy`: the rules of this repository that no compiler checks.
//!
//! A rule is a function from the [`Tree`] of tracked files to complaints, and a row of [`RULES`]; what it allows is
//! a table beside it. The whole list also runs as a test, so that `cargo test` covers it.
//!
//! Absent: what rustc and clippy check by themselves (`forbid(unsafe_code)` once it is written down, a `SAFETY`
//! comment on each unsafe block), as long as each crate asks for it; that each crate asks is checked here.

mod promises;
mod public;
mod rules;
mod tree;

use crate::steps::{Failure, Result, root, say};
use rules::RULES;
use tree::Tree;

pub fn run() -> Result {
    say("tidy");
    let complaints = complaints(&Tree::load(root())?);
    if complaints.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("tidy has {} complaints:\n{}", complaints.len(), complaints.join("\n"))))
}

fn complaints(tree: &Tree) -> Vec<String> {
    let all = RULES
        .iter()
        .flat_map(|(name, rule)| rule(tree).into_iter().map(move |complaint| format!("[{name}] {complaint}")));
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let complaints = complaints(&Tree::load(root()).unwrap());
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }
}
