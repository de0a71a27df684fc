//! `cargo xtask demo`: the digit classifier, trained in Rust and in Python, each op by op and compiled.
//!
//! The two programs are examples for a reader (`crates/lazuli/examples/digits.rs`, `examples/digits.py`) and print what
//! they measured; here they are run, and what they wrote to `out/` is drawn.

use crate::chart::{Series, log_lines};
use crate::graph;
use crate::python::{Build, Environment};
use crate::steps::{Failure, Result, cargo, root, say, step};
use std::collections::BTreeMap;
use std::path::Path;

const LANGUAGES: &[&str] = &["rust", "python"];

pub fn run() -> Result {
    let example = ["run", "--quiet", "--release", "--package", "lazuli", "--example", "digits"];
    step("train in Rust", &mut cargo(&example))?;
    let environment = Environment::with_lazuli(Build::Release)?;
    step("train in Python", environment.python().arg("examples/digits.py"))?;
    let out = root().join("out");
    say("draw the pictures");
    let mut series = Vec::new();
    for language in LANGUAGES {
        series.extend(losses(language, &read(&out.join(format!("digits-{language}.tsv")))?)?);
    }
    // Two curves of each language, in one order.
    let (rust, python) = series.split_at(series.len() / 2);
    let agree = rust.iter().map(|s| &s.points).eq(python.iter().map(|s| &s.points));
    let loss = out.join("digits-loss.png");
    log_lines("Training on handwritten digits", "epoch", "cross-entropy, mean of the epoch's steps", &series)
        .save(&loss)?;
    let before = read(&out.join("digits-step-before.dot"))?;
    let after = read(&out.join("digits-step-after.dot"))?;
    let step = out.join("digits-step.png");
    graph::draw(&[("A training step, before fusion", &before), ("The same step, after fusion", &after)])?
        .save(&step)?;
    println!("  Rust and Python: {}", if agree { "the same losses" } else { "OTHER LOSSES" });
    println!("  losses:          {}\n  a step's graph:  {}", loss.display(), step.display());
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
}

/// The curves in lines of mode, epoch and loss of a step: the mean loss of each epoch.
fn losses(language: &str, text: &str) -> Result<Vec<Series>> {
    let mut modes: Vec<(&str, BTreeMap<u32, Vec<f32>>)> = Vec::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let parsed = match fields[..] {
            [mode, epoch, loss] => {
                epoch.parse::<u32>().ok().zip(loss.parse().ok()).map(|(epoch, loss)| (mode, epoch, loss))
            }
            _ => None,
        };
        let (mode, epoch, loss) =
            parsed.ok_or_else(|| Failure::new(format!("'{line}' is not a mode, an epoch and a loss")))?;
        let index = modes.iter().position(|(name, _)| *name == mode).unwrap_or_else(|| {
            modes.push((mode, BTreeMap::new()));
            modes.len() - 1
        });
        modes[index].1.entry(epoch).or_default().push(loss);
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let series = modes.into_iter().map(|(mode, epochs)| Series {
        name: format!("{language}, {mode}"),
        points: epochs.into_iter().map(|(epoch, losses)| ((epoch + 1) as f32, mean(&losses))).collect(),
        dashed: mode == "compiled",
    });
    Ok(series.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_grouped_by_mode() {
        let series = losses("rust", "eager\t0\t2.5\neager\t0\t1.5\neager\t1\t1.0\ncompiled\t0\t2.5\n").unwrap();
        let names: Vec<_> =
            series.iter().map(|series| (series.name.as_str(), series.points.len(), series.dashed)).collect();
        assert_eq!(names, [("rust, eager", 2, false), ("rust, compiled", 1, true)]);
        assert_eq!(series[0].points, [(1.0, 2.0), (2.0, 1.0)]);
        assert!(losses("rust", "eager\t0").is_err());
    }
}
