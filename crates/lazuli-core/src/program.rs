//! A traced and simplified function, ready to be called with arrays.
//!
//! A [`Program`] is what a compile cache holds per key. It generates code per binding of layouts, and keeps what it generated.

use crate::array::{Array, Value};
use crate::backend;
use crate::bindings::Bindings;
use crate::cache::Change;
use crate::edition::{Edition, Editions};
use crate::eval;
use crate::explain::Call;
use crate::guards::{self, Bound, Guards, Made};
use crate::log::{self, Topic};
use crate::progress;
use crate::provisional::Provisionals;
use crate::run::Ready;
use crate::shapeless::Facts;
use crate::stats::{Count, count};
use crate::trace::{self, Effects, Trace};
use crate::updates::Updates;
use lazuli_compile::dot::{self, Names};
use lazuli_compile::{Compiled, Fit, Options, Outlined};
use lazuli_explain::Times;
use lazuli_ir::{Atom, Aval, Effect, Error, Graph, Result, Shape, Var};
use lazuli_kernel::Layout;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Arguments and outputs of calls.
pub type Arrays = SmallVec<[Array; 2]>;

/// A compiled function of arrays.
#[derive(Debug)]
pub struct Program {
    name: String,
    /// The graphs of the shapes of the trace.
    own: Arc<Edition>,
    /// Of a shapeless program: those of shapes for which something is made anew.
    others: Editions,
    constants: Vec<Array>,
    options: Options,
    times: Times,
    /// Of the outputs, as traced.
    outputs: SmallVec<[Aval; 1]>,
    effect: Effect,
    /// What was made ready first: for most programs that is all.
    first: OnceLock<Arc<Ready>>,
    /// What else was made ready.
    bindings: Mutex<Bindings>,
    provisionals: Provisionals,
    /// Of a shapeless program: the shapes that it holds for.
    guards: Option<Guards>,
    /// Whether rules have made bodies of calls in it.
    has_rules: bool,
    /// What its calls do to state.
    updates: Updates,
    /// Whether it was said that tracing and simplifying it takes long.
    told: bool,
}

/// What the trace of a function recorded.
pub struct Recorded<'a> {
    /// The function's name.
    pub name: String,
    /// The placeholders.
    pub inputs: &'a [Array],
    /// What was computed of them.
    pub outputs: &'a [Array],
    /// Arrays of the call that some placeholders stand for, which may not be reached otherwise.
    pub arguments: &'a [Array],
    /// What was done besides, in order.
    pub effects: &'a Effects,
    /// What each of the arguments is called.
    pub path: &'a dyn Fn(usize) -> String,
    /// What a shapeless trace read of its shapes: it is checked at each call, and the program holds for other shapes too.
    pub facts: Option<Facts>,
    /// How long the trace took.
    pub time: Duration,
    /// What its calls do to state that the caller keeps.
    pub updates: Updates,
}

impl std::fmt::Debug for Recorded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded").field("name", &self.name).finish_non_exhaustive()
    }
}

