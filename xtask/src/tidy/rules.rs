//! The rules, and the tables of what they allow.

use super::promises::promises_are_tested;
use super::public::public_names_are_listed;
use super::tree::{Tree, code_only, dependencies, front_page, has_word};

type Rule = fn(&Tree) -> Vec<String>;

pub const RULES: &[(&str, Rule)] = &[
    ("unsafe", unsafe_stays_in_its_rooms),
    ("ops", the_op_table_is_the_only_list),
    ("arrows", dependencies_follow_the_arrows),
    ("lints", crates_use_the_workspace_lints),
    ("pages", crates_open_with_a_page),
    ("map", the_architecture_names_every_crate),
    ("words", no_words_of_one_machine_or_day),
    ("length", files_are_short),
    ("promises", promises_are_tested),
    ("public", public_names_are_listed),
];

/// Where `unsafe` may be written, and for what.
const ROOMS: &[(&str, &str)] = &[
    ("crates/lazuli-cpu/src/cpu.rs", "the bytes of buffers"),
    ("crates/lazuli-cpu/src/exec.rs", "executable memory"),
    ("crates/lazuli-cpu/src/float_mode.rs", "the floating-point control register"),
    ("crates/lazuli-cpu/src/fork.rs", "handlers that run at a fork"),
    ("crates/lazuli-cpu/src/library/epilogue.rs", "blocks of products on their way to memory"),
    ("crates/lazuli-cpu/src/library/matmul.rs", "the loops of products, and their operands"),
    ("crates/lazuli-cpu/src/library/matmul/vector.rs", "products with a vector"),
    ("crates/lazuli-cpu/src/library/mod.rs", "operands of library calls"),
    ("crates/lazuli-cpu/src/library/pack.rs", "operands of products"),
    ("crates/lazuli-cpu/src/library/sort.rs", "rows of buffers"),
    ("crates/lazuli-cpu/src/memory.rs", "the allocator"),
    ("crates/lazuli-cpu/src/nest/fold.rs", "typed reads and writes of buffers"),
    ("crates/lazuli-cpu/src/nest/map.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/nest/mod.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/nest/room.rs", "memory of the tasks at work"),
    ("crates/lazuli-cpu/src/nest/reduce.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/nest/reduce/results.rs", "typed parts of buffers"),
    ("crates/lazuli-cpu/src/nest/reduce/walk.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/nest/rows.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/nest/scan.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/nest/scatter.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/nest/scatter/onwards.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/nest/scatter/runs.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/nest/together.rs", "hands buffers to generated code"),
    ("crates/lazuli-cpu/src/pool.rs", "the thread pool"),
    ("crates/lazuli-cpu/src/steps.rs", "hands a plan's slots to what runs on them"),
    ("crates/lazuli-cpu/src/tile.rs", "calls of generated code"),
    ("crates/lazuli-python/src/buffer.rs", "Python's buffer protocol"),
    ("crates/lazuli-python/src/dlpack.rs", "DLPack"),
];

/// Which crates of this workspace a crate may be built on.
const ARROWS: &[(&str, &[&str])] = &[
    ("lazuli-kernel", &[]),
    ("lazuli-derive", &[]),
    ("lazuli-ir", &["lazuli-kernel"]),
    ("lazuli-transform", &["lazuli-kernel", "lazuli-ir"]),
    ("lazuli-compile", &["lazuli-kernel", "lazuli-ir"]),
    ("lazuli-explain", &["lazuli-kernel", "lazuli-ir", "lazuli-compile"]),
    ("lazuli-cpu", &["lazuli-kernel"]),
    ("lazuli-cuda", &["lazuli-kernel"]),
    (
        "lazuli-core",
        &[
            "lazuli-kernel",
            "lazuli-ir",
            "lazuli-transform",
            "lazuli-compile",
            "lazuli-explain",
            "lazuli-cpu",
            "lazuli-cuda",
            "lazuli-derive",
        ],
    ),
    ("lazuli-nn", &["lazuli-core", "lazuli-derive"]),
    ("lazuli", &["lazuli-core", "lazuli-nn", "lazuli-derive"]),
    // The binding expands the op table, which is why it sees the crates below `lazuli` too.
    ("lazuli-python", &["lazuli", "lazuli-core", "lazuli-ir", "lazuli-kernel"]),
];

/// The table of elementwise ops, one row an op.
const OP_TABLE: &str = "crates/lazuli-ir/src/elementwise/table.rs";

/// The crates that the op table is built on: their own tables are of scalar operations, not of ops.
const BELOW_THE_TABLE: &[&str] = &["crates/lazuli-kernel/", "crates/lazuli-ir/"];

/// How many ops a file may name in strings before it looks like a list of them.
const NAMED_OPS: usize = 8;

/// The longest file, in lines, that is still one thing.
const LONGEST: usize = 750;

/// Files that may be longer, because they are data.
const DATA: &[&str] = &["Cargo.lock", "python/lazuli/_lazuli.pyi"];

