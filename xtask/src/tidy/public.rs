//! What each crate makes public, against a list: a merge that makes a module public, or takes a name away, is seen.

use super::tree::{Tree, code_only};
use std::collections::BTreeSet;

/// The list: `crate: statement`, for each `pub mod` and `pub use` of the crate's `lib.rs`.
const LIST: &str = "xtask/src/tidy/public.txt";

pub fn public_names_are_listed(tree: &Tree) -> Vec<String> {
    let listed: BTreeSet<String> = tree.text(LIST).lines().map(str::to_owned).collect();
    let public: BTreeSet<String> = tree
        .crates()
        .flat_map(|name| {
            let code = code_only(tree.text(&format!("crates/{name}/src/lib.rs")));
            public_statements(&code).into_iter().map(move |statement| format!("{name}: {statement}"))
        })
        .collect();
    let new = public
        .difference(&listed)
        .map(|line| format!("\"{line}\" is public and not in {LIST}: list it, if it is meant to be"));
    let gone = listed
        .difference(&public)
        .map(|line| format!("\"{line}\" is in {LIST} and not public: take it off, if it is meant to go"));
    new.chain(gone).collect()
}

/// The statements of a `lib.rs` that make a module or names of others public, each in one line.
fn public_statements(code: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if !line.starts_with("pub mod ") && !line.starts_with("pub use ") {
            continue;
        }
        let mut statement = line.to_owned();
        // A module may be written here; what is used may take several lines.
        let ends: &[char] = if line.starts_with("pub mod ") { &[';', '{'] } else { &[';'] };
        while !statement.contains(ends) {
            let Some(next) = lines.next() else { break };
            statement += " ";
            statement += next;
        }
        let end = statement.find(ends).unwrap_or(statement.len());
        let words: Vec<&str> = statement[..end].split_whitespace().collect();
        statements.push(words.join(" ").replace("{ ", "{").replace(", }", "}").replace(" }", "}"));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_public_names_is_found() {
        let mut tree = Tree::default();
        let mut put = |path: &str, text: &str| tree.files.insert(path.to_owned(), text.to_owned());
        put("crates/a/Cargo.toml", "");
        put(
            "crates/a/src/lib.rs",
            "// pub mod old;\nmod own;\npub mod array;\npub mod inner {\n    pub mod more;\n}\npub use array::{\n    One,\n    Two,\n};\n",
        );
        put(LIST, "a: pub mod array\na: pub mod gone\na: pub use array::{One, Two}\n");
        assert_eq!(
            public_names_are_listed(&tree),
            [
                "\"a: pub mod inner\" is public and not in xtask/src/tidy/public.txt: list it, if it is meant to be",
                "\"a: pub mod gone\" is in xtask/src/tidy/public.txt and not public: take it off, if it is meant to go",
            ]
        );
    }
}
