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

use super::again::{Notes, Walk};
use super::places::{BufferId, Place, Places};
use lazuli_ir::{Atom, Graph, Index, Ix, Lane, Pointwise, Prim, Var};
use lazuli_kernel::hash::{Map, WordHasher};
use lazuli_kernel::{BinaryOp, DType, Emit, Inner, Inst, Layout, Operand, Role, Scalar, Shape, Strides, Value};
use smallvec::{SmallVec, smallvec};
use std::hash::{Hash, Hasher};

/// How deep pulling recurses before it falls back to its explicit stack.
const DEPTH: usize = 16;

/// The linear part of an affine position: (loop axis, coefficient).
type Terms = SmallVec<[(u32, isize); 2]>;

/// An operand of the kernel in memory: elements of `dtype` of a buffer, over the loop axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub buffer: BufferId,
    pub offset: isize,
    pub strides: Strides,
    /// Elements from `offset` on that computed positions may touch; 0 for other operands.
    pub len: usize,
}

/// Which of the numbers in memory that make an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub of: isize,
    pub number: isize,
}

impl Part {
    pub const WHOLE: Part = Part { of: 1, number: 0 };
    pub const COMPLEX: [Part; 2] = [Part { of: 2, number: 0 }, Part { of: 2, number: 1 }];
}

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
    bounded: Vec<(Value, usize)>,
    /// Of variables at indices that may lie outside (for affine ones: is that so?): those within.
    within: Map<(Var, IndexId, bool), Index>,
    /// Of the attempt at hand.
    tape: Tape,
    /// Of attempts that were given up.
    abandoned: Map<(Var, IndexId), Tape>,
    depth: usize,
    missing: Option<(Var, Index)>,
    /// A variable that nothing computes here: it has a value where it was [defined](Self::define), and no other.
    given: Option<Var>,
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

impl Body {
    pub fn new() -> Self {
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
        (self.depth, self.missing, self.given, self.is_stray) = (0, None, None, false);
        self.notes = notes;
    }