fn simplified(traced: &Graph, options: Options) -> Graph {
    let graph = if options.simplify { lazuli_compile::simplify(traced) } else { traced.clone() };
    #[cfg(test)]
    let graph = fault::in_simplified(graph, options);
    graph
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
        let time = trace.elapsed();
        let effects = &trace.end();
        let path = |i: usize| format!("input {i}");
        let (inputs, outputs) = (&holes[..], &outputs[..]);
        let (arguments, facts, updates) = (&[][..], None, Updates::Nothing);
        let recorded = Recorded { name, inputs, outputs, arguments, effects, path: &path, facts, time, updates };
        Program::from_trace(recorded, options)
    }

    /// A program of the same traced graph, perhaps with other outputs, that runs by other stages. It holds for the shapes that it is called with.
    pub(crate) fn with(&self, outputs: Option<Vec<Atom>>, options: Options) -> Result<Program> {
        let mut traced = self.own.traced.clone();
        traced.outputs = outputs.unwrap_or(traced.outputs);
        let simplified = simplified(&traced, options);
        Ok(Program {
            name: self.name.clone(),
            outputs: traced.output_avals().into(),
            effect: traced.effect(),
            own: Arc::new(Edition::new(traced, simplified)),
            others: Editions::default(),
            constants: self.constants.clone(),
            options,
            times: self.times,
            first: OnceLock::new(),
            bindings: Mutex::default(),
            provisionals: Provisionals::default(),
            guards: None,
            has_rules: self.has_rules,
            updates: Updates::Nothing,
            told: false,
        })
    }

    /// The program of what a trace that is over recorded.
    ///
    /// # Errors
    /// If the function reached one of the arguments other than through its arguments: directly, or as an input of a pending array. It
    /// would be a constant there. And if a constant cannot be computed.
    pub fn from_trace(recorded: Recorded<'_>, options: Options) -> Result<Program> {
        let Recorded { name, inputs, outputs, arguments, effects, path, facts, time, updates } = recorded;
        count(Count::Traces);
        let compiling = progress::go_on(&name);
        let cut = trace::cut(inputs, outputs, effects)?;
        if let Some(at) = trace::reached(&cut.constants, arguments) {
            return Err(Error::value(
                "compile",
                format!(
                    "{} of '{name}' is also reached through the function's closure (an uncaptured input), where it would be a constant: use the \
                     argument there too, or pass the other as an argument or as captured state",
                    path(at)
                ),
            ));
        }
        let elementwise = || cut.graph.equations.iter().all(guards::is_elementwise);
        let guards = facts.map(|f| Guards::new(&name, inputs, outputs, f, elementwise())).transpose()?;
        // Constants that belong to an outer trace have no value; they stay symbolic.
        let known: Vec<Array> = match trace::is_tracing() {
            true => cut.constants.iter().filter(|a| !a.is_traced()).cloned().collect(),
            false => cut.constants.clone(),
        };
        eval::eval(&known)?;
        let mut program = Program::of_graph(name, cut.graph, cut.constants, options, guards);
        program.times.trace = time;
        // Only other shapes could change that.
        let is_final = program.guards.is_none() && updates.are_final(inputs, &program.outputs);
        program.updates = if is_final { Updates::More } else { updates };
        program.told = compiling.pause();
        Ok(program)
    }
    /// The program of a graph and the arrays of its constants.
    pub(crate) fn of_graph(
        name: String,
        traced: Graph,
        constants: Vec<Array>,
        options: Options,
        guards: Option<Guards>,
    ) -> Program {
        if options.simplify {
            count(Count::Simplifications);
        }
        progress::stage("simplifying", traced.equations.len());
        let begin = Instant::now();
        let simplified = simplified(&traced, options);
        let times = Times { simplify: begin.elapsed(), ..Times::default() };
        let (outputs, effect) = (traced.output_avals().into(), traced.effect());
        let (first, bindings, others) = (OnceLock::new(), Mutex::default(), Editions::default());
        let has_rules = traced.has_rules();
        let own = Arc::new(Edition::new(traced, simplified));
        let updates = Updates::Nothing;
        Program {
            name,
            own,
            others,
            constants,
            options,
            times,
            outputs,
            effect,
            first,
            bindings,
            provisionals: Provisionals::default(),
            guards,
            has_rules,
            updates,
            told: false,
        }
    }

    /// The name of the function.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The arrays that the function reached through its closure.
    pub fn constants(&self) -> &[Array] {
        &self.constants
    }
    /// The rules of vectorisation that calls in it have: what transformations of the program may call.
    pub fn vmap_rules(&self) -> Vec<Arc<dyn crate::custom::Vmap>> {
        crate::batch::rules(&self.own.traced)
    }
    /// Whether some constants have no value, because they belong to a trace around this one: such a program is of use within it alone.
    pub fn is_symbolic(&self) -> bool {
        trace::is_tracing() && self.constants.iter().any(Array::is_traced)
    }
    /// As traced.
    pub fn graph(&self) -> &Graph {
        &self.own.traced
    }
    pub(crate) fn updates(&self) -> &Updates {
        &self.updates
    }
    pub(crate) fn options(&self) -> Options {
        self.options
    }
    pub(crate) fn times(&self) -> Times {
        self.times
    }
    /// After simplification.
    pub fn simplified(&self) -> &Graph {
        &self.own.simplified
    }
    /// The program in Graphviz's DOT language: as traced, or (`fused`) as the kernels and library calls that it is compiled to.
    pub fn to_dot(&self, fused: bool) -> Result<String> {
        match fused {
            false => Ok(dot::operations(&self.own.traced, Names::default())),
            true => dot::kernels(&self.own.simplified, Names::default()),
        }
    }
    /// The traced graph with its shape rules run for these arguments.
    pub(crate) fn graph_for(&self, arguments: &[Array]) -> Result<Graph> {
        rebound(&self.own.traced, arguments.iter().map(|a| &a.aval().shape[..]), &self.constants)
    }
    /// What the function would have recorded for these arguments.
    pub(crate) fn recorded_for(&self, arguments: &[Array]) -> Result<Graph> {
        let graph = self.graph_for(arguments)?;
        if self.guards.is_some() { graph.inline_rules() } else { Ok(graph) }
    }
    /// What is known of a binding to arguments of these shapes, and what was made when they were bound, if nobody has had that yet.
    fn known<'a>(&self, shapes: impl Iterator<Item = &'a [usize]> + Clone) -> (Option<Arc<Bound>>, Option<Made>) {
        let known = self.guards.as_ref().and_then(|guards| guards.known(shapes));
        let made = known.as_ref().and_then(|bound| bound.take());
        (known, made)
    }
    /// The simplified graph for arguments of these shapes.
    pub(crate) fn bound<'a>(&'a self, shapes: impl Iterator<Item = &'a [usize]> + Clone) -> Result<BoundGraph> {
        let (known, made) = self.known(shapes.clone());
        self.bound_as(shapes, known, made)
    }
    fn bound_as<'a>(
        &'a self,
        shapes: impl Iterator<Item = &'a [usize]> + Clone,
        known: Option<Arc<Bound>>,
        made: Option<Made>,
    ) -> Result<BoundGraph> {
        // Simplification holds for all extents, but not for all ranks, and not for bodies that are made anew.
        let traced = &self.own.traced;
        let same_rank =
            traced.arguments().iter().zip(shapes.clone()).all(|(&v, s)| traced.shape_of(v).len() == s.len());
        let own = || Some(self.own.clone());
        let edition = match known {
            _ if self.guards.is_none() => own(),
            _ if !same_rank => None,
            _ if !self.has_rules => own(),
            Some(bound) => bound.edition.clone(),
            None => self.own.rebound_avals(shapes.clone(), &self.constants)?.and_then(|_| own()),
        };
        let Some(edition) = edition else {
            let graph = match made {
                Some(Made::Graph(graph)) => graph,
                _ => rebound(traced, shapes, &self.constants)?,
            };
            return Ok(BoundGraph { graph: self.simplified_anew(&graph), edition: None, made: None });
        };
        if let Some(Outlined { ids, shapes: all, .. }) = edition.outlined(made.as_ref()) {
            let graph = edition.simplified.outlined(ids, all);
            debug_assert_eq!(rebound(&edition.simplified, shapes, &self.constants).ok().as_ref(), Some(&graph));
            return Ok(BoundGraph { graph, edition: Some(edition), made });
        }
        let graph = rebound(&edition.simplified, shapes, &self.constants)?;
        Ok(BoundGraph { graph, edition: Some(edition), made: None })
    }
    /// A traced graph of other shapes as it runs.
    fn simplified_anew(&self, traced: &Graph) -> Graph {
        if self.options.simplify {
            count(Count::Simplifications);
        }
        simplified(traced, self.options)
    }
    /// Whether a graph that is bound is fused as one of other orders of magnitude was, which is followed from now on.
    fn widen(&self, bound: &BoundGraph) -> bool {
        let Some(edition) = &bound.edition else { return false };
        let outlined = edition.outlined(bound.made.as_ref());
        self.options.fuse && outlined.is_some_and(|outlined| edition.templates.widen(&bound.graph, &outlined))
    }
    /// What a graph that is bound is compiled to, for inputs that lie like this; and whether that follows nothing that was compiled before.
    pub(crate) fn compiled(&self, bound: &BoundGraph, layouts: &[Layout]) -> Result<(Compiled, bool)> {
        let options = Options { simplify: false, ..self.options };
        match &bound.edition {
            Some(edition) if self.guards.is_some() => {
                let outlined = edition.outlined(bound.made.as_ref());
                edition.templates.compile(&bound.graph, outlined.as_ref(), layouts, &options)
            }
            _ => Ok((lazuli_compile::compile(&bound.graph, layouts, &options)?, true)),
        }
    }

    /// The binding of a shapeless program to arguments of new shapes.
    fn bind(&self, guards: &Guards, arguments: &[Array]) -> Result<Bound> {
        let bind = |edition: &Arc<Edition>| edition.bind(guards, arguments, &self.constants, &self.updates);
        if let Some(bound) = bind(&self.own) {
            return Ok(bound);
        }
        let others = self.others.known();
        if let Some(bound) = others.iter().find_map(bind) {
            return Ok(bound);
        }
        guards.check(arguments)?;
        let shapes = || arguments.iter().map(|a| &a.aval().shape[..]);
        // An outline leaves the shapes of its own graphs to these.
        for edition in std::iter::once(&self.own).chain(others.iter().filter(|edition| edition.fits(arguments))) {
            let inferred = edition.rebound_avals(shapes(), &self.constants);
            if let Some(outputs) = inferred.map_err(|e| guards.fails(e))? {
                return Ok(Bound::new(outputs, Some(edition.clone()), None));
            }
        }
        self.bind_anew(shapes()).map_err(|e| guards.fails(e))
    }
    /// The binding to shapes for which something is made anew: in graphs that hold for other shapes too, if they can.
    fn bind_anew<'a>(&self, shapes: impl Iterator<Item = &'a [usize]>) -> Result<Bound> {
        let has_room = self.others.has_room();
        let constants = self.constants.iter().map(|c| c.aval().shape.clone());
        let shapes: Vec<Shape> = shapes.map(Shape::from).chain(constants).collect();
        let traced = &self.own.traced;
        let graph = if has_room { traced.renew(&shapes)? } else { traced.rebind(&shapes)? };
        let outputs = graph.output_avals().into_iter().collect();
        if !has_room || graph.is_remade() {
            return Ok(Bound::new(outputs, None, Some(Made::Graph(graph))));
        }
        let simplified = self.simplified_anew(&graph);
        let edition = Arc::new(Edition::new(graph, simplified));
        self.others.add(edition.clone());
        Ok(Bound::new(outputs, Some(edition), None))
    }
    pub(crate) fn guards(&self) -> Option<&Guards> {
        self.guards.as_ref()
    }
    /// Whether a shapeless program holds for arguments of any rank.
    pub fn is_any_rank(&self) -> bool {
        self.guards.as_ref().is_some_and(|g| g.any_rank)
    }
    /// Whether the program may be called with arguments of these shapes: an error of the kind [`ShapeGuard`](lazuli_ir::ErrorKind::ShapeGuard) if
    /// what a shapeless trace read of its shapes does not hold.
    pub fn admit(&self, arguments: &[Array]) -> Result<()> {
        match &self.guards {
            Some(guards) => guards.bind(arguments, || self.bind(guards, arguments)).map(drop),
            None => self.output_avals(arguments).map(drop),
        }
    }
    /// Why a shapeless program is refused for these arguments, if it is: what changed since the trace.
    pub fn refusal(&self, arguments: &[Array]) -> Option<Change> {
        let error = self.admit(arguments).err()?;
        let change = self.guards.as_ref()?.change(arguments);
        let refused = || format!("false ({})", error.message());
        Some(change.unwrap_or_else(|| Change::new("whether the latest trace holds for the shapes", true, refused())))
    }
    #[inline]
    fn output_avals(&self, arguments: &[Array]) -> Result<SmallVec<[Aval; 1]>> {
        if let Some(guards) = &self.guards {
            let bound = guards.bind(arguments, || self.bind(guards, arguments))?;
            return Ok(copy_of(&bound.outputs));
        }
        Ok(if self.own.fits(arguments) {
            copy_of(&self.outputs)
        } else {
            self.graph_for(arguments)?.output_avals().into()
        })
    }

    /// Calls the program: one lazy node with all its outputs. If it has effects, they happen now; within a trace, whenever that runs. Where it does to
    /// state what could not be put back if memory ran out later, it is started now.
    pub fn call(self: &Arc<Self>, arguments: impl Into<Arrays>) -> Result<Arrays> {
        let arguments = arguments.into();
        let avals = self.output_avals(&arguments)?;
        self.record(arguments, avals)
    }
    /// The same, for arguments of the shapes that it was traced for, if it is not shapeless.
    pub fn call_alike(self: &Arc<Self>, arguments: Arrays) -> Result<Arrays> {
        if self.guards.is_some() {
            return self.call(arguments);
        }
        debug_assert!(self.own.fits(&arguments), "a call of '{}' with other shapes", self.name);
        self.record(arguments, copy_of(&self.outputs))
    }
    #[inline]
    fn record(self: &Arc<Self>, arguments: Arrays, avals: SmallVec<[Aval; 1]>) -> Result<Arrays> {
        if avals.is_empty() && self.effect == Effect::None {
            return Ok(Arrays::new());
        }
        let silent = self.effect == Effect::Ordered && trace::is_silent() && !trace::is_tracing();
        // Of one node every output would depend on the points of a batch, also state that does not.
        let is_split = avals.len() > 1 && self.effect == Effect::None && trace::is_of_points();
        if silent || is_split || self.constants.iter().any(Array::is_traced) {
            return self.replay(&arguments, silent);
        }
        let n = avals.len() as u32;
        let starts = self.starts(&arguments, &avals);
        let out = Array::call(self.clone(), arguments, avals, trace::meta());
        if self.effect == Effect::Ordered {
            trace::perform(&out)?;
        } else if starts && !out.is_traced() {
            eval::started(&out)?;
        }
        Ok(if n == 1 { smallvec![out] } else { (0..n).map(|k| out.sibling(k)).collect() })
    }

    /// The operations of a call, one by one. Constants of a trace around this one are inputs to it, which a node of this program would hide, as it would what its outputs depend on.
    #[cold]
    fn replay(&self, arguments: &[Array], silent: bool) -> Result<Arrays> {
        let inputs: Vec<Array> = arguments.iter().chain(&self.constants).cloned().collect();
        let graph = self.recorded_for(arguments)?;
        let graph = if silent { graph.without_effects() } else { graph };
        Ok(trace::replay(&graph, &inputs)?.into())
    }

    /// Whether a call has to be started before the state is touched that it updates.
    #[inline]
    fn starts(&self, arguments: &[Array], outputs: &[Aval]) -> bool {
        let is_final = match &self.updates {
            Updates::Nothing => false,
            Updates::Arrays(_) => self.guards.is_some() && self.updates.are_final(arguments, outputs),
            Updates::More => true,
        };
        is_final && !trace::is_tracing() && !trace::is_silent()
    }

    /// The plan that was made ready first, if it is for arguments that lie like these and `accepts` it.
    #[inline]
    pub(crate) fn first_ready(
        &self,
        arguments: &[&Value],
        accepts: impl FnOnce(&Ready) -> bool,
    ) -> Option<&Arc<Ready>> {
        let first = self.first.get().filter(|first| first.fits(arguments) && accepts(first))?;
        count(Count::Hits);
        Some(first)
    }

    /// The plan for arguments that lie like these; the values of the constants are its last inputs.
    pub(crate) fn ready(&self, arguments: &[&Value]) -> Result<Cow<'_, Arc<Ready>>> {
        if let Some(first) = self.first_ready(arguments, |_| true) {
            return Ok(Cow::Borrowed(first));
        }
        let bindings = || self.bindings.lock().unwrap_or_else(|e| e.into_inner());
        let found = bindings().find(arguments);
        let (hash, may_be_provisional) = match found {
            Ok(known) => {
                let better = match known.provisional_since() {
                    Some(_) if !self.provisionals.may_run(known.cost()) => Some(false),
                    Some(since) if since != self.provisionals.now() => Some(true),
                    _ => None,
                };
                let Some(may_be_provisional) = better else {
                    count(Count::Hits);
                    return Ok(Cow::Owned(known));
                };
                (bindings().take_out(arguments, &known), may_be_provisional)
            }
            Err(hash) => (hash, true),
        };
        count(Count::Plans);
        // The first plan is a part of the first call.
        let (spent, told) = match self.first.get() {
            None => (self.times.trace + self.times.simplify, self.told),
            Some(_) => Default::default(),
        };
        let _compiling = progress::go_on_after(&self.name, spent, told);
        let mut layouts: SmallVec<[&Layout; 8]> = arguments.iter().map(|v| &v.layout).collect();
        for constant in &self.constants {
            layouts.push(&constant.force()?.layout);
        }
        let shapes = arguments.iter().map(|v| &v.layout.shape[..]);
        let ready = Arc::new(self.made_ready(shapes, &layouts, may_be_provisional)?);
        if log::wants(Topic::Kernels) {
            let simplified = &self.own.simplified;
            let arguments = simplified.arguments().iter().zip(layouts);
            let aval = |(&v, l): (&Var, &Layout)| Aval { shape: l.shape.clone(), ..simplified.aval(v.into()) };
            log::kernels(&crate::explain::explain(self, &arguments.map(aval).collect::<Vec<_>>(), Call::default())?);
        }
        if self.first.set(ready.clone()).is_err() {
            bindings().add(hash, ready.clone());
        }
        Ok(Cow::Owned(ready))
    }

    /// What runs for arguments of these shapes, and inputs that lie like this.
    fn made_ready<'a>(
        &'a self,
        shapes: impl Iterator<Item = &'a [usize]> + Clone,
        layouts: &[&Layout],
        may_be_provisional: bool,
    ) -> Result<Ready> {
        let like = self.first.get().map(|ready| &**ready);
        let (known, made) = self.known(shapes.clone());
        let edition = known.as_ref().and_then(|bound| bound.edition.clone());
        let made = made.or_else(|| edition.as_ref()?.made_again(shapes.clone()));
        let by_formulas = |made: Option<&Made>, fit: Fit, expected: Option<&Compiled>| {
            let edition = edition.as_ref()?;
            edition.templates.with_variant(&edition.outlined(made)?, layouts, fit, |variant, outputs| {
                if let Some(Compiled { plan, outputs: of, .. }) = expected {
                    assert_eq!((variant.plan().to_string(), &outputs), (plan.to_string(), of), "by formulas");
                }
                let backend = backend::default();
                let executable = backend.prepare_variant(variant, like.map(Ready::executable))?;
                Ok(Ready::new(executable, outputs, layouts, like))
            })
        };
        match by_formulas(made.as_ref(), Fit::Good, None) {
            // Debug builds lower also what follows from another plan.
            Some(_) if cfg!(debug_assertions) => {}
            Some(ready) => return ready,
            None if may_be_provisional => {
                if let Some(ready) = by_formulas(made.as_ref(), Fit::Right, None).transpose()?
                    && self.provisionals.may_run(ready.cost())
                {
                    return Ok(ready.provisional(self.provisionals.now()));
                }
            }
            None => {}
        }
        let bound = self.bound_as(shapes, known, made)?;
        if self.widen(&bound) {
            self.provisionals.compiled();
            if !cfg!(debug_assertions)
                && let Some(ready) = by_formulas(bound.made.as_ref(), Fit::Good, None)
            {
                return ready;
            }
        }
        progress::stage("fusing and generating code for", bound.graph.equations.len());
        let own: Vec<Layout> = layouts.iter().copied().cloned().collect();
        let (mut compiled, is_first) = self.compiled(&bound, &own)?;
        // Other shapes may follow: then it is made ready as one of many.
        let ready = by_formulas(bound.made.as_ref(), Fit::Good, Some(&compiled).filter(|_| cfg!(debug_assertions)));
        if is_first {
            self.provisionals.compiled();
        }
        if is_first || ready.is_none() || !cfg!(debug_assertions) {
            count(Count::Lowered);
        }
        if let Some(ready) = ready {
            return ready;
        }
        let executable = backend::default().prepare(&mut compiled.plan)?;
        Ok(Ready::new(executable, compiled.outputs, layouts, like))
    }
}

