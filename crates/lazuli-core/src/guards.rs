//! What holds of the shapes that a shapeless program may be called with: tests of extents, made at the trace and looked at again for each binding of shapes,
//! and the text that they are saved as.

use crate::array::Array;
use crate::cache::Change;
use crate::edition::Edition;
use crate::shapeless::{Facts, Relation, Side, Test, read_rule};
use crate::trace::{self, Effects};
use lazuli_ir::{Aval, Equation, Error, ErrorKind, Graph, Location, OutlineBuilder, Prim, Result, Shape, ShapeId};
use lazuli_kernel::hash::{Map, WordHasher};
use lazuli_kernel::shape::is_same;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

/// Whether an equation knows nothing of axes.
pub(crate) fn is_elementwise(e: &Equation) -> bool {
    match &e.prim {
        prim if prim.is_elementwise() => true,
        Prim::Call(call) => call.rule.is_none() && call.graphs().all(|g| g.equations.iter().all(is_elementwise)),
        _ => false,
    }
}

/// What a shapeless program needs to know before it runs for a binding of shapes.
#[derive(Debug)]
pub(crate) struct Guards {
    name: String,
    /// From the program's inputs to the arrays that tests speak of.
    graph: Graph,
    /// Shapes of the graph's constants.
    constants: Vec<Shape>,
    tests: Vec<Test<usize>>,
    /// Whether arguments may have other ranks than at the trace.
    pub any_rank: bool,
    bound: Mutex<Known>,
}

/// Guards as text for a file: a line for the ranks, the shapes of the constants, one a test; then the graph.
///
/// ```text
/// rank fixed
/// constant 3 4
/// test 0.1 = 3 true src/model.py:12
/// graph v1 (…) { … }
/// ```
impl fmt::Display for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rank {}", if self.any_rank { "any" } else { "fixed" })?;
        for shape in &self.constants {
            let extents: Vec<String> = shape.iter().map(|n| format!(" {n}")).collect();
            writeln!(f, "constant{}", extents.concat())?;
        }
        let side = |s: Side<usize>| match s {
            Side::Extent(k, axis) => format!("{k}.{axis}"),
            Side::Number(n) => n.to_string(),
        };
        for Test { left, relation, right, outcome, location } in &self.tests {
            let relation = relation.sign();
            write!(f, "test {} {relation} {} {outcome}", side(*left), side(*right))?;
            match location {
                &Location::UNKNOWN => writeln!(f)?,
                at => writeln!(f, " {at}")?,
            }
        }
        write!(f, "{}", self.graph)
    }
}

impl Guards {
    /// Reads what was printed, for a function of this name.
    pub fn parse(name: &str, text: &str) -> Result<Guards> {
        let broken = |what: &str| Error::new(ErrorKind::Io, "guards", format!("cannot read '{what}'"));
        // A file that a test names may be called so, too.
        let mut graphs = text.match_indices("graph ").map(|(at, _)| at).filter(|&at| text[..at].ends_with('\n'));
        let head = graphs.next().ok_or_else(|| broken("the guards: they have no graph"))?;
        let graph = Graph::parse(&text[head..], &read_rule)?;
        let mut guards = Guards {
            name: name.into(),
            graph,
            constants: Vec::new(),
            tests: Vec::new(),
            any_rank: false,
            bound: Mutex::default(),
        };
        for line in text[..head].lines() {
            let words: Vec<&str> = line.splitn(6, ' ').collect();
            match words[..] {
                ["rank", which] => guards.any_rank = which == "any",
                ["constant", ..] => {
                    let extents = line.split(' ').skip(1).map(|n| n.parse().map_err(|_| broken(line)));
                    guards.constants.push(extents.collect::<Result<_>>()?);
                }
                ["test", left, relation, right, outcome, ref at @ ..] => {
                    let side = |text: &str| guards.side(text).ok_or_else(|| broken(line));
                    let place = at.first().and_then(|at| at.rsplit_once(':'));
                    let location = place.and_then(|(file, n)| Some(Location::new(file, n.parse().ok()?)));
                    guards.tests.push(Test {
                        left: side(left)?,
                        relation: Relation::of_sign(relation).ok_or_else(|| broken(line))?,
                        right: side(right)?,
                        outcome: outcome.parse().map_err(|_| broken(line))?,
                        location: location.unwrap_or(Location::UNKNOWN),
                    });
                }
                _ => return Err(broken(line)),
            }
        }
        if guards.constants.len() != guards.graph.constants {
            return Err(broken("the guards: their constants are not those of their graph"));
        }
        Ok(guards)
    }
    /// `0.1`, an extent of an array of the graph, or a number.
    fn side(&self, text: &str) -> Option<Side<usize>> {
        let Some((k, axis)) = text.split_once('.') else { return text.parse().ok().map(Side::Number) };
        let (k, axis) = (k.parse::<usize>().ok()?, axis.parse::<usize>().ok()?);
        let atom = *self.graph.outputs.get(k)?;
        (axis < self.graph.aval(atom).rank()).then_some(Side::Extent(k, axis))
    }
}

