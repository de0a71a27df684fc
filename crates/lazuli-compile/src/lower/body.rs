//! The straight line of one kernel, written by pulling.
//!
//! [`Body::eval`] asks a variable for its value at an index over the loop axes. Where the variable lies in memory that is a load: a strided one if the index is
//! affine in the loop counters (constants and coefficients become an offset and strides, run-time numbers of the launch), one at a computed position
//! otherwise. Where it does not, its primitive computes it on the spot from values of its operands. Each (variable, index) is written once.
//!
//! Pulling recurses to a fixed depth only: deeper down it notes what is missing, gives up, and begins again once that is known. What is missing is written
//! from its inputs on, as far as those are elementwise. So a chain of any length needs a bounded stack and linear time. What the
//! abandoned attempt wrote is dead code, which [`finish`](super::finish) drops; the next one takes its parameters again ([`Tape`]), and so asks for
//! the same indices.

mod access;
mod context;

use super::again::Notes;
use super::places::{Held, Places};
pub(super) use access::{Access, Part};
pub(super) use context::Context;
use lazuli_ir::number::Values;
use lazuli_ir::pointwise::Terms;
use lazuli_ir::{Arithmetic, Atom, Extents, Graph, Index, Ix, Lane, Number, Operation, Pointwise, Relation, Term, Var};
use lazuli_kernel::hash::{Map, WordHasher};
use lazuli_kernel::{DType, Emit, Inst, Scalar, Shape, Value};
use smallvec::{SmallVec, smallvec};
use std::hash::{Hash, Hasher};

/// How deep pulling recurses before it falls back to its explicit stack.
const DEPTH: usize = 16;

/// A straight line under construction, with its operands and parameters.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub emit: Emit,
    /// Extents of the loop axes, none of them 1 unless it stands alone for reduced axes.
    pub loops: Shape,
    /// In step with `emit.operands`.
    pub args: Vec<Access>,
    /// In step with `emit.params`.
    pub params: Vec<Scalar>,
    indices: Indices,
    known: Map<(Var, IndexId), Lane>,
    literals: Map<(u32, u32), Lane>,
    positions: Map<Ix, Value>,
    /// Values known to lie in `0..n`.
    bounded: Vec<(Value, Number)>,
    /// Of variables at indices that may lie outside (for affine ones: is that so?): those within.
    within: Map<(Var, IndexId, bool), Index>,
    /// Of the attempt at hand.
    tape: Tape,
    /// Of attempts that were given up.
    abandoned: Map<(Var, IndexId), Tape>,
    depth: usize,
    missing: Option<(Var, Index)>,
    /// Variables that nothing computes here: they have values where those were [defined](Self::define), and no others.
    given: SmallVec<[Var; 1]>,
    /// Whether that was asked for elsewhere. What was written then is of no use.
    pub is_stray: bool,
    /// For a [recipe](super::again), if one is wanted.
    pub notes: Option<Notes>,
}

/// A number for each index that was asked for: bodies have few, and ask for a variable at one of them over and over.
#[derive(Debug, Default)]
struct Indices {
    all: Vec<Index>,
    by_hash: Map<u64, SmallVec<[IndexId; 1]>>,
    last: usize,
}

/// Place in [`Indices::all`].
type IndexId = u32;

impl Indices {
    fn id(&mut self, at: &[Ix]) -> IndexId {
        if self.all.get(self.last).is_some_and(|last| last[..] == *at) {
            return self.last as IndexId;
        }
        let mut hasher = WordHasher::default();
        at.hash(&mut hasher);
        let alike = self.by_hash.entry(hasher.finish()).or_default();
        let found = alike.iter().copied().find(|&id| self.all[id as usize][..] == *at);
        let id = found.unwrap_or_else(|| {
            alike.push(self.all.len() as IndexId);
            self.all.push(at.into());
            self.all.len() as IndexId - 1
        });
        self.last = id as usize;
        id
    }
    fn clear(&mut self) {
        self.all.clear();
        self.by_hash.clear();
        self.last = 0;
    }
}

/// Parameters in the order in which an attempt asked for them; one that begins again is given them again. What it finds known it does not ask for.
#[derive(Debug, Default)]
struct Tape {
    numbers: SmallVec<[(Scalar, Value); 2]>,
    next: usize,
}

impl Tape {
    fn find(&mut self, s: Scalar) -> Option<Value> {
        let skipped = self.numbers.get(self.next..)?.iter().position(|(number, _)| *number == s)?;
        self.next += skipped + 1;
        Some(self.numbers[self.next - 1].1)
    }
    fn push(&mut self, s: Scalar, value: Value) {
        self.numbers.push((s, value));
        self.next = self.numbers.len();
    }
}

