//! What was compiled, and why: one [`Explanation`], shown as text, in Graphviz's DOT language, or as a page that needs no network.
//!
//! An explanation is data: the graph at each stage, the kernels with the operations fused into each, what separates them, constants, costs and
//! times. It is made on request from what the compiler reports; nothing here is on the path of a call.
//!
//! Absent: any compiling of its own (`lazuli-compile`), and when functions are traced (`lazuli-core`).
#![forbid(unsafe_code)]

mod cost;
mod json;
pub mod layout;
mod page;
mod text;
mod view;

use lazuli_compile::dot::{self, Names};
use lazuli_compile::{Compiled, Fused, Report};
use lazuli_ir::{Aval, Graph, Location, Result, Var};
use lazuli_kernel::{Plan, interrupt};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything that is known about one compiled call.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What the function is called.
    pub name: String,
    /// Why the function was traced: for the first time, or what differs from the call before.
    pub cause: String,
    /// How many traces of the function there are.
    pub traces: usize,
    /// What the arguments (and what is captured) are called, and where constants were reached; one for each input of the graph.
    pub inputs: Vec<String>,
    /// Arrays that the trace took as constants.
    pub constants: Vec<Constant>,
    /// As the function did it.
    pub traced: Graph,
    /// What was compiled.
    pub simplified: Graph,
    pub compiled: Compiled,
    /// Machine code (or what the backend runs) of each function of each step, as text; steps share that of a function.
    pub code: Vec<Vec<Arc<str>>>,
    /// Bytes that a run allocates besides its results.
    pub workspace: usize,
    pub times: Times,
}

/// An array that a function reached without being given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    pub name: String,
    pub aval: Aval,
}

/// How long each part took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Running the function on placeholders.
    pub trace: Duration,
    pub simplify: Duration,
    /// Fusing, lowering and planning memory.
    pub lower: Duration,
    /// Machine code; next to nothing if the kernels were known.
    pub generate: Duration,
}

impl Explanation {
    fn report(&self) -> &Report {
        &self.compiled.report
    }
    fn plan(&self) -> &Plan {
        &self.compiled.plan
    }
    /// The graph that was lowered.
    pub fn lowered(&self) -> &Graph {
        self.report().graph(&self.simplified)
    }
    /// The kernels and library calls, in the order in which they run.
    pub fn kernels(&self) -> Vec<Fused> {
        self.report().kernels(&self.simplified)
    }
    /// Arrays that lie in memory between kernels: their name in the lowered graph and the operation that gives them, why, and where that
    /// operation is written.
    pub fn boundaries(&self) -> Vec<(String, &'static str, Location)> {
        let graph = self.lowered();
        let text = lazuli_ir::Text::new(graph);
        let equations = graph.equations.iter();
        let makers: HashMap<Var, &str> =
            equations.flat_map(|e| e.outputs.iter().map(move |&v| (v, view::name(e)))).collect();
        let name = |v: Var| format!("{} ({})", text.name(v), makers.get(&v).unwrap_or(&"input"));
        self.report().boundaries(&self.simplified).into_iter().map(|(v, why, at)| (name(v), why, at)).collect()
    }
    /// Bytes that kernels and library calls read and write, each operand once.
    pub fn bytes_moved(&self) -> usize {
        text::total(self).nbytes
    }
    /// Scalar operations; an elementary function counts as those that it consists of, a product in a matmul as a multiplication and an addition.
    pub fn operations(&self) -> usize {
        text::total(self).operations
    }
    /// The most bytes that a call has allocated at once: its results, what lies between kernels, and what these work in. Arguments are not counted.
    pub fn peak_memory(&self) -> usize {
        self.plan().outputs.iter().fold(self.workspace, |sum, &n| sum.saturating_add(n))
    }
    /// The program after each stage, as text: as traced, simplified, and as the plan of kernels and library calls that it was compiled to.
    pub fn stages(&self) -> [(&'static str, String); 3] {
        [
            ("traced", self.traced.to_string()),
            ("simplified", self.lowered().to_string()),
            ("compiled", self.plan().to_string()),
        ]
    }
    /// The first line: `1 kernel, 5 ops fused, 1 trace, 3 constants`.
    pub fn summary(&self) -> String {
        text::summary(self)
    }
    /// All of it as text, as it is displayed.
    ///
    /// # Errors
    /// If the user interrupts.
    pub fn to_text(&self) -> Result<String> {
        let mut out = String::new();
        match text::write(self, &mut out) {
            Ok(()) => Ok(out),
            Err(_) => interrupt::poll().map(|()| out),
        }
    }
    /// In Graphviz's DOT language: the function as traced, or (`fused`) as the kernels that it was compiled to.
    pub fn to_dot(&self, fused: bool) -> Result<String> {
        let names: Vec<&str> = self.inputs.iter().map(String::as_str).collect();
        let names = Names { inputs: &names, ..Names::default() };
        match fused {
            false => Ok(dot::operations(&self.traced, names)),
            true => dot::kernels(&self.simplified, names),
        }
    }
    /// One HTML page with the graph before and after fusion, kernels, their code and all else that is known. It loads nothing from anywhere.
    ///
    /// # Errors
    /// If the user interrupts.
    pub fn to_html(&self) -> Result<String> {
        page::page(self)
    }
}

/// As text, the summary first.
impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Who formats it takes no error for an interruption.
        let _deferred = interrupt::defer();
        text::write(self, f)
    }
}
