//! The virtual environments under `target/`: one with Lazuli built from this tree and what its tests need.
//!
//! An environment is made once, and Lazuli is built again only when a file that it is made of has changed.
//! Absent: anything outside `target/`; the machine's own Python is used to make environments and left alone.

use crate::steps::{self, Failure, Result, command, quiet_step, root, step};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The oldest Python that Lazuli runs on.
const OLDEST: (u32, u32) = (3, 11);

/// What the Python package is built from.
const SOURCES: &[&str] = &["Cargo.toml", "Cargo.lock", "pyproject.toml", "crates", "python/lazuli"];

/// How Lazuli is built for Python.
#[derive(Clone, Copy, Debug)]
pub enum Build {
    /// As a user gets it.
    Release,
    /// With the checks of debug builds, in which graphs and kernels are verified between the stages of the pipeline;
    /// what the Rust tests were built from serves here too.
    Checked,
}

/// A virtual environment.
#[derive(Debug)]
pub struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// The environment with Lazuli as it is in this tree, and with numpy and pytest.
    pub fn with_lazuli(build: Build) -> Result<Environment> {
        let (name, arguments) = match build {
            Build::Release => ("venv", "--profile release"),
            Build::Checked => ("venv-checked", "--profile dev"),
        };
        let environment = Environment::open(name)?;
        environment.require(&["numpy", "pytest"])?;
        environment.once("lazuli", &fingerprint(SOURCES)?, || {
            let mut pip = environment.pip_install();
            pip.env("MATURIN_PEP517_ARGS", arguments);
            let what = "build and install lazuli for Python (pip install .), which takes minutes the first time";
            step(what, pip.args(["--force-reinstall", "--no-deps", "."]))
        })?;
        Ok(environment)
    }

    /// The environment of this name under `target/`, made if it is not there.
    pub fn open(name: &str) -> Result<Environment> {
        let environment = Environment { folder: steps::target().join(name) };
        if !environment.python_path().exists() {
            let mut make = command(system_python()?);
            make.args(["-m", "venv"]).arg(&environment.folder);
            quiet_step(&format!("make a Python environment in {}", environment.folder.display()), &mut make)?;
        }
        Ok(environment)
    }

    /// Installs packages, unless the same ones were installed before.
    pub fn require(&self, packages: &[&str]) -> Result {
        self.once("packages", &packages.join(" "), || {
            quiet_step(&format!("install {}", packages.join(", ")), self.pip_install().args(packages))
        })
    }

    /// The environment's interpreter.
    pub fn python(&self) -> std::process::Command {
        command(self.python_path())
    }

    fn python_path(&self) -> PathBuf {
        self.folder.join("bin").join("python")
    }

    fn pip_install(&self) -> std::process::Command {
        let mut pip = self.python();
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip
    }

    /// Does something unless it was done before with the same stamp.
    fn once(&self, name: &str, stamp: &str, action: impl FnOnce() -> Result) -> Result {
        let file = self.folder.join(format!("{name}.stamp"));
        if fs::read_to_string(&file).is_ok_and(|old| old == stamp) {
            return Ok(());
        }
        action()?;
        fs::write(&file, stamp).map_err(|error| Failure::new(format!("cannot write {}: {error}", file.display())))
    }
}

/// The first Python on the path that is new enough.
fn system_python() -> Result<&'static str> {
    let candidates = ["python3", "python3.11", "python3.12", "python3.13", "python3.14", "python"];
    let check = format!("import sys; sys.exit(sys.version_info < {OLDEST:?})");
    let found = candidates.into_iter().find(|python| steps::output_of(command(python).args(["-c", &check])).is_ok());
    found.ok_or_else(|| Failure::new(format!("no Python {}.{} or newer is on the path", OLDEST.0, OLDEST.1)))
}

/// A hash of the names, sizes and times of change of all files under the given paths.
fn fingerprint(paths: &[&str]) -> Result<String> {
    fn visit(path: &Path, hasher: &mut DefaultHasher) -> std::io::Result<()> {
        let data = fs::metadata(path)?;
        if data.is_dir() {
            if path.ends_with("__pycache__") {
                return Ok(());
            }
            let mut entries =
                fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
            entries.sort();
            return entries.iter().try_for_each(|entry| visit(entry, hasher));
        }
        let changed = data.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        (path, data.len(), changed).hash(hasher);
        Ok(())
    }
    let mut hasher = DefaultHasher::new();
    for path in paths {
        visit(&root().join(path), &mut hasher).map_err(|error| Failure::new(format!("cannot read {path}: {error}")))?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_follows_the_files() {
        let all = fingerprint(&["xtask/src", "Cargo.toml"]).unwrap();
        assert_eq!(all, fingerprint(&["xtask/src", "Cargo.toml"]).unwrap());
        assert_ne!(all, fingerprint(&["xtask/src"]).unwrap());
        assert!(fingerprint(&["no-such-file"]).is_err());
    }
}