/// A test that does not hold: its sides at the trace and now.
struct Failing<'a> {
    test: &'a Test<usize>,
    left: (i64, i64),
    right: (i64, i64),
}

/// A binding of shapes for which all tests hold.
#[derive(Debug)]
pub(crate) struct Bound {
    pub outputs: Arc<[Aval]>,
    /// Whose graphs hold for these shapes; `None` if something was made for them alone.
    pub edition: Option<Arc<Edition>>,
    made: Mutex<Option<Made>>,
}

/// What was made when shapes were bound.
#[derive(Debug)]
pub(crate) enum Made {
    /// The traced graph for these shapes alone.
    Graph(Graph),
    /// All shapes of the edition's outline.
    Shapes(Vec<Shape>),
}

impl Bound {
    pub fn new(outputs: Arc<[Aval]>, edition: Option<Arc<Edition>>, made: Option<Made>) -> Bound {
        Bound { outputs, edition, made: Mutex::new(made) }
    }
    /// What was made, for the first run: nobody has taken it before.
    pub fn take(&self) -> Option<Made> {
        self.made.lock().unwrap_or_else(|e| e.into_inner()).take()
    }
}

/// Bindings by a hash of the shapes of their arguments, with these: of each how many axes, and their extents.
type Known = Map<u64, SmallVec<[(Box<[usize]>, Arc<Bound>); 1]>>;

fn hash_of<'a>(shapes: impl Iterator<Item = &'a [usize]>) -> u64 {
    let mut hasher = WordHasher::default();
    shapes.for_each(|shape| shape.hash(&mut hasher));
    hasher.finish()
}

/// All shapes as one list.
fn key_of<'a>(shapes: impl Iterator<Item = &'a [usize]> + Clone) -> Box<[usize]> {
    let mut key = Vec::with_capacity(shapes.clone().map(|shape| 1 + shape.len()).sum());
    for shape in shapes {
        key.push(shape.len());
        key.extend_from_slice(shape);
    }
    key.into_boxed_slice()
}

/// Whether they are the list of these.
fn is_key_of<'a>(mut key: &[usize], mut shapes: impl Iterator<Item = &'a [usize]>) -> bool {
    let is_next = |shape: &[usize]| {
        let next = key.split_first().and_then(|(&rank, rest)| rest.split_at_checked(rank));
        next.is_some_and(|(own, rest)| {
            key = rest;
            is_same(own, shape)
        })
    };
    shapes.all(is_next) && key.is_empty()
}

/// How many bindings are remembered.
const BINDINGS: usize = 1024;

