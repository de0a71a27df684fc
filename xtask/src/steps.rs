//! Running other programs as the steps of a command.
//!
//! A step prints one line saying what it does before it does it. A step that fails ends the command, with the
//! failing command line and its exit code.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;

/// Why a command stopped, in words for the person at the terminal.
#[derive(Debug)]
pub struct Failure(String);

pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Failure(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The root of the repository.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        xtask.parent().expect("xtask lies in the repository").to_owned()
    })
}

/// The folder of build outputs, which holds the virtual environments too.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// A command to be run in the root of the repository.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs this program.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Announces a step.
pub fn say(what: &str) {
    println!("\x1b[1m» {what}\x1b[0m");
}

/// Announces a step and runs its command, whose output goes to the terminal.
pub fn step(what: &str, command: &mut Command) -> Result {
    say(what);
    let status = command.status();
    finish(command, status, "")
}

/// Announces a step and runs its command, whose output is shown only if it fails.
pub fn quiet_step(what: &str, command: &mut Command) -> Result {
    say(what);
    command.stdin(Stdio::null());
    match command.output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            finish(command, Ok(output.status), &String::from_utf8_lossy(&text))
        }
        Err(error) => finish(command, Err(error), ""),
    }
}

/// Runs a command and returns what it wrote to its standard output.
pub fn output_of(command: &mut Command) -> Result<String> {
    match command.output() {
        Ok(output) => {
            finish(command, Ok(output.status), &String::from_utf8_lossy(&output.stderr))?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => finish(command, Err(error), "").map(|()| String::new()),
    }
}

fn finish(command: &Command, status: std::io::Result<ExitStatus>, output: &str) -> Result {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure(format!("{output}failed with {status}: {}", line(command)))),
        Err(error) => Err(Failure(format!("cannot run ({error}): {}", line(command)))),
    }
}

/// A command as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_command_and_its_exit_code() {
        let failure = output_of(command("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert_eq!(failure.to_string(), "why\nfailed with exit status: 3: sh -c echo why >&2; exit 3");
        let failure = step("try", &mut command("no-such-program")).unwrap_err().to_string();
        assert!(failure.starts_with("cannot run (") && failure.ends_with("): no-such-program"), "{failure}");
    }
}
