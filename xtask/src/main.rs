//! `cargo xtask`: everything that a person runs in this repository, as one program.
//!
//! Each command is a row of [`COMMANDS`]; each prints a line per step and stops at the first step that fails,
//! with the command line and its exit code. Nothing has to be installed by hand: what Python needs is put in
//! virtual environments under `target/`.
//!
//! Absent: knowledge of how Lazuli works. The programs that train and measure are in `examples/`,
//! `crates/lazuli/examples/` and `bench/`; here they are built, run and drawn.

#![forbid(unsafe_code)]

mod bench;
mod chart;
mod demo;
mod graph;
mod picture;
mod python;
mod steps;
mod suite;
mod tidy;

use std::process::ExitCode;
use steps::{Failure, Result};

/// A command: its name, its arguments as shown in the usage text, what it does, and the function that does it.
struct Command {
    name: &'static str,
    arguments: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> Result,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        arguments: "",
        summary: "train a digit classifier in Rust and in Python; draw its losses and graph",
        run: |arguments| no_arguments(arguments).and_then(|()| demo::run()),
    },
    Command {
        name: "test",
        arguments: "",
        summary: "format, lints, tidy, all Rust and Python tests, doc tests",
        run: |arguments| no_arguments(arguments).and_then(|()| suite::test()),
    },
    Command {
        name: "bench",
        arguments: "[--peers] [--rows PATTERN]",
        summary: "measure Lazuli beside its peers and the machine's limit",
        run: bench::run,
    },
    Command {
        name: "stubs",
        arguments: "",
        summary: "write the type stubs of the Python binding anew",
        run: |arguments| no_arguments(arguments).and_then(|()| suite::stubs()),
    },
    Command {
        name: "tidy",
        arguments: "",
        summary: "check the rules of this repository that no compiler checks",
        run: |arguments| no_arguments(arguments).and_then(|()| tidy::run()),
    },
    Command {
        name: "ulp",
        arguments: "[NAME ...] [--step N] [--isa NAME]",
        summary: "measure the errors of the elementary functions in machine code over all float32 inputs",
        run: ulp,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        None => Err(Failure::new(usage())),
        Some((name, _)) if ["help", "-h", "--help"].contains(&name.as_str()) => {
            println!("{}", usage());
            Ok(())
        }
        Some((name, rest)) => match COMMANDS.iter().find(|command| command.name == name) {
            Some(command) => (command.run)(rest),
            None => Err(Failure::new(format!("there is no command '{name}'\n{}", usage()))),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND\n");
    for command in COMMANDS {
        let call = format!("{} {}", command.name, command.arguments);
        text += &format!("\n  {call:<32} {}", command.summary);
    }
    text
}

fn ulp(arguments: &[String]) -> Result {
    let mut sweep = steps::cargo(&["run", "--quiet", "--release", "--package", "lazuli-cpu", "--example", "ulp", "--"]);
    steps::step("sweep the elementary functions, which takes long without names or a step", sweep.args(arguments))
}

fn no_arguments(arguments: &[String]) -> Result {
    match arguments.first() {
        None => Ok(()),
        Some(argument) => Err(Failure::new(format!("unexpected argument '{argument}'"))),
    }
}
