//! Traced functions in files: saved by a program that has the function, loaded by one that has not, in Rust or in Python.
//!
//! A file holds one or several traces of a function. It is a `.safetensors` file: constants are its arrays, graphs are texts beside them, in the form in
//! which graphs print and parse. A checksum tells a damaged file, the first words of its graphs another version's.
//! A call looks for a trace that its arguments fit.
//!
//! Absent: trees (arguments and results are lists of arrays, arguments by name too), machine code (it is generated where the function runs).

use crate::array::Array;
use crate::files::{self, Metadata, io};
use crate::guards::Guards;
use crate::program::{Program, Recorded};
use crate::shapeless::{Scope, read_rule};
use crate::trace::Trace;
use crate::updates::Updates;
use lazuli_compile::Options;
use lazuli_ir::{Aval, Error, Graph, Result};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What a file says that it is.
const FORMAT: &str = "lazuli function v1";

/// One trace of a function, ready to be saved or called.
#[derive(Clone)]
pub struct Traced {
    program: Arc<Program>,
    positional: usize,
    /// Names of the arguments behind the positional ones, sorted.
    keywords: Vec<String>,
}

impl Traced {
    /// Runs a function on placeholders like these arrays: some by position, some by name. `f` is given the positional ones, then those with names
    /// sorted by them. If `shapeless`, the trace holds for other extents too.
    ///
    /// ```
    /// use lazuli_core::{array, export::{self, Traced}};
    /// let x = array([1.0, 2.0]);
    /// let traced = Traced::new("double", &[x.clone()], &[], true, |x| Ok(vec![&x[0] * 2.0]))?;
    /// let file = std::env::temp_dir().join("lazuli-double.safetensors");
    /// export::save(&file, &[traced], "")?;
    /// let double = export::load(&file)?;
    /// assert_eq!(double.call(&[array([3.0, 4.0, 5.0])], &[])?[0].to_vec::<f32>(), [6.0, 8.0, 10.0]);
    /// # std::fs::remove_file(file).unwrap();
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `f`, and if arguments have no names or the same one.
    pub fn new(
        name: &str,
        positional: &[Array],
        named: &[(String, Array)],
        shapeless: bool,
        f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    ) -> Result<Traced> {
        let named = sorted("export_function", named)?;
        if let Some((name, _)) = named.iter().find(|(name, _)| name.is_empty() || name.contains(char::is_control)) {
            return Err(Error::value(
                "export_function",
                format!("no argument can be named {name:?}: a name is one line of text"),
            ));
        }
        let arguments = positional.iter().chain(named.iter().map(|(_, a)| a));
        let trace = Trace::begin(name, "export");
        let holes: Vec<Array> = arguments.map(|a| trace.placeholder(a.aval().clone())).collect();
        let scope = shapeless.then(Scope::begin);
        let outputs = f(&holes)?;
        let facts = scope.map(Scope::end);
        let time = trace.elapsed();
        let effects = &trace.end();
        let path = |i: usize| format!("argument {i}");
        let recorded = Recorded {
            name: name.to_owned(),
            inputs: &holes,
            outputs: &outputs,
            arguments: &[],
            effects,
            path: &path,
            facts,
            time,
            updates: Updates::Nothing,
        };
        let program = Program::from_trace(recorded, Options::COMPILE)?;
        let keywords = named.into_iter().map(|(name, _)| name.clone()).collect();
        Ok(Traced { program: Arc::new(program), positional: positional.len(), keywords })
    }

    /// What the function is called.
    pub fn name(&self) -> &str {
        self.program.name()
    }

    /// The arguments that it is made for.
    fn signature(&self) -> String {
        let keywords: Vec<&str> = self.keywords.iter().map(String::as_str).collect();
        let mark = if self.is_shapeless() { " for other extents too" } else { "" };
        format!("{}{mark}", signature(self.positional, &keywords, self.arguments().iter()))
    }

    fn is_shapeless(&self) -> bool {
        self.program.guards().is_some()
    }

    fn arguments(&self) -> Vec<Aval> {
        self.program.graph().arguments().iter().map(|&v| self.program.graph().aval(v.into())).collect()
    }

