//! A traced and simplified function, ready to be called with arrays.
//!
//! A [`Program`] is what a compile cache holds per key. It generates code per binding of layouts, and keeps what it generated.

use crate::array::{Array, Op, Value};
use crate::backend;
use crate::eval;
use crate::trace::{self, Trace};
use lazuli_compile::dot::{self, Names};
use lazuli_compile::{Options, OutputInfo};
use lazuli_explain::Times;
use lazuli_ir::{Aval, Graph, Result, Shape};
use lazuli_kernel::{Executable, Layout};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How many bindings of layouts a program keeps code for.
const BINDINGS: usize = 64;

/// A compiled function of arrays.
#[derive(Debug)]
pub struct Program {
    name: String,
    /// As traced: what transformations of the compiled function see.
    traced: Graph,
    /// What runs.
    simplified: Graph,
    constants: Vec<Array>,
    options: Options,
    times: Times,
    bindings: Mutex<HashMap<SmallVec<[Layout; 4]>, Arc<Ready>>>,
}

/// A program made ready for inputs that lie in memory in one way.
#[derive(Debug)]
pub(crate) struct Ready {
    pub executable: Arc<dyn Executable>,
    pub outputs: Vec<OutputInfo>,
}

/// Counts of what compilation did in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompileStats {
    /// Functions traced.
    pub traces: u64,
    /// Graphs simplified.
    pub simplifications: u64,
    /// Plans lowered, one per program and binding of layouts.
    pub plans: u64,
    /// Kernels for which machine code was generated.
    pub kernels: u64,
    /// Calls that found their plan.
    pub hits: u64,
}

#[derive(Default)]
struct Counters {
    traces: AtomicU64,
    simplifications: AtomicU64,
    plans: AtomicU64,
    hits: AtomicU64,
}

static COUNTERS: Counters = Counters {
    traces: AtomicU64::new(0),
    simplifications: AtomicU64::new(0),
    plans: AtomicU64::new(0),
    hits: AtomicU64::new(0),
};

/// What compilation has done in this process so far.
pub fn compile_stats() -> CompileStats {
    let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
    CompileStats {
        traces: get(&COUNTERS.traces),
        simplifications: get(&COUNTERS.simplifications),
        plans: get(&COUNTERS.plans),
        kernels: backend::default().kernels_generated() as u64,
        hits: get(&COUNTERS.hits),
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Program {
    /// Traces `f` on placeholders of these avals and simplifies what it did. Constants that are pending are evaluated.
    pub fn trace(
        name: impl Into<String>,
        inputs: &[Aval],
        options: Options,
        f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    ) -> Result<Program> {
        let name = name.into();
        let trace = Trace::begin(name.clone(), "compile");
        let holes: Vec<Array> = inputs.iter().map(|a| trace.placeholder(a.clone())).collect();
        let outputs = f(&holes)?;
        Program::from_trace(name, &holes, &outputs, options)
    }

    /// The program from placeholders to what was computed of them.
    pub fn from_trace(
        name: impl Into<String>,
        inputs: &[Array],
        outputs: &[Array],
        options: Options,
    ) -> Result<Program> {
        count(&COUNTERS.traces);
        let cut = trace::cut(inputs, outputs)?;
        // Constants that belong to an outer trace have no value; they stay symbolic.
        let known: Vec<Array> = cut.constants.iter().filter(|a| !a.is_traced()).cloned().collect();
        eval::eval(&known)?;
        if options.simplify {
            count(&COUNTERS.simplifications);
        }
        let begin = Instant::now();
        let simplified = if options.simplify { lazuli_compile::simplify(&cut.graph) } else { cut.graph.clone() };
        let times = Times { simplify: begin.elapsed(), ..Times::default() };
        Ok(Program {
            name: name.into(),
            traced: cut.graph,
            simplified,
            constants: cut.constants,
            options,
            times,
            bindings: Mutex::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }
    /// The arrays that the function reached through its closure.
    pub fn constants(&self) -> &[Array] {
        &self.constants
    }
    /// As traced.
    pub fn graph(&self) -> &Graph {
        &self.traced
    }
    pub(crate) fn options(&self) -> Options {
        self.options
    }
    pub(crate) fn times(&self) -> Times {
        self.times
    }
    /// After simplification.
    pub fn simplified(&self) -> &Graph {
        &self.simplified
    }
    /// The program in Graphviz's DOT language: as traced, or (`fused`) as the kernels and library calls that it is compiled to.
    pub fn to_dot(&self, fused: bool) -> Result<String> {
        match fused {
            false => Ok(dot::operations(&self.traced, Names::default())),
            true => dot::kernels(&self.simplified, Names::default()),
        }
    }
    /// The traced graph with its shape rules run for these arguments.
    pub(crate) fn graph_for(&self, arguments: &[Array]) -> Result<Graph> {
        rebound(&self.traced, arguments.iter().map(|a| a.shape()), &self.constants)
    }

    /// Calls the program: one lazy node with all its outputs.
    pub fn call(self: &Arc<Self>, arguments: &[Array]) -> Result<Vec<Array>> {
        let same =
            self.traced.arguments().iter().zip(arguments).all(|(&v, a)| self.traced.shape_of(v)[..] == *a.shape());
        let avals: SmallVec<[Aval; 1]> =
            if same { self.traced.output_avals().into() } else { self.graph_for(arguments)?.output_avals().into() };
        if avals.is_empty() {
            return Ok(Vec::new());
        }
        let n = avals.len() as u32;
        let out = Array::pending(Op::Program(self.clone()), arguments.into(), SmallVec::new(), avals, trace::meta());
        Ok((0..n).map(|k| out.sibling(k)).collect())
    }

    /// The plan for arguments that lie like these; adds the values of the constants to the inputs.
    pub(crate) fn ready(&self, inputs: &mut Vec<Value>) -> Result<Arc<Ready>> {
        let key: SmallVec<[Layout; 4]> = inputs.iter().map(|v| v.layout.clone()).collect();
        for constant in &self.constants {
            inputs.push(constant.force()?);
        }
        if let Some(ready) = self.bindings.lock().unwrap_or_else(|e| e.into_inner()).get(&key) {
            count(&COUNTERS.hits);
            return Ok(ready.clone());
        }
        count(&COUNTERS.plans);
        let graph =
            rebound(&self.simplified, inputs[..key.len()].iter().map(|v| &v.layout.shape[..]), &self.constants)?;
        let layouts: Vec<Layout> = inputs.iter().map(|v| v.layout.clone()).collect();
        let compiled = lazuli_compile::compile(&graph, &layouts, &Options { simplify: false, ..self.options })?;
        let executable = backend::default().prepare(compiled.plan)?;
        let ready = Arc::new(Ready { executable, outputs: compiled.outputs });
        let mut bindings = self.bindings.lock().unwrap_or_else(|e| e.into_inner());
        if bindings.len() >= BINDINGS {
            bindings.clear();
        }
        bindings.insert(key, ready.clone());
        Ok(ready)
    }
}

/// The graph for arguments of other shapes, if they are other.
fn rebound<'a>(
    graph: &Graph,
    shapes: impl Iterator<Item = &'a [usize]> + Clone,
    constants: &'a [Array],
) -> Result<Graph> {
    if graph.arguments().iter().zip(shapes.clone()).all(|(&v, s)| graph.shape_of(v)[..] == *s) {
        return Ok(graph.clone());
    }
    let shapes: Vec<Shape> = shapes.chain(constants.iter().map(|c| c.shape())).map(Shape::from).collect();
    graph.rebind(&shapes)
}
