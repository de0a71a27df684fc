//! `cargo xtask test`: every check of this repository, cheapest first, ending at the first that fails.

use crate::python::{Build, Environment};
use crate::steps::{Result, cargo, output_of, say, step};
use crate::tidy;

/// Writes the type stubs of the binding anew.
pub fn stubs() -> Result {
    let environment = Environment::with_lazuli(Build::Checked)?;
    step("stubs", environment.python().arg("xtask/python/stubs.py"))
}

pub fn test() -> Result {
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    step("lints", &mut cargo(&clippy))?;
    if output_of(&mut cargo(&["nextest", "--version"])).is_ok() {
        let nextest = ["nextest", "run", "--workspace", "--cargo-quiet", "--status-level", "fail"];
        step("Rust tests", &mut cargo(&nextest))?;
    } else {
        step(
            "Rust tests",
            &mut cargo(&["test", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--examples"]),
        )?;
    }
    step("Rust documentation tests", &mut cargo(&["test", "--quiet", "--workspace", "--doc"]))?;
    let environment = Environment::with_lazuli(Build::Checked)?;
    step("stubs", environment.python().args(["xtask/python/stubs.py", "--check"]))?;
    step("Python tests", environment.python().args(["-m", "pytest", "-q"]))?;
    say("all passed");
    Ok(())
}
