//! What a run of the benchmark shows: lines in the terminal, a page with tables, and a plot.

use super::{Entry, Outcome};
use crate::picture::{Anchor, FAINT, GRID, INK, Picture, Rgb, SERIES, text_width};
use crate::steps::{Failure, Result, say};
use std::fmt::Write as _;
use std::path::Path;

/// The columns of the summary, with their width in the terminal.
const COLUMNS: &[(&str, usize)] = &[
    ("work", 32),
    ("eager", 9),
    ("compiled", 9),
    ("spread", 8),
    ("best peer", 27),
    ("limit", 9),
    ("÷ peer", 7),
    ("÷ limit", 7),
];

/// The summary of a row: as many fields as there are [`COLUMNS`].
fn summary(outcome: &Outcome) -> Vec<String> {
    let time = |entry: Option<&Entry>| entry.map_or_else(|| "-".to_owned(), |entry| seconds(entry.median()));
    let compiled = outcome.find("lazuli", "compiled");
    let peer = outcome.best_peer();
    let limit = outcome.find("limit", "limit");
    let ratio = |other: Option<&Entry>| match (compiled, other) {
        (Some(entry), Some(other)) => format!("{:.2}", entry.median() / other.median()),
        _ => "-".to_owned(),
    };
    vec![
        outcome.row.clone(),
        time(outcome.find("lazuli", "eager")),
        time(compiled),
        compiled.map_or_else(|| "-".to_owned(), spread),
        peer.map_or_else(
            || "-".to_owned(),
            |peer| format!("{} {} {}", seconds(peer.median()), peer.library, peer.mode),
        ),
        time(limit),
        ratio(peer),
        ratio(limit),
    ]
}

/// A sentence on the rows where Lazuli compiled is slower than eager beyond the noise: even its lower quartile is above the other's upper one, and
/// more than a tenth lies between the medians.
pub fn losses(outcomes: &[Outcome]) -> String {
    let loses = |outcome: &&Outcome| {
        let quartiles = |mode| outcome.find("lazuli", mode).map(Entry::quartiles);
        let (Some(eager), Some(compiled)) = (quartiles("eager"), quartiles("compiled")) else { return false };
        compiled[0] > eager[2] && compiled[1] > 1.1 * eager[1]
    };
    let rows: Vec<&str> = outcomes.iter().filter(loses).map(|outcome| outcome.row.as_str()).collect();
    match rows.is_empty() {
        true => "Compiled is slower than eager, beyond the noise, on no row.".to_owned(),
        false => format!("Compiled is slower than eager, beyond the noise, on: {}.", rows.join(", ")),
    }
}

pub fn terminal_header() -> String {
    terminal(&COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>())
}

pub fn terminal_line(outcome: &Outcome) -> String {
    terminal(&summary(outcome))
}

fn terminal(fields: &[String]) -> String {
    let padded = fields.iter().zip(COLUMNS).map(|(field, (_, width))| format!("{field:<width$}"));
    padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// Half the distance of the quartiles, in parts of the median.
fn spread(entry: &Entry) -> String {
    let [low, middle, high] = entry.quartiles();
    format!("±{:.0} %", 50.0 * (high - low) / middle)
}

/// A time with three digits and its unit.
fn seconds(seconds: f64) -> String {
    let units = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds >= *unit).unwrap_or((1e-9, "ns"));
    let value = seconds / unit;
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {name}")
}

/// Writes `benchmarks.md` and the plot that it shows into a folder.
pub fn write(folder: &Path, outcomes: &[Outcome], versions: &[(&str, String)]) -> Result {
    plot(outcomes).save(&folder.join("benchmarks.png"))?;
    let path = folder.join("benchmarks.md");
    std::fs::write(&path, page(outcomes, versions))
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    say(&format!("wrote {} and its plot", path.display()));
    Ok(())
}

