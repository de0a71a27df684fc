//! `cargo xtask bench`: Lazuli, its peers and the machine's own limit, measured in turn in one run.
//!
//! Each library lives in a worker process of its own (`bench/worker.py`), stopped while another is measured, so that none
//! disturbs another's threads or allocator. For each row every mode of every library is warmed up; then, round after round, each gives one sample.
//! What is reported is the median over the rounds, and the quartiles as its spread.
//!
//! Absent: any number that was not measured in this run. The rows are data in `bench/rows.py`.

mod page;
mod worker;

use crate::python::{Build, Environment};
use crate::steps::{Failure, Result, root, say};
use worker::Worker;

/// The libraries that a row may be measured with, in the order of their turns, and the packages that bring them.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("lazuli", &[]),
    ("mlx", &["mlx[cpu]"]),
    ("jax", &["jax"]),
    ("torch", &["torch", "setuptools"]),
    ("numexpr", &["numexpr"]),
    ("limit", &["numpy"]),
];

/// How long a sample of a steady row lasts, in seconds.
const SAMPLE: f64 = 0.05;

/// A call that takes longer than this, in seconds, gets two samples only.
const SLOW: f64 = 1.0;

/// How the calls of a row are sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sampling {
    /// Many calls make one sample, after warm-up.
    Steady,
    /// One call is one sample, and every call counts.
    Each,
    /// One call is one sample, in a process that made none before.
    Process,
}

impl Sampling {
    fn rounds(self) -> usize {
        match self {
            Sampling::Steady => 9,
            Sampling::Each => 15,
            Sampling::Process => 3,
        }
    }
}

/// One way to run a row, `torch compiled` for instance, and what it took.
#[derive(Debug)]
struct Entry {
    library: &'static str,
    mode: String,
    /// Seconds per call.
    samples: Vec<f64>,
}

impl Entry {
    /// The quartiles of the samples: lower, median and upper.
    fn quartiles(&self) -> [f64; 3] {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        [0.25, 0.5, 0.75].map(|part| {
            let at = part * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
            low + (high - low) * at.fract()
        })
    }

    fn median(&self) -> f64 {
        self.quartiles()[1]
    }
}

/// A row of the results.
#[derive(Debug)]
struct Outcome {
    row: String,
    entries: Vec<Entry>,
    /// What did not work: the library and its error.
    errors: Vec<(&'static str, String)>,
}

impl Outcome {
    fn find(&self, library: &str, mode: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.library == library && entry.mode == mode)
    }

    /// The fastest entry of any library but Lazuli.
    fn best_peer(&self) -> Option<&Entry> {
        let peers = self.entries.iter().filter(|entry| !["lazuli", "limit"].contains(&entry.library));
        peers.min_by(|a, b| a.median().total_cmp(&b.median()))
    }
}

/// Runs the rows whose name contains the pattern; the results page and its plot go to `docs/`
/// if that was all of them, and to `out/` if not.
pub fn run(arguments: &[String]) -> Result {
    let mut pattern = None;
    let mut install = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--peers" => install = true,
            "--rows" => {
                pattern = Some(arguments.next().ok_or_else(|| Failure::new("--rows needs a pattern"))?.as_str())
            }
            other => return Err(Failure::new(format!("unexpected argument '{other}'"))),
        }
    }
    let lazuli = Environment::with_lazuli(Build::Release)?;
    let peers = Environment::open("peers")?;
    if install {
        peers.require(&LIBRARIES.iter().flat_map(|(_, packages)| packages.iter().copied()).collect::<Vec<_>>())?;
    }
    let mut workers = Vec::new();
    let mut versions = Vec::new();
    for &(library, _) in LIBRARIES {
        let environment = if library == "lazuli" { &lazuli } else { &peers };
        let mut worker = Worker::new(library, environment);
        match worker.ask("version") {
            Ok(answer) => versions.push((library, answer.concat())),
            Err(_) => {
                println!("{library} is not installed (cargo xtask bench --peers installs the peers)");
                continue;
            }
        }
        workers.push(worker);
    }
    let rows = rows(&mut workers[0])?;
    let pattern = pattern.map(str::to_lowercase);
    let wanted = |name: &str| pattern.as_ref().is_none_or(|pattern| name.to_lowercase().contains(pattern));
    let mut outcomes = Vec::new();
    say("measure, each library in turn");
    println!("{}", page::terminal_header());
    for (name, sampling) in rows.iter().filter(|(name, _)| wanted(name)) {
        let outcome = measure(name, *sampling, &mut workers);
        println!("{}", page::terminal_line(&outcome));
        for (library, error) in &outcome.errors {
            println!("    {library}: {error}");
        }
        outcomes.push(outcome);
    }
    if outcomes.is_empty() {
        return Err(Failure::new("no row's name contains that pattern"));
    }
    println!("{}", page::losses(&outcomes));
    let folder = root().join(if pattern.is_none() { "docs" } else { "out" });
    page::write(&folder, &outcomes, &versions)
}

/// The rows that the workers know, by their name.
fn rows(worker: &mut Worker) -> Result<Vec<(String, Sampling)>> {
    let fields = worker.ask("rows").map_err(Failure::new)?;
    let rows = fields.chunks(2).map(|row| match row {
        [name, sampling] => Ok((
            name.clone(),
            match sampling.as_str() {
                "steady" => Sampling::Steady,
                "each" => Sampling::Each,
                "process" => Sampling::Process,
                other => return Err(Failure::new(format!("unknown sampling '{other}' of row '{name}'"))),
            },
        )),
        _ => Err(Failure::new("the list of rows has an odd number of fields")),
    });
    rows.collect()
}

