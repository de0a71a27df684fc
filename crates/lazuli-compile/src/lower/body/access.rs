//! Operands of a body: arrays in memory, at affine indices of the loop counters and at computed positions.

use super::Body;
use crate::lower::again::{Lies, Walk};
use crate::lower::numbers::Lie;
use crate::lower::places::{BufferId, Held, Place};
use lazuli_ir::pointwise::Terms;
use lazuli_ir::{Arithmetic, Extents, Index, Ix, Lane, Number, Operation, Relation, Term, Var};
use lazuli_kernel::{Arg, BinaryOp, DType, Inner, Inst, Layout, Operand, Role, Strides, Value, small};
use smallvec::SmallVec;

/// An operand of the kernel in memory: elements of `dtype` of a buffer, over the loop axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lower) struct Access {
    pub buffer: BufferId,
    pub offset: isize,
    pub strides: Strides,
    /// Elements from `offset` on that computed positions may touch; 0 for other operands.
    pub len: usize,
}

/// Which of the numbers in memory that make an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lower) struct Part {
    pub of: isize,
    pub number: isize,
}

impl Part {
    pub const WHOLE: Part = Part { of: 1, number: 0 };
    pub const COMPLEX: [Part; 2] = [Part { of: 2, number: 0 }, Part { of: 2, number: 1 }];
}

impl Access {
    /// As an operand of a launch, whose loop axes are those of the body.
    pub fn operands(self) -> Arg {
        // Where nothing is touched (an empty reduction) any offset will do.
        let offset = usize::try_from(self.offset).unwrap_or(0);
        Arg { slot: self.buffer.slot(), offset, strides: self.strides, len: self.len }
    }

    /// Makes it all elements of a part of an array that lies like this.
    pub fn reach(&mut self, layout: &Layout, part: Part) {
        let (low, high) = layout.span().unwrap_or((layout.offset, layout.offset - 1));
        self.offset = low * part.of + part.number;
        self.len = ((high - low + 1) * part.of - part.number) as usize;
    }
}

impl Body {
    /// Loads an array that lies in memory.
    pub fn load(&mut self, of: Held, place: &Place, dtype: DType, at: &[Ix], mask: Option<Value>) -> Lane {
        // Of an array without elements none is wanted: there is no point at all, or a mask does not hold at it.
        if place.layout.size() == 0 {
            return self.zero(dtype);
        }
        let affine = mask.is_none() && at.iter().all(|ix| matches!(ix, Ix::Affine { .. }));
        match (affine, dtype) {
            (true, DType::C64) => {
                let [re, im] = Part::COMPLEX.map(|part| self.walked(Some(of), place, at, part, DType::F32, Role::In));
                let re = self.emit.push(Inst::Load(re));
                Lane::Complex(re, self.emit.push(Inst::Load(im)))
            }
            (true, _) => {
                let operand = self.walked(Some(of), place, at, Part::WHOLE, dtype, Role::In);
                Lane::Real(self.emit.push(Inst::Load(operand)))
            }
            (false, _) => self.load_at(of, place, dtype, at, mask),
        }
    }

    /// Offset and strides over the loop axes of an affine index of an array; `parts` elements in memory make one of its elements.
    fn affine_access(&self, layout: &Layout, at: &[Ix], parts: isize) -> (isize, Strides) {
        let mut offset = layout.offset * parts;
        let mut strides: Strides = SmallVec::from_elem(0, self.loops.len());
        for (ix, &stride) in at.iter().zip(&layout.strides) {
            let Ix::Affine { constant, terms } = ix else { unreachable!("the caller asked for an affine access") };
            offset += constant.value * stride * parts;
            for term in terms {
                strides[term.axis as usize] += term.factor.value * stride * parts;
            }
        }
        (offset, strides)
    }

    /// The operand that is a part of what lies in a place, at an affine index. None is a number that the program states.
    pub fn walked(&mut self, of: Option<Held>, place: &Place, at: &[Ix], part: Part, dtype: DType, role: Role) -> u32 {
        let (offset, strides) = self.affine_access(&place.layout, at, part.of);
        let known = self.args.len();
        let access = Access { buffer: place.buffer, offset: offset + part.number, strides, len: 0 };
        let operand = self.access(access, dtype, role);
        if let (Some(notes), Some(of)) = (&mut self.notes, of) {
            notes.operand(operand, operand as usize == known, Walk::new(of, at, part));
        }
        operand
    }

    /// The operand that is a part of what lies in a place, at computed positions.
    pub fn anywhere(&mut self, of: Held, place: &Place, part: Part, dtype: DType, role: Role) -> u32 {
        let strides = SmallVec::from_elem(0, self.loops.len());
        let mut access = Access { buffer: place.buffer, offset: 0, strides, len: 0 };
        access.reach(&place.layout, part);
        let known = self.args.len();
        let operand = self.access(access, dtype, role);
        if let Some(notes) = &mut self.notes {
            notes.operand(operand, operand as usize == known, Walk::anywhere(of, part));
        }
        operand
    }

    /// The operand with this role that is this access: an equal one if there is one.
    fn access(&mut self, access: Access, dtype: DType, role: Role) -> u32 {
        let operands = &self.emit.operands;
        let same = |i: &usize| self.args[*i] == access && operands[*i].dtype == dtype && operands[*i].role == role;
        if let Some(i) = (0..self.args.len()).rev().find(same) {
            return i as u32;
        }
        self.args.push(access);
        self.emit.operand(Operand { dtype, role, inner: Inner::Unit })
    }