    /// Whether arguments, sorted as the trace's, are such as it was made for.
    fn fits(&self, positional: usize, keywords: &[&str], arguments: &[Array]) -> bool {
        let alike = |(a, want): (&Array, &Aval)| {
            let aval = a.aval();
            let ranks = aval.rank() == want.rank() || self.program.is_any_rank();
            aval.dtype == want.dtype && if self.is_shapeless() { ranks } else { aval.shape == want.shape }
        };
        positional == self.positional
            && keywords == self.keywords
            && arguments.iter().zip(&self.arguments()).all(alike)
            && self.program.admit(arguments).is_ok()
    }
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traced({}{})", self.name(), self.signature())
    }
}

/// Arguments as a call of them is written: `(f32[2,3], scale=f32[])`.
fn signature<'a>(positional: usize, keywords: &[&str], avals: impl Iterator<Item = &'a Aval>) -> String {
    let items = avals.enumerate().map(|(i, aval)| match i.checked_sub(positional) {
        None => aval.to_string(),
        Some(k) => format!("{}={aval}", keywords[k]),
    });
    format!("({})", items.collect::<Vec<_>>().join(", "))
}

/// Arguments sorted by their names, which must differ.
fn sorted<'a>(op: &str, named: &'a [(String, Array)]) -> Result<Vec<&'a (String, Array)>> {
    let mut named: Vec<&(String, Array)> = named.iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    match named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Error::value(op, format!("two arguments are named '{}'", pair[0].0))),
        None => Ok(named),
    }
}

/// A function that was loaded from a file.
#[derive(Debug)]
pub struct Exported {
    traces: Vec<Traced>,
    /// The text that was saved with it.
    pub metadata: String,
}

impl Exported {
    /// Calls the trace that these arguments fit; its results.
    ///
    /// # Errors
    /// If there is none: the message lists what there is.
    pub fn call(&self, positional: &[Array], named: &[(String, Array)]) -> Result<Vec<Array>> {
        let named = sorted("import_function", named)?;
        let keywords: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        let arguments: Vec<Array> = positional.iter().chain(named.iter().map(|(_, a)| a)).cloned().collect();
        match self.traces.iter().find(|t| t.fits(positional.len(), &keywords, &arguments)) {
            Some(traced) => Ok(traced.program.call(arguments)?.into_vec()),
            None => Err(self.nothing_fits(positional.len(), &keywords, &arguments)),
        }
    }

    fn nothing_fits(&self, positional: usize, keywords: &[&str], arguments: &[Array]) -> Error {
        let given = signature(positional, keywords, arguments.iter().map(Array::aval));
        let traces: Vec<String> = self.traces.iter().map(Traced::signature).collect();
        let traces = if traces.is_empty() { "none".to_owned() } else { traces.join(", ") };
        Error::value("import_function", format!("no trace fits {given}; there are {traces}"))
    }

    /// The traces, as they were saved.
    pub fn traces(&self) -> &[Traced] {
        &self.traces
    }
}

/// Saves traces of one function, and a text that [`load`] gives back.
///
/// # Errors
/// If the file cannot be written, or a trace could not be read back: its calls are nested too deep.
pub fn save(file: impl AsRef<Path>, traces: &[Traced], metadata: &str) -> Result<()> {
    const OP: &str = "export_function";
    let file = file.as_ref();
    let mut texts: Metadata = [("format", FORMAT), ("metadata", metadata)].map(|(k, v)| (k.into(), v.into())).into();
    texts.insert("traces".into(), traces.len().to_string());
    let mut arrays: Vec<(String, Array)> = Vec::new();
    for (i, t) in traces.iter().enumerate() {
        let mut put = |what: &str, text: String| texts.insert(format!("trace.{i}.{what}"), text);
        let mut constants = Vec::new();
        for c in t.program.constants() {
            // Arrays that several traces share are saved once.
            let known = arrays.iter().position(|(_, a)| a.id() == c.id());
            let k = known.unwrap_or(arrays.len());
            if k == arrays.len() {
                arrays.push((format!("constant.{k}"), c.clone()));
            }
            constants.push(k.to_string());
        }
        put("name", t.program.name().to_owned());
        put("positional", t.positional.to_string());
        put("keywords", t.keywords.join("\n"));
        put("constants", constants.join(" "));
        let unreadable = |e: Error| Error::value(OP, format!("'{}' cannot be saved: {}", t.name(), e.message()));
        let graph = format!("{:#}", t.program.graph());
        Graph::parse(&graph, &read_rule).map_err(unreadable)?;
        put("graph", graph);
        if let Some(guards) = t.program.guards() {
            let guards = guards.to_string();
            Guards::parse(t.name(), &guards).map_err(unreadable)?;
            put("guards", guards);
        }
    }
    texts.insert(CHECKSUM.into(), checksum(&texts, &arrays)?);
    files::save_with(OP, file, arrays, Some(texts))
}