impl Arithmetic for Body {
    fn compute(&mut self, operation: Operation, a: Number, b: Number) -> Number {
        match &mut self.notes {
            Some(notes) => notes.numbers.compute(operation, a, b),
            None => Values.compute(operation, a, b),
        }
    }
    fn holds(&mut self, relation: Relation, a: Number, b: Number) -> bool {
        match &mut self.notes {
            Some(notes) => notes.numbers.holds(relation, a, b),
            None => Values.holds(relation, a, b),
        }
    }
}

impl Body {
    /// An empty one, with room for what most need.
    pub fn with_room() -> Self {
        Body { emit: Emit::new(), ..Body::default() }
    }

    /// As if it were new, with notes or without.
    pub fn clear(&mut self, notes: Option<Notes>) {
        let Body { emit, loops, args, params, indices, .. } = self;
        emit.clear();
        loops.clear();
        args.clear();
        params.clear();
        indices.clear();
        self.forget();
        self.tape = Tape::default();
        self.given.clear();
        (self.depth, self.missing, self.is_stray) = (0, None, false);
        self.notes = notes;
    }

    /// A body whose loop axes are those of `shape`, split where `refine` has a boundary that nests with them. Returns the index of each axis of `shape`.
    pub fn begin(&mut self, shape: &[Number], refine: &[Extents]) -> Index {
        let mut index = Index::new();
        for mut factors in self.refined(shape, refine) {
            factors.retain(|n| !self.holds(Relation::Equal, *n, Number::ONE));
            let (mut terms, mut step) = (Terms::new(), Number::ONE);
            for (i, &n) in factors.iter().enumerate().rev() {
                terms.push(Term { axis: (self.loops.len() + i) as u32, factor: step });
                step = self.compute(Operation::Product, step, n);
            }
            terms.reverse();
            factors.into_iter().for_each(|n| self.push_loop(n));
            index.push(Ix::Affine { constant: Number::ZERO, terms });
        }
        index
    }

    /// One more loop axis.
    pub fn push_loop(&mut self, extent: Number) {
        self.loops.push(extent.value as usize);
        if let Some(notes) = &mut self.notes {
            notes.loops.push(extent);
        }
    }

    fn loop_extent(&self, axis: u32) -> Number {
        match &self.notes {
            Some(notes) => notes.loops[axis as usize],
            None => Number::fixed(self.loops[axis as usize] as isize),
        }
    }

    /// The factors of each extent of `shape` after splitting it at the boundaries of `others` (shapes of as many elements) that nest with its own.
    fn refined(&mut self, shape: &[Number], others: &[Extents]) -> SmallVec<[Extents; 4]> {
        let mut factors: SmallVec<[Extents; 4]> = shape.iter().map(|&n| smallvec![n]).collect();
        let size = |shape: &[Number]| shape.iter().map(|n| n.value).product::<isize>();
        if size(shape) == 0 {
            return factors;
        }
        for other in others.iter().filter(|other| other[..] != *shape && size(other) == size(shape)) {
            for boundary in self.row_strides(other) {
                self.split_at(&mut factors, boundary);
            }
        }
        factors
    }

    /// Splits the factor that `boundary`, a number of elements counted from the end, falls into, if it divides it.
    fn split_at(&mut self, factors: &mut [Extents], boundary: Number) {
        let mut inner = Number::ONE;
        for axis in factors.iter_mut().rev() {
            for i in (0..axis.len()).rev() {
                let outer = self.compute(Operation::Product, inner, axis[i]);
                if self.holds(Relation::Less, inner, boundary) && self.holds(Relation::Less, boundary, outer) {
                    let part = self.compute(Operation::Quotient, boundary, inner);
                    let rests =
                        [(boundary, inner), (axis[i], part)].map(|(a, b)| self.compute(Operation::Remainder, a, b));
                    if rests.into_iter().all(|rest| self.holds(Relation::Equal, rest, Number::ZERO)) {
                        axis[i] = self.compute(Operation::Quotient, axis[i], part);
                        axis.insert(i + 1, part);
                    }
                    return;
                }
                inner = outer;
            }
        }
    }

    /// An extent of a variable.
    pub fn extent(&mut self, graph: &Graph, v: Var, axis: usize) -> Number {
        self.extent_of(v, axis, graph.shape_of(v)[axis])
    }

