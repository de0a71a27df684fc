//! An explanation as text for a terminal.

use crate::cost::{self, Cost};
use crate::{Explanation, Times};
use lazuli_compile::{Compiled, Fused, FusedKind};
use lazuli_ir::{Equation, Graph, Location, Prim};
use lazuli_kernel::interrupt::poll_at;
use std::fmt::{Error, Result, Write};
use std::time::Duration;

/// `1 kernel`, `2 kernels`.
pub fn counted(n: usize, one: &str) -> String {
    let plural = if one.ends_with("ch") { "es" } else { "s" };
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}{plural}") }
}

pub fn summary(e: &Explanation) -> String {
    let kernels = e.kernels();
    let of = |kind: FusedKind| kernels.iter().filter(move |k| k.kind == kind);
    let fused = of(FusedKind::Kernel).map(|k| k.members.len()).sum();
    let mut parts = vec![counted(of(FusedKind::Kernel).count(), "kernel"), format!("{} fused", counted(fused, "op"))];
    for kind in [FusedKind::Library, FusedKind::Branch, FusedKind::Host] {
        match of(kind).count() {
            0 => {}
            n => parts.push(counted(n, kind.name())),
        }
    }
    parts.push(counted(e.traces, "trace"));
    parts.push(counted(e.constants.len(), "constant"));
    parts.join(", ")
}

/// What all steps together cost.
pub fn total(e: &Explanation) -> Cost {
    e.plan().steps.iter().map(cost::of).sum()
}

/// What the steps of a kernel cost.
pub fn cost_of(e: &Explanation, kernel: &Fused) -> Cost {
    kernel.steps.iter().map(|&s| cost::of(&e.plan().steps[s])).sum()
}

/// `1.5 MB`: bytes in decimal units.
pub fn bytes(n: usize) -> String {
    scaled(n, &["B", "kB", "MB", "GB", "TB"])
}

/// `1.5 M`: a count in decimal steps.
pub fn number(n: usize) -> String {
    scaled(n, &["", "k", "M", "G", "T"]).trim_end().to_owned()
}

fn scaled(n: usize, units: &[&str]) -> String {
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

pub fn time(t: Duration) -> String {
    let us = t.as_secs_f64() * 1e6;
    match us {
        _ if us < 1e3 => format!("{us:.0} µs"),
        _ if us < 1e6 => format!("{:.2} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// How many operations a graph has with the bodies of its calls in their place, as they are in what is simplified.
fn written_out(graph: &Graph) -> usize {
    let count = |e: &Equation| match &e.prim {
        Prim::Call(call) => written_out(&call.graph),
        _ => 1,
    };
    graph.equations.iter().map(count).sum()
}

/// Label and value of what is said about the whole.
pub fn facts(e: &Explanation) -> Vec<(&'static str, String)> {
    let Times { trace, simplify, lower, generate } = e.times;
    let Cost { nbytes, operations } = total(e);
    let plan = e.plan();
    let outputs: usize = plan.outputs.iter().sum();
    let ops = |g: &Graph| counted(written_out(g), "op");
    vec![
        ("traced", e.cause.clone()),
        ("graph", format!("{} as traced, {} simplified", ops(&e.traced), ops(e.lowered()))),
        ("moved", format!("{} by kernels and library calls, {} operations", bytes(nbytes), number(operations))),
        (
            "memory",
            format!(
                "{} at the peak: {} for results, {} between kernels, {} to work in",
                bytes(e.peak_memory()),
                bytes(outputs),
                bytes(plan.arena),
                bytes(e.workspace - plan.arena)
            ),
        ),
        (
            "time",
            format!(
                "trace {}, simplify {}, fuse and lower {}, generate code {}",
                time(trace),
                time(simplify),
                time(lower),
                time(generate)
            ),
        ),
    ]
}

/// An error is one of the writer's, or the user's interruption.
pub fn write(e: &Explanation, f: &mut dyn Write) -> Result {
    writeln!(f, "{}: {}", e.name, summary(e))?;
    for (label, value) in facts(e) {
        writeln!(f, "  {label:<8}{value}")?;
    }
    let kernels = e.kernels();
    for (i, kernel) in kernels.iter().enumerate() {
        poll_at(i).map_err(|_| Error)?;
        let Cost { nbytes, operations } = cost_of(e, kernel);
        let what = kernel.kind.name();
        let times = if kernel.times == 1 { String::new() } else { format!(" × {}", kernel.times) };
        let ops = kernel.ops.join(" ");
        writeln!(f, "{what} {i}: {ops}{times}  ({}, {} operations)", bytes(nbytes), number(operations))?;
        for at in &kernel.locations {
            writeln!(f, "    {at}")?;
        }
        branches(f, &e.compiled, &e.simplified, kernel, "    ")?;
    }
    let boundaries = e.boundaries();
    if !boundaries.is_empty() {
        writeln!(f, "in memory between kernels")?;
    }
    for (name, why, at) in boundaries {
        let at = if at == Location::UNKNOWN { String::new() } else { format!("  {at}") };
        writeln!(f, "    {name}: {why}{at}")?;
    }
    if !e.constants.is_empty() {
        writeln!(f, "constants")?;
    }
    for c in &e.constants {
        writeln!(f, "    {}: {}, {}", c.name, c.aval, bytes(c.aval.nbytes()))?;
    }
    Ok(())
}

/// What both branches of a choice run, indented.
pub fn branches(f: &mut dyn Write, compiled: &Compiled, given: &Graph, kernel: &Fused, indent: &str) -> Result {
    let Some([on_true, on_false]) = kernel.members.first().and_then(|&i| compiled.report.branches(given, i)) else {
        return Ok(());
    };
    for (when, (graph, branch)) in [("if true", on_true), ("if false", on_false)] {
        let kernels = branch.report.kernels(graph);
        let nothing = if kernels.is_empty() { " nothing to compute" } else { "" };
        writeln!(f, "{indent}{when}:{nothing}")?;
        for inner in &kernels {
            writeln!(f, "{indent}  {}: {}", inner.kind.name(), inner.ops.join(" "))?;
            for at in &inner.locations {
                writeln!(f, "{indent}    {at}")?;
            }
            branches(f, branch, graph, inner, &format!("{indent}    "))?;
        }
    }
    Ok(())
}
