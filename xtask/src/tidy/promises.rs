//! The page of what `compile` promises: each row of its tables names the tests that hold the promise, and they exist.

use super::tree::Tree;

const PAGE: &str = "docs/contract.md";

/// How a table of the page begins.
const HEAD: &str = "| Promise | Python | Rust |";

/// Rows that name no test, or one that does not exist. A cell that begins with "—" says why the promise has no meaning in that language.
pub fn promises_are_tested(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut inside = false;
    for (number, line) in tree.text(PAGE).lines().enumerate() {
        let line = line.trim();
        inside = line.starts_with('|') && (inside || line == HEAD);
        if !inside || line == HEAD || line.starts_with("| ---") {
            continue;
        }
        let mut complain = |what: String| complaints.push(format!("{PAGE}:{}: {what}", number + 1));
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, python, rust] = cells[..] else {
            complain(format!("a row has 3 cells, this one has {}", cells.len()));
            continue;
        };
        for (cell, extension) in [(python, ".py"), (rust, ".rs")].into_iter().filter(|(cell, _)| !cell.starts_with('—'))
        {
            // What stands between backticks, every second piece.
            let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            if names.is_empty() {
                complain(format!("'{cell}' names no test (file{extension}::name), and gives no reason behind a '—'"));
            }
            for name in names.iter().filter(|name| !is_test(tree, name, extension)) {
                complain(format!("there is no test `{name}`"));
            }
        }
    }
    complaints
}

/// Whether `name`, the name of a file and of a function in it, is that of a test.
fn is_test(tree: &Tree, name: &str, extension: &str) -> bool {
    let Some((file, function)) = name.split_once("::").filter(|(file, _)| file.ends_with(extension)) else {
        return false;
    };
    let head = if extension == ".rs" { format!("fn {function}(") } else { format!("def {function}(") };
    let files = tree.files.iter().filter(|(path, _)| path.rsplit('/').next() == Some(file));
    files.into_iter().any(|(_, text)| {
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let found = lines.iter().position(|line| line.starts_with(&head));
        found.is_some_and(|at| match extension {
            ".rs" => lines[..at].iter().rev().take_while(|line| line.starts_with('#')).any(|line| *line == "#[test]"),
            _ => function.starts_with("test_"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_names_tests_that_exist() {
        let check = |rows: &str, expected: &[&str]| {
            let mut tree = Tree::default();
            let page = format!("# x\n{HEAD}\n| --- | --- | --- |\n{rows}\n\n| Another | table |");
            let files = [
                (PAGE, page.as_str()),
                ("python/tests/test_a.py", "def test_one(x):\n    pass\n\ndef helper():\n    pass"),
                ("crates/a/tests/a.rs", "#[test]\n#[ignore]\nfn one() {}\nfn helper() {}"),
                ("crates/b/src/a.rs", "mod tests {\n    #[test]\n    fn two() {}\n}"),
            ];
            for (path, text) in files {
                tree.files.insert(path.to_owned(), text.to_owned());
            }
            assert_eq!(promises_are_tested(&tree), expected, "{rows}");
        };
        check("| a | `test_a.py::test_one` | `a.rs::one`, `a.rs::two` |", &[]);
        check("| a | — no `meaning` here | `a.rs::two` |", &[]);
        check(
            "| a | `test_a.py::test_two` | `a.rs::helper` |\n| a | `a.rs::one` | b |",
            &[
                "docs/contract.md:4: there is no test `test_a.py::test_two`",
                "docs/contract.md:4: there is no test `a.rs::helper`",
                "docs/contract.md:5: there is no test `a.rs::one`",
                "docs/contract.md:5: 'b' names no test (file.rs::name), and gives no reason behind a '—'",
            ],
        );
        check("| a | b |", &["docs/contract.md:4: a row has 3 cells, this one has 2"]);
    }
}