fn unsafe_stays_in_its_rooms(tree: &Tree) -> Vec<String> {
    let is_room = |path: &str| ROOMS.iter().any(|(room, _)| path == *room);
    let mut complaints = Vec::new();
    for (path, text) in tree.rust() {
        if has_word(&code_only(text), "unsafe") != is_room(path) {
            complaints.push(match is_room(path) {
                true => format!("{path} is listed as a room of unsafe code and has none: take it off the list"),
                false => {
                    format!("{path} has unsafe code and is not one of the rooms listed in xtask/src/tidy/rules.rs")
                }
            });
        }
    }
    for name in tree.crates() {
        let path = format!("crates/{name}/src/lib.rs");
        let has_rooms = ROOMS.iter().any(|(room, _)| room.starts_with(&format!("crates/{name}/")));
        if !has_rooms && !tree.text(&path).lines().any(|line| line == "#![forbid(unsafe_code)]") {
            complaints.push(format!("{path} has no #![forbid(unsafe_code)]"));
        }
    }
    complaints
}

/// A light check: a list of ops by name shows as a file that spells many of them as strings. Tests may.
fn the_op_table_is_the_only_list(tree: &Tree) -> Vec<String> {
    let rows = tree.text(OP_TABLE).lines().filter(|line| line.ends_with("\" {"));
    let names: Vec<String> = rows.filter_map(|line| Some(format!("\"{}\"", line.split_whitespace().nth(1)?))).collect();
    let mut complaints = Vec::new();
    if names.len() <= NAMED_OPS {
        complaints.push(format!("found {} rows of ops in {OP_TABLE}: has the form of the table changed?", names.len()));
    }
    for (path, text) in tree.rust() {
        if BELOW_THE_TABLE.iter().any(|below| path.starts_with(below)) || path.contains("/tests/") {
            continue;
        }
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let named = names.iter().filter(|name| text.contains(name.as_str())).count();
        if named > NAMED_OPS {
            complaints
                .push(format!("{path} names {named} ops: is it a second list of them? Expand {OP_TABLE} instead"));
        }
    }
    complaints
}

fn dependencies_follow_the_arrows(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in tree.crates() {
        let Some((_, allowed)) = ARROWS.iter().find(|(user, _)| *user == name) else {
            complaints.push(format!("{name} is not in the table of arrows in xtask/src/tidy/rules.rs"));
            continue;
        };
        let manifest = tree.text(&format!("crates/{name}/Cargo.toml"));
        let wrong =
            dependencies(manifest).into_iter().filter(|used| used.starts_with("lazuli") && !allowed.contains(used));
        complaints
            .extend(wrong.map(|used| format!("{name} is built on {used}, against the arrows of ARCHITECTURE.md")));
    }
    complaints
}

fn crates_use_the_workspace_lints(tree: &Tree) -> Vec<String> {
    let manifests = tree.files.iter().filter(|(path, _)| path.ends_with("/Cargo.toml"));
    let lacking = manifests.filter(|(_, text)| !text.contains("[lints]\nworkspace = true"));
    lacking
        .map(|(path, _)| format!("{path} lacks '[lints] workspace = true', which asks for SAFETY comments"))
        .collect()
}

fn crates_open_with_a_page(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in tree.crates() {
        let path = format!("crates/{name}/src/lib.rs");
        let page = front_page(tree.text(&path));
        if !page.iter().any(|line| line.to_lowercase().contains("absent")) {
            complaints.push(format!(
                "{path} must open with a '//!' page that says what the crate is for, and what is absent from it"
            ));
        }
    }
    complaints
}

fn the_architecture_names_every_crate(tree: &Tree) -> Vec<String> {
    let page = tree.text("ARCHITECTURE.md");
    let missing = tree.crates().chain(["xtask"]).filter(|name| !page.contains(&format!("`{name}`")));
    missing.map(|name| format!("ARCHITECTURE.md does not mention `{name}`")).collect()
}

fn no_words_of_one_machine_or_day(tree: &Tree) -> Vec<String> {
    // Written in two pieces, so that this file may pass its own rule.
    let words = [
        (concat!("TO", "DO"), "finish it, or say what is absent"),
        (concat!("FIX", "ME"), "mend it, or say what is absent"),
        (concat!("/ho", "me/"), "a path of one machine"),
        (concat!("/ro", "ot/"), "a path of one machine"),
        (concat!("/wo", "rk/"), "a path of one machine"),
        (concat!("/Us", "ers/"), "a path of one machine"),
    ];
    let mut complaints = Vec::new();
    for (path, text) in &tree.files {
        for (number, line) in text.lines().enumerate() {
            let at = || format!("{path}:{}", number + 1);
            let found = words.iter().filter(|(word, _)| line.contains(word));
            complaints.extend(found.map(|(word, why)| format!("{} says {word}: {why}", at())));
            if names_an_issue(line) {
                complaints.push(format!("{} names an issue by its number: say what it was about", at()));
            }
        }
    }
    complaints
}