impl Guards {
    /// The guards of a trace from `inputs` to `outputs`. `elementwise`: whether these follow by what knows nothing of axes.
    pub fn new(name: &str, inputs: &[Array], outputs: &[Array], facts: Facts, elementwise: bool) -> Result<Guards> {
        let Facts { mut tests, rank, refused, recorded, .. } = facts;
        if let Some(location) = refused {
            for input in inputs {
                for (axis, &n) in input.aval().shape.iter().enumerate() {
                    let (left, right) = (Side::Extent(input.clone(), axis), Side::Number(n as i64));
                    tests.push(Test { left, relation: Relation::Equal, right, outcome: true, location });
                }
            }
        }
        let mut arrays: Vec<Array> = Vec::new();
        let mut numbers: HashMap<(usize, u32), usize> = HashMap::new();
        let mut side = |s: Side<Array>| match s {
            Side::Extent(a, axis) => {
                let next = arrays.len();
                let k = *numbers.entry(a.id()).or_insert(next);
                if k == next {
                    arrays.push(a);
                }
                Side::Extent(k, axis)
            }
            Side::Number(n) => Side::Number(n),
        };
        let mut numbered: Vec<Test<usize>> = Vec::with_capacity(tests.len());
        for Test { left, relation, right, outcome, location } in tests {
            numbered.push(Test { left: side(left), relation, right: side(right), outcome, location });
        }
        arrays.extend(trace::unused(inputs, outputs, recorded));
        let cut = trace::cut(inputs, &arrays, &Effects::default())?;
        // An extent of such an array would be taken for a number that is the same in all calls.
        if let Some(hole) = trace::left_behind(&cut.constants) {
            return Err(hole.error(&cut.constants));
        }
        let any_rank = elementwise && !rank && cut.graph.equations.iter().all(is_elementwise);
        let constants = cut.constants.iter().map(|c| c.aval().shape.clone()).collect();
        let (name, graph, bound) = (name.into(), cut.graph, Mutex::default());
        Ok(Guards { name, graph, constants, tests: numbered, any_rank, bound })
    }

    fn bindings(&self) -> MutexGuard<'_, Known> {
        self.bound.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The binding of these arguments: `make` gives a new one.
    pub fn bind(&self, arguments: &[Array], make: impl FnOnce() -> Result<Bound>) -> Result<Arc<Bound>> {
        let shapes = || arguments.iter().map(|a| &a.aval().shape[..]);
        let hash = hash_of(shapes());
        if let Some(bound) = self.find(hash, shapes()) {
            return Ok(bound);
        }
        let (key, bound) = (key_of(shapes()), Arc::new(make()?));
        let mut known = self.bindings();
        if known.len() >= BINDINGS {
            known.clear();
        }
        known.entry(hash).or_default().push((key, bound.clone()));
        Ok(bound)
    }