    /// A body whose loop axes are those of `shape`, split where `refine` has a boundary that nests with them. Returns the index of each axis of `shape`.
    pub fn begin(&mut self, shape: &[usize], refine: &[&[usize]]) -> Index {
        let mut index = Index::new();
        for factors in refined(shape, refine) {
            let mut terms: Terms = SmallVec::new();
            let mut step = 1;
            for &n in factors.iter().rev().filter(|&&n| n != 1) {
                terms.push((0, step));
                step *= n as isize;
            }
            terms.reverse();
            for ((axis, _), &n) in terms.iter_mut().zip(factors.iter().filter(|&&n| n != 1)) {
                *axis = self.loops.len() as u32;
                self.loops.push(n);
            }
            index.push(Ix::Affine { constant: 0, terms });
        }
        index
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
        if !matches!(equation.prim, Prim::Unary(_) | Prim::Binary(_) | Prim::Ternary(_) | Prim::Cast(_)) {
            return SmallVec::new();
        }
        let aligned = |&input: &Var| graph.shape_of(input) == graph.shape_of(v);
        let inputs = equation.inputs.iter().filter_map(|a| if let Atom::Var(v) = a { Some(*v) } else { None });
        let mut inputs: SmallVec<[Var; 3]> = inputs.filter(aligned).collect();
        let id = self.indices.id(at);
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
    pub fn reshape(&mut self, graph: &Graph, places: &mut Places, at: &[Ix], from: &[usize], to: &[usize]) -> Index {
        if from == to {
            return at.into();
        }
        if let Some(notes) = &mut self.notes {
            notes.reindexed(from, to);
        }
        Context { body: self, graph, places, equation: 0 }.reshape(at, from, to)
    }

    /// Declares that `v` has this value at this index.
    pub fn define(&mut self, v: Var, at: Index, lane: Lane) {
        let id = self.indices.id(&at);
        self.known.insert((v, id), lane);
    }

    /// Declares that `v` has a value where that is [defined](Self::define), and nowhere else.
    pub fn give(&mut self, v: Var) {
        self.given = Some(v);
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
            return self.load(Some(v), place, dtype, at, mask);
        }
        if let Some(mask) = mask {
            return self.computed_where(graph, places, v, at, mask);
        }
        let key = (v, self.indices.id(at));
        if let Some(&lane) = self.known.get(&key) {
            return lane;
        }
        if self.given == Some(v) {
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

    pub fn param(&mut self, s: Scalar) -> Value {
        if let Some(value) = self.tape.find(s) {
            return value;
        }
        self.params.push(s);
        let value = self.emit.param(s.dtype);
        self.tape.push(s, value);
        value
    }

    /// Loads an array that lies in memory: a variable, if it is one's place.
    pub fn load(&mut self, v: Option<Var>, place: &Place, dtype: DType, at: &[Ix], mask: Option<Value>) -> Lane {
        // Of an array without elements none is wanted: there is no point at all, or a mask does not hold at it.
        if place.layout.size() == 0 {
            return self.zero(dtype);
        }
        let affine = mask.is_none() && at.iter().all(|ix| matches!(ix, Ix::Affine { .. }));
        match (affine, dtype) {
            (true, DType::C64) => {
                let [re, im] = Part::COMPLEX.map(|part| self.walked(v, place, at, part, DType::F32, Role::In));
                let re = self.emit.push(Inst::Load(re));
                Lane::Complex(re, self.emit.push(Inst::Load(im)))
            }
            (true, _) => {
                let operand = self.walked(v, place, at, Part::WHOLE, dtype, Role::In);
                Lane::Real(self.emit.push(Inst::Load(operand)))
            }
            (false, _) => self.load_at(place, dtype, at, mask),
        }
    }

    /// Offset and strides over the loop axes of an affine index of an array; `parts` elements in memory make one of its elements.
    pub fn affine_access(&self, layout: &Layout, at: &[Ix], parts: isize) -> (isize, Strides) {
        let mut offset = layout.offset * parts;
        let mut strides: Strides = SmallVec::from_elem(0, self.loops.len());
        for (ix, &stride) in at.iter().zip(&layout.strides) {
            let Ix::Affine { constant, terms } = ix else { unreachable!("the caller asked for an affine access") };
            offset += constant * stride * parts;
            for &(axis, k) in terms {
                strides[axis as usize] += k * stride * parts;
            }
        }
        (offset, strides)
    }

    /// The operand that is a part of what lies in a place, at an affine index: of a variable, if it is one's place.
    pub fn walked(&mut self, v: Option<Var>, place: &Place, at: &[Ix], part: Part, dtype: DType, role: Role) -> u32 {
        let (offset, strides) = self.affine_access(&place.layout, at, part.of);
        let known = self.args.len();
        let access = Access { buffer: place.buffer, offset: offset + part.number, strides, len: 0 };
        let operand = self.access(access, dtype, role);
        if let Some(notes) = &mut self.notes {
            notes.walk(operand, operand as usize == known, v.and_then(|v| Walk::new(v, at, part)));
        }
        operand
    }

    /// The operand with this role that is this access: an equal one if there is one.
    pub fn access(&mut self, access: Access, dtype: DType, role: Role) -> u32 {
        let operands = &self.emit.operands;
        let same = |i: &usize| self.args[*i] == access && operands[*i].dtype == dtype && operands[*i].role == role;
        if let Some(i) = (0..self.args.len()).rev().find(same) {
            return i as u32;
        }
        self.args.push(access);
        self.emit.operand(Operand { dtype, role, inner: Inner::Unit })
    }

    /// Loads at a computed position, counted from the lowest element of the array.
    fn load_at(&mut self, place: &Place, dtype: DType, at: &[Ix], mask: Option<Value>) -> Lane {
        let layout = &place.layout;
        let parts = if dtype.is_complex() { 2 } else { 1 };
        let (low, high) = layout.span().expect("the array has elements");
        let len = (high - low + 1) as usize;
        let at: Index = at.iter().zip(&layout.shape).map(|(ix, &n)| self.clamped(ix, n, mask.is_some())).collect();
        let position = self.linear(&at, &layout.strides, parts, (layout.offset - low) * parts);
        let access = Access {
            buffer: place.buffer,
            offset: low * parts,
            strides: SmallVec::from_elem(0, self.loops.len()),
            len: len * parts as usize,
        };
        let at = |body: &mut Body, part: isize, dtype| {
            let access = Access {
                offset: access.offset + part,
                len: access.len - (part as usize).min(access.len),
                ..access.clone()
            };
            let operand = body.access(access, dtype, Role::In);
            body.emit.push(Inst::LoadAt { operand, index: position, mask })
        };
        match dtype {
            DType::C64 => {
                let re = at(self, 0, DType::F32);
                Lane::Complex(re, at(self, 1, DType::F32))
            }
            _ => Lane::Real(at(self, 0, dtype)),
        }
    }

    /// `Σ stride · at + offset` as a value.
    pub fn linear(&mut self, at: &[Ix], strides: &[isize], parts: isize, offset: isize) -> Value {
        let mut constant = offset;
        let mut terms: Terms = SmallVec::new();
        let mut sum: Option<Value> = None;
        for (ix, &stride) in at.iter().zip(strides) {
            let stride = stride * parts;
            match ix {
                Ix::Affine { constant: c, terms: t } => {
                    constant += c * stride;
                    terms.extend(t.iter().map(|&(axis, k)| (axis, k * stride)));
                }
                Ix::Computed(v) => {
                    let term = match stride {
                        1 => *v,
                        _ => {
                            let s = self.param(Scalar::i64(stride as i64));
                            self.emit.mul(*v, s)
                        }
                    };
                    sum = Some(sum.map_or(term, |s| self.emit.add(s, term)));
                }
            }
        }
        let rest = Ix::Affine { constant, terms };
        match sum {
            Some(v) if rest == Ix::constant(0) => v,
            Some(v) => {
                let rest = self.position(&rest);
                self.emit.add(v, rest)
            }
            None => self.position(&rest),
        }
    }

    /// An index of a variable with each position [`clamped`](Self::clamped): the same each time.
    pub fn within(&mut self, v: Var, at: &[Ix], shape: &[usize], masked: bool) -> Index {
        let key = (v, self.indices.id(at), masked);
        if let Some(found) = self.within.get(&key) {
            return found.clone();
        }
        let within: Index = at.iter().zip(shape).map(|(ix, &n)| self.clamped(ix, n, masked)).collect();
        self.within.insert(key, within.clone());
        within
    }

    /// A computed position brought into `0..n`, so that what lies outside reads the same element whatever the layout; an affine one is inside by construction,
    /// unless it is `masked`.
    fn clamped(&mut self, ix: &Ix, n: usize, masked: bool) -> Ix {
        let v = match ix {
            Ix::Affine { .. } if !masked => return ix.clone(),
            ix => self.position(ix),
        };
        if self.bounded.contains(&(v, n)) {
            return Ix::Computed(v);
        }
        let (zero, last) = (self.emit.i64(0), self.param(Scalar::i64(n.max(1) as i64 - 1)));
        let clamped = self.emit.binary(BinaryOp::Min, v, last);
        let clamped = self.emit.binary(BinaryOp::Max, clamped, zero);
        self.bounded.push((clamped, n));
        Ix::Computed(clamped)
    }

    /// The i64 value of a position.
    pub fn position(&mut self, at: &Ix) -> Value {
        let (constant, terms) = match at {
            Ix::Computed(v) => return *v,
            Ix::Affine { constant, terms } => (*constant, terms),
        };
        if let Some(&v) = self.positions.get(at) {
            return v;
        }
        let mut sum: Option<Value> = None;
        for &(axis, k) in terms.iter().filter(|(_, k)| *k != 0) {
            let mut term = self.emit.push(Inst::Index(axis));
            if k != 1 {
                let k = self.param(Scalar::i64(k as i64));
                term = self.emit.mul(term, k);
            }
            sum = Some(sum.map_or(term, |s| self.emit.add(s, term)));
        }
        let v = match (sum, constant) {
            (Some(sum), 0) => sum,
            (None, 0) => self.emit.i64(0),
            (sum, _) => {
                let c = self.param(Scalar::i64(constant as i64));
                sum.map_or(c, |s| self.emit.add(s, c))
            }
        };
        self.positions.insert(at.clone(), v);
        v
    }

    /// Digits of an affine position that need no division: each term moves one digit only, and none carries into the next.
    fn split_affine(&self, constant: isize, terms: &[(u32, isize)], extents: &[usize]) -> Option<Index> {
        let strides = lazuli_kernel::shape::row_strides(extents);
        let mut rest = constant;
        let mut digits: SmallVec<[(isize, Terms); 4]> = SmallVec::new();
        for &stride in &strides {
            digits.push((rest.div_euclid(stride), smallvec![]));
            rest = rest.rem_euclid(stride);
        }
        for &(axis, k) in terms.iter().filter(|(_, k)| *k != 0) {
            let j = (0..extents.len()).find(|&j| extents[j] != 1 && k % strides[j] == 0)?;
            digits[j].1.push((axis, k / strides[j]));
        }
        let inside = digits.iter().zip(extents).all(|((constant, terms), &n)| {
            let reach = |&(axis, k): &(u32, isize)| (self.loops[axis as usize] as isize - 1) * k;
            let low: isize = terms.iter().map(reach).filter(|&r| r < 0).sum();
            let high: isize = terms.iter().map(reach).filter(|&r| r > 0).sum();
            constant + low >= 0 && constant + high < n as isize
        });
        inside.then(|| digits.into_iter().map(|(constant, terms)| Ix::Affine { constant, terms }).collect())
    }
}

/// What the lowering of one equation sees.
pub(super) struct Context<'a> {
    body: &'a mut Body,
    graph: &'a Graph,
    places: &'a mut Places,
    equation: u32,
}

impl Context<'_> {
    fn operand(&mut self, k: usize, at: &[Ix], mask: Option<Value>) -> Lane {
        let lane = match self.graph.equations[self.equation as usize].inputs[k] {
            Atom::Lit(s) => self.body.literal(self.equation, k as u32, s),
            Atom::Var(v) => {
                if mask.is_some() || at.iter().all(|ix| matches!(ix, Ix::Affine { .. })) {
                    return self.body.value(self.graph, self.places, v, at, mask);
                }
                let shape = self.graph.shape_of(v);
                let at = self.body.within(v, at, shape, false);
                return self.body.value(self.graph, self.places, v, &at, None);
            }
        };
        match (mask, lane) {
            (None, _) => lane,
            (Some(mask), Lane::Real(v)) => {
                let zero = self.body.emit.constant(Scalar::zero(self.body.emit.dtype(v)));
                Lane::Real(self.body.emit.select(mask, v, zero))
            }
            (Some(mask), Lane::Complex(re, im)) => {
                let zero = self.body.emit.f32(0.0);
                Lane::Complex(self.body.emit.select(mask, re, zero), self.body.emit.select(mask, im, zero))
            }
        }
    }
}