/// Whether a line says "issue" and a number, with or without a "#".
fn names_an_issue(line: &str) -> bool {
    let line = line.to_lowercase();
    let mut after = line.split("issue ").skip(1);
    after.any(|rest| rest.trim_start_matches('#').starts_with(|c: char| c.is_ascii_digit()))
}

fn files_are_short(tree: &Tree) -> Vec<String> {
    let sources = tree.files.iter().filter(|(path, _)| {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        ["rs", "py", "pyi", "toml", "lock", "md"].contains(&extension) && !DATA.contains(&path.as_str())
    });
    let lengths = sources.map(|(path, text)| (path, text.lines().count())).filter(|&(_, length)| length > LONGEST);
    lengths.map(|(path, length)| format!("{path} has {length} lines: data (list it in DATA), or two things?")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree in which every rule holds, with some files replaced.
    fn tree(changes: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        let table: String = (0..20).map(|op| format!("    Op{op} op{op} \"An op.\" {{\n    }}\n")).collect();
        let files = [
            ("ARCHITECTURE.md", "`xtask` `lazuli-ir`"),
            (
                "crates/lazuli-ir/Cargo.toml",
                "[dependencies]\nlazuli-kernel.workspace = true\n[lints]\nworkspace = true\n",
            ),
            ("crates/lazuli-ir/src/lib.rs", "//! Primitives.\n//! Absent: kernels.\n#![forbid(unsafe_code)]\n"),
            (OP_TABLE, &table),
        ];
        for (path, text) in files.iter().chain(changes) {
            tree.files.insert((*path).to_owned(), (*text).to_owned());
        }
        tree
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        let check = |changes: &[(&str, &str)], rule: Rule, expected: &[&str]| {
            // The rooms are files of the real tree: that they are missing in this one is not the point.
            assert_eq!(rule(&tree(changes)), expected, "{changes:?}");
        };
        check(&[], unsafe_stays_in_its_rooms, &[]);
        check(
            &[("crates/lazuli-ir/src/lib.rs", "//! x\nfn f() { unsafe {} }")],
            unsafe_stays_in_its_rooms,
            &[
                "crates/lazuli-ir/src/lib.rs has unsafe code and is not one of the rooms listed in xtask/src/tidy/rules.rs",
                "crates/lazuli-ir/src/lib.rs has no #![forbid(unsafe_code)]",
            ],
        );
        let list: String = (0..20).map(|op| format!("\"op{op}\",")).collect();
        check(
            &[("crates/x/tests/a.rs", &list), ("b.rs", &format!("#[cfg(test)]{list}"))],
            the_op_table_is_the_only_list,
            &[],
        );
        check(
            &[("crates/x/src/a.rs", &list)],
            the_op_table_is_the_only_list,
            &[&format!("crates/x/src/a.rs names 20 ops: is it a second list of them? Expand {OP_TABLE} instead")],
        );
        check(&[], dependencies_follow_the_arrows, &[]);
        check(
            &[("crates/lazuli-ir/Cargo.toml", "[dependencies]\nlazuli-core = \"1\""), ("crates/new/Cargo.toml", "")],
            dependencies_follow_the_arrows,
            &[
                "lazuli-ir is built on lazuli-core, against the arrows of ARCHITECTURE.md",
                "new is not in the table of arrows in xtask/src/tidy/rules.rs",
            ],
        );
        check(&[], crates_use_the_workspace_lints, &[]);
        check(
            &[("crates/lazuli-ir/Cargo.toml", "[dependencies]")],
            crates_use_the_workspace_lints,
            &["crates/lazuli-ir/Cargo.toml lacks '[lints] workspace = true', which asks for SAFETY comments"],
        );
        check(&[], crates_open_with_a_page, &[]);
        check(
            &[("crates/lazuli-ir/src/lib.rs", "//! Primitives.\nfn absent() {}")],
            crates_open_with_a_page,
            &[
                "crates/lazuli-ir/src/lib.rs must open with a '//!' page that says what the crate is for, and what is absent from it",
            ],
        );
        check(&[], the_architecture_names_every_crate, &[]);
        check(
            &[("ARCHITECTURE.md", "`xtask`")],
            the_architecture_names_every_crate,
            &["ARCHITECTURE.md does not mention `lazuli-ir`"],
        );
        check(
            &[("a.md", concat!("an issue of 2 sides\nan is", "sue #2"))],
            no_words_of_one_machine_or_day,
            &["a.md:2 names an issue by its number: say what it was about"],
        );
        check(
            &[("a.md", concat!("x\n# TO", "DO later"))],
            no_words_of_one_machine_or_day,
            &[concat!("a.md:2 says TO", "DO: finish it, or say what is absent")],
        );
        check(&[("a.rs", &"x\n".repeat(LONGEST))], files_are_short, &[]);
        check(
            &[("a.rs", &"x\n".repeat(LONGEST + 1))],
            files_are_short,
            &["a.rs has 751 lines: data (list it in DATA), or two things?"],
        );
    }
}
