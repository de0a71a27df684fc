//! What a program was compiled to, and why: made on request, never on the path of a call.

use crate::array::Array;
use crate::backend;
use crate::program::Program;
use crate::trace;
use lazuli_compile::Options;
pub use lazuli_explain::{Constant, Explanation, Times};
use lazuli_ir::{Aval, Error, Location, Result, Shape};
use lazuli_kernel::Layout;
use std::cell::RefCell;
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
    let simplified = program.bound(arguments.iter().map(|a| &a.shape[..]))?;
    let layouts: Vec<Layout> = shapes.into_iter().map(Layout::row).collect();
    let begin = Instant::now();
    let compiled = lazuli_compile::compile(&simplified, &layouts, &Options { simplify: false, ..program.options() })?;
    let lowered = Instant::now();
    let executable = backend::default().prepare(compiled.plan.clone())?;
    let times = Times { lower: lowered - begin, generate: lowered.elapsed(), ..program.times() };
    let name = |(i, c): (usize, &Array)| match c.location() {
        Location::UNKNOWN => format!("constant {i}"),
        at => format!("constant {i}, made at {at}"),
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
        simplified,
        code: executable.disassemble(),
        compiled,
        times,
    })
}

/// The first call of a compiled function that somebody waits for.
#[derive(Default)]
enum Wanted {
    #[default]
    Nothing,
    AnyCall,
    Called(Arc<Program>, Vec<Aval>, Call),
}

thread_local! {
    static WANTED: RefCell<Wanted> = const { RefCell::new(Wanted::Nothing) };
}

/// Tells whoever waits for it ([`explain_call`]) that a compiled function is called; `why` says why it was traced, and how many traces there are.
pub(crate) fn note(program: &Arc<Program>, arguments: &[Array], why: impl FnOnce() -> (String, usize)) {
    WANTED.with_borrow_mut(|wanted| {
        if matches!(wanted, Wanted::AnyCall) {
            let (cause, traces) = why();
            let avals = arguments.iter().map(|a| a.aval().clone()).collect();
            *wanted = Wanted::Called(program.clone(), avals, Call { cause, traces, arguments: Vec::new() });
        }
    });
}

/// Explains the first call of a compiled function that `f` makes. Calls are lazy, so that nothing is computed.
pub(crate) fn explain_call<T>(f: impl FnOnce() -> Result<T>) -> Result<Explanation> {
    let before = WANTED.replace(Wanted::AnyCall);
    let result = trace::silently(f);
    let wanted = WANTED.replace(before);
    result?;
    match wanted {
        Wanted::Called(program, avals, call) => explain(&program, &avals, call),
        _ => Err(Error::value("explain", "compilation is turned off: there is nothing to explain")),
    }
}