    /// Of an atom the extents.
    pub fn extents(&mut self, graph: &Graph, atom: Atom) -> Extents {
        let Atom::Var(v) = atom else { return Extents::new() };
        (0..graph.shape_of(v).len()).map(|axis| self.extent(graph, v, axis)).collect()
    }

    /// A parameter that is a number.
    pub fn number(&mut self, dtype: DType, number: Number) -> Value {
        self.take(number.scalar(dtype), number)
    }

    /// The number of an index.
    fn index_id(&mut self, at: &[Ix]) -> IndexId {
        if let Some(notes) = &mut self.notes {
            notes.numbers.told_apart(at);
        }
        self.indices.id(at)
    }

    /// The value of a variable at an index.
    pub fn eval(&mut self, graph: &Graph, places: &mut Places, v: Var, at: &[Ix]) -> Lane {
        let lane = self.value(graph, places, v, at, None);
        let Some(first) = self.missing.take() else { return lane };
        // Each with whether its operands have been looked at.
        let mut stack: Vec<(Var, Index, bool)> = vec![(v, at.into(), true), (first.0, first.1, false)];
        loop {
            let (v, at, entered) = stack.last_mut().expect("ends below when the last is popped");
            let (v, at) = (*v, at.clone());
            if !std::mem::replace(entered, true) {
                let inputs = self.wanted(graph, places, v, &at);
                if !inputs.is_empty() {
                    stack.extend(inputs.into_iter().map(|input| (input, at.clone(), false)));
                    continue;
                }
            }
            let lane = self.value(graph, places, v, &at, None);
            match self.missing.take() {
                Some((v, at)) => stack.push((v, at, false)),
                None => {
                    stack.pop();
                    if stack.is_empty() {
                        return lane;
                    }
                }
            }
        }
    }

    /// What an elementwise equation needs at the index of its result, and does not lie in memory nor is known yet.
    fn wanted(&mut self, graph: &Graph, places: &mut Places, v: Var, at: &Index) -> SmallVec<[Var; 3]> {
        let equation = &graph.equations[places.producer(v) as usize];
        if !equation.prim.is_elementwise() {
            return SmallVec::new();
        }
        let aligned = |&input: &Var| graph.shape_of(input) == graph.shape_of(v);
        let inputs = equation.inputs.iter().filter_map(|a| if let Atom::Var(v) = a { Some(*v) } else { None });
        let mut inputs: SmallVec<[Var; 3]> = inputs.filter(aligned).collect();
        let id = self.index_id(at);
        inputs.retain(|input| places.of(graph, *input).is_none() && !self.known.contains_key(&(*input, id)));
        inputs
    }

    /// The value of an operand of an equation.
    pub fn operand(&mut self, graph: &Graph, places: &mut Places, equation: u32, k: usize, at: &[Ix]) -> Lane {
        match graph.equations[equation as usize].inputs[k] {
            Atom::Lit(s) => self.literal(equation, k as u32, s),
            Atom::Var(v) => self.eval(graph, places, v, at),
        }
    }

    /// Runs `write` on the equation's lowering context, again and again until nothing that it pulls is missing.
    pub fn with<T>(
        &mut self,
        graph: &Graph,
        places: &mut Places,
        equation: u32,
        write: impl Fn(&mut Context) -> T,
    ) -> T {
        let outer = std::mem::take(&mut self.tape);
        let result = loop {
            self.tape.next = 0;
            let result = write(&mut Context { body: self, graph, places, equation });
            let Some((v, at)) = self.missing.take() else { break result };
            let own = std::mem::take(&mut self.tape);
            self.eval(graph, places, v, &at);
            self.tape = own;
        };
        self.tape = outer;
        result
    }

    /// An index of an array of shape `from` as that of the same element of one of shape `to`.
    pub fn reshape(&mut self, graph: &Graph, places: &mut Places, at: &[Ix], from: &[Number], to: &[Number]) -> Index {
        if from == to {
            return at.into();
        }
        Context { body: self, graph, places, equation: 0 }.reshape(at, from, to)
    }

    /// Declares that `v` has this value at this index.
    pub fn define(&mut self, v: Var, at: Index, lane: Lane) {
        let id = self.index_id(&at);
        self.known.insert((v, id), lane);
    }

    /// Declares that `v` has a value where that is [defined](Self::define), and nowhere else.
    pub fn give(&mut self, v: Var) {
        self.given.push(v);
    }

    /// Forgets the values of the body: what follows is an epilogue.
    pub fn begin_epilogue(&mut self, accumulators: &[lazuli_kernel::Accumulator]) -> usize {
        self.forget();
        self.emit.begin_epilogue(accumulators)
    }

