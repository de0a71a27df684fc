//! The files of the repository as text, and the little parsing that the rules need.

use crate::steps::{Result, command, output_of};
use std::collections::BTreeMap;
use std::path::Path;

/// The text files that git tracks or would track, by their path from the root.
#[derive(Debug, Default)]
pub struct Tree {
    pub files: BTreeMap<String, String>,
}

impl Tree {
    pub fn load(root: &Path) -> Result<Tree> {
        let listing = output_of(command("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
        let names = listing.split('\0').filter(|name| !name.is_empty());
        // What is not text, or was deleted and not yet committed, has nothing to be checked.
        let files = names.filter_map(|name| Some((name.to_owned(), std::fs::read_to_string(root.join(name)).ok()?)));
        Ok(Tree { files: files.collect() })
    }

    /// The text of a file; empty if there is none.
    pub fn text(&self, path: &str) -> &str {
        self.files.get(path).map_or("", String::as_str)
    }

    /// The names of the folders under `crates/` that hold a crate.
    pub fn crates(&self) -> impl Iterator<Item = &str> {
        self.files.keys().filter_map(|path| path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter(|(path, _)| path.ends_with(".rs"));
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// Rust code with comments, strings and character literals blanked out, line by line.
pub fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = token_to_skip(rest);
        if skipped == 0 {
            let word =
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()).max(first.len_utf8());
            code += &rest[..word];
            rest = &rest[word..];
        } else {
            code.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the comment or literal that this text begins with; 0 if it begins with neither.
fn token_to_skip(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        let (mut depth, mut at) = (0usize, 0);
        while at < text.len() {
            let rest = &text[at..];
            if rest.starts_with("/*") {
                (depth, at) = (depth + 1, at + 2);
            } else if rest.starts_with("*/") {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        return text.len();
    }
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix).unwrap_or("");
        rest.starts_with('"')
            || (prefix.ends_with('r') && rest.starts_with('#') && rest.trim_start_matches('#').starts_with('"'))
    });
    match prefix {
        Some(prefix) if prefix.ends_with('r') => {
            let hashes = text[prefix.len()..].bytes().take_while(|&byte| byte == b'#').count();
            let start = prefix.len() + hashes + 1;
            let end = format!("\"{}", "#".repeat(hashes));
            text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
        }
        Some(prefix) => end_of_literal(text, prefix.len(), '"'),
        None if text.starts_with("'\\") => end_of_literal(text, 0, '\''),
        // 'x' is a character; 'x without the second quote is a lifetime.
        None if text.starts_with('\'') => {
            let mut chars = text.char_indices().skip(2);
            chars.next().filter(|&(_, c)| c == '\'').map_or(0, |(at, _)| at + 1)
        }
        None => 0,
    }
}

/// The end of the literal whose opening quote is at `start`.
fn end_of_literal(text: &str, start: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text[start + 1..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return start + 1 + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether the code contains the word, standing alone.
pub fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

/// The names of a manifest's normal and build dependencies, whichever platform they are for.
pub fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            let (parent, name) = header.rsplit_once("dependencies.").unwrap_or((header, ""));
            let is_table = header.ends_with("dependencies") || !name.is_empty();
            inside = is_table && !header.contains("dev-dependencies") && !parent.starts_with("workspace");
            if inside && !name.is_empty() {
                names.push(name);
                inside = false;
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            names.extend(line.split(['=', '.', ' ']).next());
        }
    }
    names
}

/// The lines of a crate's or module's front page: its leading `//!` comment.
pub fn front_page(text: &str) -> Vec<&str> {
    text.lines().map_while(|line| line.strip_prefix("//!")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let check = |text: &str, found: bool| assert_eq!(has_word(&code_only(text), "unsafe"), found, "{text}");
        check("unsafe { x }", true);
        check("// unsafe", false);
        check("/* a /* unsafe */ unsafe */ x", false);
        check("\"unsafe \\\" unsafe\" x", false);
        check("r#\"unsafe \" unsafe\"# x", false);
        check("b\"unsafe\" c\"unsafe\"", false);
        check("'\"' unsafe '\"'", true);
        check("'\\'' unsafe", true);
        check("fn f<'a>(x: &'a str) { unsafe { x } }", true);
        check("unsafe_code unsafely", false);
        check("let bar = \"é\"; unsafe fn f() {}", true);
    }

    #[test]
    fn dependencies_are_read_from_every_form() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n# c = 1\n\n[dependencies.d]\nversion = \"1\"\n\
                        [dev-dependencies]\ne = \"1\"\n[target.'cfg(unix)'.dependencies]\nf = { version = \"1\" }\n[build-dependencies]\ng = \"1\"\n\
                        [features]\nh = []";
        assert_eq!(dependencies(manifest), ["a", "b", "d", "f", "g"]);
    }
}