impl Pointwise for Context<'_> {
    fn input(&mut self, k: usize, at: &[Ix]) -> Lane {
        self.operand(k, at, None)
    }
    fn input_masked(&mut self, k: usize, at: &[Ix], mask: Value) -> Lane {
        self.operand(k, at, Some(mask))
    }
    fn input_shape(&self, k: usize) -> &[usize] {
        match self.graph.equations[self.equation as usize].inputs[k] {
            Atom::Lit(_) => &[],
            Atom::Var(v) => self.graph.shape_of(v),
        }
    }
    fn inputs(&self) -> usize {
        self.graph.equations[self.equation as usize].inputs.len()
    }
    fn shape_operand(&self, k: usize) -> &[usize] {
        self.graph.shape_of(self.graph.equations[self.equation as usize].shapes[k])
    }
    fn input_dtype(&self, k: usize) -> DType {
        match self.graph.equations[self.equation as usize].inputs[k] {
            Atom::Lit(s) => s.dtype,
            Atom::Var(v) => self.graph.avals[v.0 as usize].dtype,
        }
    }
    fn output_shape(&self) -> &[usize] {
        self.graph.shape_of(self.graph.equations[self.equation as usize].outputs[0])
    }
    fn emit(&mut self) -> &mut Emit {
        &mut self.body.emit
    }
    fn number(&mut self, value: Scalar) -> Value {
        let known = self.body.params.len();
        let number = self.body.param(value);
        if let Some(notes) = &mut self.body.notes
            && self.body.params.len() > known
        {
            notes.number(known as u32, self.graph, self.equation);
        }
        number
    }
    fn position(&mut self, at: &Ix) -> Value {
        self.body.position(at)
    }
    fn split(&mut self, at: &Ix, extents: &[usize]) -> Index {
        if let Ix::Affine { constant, terms } = at
            && let Some(digits) = self.body.split_affine(*constant, terms, extents)
        {
            return digits;
        }
        let mut rest = self.position(at);
        let mut digits = Index::new();
        for &n in extents[1..].iter().rev() {
            let by = self.number(Scalar::i64(n as i64));
            let digit = self.body.emit.binary(BinaryOp::Rem, rest, by);
            self.body.bounded.push((digit, n));
            digits.push(Ix::Computed(digit));
            rest = self.body.emit.div(rest, by);
        }
        self.body.bounded.push((rest, extents[0]));
        digits.push(Ix::Computed(rest));
        digits.reverse();
        digits
    }
}

