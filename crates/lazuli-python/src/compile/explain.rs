//! What was compiled, as Python shows it: as text, as a page, in notebooks.

use crate::errors::run_detached;
use lazuli_core::explain::Times;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;

/// What a call of a compiled function runs, and why. `print` shows all of it, a notebook a page with the graph before and after fusion.
#[derive(Debug)]
#[pyclass(module = "lazuli.core", frozen)]
pub struct Explanation(lazuli_core::Explanation);

impl Explanation {
    pub fn new(explanation: lazuli_core::Explanation) -> Self {
        Self(explanation)
    }
}

#[pymethods]
impl Explanation {
    /// The first line: how many kernels, operations, traces and constants.
    #[getter]
    fn summary(&self) -> String {
        self.0.summary()
    }
    /// Why the trace that serves this call was made: what differed from the call before it.
    #[getter]
    fn cause(&self) -> &str {
        &self.0.cause
    }
    /// Of each kernel or library call the names of the operations in it, in order.
    #[getter]
    fn kernels(&self) -> Vec<Vec<&'static str>> {
        self.0.kernels().into_iter().map(|k| k.ops).collect()
    }
    /// Name, dtype with shape, and bytes of each array that the function reached other than through its arguments and captures.
    #[getter]
    fn constants(&self) -> Vec<(String, String, usize)> {
        let one = |c: &lazuli_core::explain::Constant| (c.name.clone(), c.aval.to_string(), c.aval.nbytes());
        self.0.constants.iter().map(one).collect()
    }
    /// Bytes that kernels and library calls read and write, each operand once.
    #[getter]
    fn bytes_moved(&self) -> usize {
        self.0.bytes_moved()
    }
    /// Scalar operations; an elementary function counts as those that it consists of, a product in a matmul as a multiplication and an addition.
    #[getter]
    fn operations(&self) -> usize {
        self.0.operations()
    }
    /// The most bytes that a call has allocated at once: its results, what lies between kernels, and what these work in. Arguments are not counted.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.compile(lambda x: mx.exp(-x)).explain(mx.ones((1000,))).peak_memory
    ///     4000
    #[getter]
    fn peak_memory(&self) -> usize {
        self.0.peak_memory()
    }
    /// The program after each stage, as text: ``"traced"``, ``"simplified"``, and ``"compiled"``, the plan of kernels and library calls.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> print(mx.compile(lambda x: x * 1 + 0 * 2).explain(mx.ones((3,))).stages["simplified"])
    ///     graph v1 (a: f32[3]) {
    ///       b: f32[3] = add a 0.0:f32
    ///       return b
    ///     }
    #[getter]
    fn stages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stages = PyDict::new(py);
        for (stage, text) in self.0.stages() {
            stages.set_item(stage, text)?;
        }
        Ok(stages)
    }
    /// Seconds that each stage took: `"trace"`, `"simplify"`, `"lower"` (which fuses and plans memory too) and `"generate"` code.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> list(mx.compile(mx.exp).explain(mx.ones((3,))).times)
    ///     ['trace', 'simplify', 'lower', 'generate']
    #[getter]
    fn times<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Times { trace, simplify, lower, generate } = self.0.times;
        let times = PyDict::new(py);
        for (stage, time) in [("trace", trace), ("simplify", simplify), ("lower", lower), ("generate", generate)] {
            times.set_item(stage, time.as_secs_f64())?;
        }
        Ok(times)
    }
    /// In Graphviz's DOT language: the kernels and library calls, or with `fused=False` the operations as traced.
    #[pyo3(signature = (fused=true))]
    fn to_dot(&self, py: Python<'_>, fused: bool) -> PyResult<String> {
        run_detached(py, || self.0.to_dot(fused))
    }
    /// One HTML page, which needs no network: the graph before and after fusion, each kernel with its operations, source lines and code. Written to
    /// `file` if one is given; returned as text.
    #[pyo3(signature = (file=None))]
    fn to_html(&self, py: Python<'_>, file: Option<PathBuf>) -> PyResult<String> {
        let page = run_detached(py, || self.0.to_html())?;
        if let Some(file) = file {
            std::fs::write(&file, &page)
                .map_err(|e| PyOSError::new_err(format!("[explain] {}: {e}", file.display())))?;
        }
        Ok(page)
    }
    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        run_detached(py, || self.0.to_text())
    }
    fn __repr__(&self) -> String {
        format!("<{}: {}>", self.0.name, self.0.summary())
    }
    /// The page in a frame of its own, so that its styles and the notebook's leave each other alone.
    fn _repr_html_(&self, py: Python<'_>) -> PyResult<String> {
        let page = run_detached(py, || self.0.to_html())?.replace('&', "&amp;").replace('"', "&quot;");
        Ok(format!("<iframe srcdoc=\"{page}\" style=\"width: 100%; height: 640px; border: 1px solid #8884\"></iframe>"))
    }
}

/// What a call of a compiled function runs, as text.
#[derive(Debug)]
#[pyclass(module = "lazuli.core", frozen)]
pub struct Lowered(Explanation);

impl Lowered {
    pub fn new(explanation: Explanation) -> Self {
        Self(explanation)
    }
}

#[pymethods]
impl Lowered {
    /// The simplified graph.
    #[getter]
    fn graph(&self) -> String {
        self.0.0.lowered().to_string()
    }
    /// The kernels and library calls, and the memory that they work on.
    #[getter]
    fn plan(&self) -> String {
        self.0.0.compiled.plan.to_string()
    }
    /// The machine code of each step: of each function in it, the kernel that it was generated from and its instructions, each with a heading.
    #[getter]
    fn code(&self) -> Vec<Vec<&str>> {
        self.0.0.code.iter().map(|functions| functions.iter().map(|code| &**code).collect()).collect()
    }
    /// All of it, each part with a heading.
    fn as_text(&self) -> String {
        let mut text = format!("# Graph, simplified\n{}\n\n# Plan\n{}\n", self.graph(), self.plan());
        // Where the code of each function is.
        let mut known: HashMap<*const u8, String> = HashMap::new();
        for (step, functions) in self.0.0.code.iter().enumerate() {
            for (k, code) in functions.iter().enumerate() {
                let of = if functions.len() == 1 { String::new() } else { format!(", function {k}") };
                let heading = format!("Step {step}{of}");
                let _ = match known.get(&code.as_ptr()) {
                    Some(first) => writeln!(text, "\n# {heading}\nthe code of {}", first.to_lowercase()),
                    None => write!(text, "\n# {heading}\n{code}"),
                };
                known.entry(code.as_ptr()).or_insert(heading);
            }
        }
        text
    }
    fn __str__(&self) -> String {
        self.as_text()
    }
    fn __repr__(&self) -> String {
        format!("<lowered {}>", self.0.0.name)
    }
}