/// A sample in each round.
struct Turn {
    worker: usize,
    entry: usize,
    rounds: usize,
    /// The part of a round that is over by then. What a library has several of is spread over the round, for another library to run before each: otherwise all
    /// but the first would find the caches as that left them.
    when: f64,
}

/// Measures one row with every library that has it.
fn measure(row: &str, sampling: Sampling, workers: &mut [Worker]) -> Outcome {
    let mut outcome = Outcome { row: row.to_owned(), entries: Vec::new(), errors: Vec::new() };
    let mut turns = Vec::new();
    let libraries = workers.len();
    for (index, worker) in workers.iter_mut().enumerate() {
        let modes = worker.ask(&format!("open {row}")).unwrap_or_else(|error| {
            outcome.errors.push((worker.library, error));
            Vec::new()
        });
        let count = modes.len();
        for (nth, mode) in modes.into_iter().enumerate() {
            match warm_up(worker, &mode, sampling) {
                Ok(last) => {
                    let rounds = if last > SLOW { 2 } else { sampling.rounds() };
                    let when = (nth as f64 + index as f64 / libraries as f64) / count as f64;
                    turns.push(Turn { worker: index, entry: outcome.entries.len(), rounds, when });
                    outcome.entries.push(Entry { library: worker.library, mode, samples: Vec::new() });
                }
                Err(error) => outcome.errors.push((worker.library, format!("{mode}: {error}"))),
            }
        }
    }
    turns.sort_by(|a, b| a.when.total_cmp(&b.when));
    for round in 0..sampling.rounds() {
        for &Turn { worker, entry, rounds, .. } in turns.iter().filter(|turn| round < turn.rounds) {
            let (worker, entry) = (&mut workers[worker], &mut outcome.entries[entry]);
            match sample(worker, row, &entry.mode, sampling) {
                Ok(seconds) => entry.samples.push(seconds),
                Err(error) if round + 1 == rounds => {
                    outcome.errors.push((entry.library, format!("{}: {error}", entry.mode)))
                }
                Err(_) => {}
            }
        }
    }
    outcome.entries.retain(|entry| !entry.samples.is_empty());
    for worker in workers {
        // A worker that cannot close its row is started anew by the next request.
        let _ = worker.ask("close");
    }
    outcome
}

/// Calls a mode until what the first calls do once is done; the seconds of its last call.
fn warm_up(worker: &mut Worker, mode: &str, sampling: Sampling) -> std::result::Result<f64, String> {
    if sampling == Sampling::Process {
        return Ok(0.0);
    }
    let mut last = 0.0;
    for _ in 0..3 {
        last = worker.time(mode, 0.0)?;
    }
    Ok(last)
}

fn sample(worker: &mut Worker, row: &str, mode: &str, sampling: Sampling) -> std::result::Result<f64, String> {
    match sampling {
        Sampling::Steady => worker.time(mode, SAMPLE),
        Sampling::Each => worker.time(mode, 0.0),
        Sampling::Process => {
            worker.restart();
            worker.ask(&format!("open {row}"))?;
            worker.time(mode, 0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(library: &'static str, mode: &str, samples: &[f64]) -> Entry {
        Entry { library, mode: mode.to_owned(), samples: samples.to_vec() }
    }

    #[test]
    fn quartiles_are_interpolated() {
        assert_eq!(entry("x", "y", &[3.0, 1.0, 2.0, 5.0, 4.0]).quartiles(), [2.0, 3.0, 4.0]);
        assert_eq!(entry("x", "y", &[1.0, 2.0]).quartiles(), [1.25, 1.5, 1.75]);
        assert_eq!(entry("x", "y", &[7.0]).quartiles(), [7.0; 3]);
    }

    #[test]
    fn losses_are_told_from_noise() {
        let row = |row: &str, eager: &[f64], compiled: &[f64]| Outcome {
            row: row.to_owned(),
            entries: vec![entry("lazuli", "eager", eager), entry("lazuli", "compiled", compiled)],
            errors: vec![],
        };
        let rows = [
            row("wins", &[2.0; 3], &[1.0; 3]),
            row("ties", &[1.0; 3], &[1.05; 3]),
            row("wavers", &[0.5, 1.0, 3.0], &[1.5, 2.0, 2.5]),
            Outcome { row: "alone".to_owned(), entries: vec![entry("lazuli", "compiled", &[1.0])], errors: vec![] },
        ];
        assert!(page::losses(&rows).ends_with("on no row."));
        let lost = page::losses(&[row("loses", &[1.0; 3], &[1.2; 3])]);
        assert!(lost.ends_with("on: loses."), "{lost}");
    }

    #[test]
    fn the_best_peer_is_neither_lazuli_nor_the_limit() {
        let entries = vec![
            entry("lazuli", "compiled", &[1.0]),
            entry("jax", "jit", &[3.0]),
            entry("torch", "eager", &[2.0]),
            entry("limit", "limit", &[0.5]),
        ];
        let outcome = Outcome { row: "row".to_owned(), entries, errors: Vec::new() };
        assert_eq!(outcome.best_peer().unwrap().library, "torch");
    }
}