    /// Loads at a computed position, counted from the lowest element of the array.
    fn load_at(&mut self, of: Held, place: &Place, dtype: DType, at: &[Ix], mask: Option<Value>) -> Lane {
        let layout = &place.layout;
        let at = self.all_clamped(of.var(), &layout.shape, at, mask.is_some());
        let (strides, first) = self.strides(of, layout);
        let parts = if dtype.is_complex() { 2 } else { 1 };
        let first = self.compute(Operation::Product, first, Number::fixed(parts));
        let position = self.linear(&at, &strides, parts, first);
        let at = |body: &mut Body, part: Part, dtype| {
            let operand = body.anywhere(of, place, part, dtype, Role::In);
            body.emit.push(Inst::LoadAt { operand, index: position, mask })
        };
        match dtype {
            DType::C64 => {
                let [re, im] = Part::COMPLEX.map(|part| at(self, part, DType::F32));
                Lane::Complex(re, im)
            }
            _ => Lane::Real(at(self, Part::WHOLE, dtype)),
        }
    }

    /// The extent of an axis of a variable.
    pub fn extent_of(&mut self, v: Var, axis: usize, value: usize) -> Number {
        match &mut self.notes {
            Some(notes) => notes.numbers.extent(v, axis, value),
            None => Number::fixed(value as isize),
        }
    }

    /// The strides of an array, and how far its first element lies behind the lowest.
    fn strides(&mut self, of: Held, layout: &Layout) -> (Extents, Number) {
        match &mut self.notes {
            Some(notes) => {
                let Lies { strides, first, .. } = notes.lies(of, layout, Role::In);
                (strides, first)
            }
            None => (
                small(layout.strides.iter().map(|&stride| Number::fixed(stride))),
                Number::fixed(Lie::First.of(layout)),
            ),
        }
    }

    /// `Σ parts · stride · at + offset` as a value.
    pub fn linear(&mut self, at: &[Ix], strides: &[Number], parts: isize, offset: Number) -> Value {
        let (parts, mut constant) = (Number::fixed(parts), offset);
        let mut terms = Terms::new();
        let mut sum: Option<Value> = None;
        for (ix, &stride) in at.iter().zip(strides) {
            let stride = self.compute(Operation::Product, stride, parts);
            match ix {
                Ix::Affine { constant: c, terms: t } => {
                    let c = self.compute(Operation::Product, *c, stride);
                    constant = self.compute(Operation::Sum, constant, c);
                    for &Term { axis, factor } in t {
                        terms.push(Term { axis, factor: self.compute(Operation::Product, factor, stride) });
                    }
                }
                Ix::Computed(v) => {
                    let term = match self.holds(Relation::Equal, stride, Number::ONE) {
                        true => *v,
                        false => {
                            let s = self.number(DType::I64, stride);
                            self.emit.mul(*v, s)
                        }
                    };
                    sum = Some(sum.map_or(term, |s| self.emit.add(s, term)));
                }
            }
        }
        let is_zero = terms.is_empty() && self.holds(Relation::Equal, constant, Number::ZERO);
        match sum {
            Some(v) if is_zero => v,
            Some(v) => {
                let rest = self.position(&Ix::Affine { constant, terms });
                self.emit.add(v, rest)
            }
            None => self.position(&Ix::Affine { constant, terms }),
        }
    }

    /// An index of a variable of this shape with each position [`clamped`](Self::clamped): the same each time.
    pub fn within(&mut self, v: Var, at: &[Ix], shape: &[usize], masked: bool) -> Index {
        let key = (v, self.index_id(at), masked);
        if let Some(found) = self.within.get(&key) {
            return found.clone();
        }
        let within = self.all_clamped(v, shape, at, masked);
        self.within.insert(key, within.clone());
        within
    }

    fn all_clamped(&mut self, v: Var, shape: &[usize], at: &[Ix], masked: bool) -> Index {
        let mut clamped = Index::new();
        for (axis, (ix, &n)) in at.iter().zip(shape).enumerate() {
            let n = self.extent_of(v, axis, n);
            clamped.push(self.clamped(ix, n, masked));
        }
        clamped
    }

    /// A computed position brought into `0..n`, so that what lies outside reads the same element whatever the layout; an affine one is inside by construction,
    /// unless it is `masked`.
    fn clamped(&mut self, ix: &Ix, n: Number, masked: bool) -> Ix {
        let v = match ix {
            Ix::Affine { .. } if !masked => return ix.clone(),
            ix => self.position(ix),
        };
        for i in 0..self.bounded.len() {
            let (bounded, below) = self.bounded[i];
            if bounded == v && self.holds(Relation::Equal, below, n) {
                return Ix::Computed(v);
            }
        }
        let some = self.compute(Operation::AtLeastOne, n, Number::ZERO);
        let last = self.compute(Operation::Sum, some, Number::fixed(-1));
        let (zero, last) = (self.emit.i64(0), self.number(DType::I64, last));
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
        if let Some(notes) = &mut self.notes {
            notes.numbers.told_apart(std::slice::from_ref(at));
        }
        if let Some(&v) = self.positions.get(at) {
            return v;
        }
        let mut sum: Option<Value> = None;
        for &Term { axis, factor } in terms {
            if self.holds(Relation::Equal, factor, Number::ZERO) {
                continue;
            }
            let mut term = self.emit.push(Inst::Index(axis));
            if !self.holds(Relation::Equal, factor, Number::ONE) {
                let k = self.number(DType::I64, factor);
                term = self.emit.mul(term, k);
            }
            sum = Some(sum.map_or(term, |s| self.emit.add(s, term)));
        }
        let v = match (sum, self.holds(Relation::Equal, constant, Number::ZERO)) {
            (Some(sum), true) => sum,
            (None, true) => self.emit.i64(0),
            (sum, false) => {
                let c = self.number(DType::I64, constant);
                sum.map_or(c, |s| self.emit.add(s, c))
            }
        };
        self.positions.insert(at.clone(), v);
        v
    }
}