    /// The binding of arguments of these shapes, if it is known.
    pub fn known<'a>(&self, shapes: impl Iterator<Item = &'a [usize]> + Clone) -> Option<Arc<Bound>> {
        self.find(hash_of(shapes.clone()), shapes)
    }
    #[inline]
    fn find<'a>(&self, hash: u64, shapes: impl Iterator<Item = &'a [usize]> + Clone) -> Option<Arc<Bound>> {
        let known = self.bindings();
        let mut alike = known.get(&hash)?.iter();
        alike.find(|(key, _)| is_key_of(key, shapes.clone())).map(|(_, bound)| bound.clone())
    }

    /// The shapes of the arrays that tests speak of, in the outline of an edition for arguments of these shapes.
    pub fn outline<'a>(
        &'a self,
        b: &mut OutlineBuilder,
        arguments: impl Iterator<Item = &'a Shape>,
    ) -> Result<Vec<ShapeId>> {
        let shapes: Vec<Shape> = arguments.chain(&self.constants).cloned().collect();
        let graph = self.graph.renew(&shapes)?;
        let ids = b.graph(&graph, self.constants.iter())?;
        Ok(graph.outputs.iter().map(|a| b.of(a, &ids)).collect())
    }

    /// Whether every test comes out as it did at the trace.
    pub fn check(&self, arguments: &[Array]) -> Result<()> {
        if self.tests.is_empty() && self.graph.equations.is_empty() {
            return Ok(());
        }
        let shapes = || arguments.iter().map(|a| &a.aval().shape[..]).chain(self.constants.iter().map(|s| &s[..]));
        match self.graph.rebound_avals(shapes(), false).map_err(|e| self.fails(e))? {
            Some(now) => self.check_tests(&|k, axis| now.aval_of(&self.graph.outputs[k]).shape[axis]),
            None => {
                let shapes: Vec<Shape> = shapes().map(Shape::from).collect();
                let now = self.graph.rebind(&shapes).map_err(|e| self.fails(e))?;
                self.check_tests(&|k, axis| now.aval_of(&self.graph.outputs[k]).shape[axis])
            }
        }
    }

    /// The same, given the extents of the arrays that tests speak of.
    pub fn check_tests(&self, now: &dyn Fn(usize, usize) -> usize) -> Result<()> {
        self.failing(now).map_or(Ok(()), |failing| Err(self.broken(failing)))
    }

    /// The first test that does not come out as it did at the trace.
    fn failing(&self, now: &dyn Fn(usize, usize) -> usize) -> Option<Failing<'_>> {
        let was = |k: usize, axis: usize| self.graph.aval_of(&self.graph.outputs[k]).shape[axis];
        let extent = |of: &dyn Fn(usize, usize) -> usize, s: Side<usize>| match s {
            Side::Number(n) => n,
            Side::Extent(k, axis) => of(k, axis) as i64,
        };
        let fails = |test: &&Test<usize>| {
            let order = extent(now, test.left).cmp(&extent(now, test.right));
            test.relation.holds(order) != test.outcome
        };
        let test = self.tests.iter().find(fails)?;
        let values = |s| (extent(&was, s), extent(now, s));
        Some(Failing { test, left: values(test.left), right: values(test.right) })
    }

    /// What has changed since the trace, of what tests look at: why these arguments are refused.
    pub fn change(&self, arguments: &[Array]) -> Option<Change> {
        let constants = self.constants.iter().cloned();
        let shapes: Vec<Shape> = arguments.iter().map(|a| a.aval().shape.clone()).chain(constants).collect();
        let now = self.graph.rebind(&shapes).ok()?;
        let Failing { test, left, .. } = self.failing(&|k, axis| now.aval_of(&self.graph.outputs[k]).shape[axis])?;
        let (a, b) = (self.name(test.left), self.name(test.right));
        Some(match (test.relation, test.right) {
            (Relation::Equal, Side::Number(_)) if test.outcome => Change::new(a, left.0, left.1)
                .remedy("its number is read, hand it on as it is, to reshape, zeros and the like"),
            (relation, _) => {
                Change::new(format!("whether {a} is {} {b}", relation.words(true)), test.outcome, !test.outcome)
            }
        })
    }

    /// The error of an operation that is refused for these shapes, as it was not at the trace. The function itself might have gone another way then.
    pub fn fails(&self, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Value | ErrorKind::Index | ErrorKind::Type) {
            return error;
        }
        let message = format!(
            "'{}' was traced shapeless for shapes with which this call does not agree: {}. Compile with shapeless=\"auto\" to trace again",
            self.name,
            error.message()
        );
        Error::new(ErrorKind::ShapeGuard, error.op(), message)
    }

    /// What a side of a test is called.
    fn name(&self, side: Side<usize>) -> String {
        match side {
            Side::Number(n) => n.to_string(),
            Side::Extent(k, axis) => {
                let atom = self.graph.outputs[k];
                let argument = self.graph.arguments().iter().position(|&v| atom == v.into());
                match argument {
                    Some(i) => format!("dimension {axis} of array argument {i}"),
                    None => format!("dimension {axis} of an intermediate of shape {}", self.graph.aval(atom)),
                }
            }
        }
    }

    /// The error of a test that does not hold.
    fn broken(&self, Failing { test, left, right }: Failing<'_>) -> Error {
        let (a, b) = (self.name(test.left), self.name(test.right));
        let what = match (test.relation, test.right) {
            (Relation::Equal, Side::Number(_)) if test.outcome => {
                format!("{a} was {} when its number was read, and is now {}", left.0, left.1)
            }
            (relation, _) => {
                let relation = relation.words(test.outcome);
                let ((a0, a1), (b0, b1)) = (left, right);
                format!("{a} was {relation} {b} ({a0} and {b0}), which no longer holds ({a1} and {b1})")
            }
        };
        let message = format!(
            "'{}' was traced shapeless for shapes with which this call does not agree: {what}. Pass extents on as they are (to reshape, zeros, …, or use \
             flatten, unflatten, -1), or compile with shapeless=\"auto\" to trace again",
            self.name
        );
        let error = Error::new(ErrorKind::ShapeGuard, "compile", message);
        match test.location.place() {
            Some((file, line)) => error.at(format!("{file}:{line}")),
            None => error,
        }
    }
}