    /// Forgets all values.
    fn forget(&mut self) {
        self.known.clear();
        self.literals.clear();
        self.positions.clear();
        self.bounded.clear();
        self.within.clear();
        self.abandoned.clear();
    }

    fn value(&mut self, graph: &Graph, places: &mut Places, v: Var, at: &[Ix], mask: Option<Value>) -> Lane {
        let dtype = graph.avals[v.0 as usize].dtype;
        if let Some(place) = places.of(graph, v) {
            return self.load(Held::Var(v), place, dtype, at, mask);
        }
        if let Some(mask) = mask {
            return self.computed_where(graph, places, v, at, mask);
        }
        let key = (v, self.index_id(at));
        if let Some(&lane) = self.known.get(&key) {
            return lane;
        }
        if self.given.contains(&v) {
            self.is_stray = true;
            return self.zero(dtype);
        }
        if self.depth == DEPTH || self.missing.is_some() {
            self.missing.get_or_insert_with(|| (v, at.into()));
            return self.zero(dtype);
        }
        self.depth += 1;
        let again = if self.abandoned.is_empty() { None } else { self.abandoned.remove(&key) };
        let outer = std::mem::replace(&mut self.tape, Tape { next: 0, ..again.unwrap_or_default() });
        let equation = places.producer(v);
        if let Some(notes) = &mut self.notes {
            notes.computed(graph, equation);
        }
        let prim = &graph.equations[equation as usize].prim;
        let lane = prim.pointwise(&mut Context { body: self, graph, places, equation }, at);
        let own = std::mem::replace(&mut self.tape, outer);
        self.depth -= 1;
        if self.missing.is_none() {
            self.known.insert(key, lane);
        } else if !own.numbers.is_empty() {
            self.abandoned.insert(key, own);
        }
        lane
    }

    /// A computed value where `mask` holds, zero elsewhere. The index may lie outside there, so all of it becomes computed: loads at computed
    /// positions stay within their arrays.
    fn computed_where(&mut self, graph: &Graph, places: &mut Places, v: Var, at: &[Ix], mask: Value) -> Lane {
        let aval = &graph.avals[v.0 as usize];
        let at = self.within(v, at, &aval.shape, true);
        let lane = self.value(graph, places, v, &at, None);
        match (lane, self.zero(aval.dtype)) {
            (Lane::Real(a), Lane::Real(zero)) => Lane::Real(self.emit.select(mask, a, zero)),
            (Lane::Complex(re, im), Lane::Complex(zero, _)) => {
                Lane::Complex(self.emit.select(mask, re, zero), self.emit.select(mask, im, zero))
            }
            _ => unreachable!("both have the variable's dtype"),
        }
    }

    fn zero(&mut self, dtype: DType) -> Lane {
        match dtype {
            DType::C64 => {
                let zero = self.emit.f32(0.0);
                Lane::Complex(zero, zero)
            }
            _ => Lane::Real(self.emit.constant(Scalar::zero(dtype))),
        }
    }

    /// A literal is a run-time parameter: one for each place where the program writes it, so that which of them are equal does not decide the code.
    pub fn literal(&mut self, equation: u32, k: u32, s: Scalar) -> Lane {
        if let Some(&lane) = self.literals.get(&(equation, k)) {
            return lane;
        }
        let lane = match s.dtype {
            DType::C64 => {
                let re = self.param(Scalar::f32(f32::from_bits(s.bits as u32)));
                Lane::Complex(re, self.param(Scalar::f32(s.imag())))
            }
            // Half floats come from loads and casts only; both ways are exact.
            DType::F16 | DType::BF16 => {
                let wide = self.param(Scalar::f32(s.to_f64() as f32));
                Lane::Real(self.emit.cast(s.dtype, wide))
            }
            _ => Lane::Real(self.param(s)),
        };
        self.literals.insert((equation, k), lane);
        lane
    }

    fn param(&mut self, s: Scalar) -> Value {
        self.take(s, Number::ZERO)
    }

    /// A parameter, and the number that it is.
    fn take(&mut self, s: Scalar, number: Number) -> Value {
        let found = self.tape.find(s);
        let value = found.unwrap_or_else(|| {
            self.params.push(s);
            let value = self.emit.param(s.dtype);
            self.tape.push(s, value);
            value
        });
        if let (Some(notes), Inst::Param(param)) = (&mut self.notes, self.emit.insts[value.0 as usize]) {
            notes.param(param, found.is_none(), s.dtype, number);
        }
        value
    }
}
