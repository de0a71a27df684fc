//! Operands of a body: arrays in memory, at affine indices of the loop counters and at computed positions.

use super::{Body, Terms};
use crate::lower::again::Walk;
use crate::lower::places::{BufferId, Place};
use lazuli_ir::{Index, Ix, Lane, Var};
use lazuli_kernel::{BinaryOp, DType, Inner, Inst, Layout, Operand, Role, Scalar, Strides, Value};
use smallvec::{SmallVec, smallvec};

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

impl Body {
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
            (false, _) => self.load_at(v, place, dtype, at, mask),
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
        if let (Some(notes), Some(v)) = (&mut self.notes, v) {
            let read = (role == Role::In).then_some(place);
            notes.operand(operand, operand as usize == known, v, read, Walk::new(v, at, part));
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
    fn load_at(&mut self, v: Option<Var>, place: &Place, dtype: DType, at: &[Ix], mask: Option<Value>) -> Lane {
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
            let known = body.args.len();
            let operand = body.access(access, dtype, Role::In);
            if let (Some(notes), Some(v)) = (&mut body.notes, v) {
                notes.operand(operand, operand as usize == known, v, Some(place), None);
            }
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
    pub(super) fn split_affine(&self, constant: isize, terms: &[(u32, isize)], extents: &[usize]) -> Option<Index> {
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