/// The factors of each extent of `shape` after splitting it at the boundaries of `others` (shapes of as many elements) that nest with its own.
fn refined(shape: &[usize], others: &[&[usize]]) -> SmallVec<[SmallVec<[usize; 2]>; 4]> {
    let mut factors: SmallVec<[SmallVec<[usize; 2]>; 4]> = shape.iter().map(|&n| smallvec![n]).collect();
    let size = lazuli_kernel::shape::size(shape);
    if size == 0 {
        return factors;
    }
    for other in others.iter().filter(|s| lazuli_kernel::shape::size(s) == size) {
        for boundary in lazuli_kernel::shape::row_strides(other) {
            split_at(&mut factors, boundary as usize);
        }
    }
    factors
}

/// Splits the factor that `boundary`, a number of elements counted from the end, falls into, if it divides it.
fn split_at(factors: &mut [SmallVec<[usize; 2]>], boundary: usize) {
    let mut inner = 1;
    for axis in factors.iter_mut().rev() {
        for i in (0..axis.len()).rev() {
            let outer = inner * axis[i];
            if inner < boundary && boundary < outer {
                let part = boundary / inner;
                if boundary.is_multiple_of(inner) && axis[i].is_multiple_of(part) {
                    axis[i] /= part;
                    axis.insert(i + 1, part);
                }
                return;
            }
            inner = outer;
        }
    }
}
