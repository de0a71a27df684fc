//! What a program was compiled to, and why: made on request, never on the path of a call.

use crate::backend;
use crate::program::Program;
use lazuli_compile::Options;
use lazuli_explain::{Constant, Explanation, Times};
use lazuli_ir::{Aval, Location, Result, Shape};
use lazuli_kernel::Layout;
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
    let name = |(i, c): (usize, &crate::Array)| match c.location() {
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