/// The name of the text that tells whether a file is as it was saved.
const CHECKSUM: &str = "checksum";

/// A number for all that a file says, as text. A change within eight bytes always gives another number: each step maps different words to different
/// states, and different states to different states.
fn checksum(texts: &Metadata, arrays: &[(String, Array)]) -> Result<String> {
    let mut sum = 0u64;
    let mut add = |bytes: &[u8]| {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        for word in std::iter::once(bytes.len() as u64).chain(words) {
            // 2⁶⁴/φ is odd (Knuth, The Art of Computer Programming, 6.4); the shift brings high bits to where they count.
            sum = (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            sum ^= sum >> 32;
        }
    };
    let mut texts: Vec<_> = texts.iter().filter(|(name, _)| *name != CHECKSUM).collect();
    texts.sort();
    for (name, text) in texts {
        add(name.as_bytes());
        add(text.as_bytes());
    }
    let mut arrays: Vec<_> = arrays.iter().collect();
    arrays.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, array) in arrays {
        add(name.as_bytes());
        add(array.aval().to_string().as_bytes());
        add(&array.try_to_bytes()?);
    }
    Ok(format!("{sum:016x}"))
}

/// Loads what [`save`] wrote.
///
/// # Errors
/// If the file cannot be read, is damaged, or holds no function.
pub fn load(file: impl AsRef<Path>) -> Result<Exported> {
    const OP: &str = "import_function";
    let file = file.as_ref();
    let (arrays, texts) = files::load_with(OP, file)?;
    let broken = |what: String| io(OP, file, what);
    match texts.get("format").map(String::as_str) {
        Some(FORMAT) => {}
        Some(other) => return Err(broken(format!("is '{other}', where this version reads '{FORMAT}'"))),
        None => return Err(broken("holds arrays, and no function: it is for load to read".into())),
    }
    if texts.get(CHECKSUM) != Some(&checksum(&texts, &arrays)?) {
        return Err(broken("is damaged: its checksum is another".into()));
    }
    let mut traces = Vec::new();
    let count: usize = texts
        .get("traces")
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| broken("does not say how many traces".into()))?;
    for i in 0..count {
        let get = |what: &str| {
            let key = format!("trace.{i}.{what}");
            texts.get(&key).ok_or_else(|| broken(format!("lacks '{key}'")))
        };
        let name = get("name")?.clone();
        let graph = Graph::parse(get("graph")?, &read_rule).map_err(|e| broken(format!("trace {i}: {e}")))?;
        graph.verify().map_err(|e| broken(format!("trace {i}: {e}")))?;
        let constant = |k: &str| {
            let name = format!("constant.{k}");
            let found = arrays.iter().find(|(n, _)| *n == name).map(|(_, a)| a.clone());
            found.ok_or_else(|| broken(format!("lacks the array '{name}'")))
        };
        let constants: Vec<Array> = get("constants")?.split_whitespace().map(constant).collect::<Result<_>>()?;
        let expected = graph.input_avals().split_off(graph.inputs.len() - graph.constants);
        if !constants.iter().map(|c| c.aval()).eq(&expected) {
            return Err(broken(format!("trace {i}: its constants are not those of its graph")));
        }
        let guards = match texts.get(&format!("trace.{i}.guards")) {
            Some(text) => Some(Guards::parse(&name, text).map_err(|e| broken(format!("trace {i}: {e}")))?),
            None => None,
        };
        let keywords: Vec<String> = get("keywords")?.lines().map(str::to_owned).collect();
        let positional: usize = get("positional")?.parse().unwrap_or(usize::MAX);
        if positional.checked_add(keywords.len()) != Some(graph.arguments().len()) {
            return Err(broken(format!("trace {i}: its arguments are not those of its graph")));
        }
        let program = Program::of_graph(name, graph, constants, Options::COMPILE, guards);
        traces.push(Traced { program: Arc::new(program), positional, keywords });
    }
    let metadata = texts.get("metadata").cloned().unwrap_or_default();
    Ok(Exported { traces, metadata })
}
