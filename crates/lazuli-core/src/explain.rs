//! What a program was compiled to, and why: made on request, never on the path of a call.

use crate::array::Array;
use crate::backend;
use crate::program::Program;
use crate::switch;
use crate::trace;
use lazuli_compile::dot;
pub use lazuli_explain::{Constant, Explanation, Times};
use lazuli_ir::{Aval, Error, Location, Result, Shape, Var};
use lazuli_kernel::Layout;
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// What the front end knows of a traced call.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Why the function was traced.
    pub cause: String,
    /// How many traces of the function there are.
    pub traces: usize,
    /// What each argument of the program is called, in order; missing ones are called by their letter.
    pub arguments: Vec<String>,
    /// What each constant is called, in order; those without a name have a number.
    pub constants: Vec<String>,
}

/// Explains how a program runs for arguments of these avals, which lie row-contiguous in memory.
///
/// # Errors
/// If the program does not hold for these shapes.
pub fn explain(program: &Program, arguments: &[Aval], call: Call) -> Result<Explanation> {
    let constants = program.constants();
    let shapes: Vec<Shape> =
        arguments.iter().map(|a| a.shape.clone()).chain(constants.iter().map(|c| c.shape().into())).collect();
    let traced = program.graph().rebind(&shapes)?;
    let bound = program.bound(arguments.iter().map(|a| &a.shape[..]))?;
    let layouts: Vec<Layout> = shapes.into_iter().map(Layout::row).collect();
    let begin = Instant::now();
    let (mut compiled, _) = program.compiled(&bound, &layouts)?;
    let lowered = Instant::now();
    let executable = backend::default().prepare(&mut compiled.plan)?;
    let times = Times { lower: lowered - begin, generate: lowered.elapsed(), ..program.times() };
    let name = |(i, c): (usize, &Array)| {
        let known = call.constants.get(i).filter(|name| !name.is_empty());
        let name = known.cloned().unwrap_or_else(|| format!("constant {i}"));
        match c.location() {
            Location::UNKNOWN => name,
            at => format!("{name}, made at {at}"),
        }
    };
    let constants: Vec<Constant> =
        constants.iter().enumerate().map(|c| Constant { name: name(c), aval: c.1.aval().clone() }).collect();
    let mut inputs = call.arguments;
    inputs.resize(arguments.len(), String::new());
    inputs.extend(constants.iter().map(|c| c.name.clone()));
    Ok(Explanation {
        name: program.name().to_owned(),
        cause: call.cause,
        traces: call.traces,
        inputs,
        constants,
        traced,
        simplified: bound.graph,
        code: executable.disassemble()?,
        workspace: executable.workspace(),
        compiled,
        times,
    })
}

/// What is to be run for these arrays, in Graphviz's DOT language: a box for each operation that was recorded and has not been run, and for each kernel of
/// a compiled function that was called. Arrays that have a name among `names` are called so.
///
/// ```
/// use lazuli_core::{Array, array, compile, explain::to_dot};
/// let x = array([1.0, 2.0]);
/// let dot = to_dot(&[x.exp() + 1.0], &[("x", &x)])?;
/// assert!(dot.contains("\"x\" -> 1") && dot.contains("Exp") && dot.contains("Add"));
/// let dot = to_dot(&[compile(|x: &Array| x.exp() + 1.0)(&x)], &[])?;
/// assert!(dot.contains("CompiledExpAdd"));
/// # Ok::<(), lazuli_core::Error>(())
/// ```
///
/// # Errors
/// If what is recorded no longer holds.
pub fn to_dot(outputs: &[Array], names: &[(&str, &Array)]) -> Result<String> {
    let mut reached = HashSet::new();
    let mut todo: Vec<Array> = outputs.to_vec();
    while let Some(array) = todo.pop() {
        if reached.insert(array.id()) && !array.is_evaluated() {
            todo.extend(array.node.record().iter().flat_map(|record| record.inputs.iter().cloned()));
        }
    }
    let names = names.iter().filter(|(_, array)| reached.contains(&array.id()));
    let (names, named): (Vec<&str>, Vec<Array>) = names.map(|&(name, array)| (name, array.clone())).unzip();
    let (mut graph, programs) = trace::cut_to_show(&[outputs, &named[..]].concat())?;
    let vars: Vec<(Var, &str)> = graph
        .outputs
        .split_off(outputs.len())
        .into_iter()
        .zip(names)
        .filter_map(|(a, n)| Some((a.var()?, n)))
        .collect();
    dot::operations_and_kernels(&graph, &programs, dot::Names { others: &vars, ..dot::Names::default() })
}

/// A call of a compiled function: its program and arguments, and what its front end knows of it.
type Called = (Arc<Program>, Vec<Aval>, Call);

thread_local! {
    /// Whether somebody waits for the next call of a compiled function: each call asks.
    static IS_WANTED: Cell<bool> = const { Cell::new(false) };
    /// The one that was waited for.
    static CALLED: Cell<Option<Called>> = const { Cell::new(None) };
}

/// Tells whoever waits for it ([`explain_call`]) that a compiled function is called; `why` says why it was traced, and how many traces there are.
pub(crate) fn note(program: &Arc<Program>, arguments: &[Array], why: impl FnOnce() -> (String, usize)) {
    if IS_WANTED.replace(false) {
        let (cause, traces) = why();
        let avals = arguments.iter().map(|a| a.aval().clone()).collect();
        CALLED.set(Some((program.clone(), avals, Call { cause, traces, ..Call::default() })));
    }
}

/// Explains the first call of a compiled function that `f` makes. Calls are lazy, so that nothing is computed.
pub(crate) fn explain_call<T>(f: impl FnOnce() -> Result<T>) -> Result<Explanation> {
    let _mode = switch::compile_mode(switch::current_compile_mode().compiled());
    let before = (IS_WANTED.replace(true), CALLED.take());
    let result = trace::silently(f);
    IS_WANTED.set(before.0);
    let called = CALLED.replace(before.1);
    result?;
    match called {
        Some((program, avals, call)) => explain(&program, &avals, call),
        None => Err(Error::value(
            "explain",
            "the function is a part of what is traced: explain what is called outside of it",
        )),
    }
}