fn page(outcomes: &[Outcome], versions: &[(&str, String)]) -> String {
    let versions = versions.iter().map(|(name, version)| match *name {
        "limit" => format!("numpy {version} (the limits)"),
        name => format!("{name} {version}"),
    });
    let mut page = format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench --peers`, which measures all of it in one run on the machine at hand: each library in a\n\
         process of its own, one sample of each in turn, round after round; medians, and half the distance of the quartiles as\n\
         spread. Times are for a call and its evaluation, float32. A gap of less than 1.5 is no gap where the machine is shared.\n\n\
         - **Machine**: {}\n- **Libraries**: {}\n\n\
         The *limit* is what this machine needs, in the same run, for the least work that the row cannot do without: copying or\n\
         reading its bytes with all cores, or its matrix products alone by NumPy's BLAS. The ratios are of Lazuli compiled: below 1 is\n\
         faster than the best peer.\n\n![Time of each library, in units of the best peer's](benchmarks.png)\n\n",
        machine(),
        versions.collect::<Vec<_>>().join(", "),
    );
    let cells = |fields: &[String]| format!("| {} |\n", fields.join(" | "));
    page += &cells(&COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    page += &format!("|{}\n", " --- |".repeat(COLUMNS.len()));
    for outcome in outcomes {
        page += &cells(&summary(outcome));
    }
    page += &format!("\n{}\n", losses(outcomes));
    page +=
        "\n## Every measurement\n\n| work | library | median | spread | samples |\n| --- | --- | --- | --- | --- |\n";
    for outcome in outcomes {
        for entry in &outcome.entries {
            let name = format!("{} {}", entry.library, entry.mode);
            page += &cells(&[
                outcome.row.clone(),
                name,
                seconds(entry.median()),
                spread(entry),
                entry.samples.len().to_string(),
            ]);
        }
    }
    let errors = outcomes
        .iter()
        .flat_map(|outcome| outcome.errors.iter().map(move |(library, error)| (&outcome.row, library, error)));
    let errors: Vec<_> = errors.collect();
    if !errors.is_empty() {
        page += "\n## What did not run\n\n";
        for (row, library, error) in errors {
            let _ = writeln!(page, "- {row}, {library}: {error}");
        }
    }
    page
}

/// The machine in words.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory, load) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("an unknown CPU", |(_, name)| name.trim());
    let vectors = ["avx512f", "avx2"].into_iter().find(|flag| cpu.contains(flag)).unwrap_or("no AVX2");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kilobytes: f64 = memory.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0.0);
    let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();
    format!(
        "{model}, {cores} cores, {vectors}, {:.0} GiB of memory; load average at the end of the run {load}",
        kilobytes / 1048576.0
    )
}

/// Each row a line of dots: the time of every library in units of the best peer's, on a logarithmic scale.
fn plot(outcomes: &[Outcome]) -> Picture {
    let shown: Vec<_> = outcomes.iter().filter_map(|outcome| Some((outcome, outcome.best_peer()?.median()))).collect();
    let (left, top, width, step) = (230.0, 64.0, 560.0, 24.0);
    let height = step * shown.len() as f32;
    let mut picture = Picture::new(left + width + 40.0, top + height + 46.0);
    let ratios =
        || shown.iter().flat_map(|(outcome, best)| outcome.entries.iter().map(move |entry| entry.median() / best));
    let low = ratios().fold(0.1, f64::min).log10().floor();
    let high = ratios().fold(10.0, f64::max).log10().ceil();
    let x_of = |ratio: f64| left + width * ((ratio.log10() - low) / (high - low)) as f32;
    picture.text((16.0, 26.0), Anchor::Start, 16.0, INK, "Time of a call, in units of the best peer's");
    let mut x = left;
    for (name, _) in super::LIBRARIES {
        match *name {
            "limit" => picture.line(&[(x, 38.0), (x, 50.0)], 2.0, INK),
            name => picture.circle((x, 44.0), 4.0, colour(name)),
        }
        picture.text((x + 9.0, 48.0), Anchor::Start, 11.0, INK, name);
        x += 28.0 + text_width(11.0, name);
    }
    picture.text(
        (left + width, 26.0),
        Anchor::End,
        11.0,
        FAINT,
        "ring: op by op; filled: compiled, or a library's own kernel",
    );
    for decade in low as i32..=high as i32 {
        let x = x_of(10f64.powi(decade));
        picture.line(
            &[(x, top), (x, top + height)],
            if decade == 0 { 1.5 } else { 1.0 },
            if decade == 0 { FAINT } else { GRID },
        );
        let label = if decade >= 0 { format!("{}", 10f64.powi(decade)) } else { format!("1/{}", 10f64.powi(-decade)) };
        picture.text((x, top + height + 16.0), Anchor::Middle, 11.0, FAINT, &label);
    }
    picture.text((x_of(1.0) - 12.0, top + height + 32.0), Anchor::End, 11.0, FAINT, "faster");
    picture.text((x_of(1.0) + 12.0, top + height + 32.0), Anchor::Start, 11.0, FAINT, "slower");
    for (line, (outcome, best)) in shown.iter().enumerate() {
        let y = top + step * (line as f32 + 0.5);
        picture.text((left - 12.0, y + 4.0), Anchor::End, 12.0, INK, &outcome.row);
        picture.line(&[(left, y), (left + width, y)], 0.7, GRID);
        // Lazuli is drawn last, above the others.
        for entry in outcome.entries.iter().rev() {
            let at = (x_of(entry.median() / best), y);
            if entry.library == "limit" {
                picture.line(&[(at.0, y - 8.0), (at.0, y + 8.0)], 2.0, INK);
                continue;
            }
            let radius = if entry.library == "lazuli" { 6.0 } else { 4.5 };
            picture.circle(at, radius, colour(entry.library));
            if entry.mode == "eager" {
                picture.circle(at, radius - 1.8, 0xffffff);
            }
        }
    }
    picture
}

fn colour(library: &str) -> Rgb {
    let index = super::LIBRARIES.iter().position(|(name, _)| *name == library);
    if library == "limit" { INK } else { SERIES[index.unwrap_or(0)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let check = |value, expected: &str| assert_eq!(seconds(value), expected);
        check(6.5, "6.50 s");
        check(0.0641, "64.1 ms");
        check(0.252, "252 ms");
        check(4.3e-7, "430 ns");
        check(12.6e-6, "12.6 µs");
        check(0.0, "0.00 ns");
    }

    #[test]
    fn a_row_without_peers_still_has_all_its_columns() {
        let entry = |mode: &str, time| Entry { library: "lazuli", mode: mode.to_owned(), samples: vec![time] };
        let outcome = Outcome {
            row: "row".to_owned(),
            entries: vec![entry("eager", 2e-3), entry("compiled", 1e-3)],
            errors: Vec::new(),
        };
        assert_eq!(summary(&outcome), ["row", "2.00 ms", "1.00 ms", "±0 %", "-", "-", "-", "-"]);
        assert_eq!(summary(&outcome).len(), COLUMNS.len());
    }
}