/// The simplified graph of a program for arguments of some shapes.
pub(crate) struct BoundGraph {
    pub graph: Graph,
    /// Whose graph it is, but for extents; `None` if it was made for these shapes alone.
    edition: Option<Arc<Edition>>,
    made: Option<Made>,
}

/// A copy, quick for one.
#[inline]
fn copy_of(avals: &[Aval]) -> SmallVec<[Aval; 1]> {
    if let [aval] = avals { smallvec![aval.clone()] } else { avals.into() }
}

/// The graph for arguments of other shapes, if they are other.
fn rebound<'a>(graph: &Graph, shapes: impl Iterator<Item = &'a [usize]> + Clone, constants: &[Array]) -> Result<Graph> {
    if graph.arguments().iter().zip(shapes.clone()).all(|(&v, s)| graph.shape_of(v)[..] == *s) {
        return Ok(graph.clone());
    }
    let shapes: Vec<Shape> = shapes.map(Shape::from).chain(constants.iter().map(|c| c.aval().shape.clone())).collect();
    graph.rebind(&shapes)
}

/// A simplifier with a fault, for tests of what looks for faults.
#[cfg(test)]
pub(crate) mod fault {
    use super::{Graph, Options};
    use std::cell::Cell;

    thread_local! {
        /// What it does wrong, on this thread.
        pub static FAULT: Cell<Option<fn(&mut Graph)>> = const { Cell::new(None) };
    }

    pub fn in_simplified(mut graph: Graph, options: Options) -> Graph {
        if let (true, Some(fault)) = (options.simplify, FAULT.get()) {
            fault(&mut graph);
        }
        graph
    }
}
