//! What a well-formed kernel is.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{Inst, Kernel, Nest, Role, Store, Value};
use crate::print::{Place, annotated};
use smallvec::SmallVec;

impl Kernel {
    /// Checks every invariant that does not depend on a launch.
    pub fn verify(&self) -> Result<()> {
        match self.fault() {
            None => Ok(()),
            Some((place, why)) => {
                Err(Error::internal("verify", format!("malformed kernel: {why}{}", annotated(self, place, &why))))
            }
        }
    }

    /// The first broken invariant, and the line that breaks it.
    fn fault(&self) -> Option<(Place, String)> {
        let mut checker = Checker { kernel: self, types: Vec::with_capacity(self.body.len()), stored: Vec::new() };
        checker.kernel().err()
    }
}

type Check = Result<(), (Place, String)>;

struct Checker<'a> {
    kernel: &'a Kernel,
    /// dtypes of the values checked so far.
    types: Vec<DType>,
    /// Operands stored so far.
    stored: Vec<u32>,
}

/// `Err((place, message))` unless the condition holds.
macro_rules! require {
    ($condition:expr, $place:expr, $($message:tt)*) => {
        if !$condition {
            return Err(($place, format!($($message)*)));
        }
    };
}

impl Checker<'_> {
    fn kernel(&mut self) -> Check {
        let k = self.kernel;
        self.header()?;
        let is_rows = matches!(k.nest, Nest::Rows { .. });
        for (i, inst) in k.body.iter().enumerate() {
            if let Inst::Reduced(a) | Inst::ReducedIndex(a) = *inst {
                require!(is_rows, Place::Inst(i), "only an epilogue has results of a reduction");
                let value = k.accumulators().get(a as usize).map_or(0, |a| a.value.0 as usize);
                require!(value < i, Place::Inst(i), "accumulator {a} has no result before %{value} is defined");
            }
            self.inst(i, inst, 0)?;
        }
        match &k.nest {
            Nest::Map { stores } => {
                self.stores(stores, 0, 0)?;
                self.all_stored()
            }
            Nest::Reduce { epilogue, stores, .. } => {
                self.reduction(epilogue)?;
                self.stores(stores, 0, k.body.len())?;
                self.all_stored()
            }
            Nest::Rows { stores, epilogue, row_stores, .. } => {
                let updated = k.operands.iter().position(|o| o.role == Role::InOut);
                require!(updated.is_none(), Place::Header, "rows do not update operand {}", updated.unwrap_or(0));
                self.stores(stores, 0, 0)?;
                self.reduction(epilogue)?;
                self.stores(row_stores, stores.len(), k.body.len())?;
                self.all_stored()
            }
            Nest::Scan { op, value, store, .. } => {
                self.stores(&[Store { operand: *store, value: *value }], 0, 0)
                    .map_err(|(_, why)| (Place::Nest, why))?;
                self.all_stored()?;
                let dtype = self.types[value.0 as usize];
                require!(op.accepts(dtype), Place::Nest, "{op:?} does not accept {dtype}");
                require!(k.rank > 0, Place::Header, "a scan needs an axis");
                Ok(())
            }
            Nest::Recurrence { factor, term, store, .. } => {
                self.stores(&[Store { operand: *store, value: *term }], 0, 0).map_err(|(_, why)| (Place::Nest, why))?;
                self.all_stored()?;
                let (dtype, other) = (self.types[term.0 as usize], self.value(Place::Nest, *factor, 0)?);
                require!(other == dtype, Place::Nest, "the factor is {other}, the term {dtype}");
                let computes = matches!(dtype, DType::F32 | DType::F64);
                require!(computes, Place::Nest, "a recurrence is not of {dtype}");
                require!(k.rank > 0, Place::Header, "a recurrence needs an axis");
                Ok(())
            }
            Nest::Scatter { op, target, index, mask, value } => {
                let dtype = self.value(Place::Nest, *value, 0)?;
                require!(self.value(Place::Nest, *index, 0)? == DType::I64, Place::Nest, "the index is not int64");
                if let Some(mask) = mask {
                    require!(self.value(Place::Nest, *mask, 0)? == DType::Bool, Place::Nest, "the mask is not bool");
                }
                require!(op.accepts(dtype), Place::Nest, "{op:?} does not accept {dtype}");
                let Some(operand) = k.operands.get(*target as usize) else {
                    return Err((Place::Nest, format!("there is no operand {target}")));
                };
                require!(operand.role == Role::InOut, Place::Nest, "the target of a scatter has role inout");
                require!(operand.dtype == dtype, Place::Nest, "the target is {}, the value {dtype}", operand.dtype);
                let outputs = k.operands.iter().filter(|o| o.role != Role::In).count();
                require!(outputs == 1, Place::Header, "a scatter writes its target and nothing else");
                let loads = |inst: &Inst| matches!(inst, Inst::Load(o) if o == target);
                let load = k.body.iter().position(loads);
                require!(load.is_none(), Place::Inst(load.unwrap_or(0)), "the target of a scatter is not loaded");
                Ok(())
            }
        }
    }

    fn header(&self) -> Check {
        let k = self.kernel;
        if let Nest::Reduce { axes, .. } | Nest::Rows { axes, .. } = k.nest {
            require!((1..=k.rank).contains(&axes), Place::Nest, "cannot reduce {axes} of {} axes", k.rank);
        }
        let last = k.rank.saturating_sub(1);
        let last_kept = (k.rank - k.reduced()).checked_sub(1).unwrap_or(last);
        require!(
            k.vector_axis == last || k.vector_axis == last_kept,
            Place::Header,
            "the vector axis is neither the last nor the last kept one"
        );
        let complex = k.operands.iter().map(|o| o.dtype).chain(k.params.iter().copied()).any(DType::is_complex);
        require!(!complex, Place::Header, "complex operands and parameters are split before");
        Ok(())
    }

    /// dtype of a value that is defined, and not before number `from`.
    fn value(&self, place: Place, v: Value, from: usize) -> Result<DType, (Place, String)> {
        require!((v.0 as usize) < self.types.len(), place, "{v} is used before it is defined");
        require!(v.0 as usize >= from, place, "an epilogue does not use {v} of the body");
        Ok(self.types[v.0 as usize])
    }

    /// Checks an instruction whose operands are values from number `from` on, and notes its dtype.
    fn inst(&mut self, number: usize, inst: &Inst, from: usize) -> Check {
        let k = self.kernel;
        let place = Place::Inst(number);
        let in_epilogue = from > 0 || number >= k.body.len();
        let mut uses: SmallVec<[DType; 3]> = SmallVec::new();
        for v in inst.uses() {
            uses.push(self.value(place, v, from)?);
        }
        let accumulators = k.accumulators();
        let operand = |o: u32| match k.operands.get(o as usize) {
            Some(operand) => Ok(*operand),
            None => Err((place, format!("there is no operand {o}"))),
        };
        match *inst {
            Inst::Param(p) => require!((p as usize) < k.params.len(), place, "there is no parameter {p}"),
            Inst::Const(s) => {
                require!(!s.dtype.is_complex(), place, "no value is complex");
                let width = 8 * s.dtype.itemsize() as u32;
                require!(s.bits.checked_shr(width).unwrap_or(0) == 0, place, "bits beyond the dtype are set");
                require!(s.dtype != DType::Bool || s.bits <= 1, place, "a bool is 0 or 1");
            }
            Inst::Index(axis) => {
                let axes = if in_epilogue { k.rank - k.reduced() } else { k.rank };
                require!(axis < axes, place, "there is no loop axis {axis} here");
            }
            Inst::Extent(axis) => require!(axis < k.rank, place, "there is no loop axis {axis}"),
            Inst::Load(o) => match operand(o)?.role {
                Role::In => {}
                Role::Out => return Err((place, format!("operand {o} is not read"))),
                Role::InOut => {
                    require!(k.reduced() == 0 || in_epilogue, place, "a body does not read what its reduction writes")
                }
            },
            Inst::LoadAt { operand: o, .. } => {
                require!(operand(o)?.role == Role::In, place, "only an input is read at computed positions");
                require!(uses[0] == DType::I64, place, "the index is not int64");
                require!(uses.get(1).is_none_or(|&d| d == DType::Bool), place, "the mask is not bool");
            }
            Inst::Unary(op, _) => require!(op.accepts(uses[0]), place, "{op:?} does not accept {}", uses[0]),
            Inst::Binary(op, ..) => {
                require!(uses[0] == uses[1], place, "operands are {} and {}", uses[0], uses[1]);
                require!(op.accepts(uses[0]), place, "{op:?} does not accept {}", uses[0]);
            }
            Inst::Fma(..) => {
                require!(uses[0] == uses[1] && uses[1] == uses[2], place, "operands differ in dtype");
                require!(matches!(uses[0], DType::F32 | DType::F64), place, "Fma does not accept {}", uses[0]);
            }
            Inst::Select(..) => {
                require!(uses[0] == DType::Bool, place, "the condition is not bool");
                require!(uses[1] == uses[2], place, "alternatives are {} and {}", uses[1], uses[2]);
            }
            Inst::Cast(to, _) => require!(!to.is_complex(), place, "no value is complex"),
            Inst::Bitcast(to, _) => {
                require!(!to.is_complex() && to != DType::Bool, place, "no bits are cast to {to}");
                require!(to.itemsize() == uses[0].itemsize(), place, "{} and {to} differ in size", uses[0]);
            }
            Inst::Reduced(a) => require!((a as usize) < accumulators.len(), place, "there is no accumulator {a}"),
            Inst::ReducedIndex(a) => {
                let tracks = accumulators.get(a as usize).is_some_and(|a| a.combine.binary().is_none());
                require!(tracks, place, "accumulator {a} does not track a position");
            }
        }
        let dtype = inst.dtype(
            |v| self.types[v.0 as usize],
            |p| k.params[p as usize],
            |o| k.operands[o as usize].dtype,
            |a| self.types[accumulators[a as usize].value.0 as usize],
        );
        self.types.push(dtype);
        Ok(())
    }

    /// The accumulators, and what follows from them.
    fn reduction(&mut self, epilogue: &[Inst]) -> Check {
        let k = self.kernel;
        require!(!k.accumulators().is_empty(), Place::Nest, "a reduction needs an accumulator");
        for a in k.accumulators() {
            let dtype = self.value(Place::Nest, a.value, 0)?;
            require!((a.value.0 as usize) < k.body.len(), Place::Nest, "{} is not of the body", a.value);
            require!(a.combine.accepts(dtype), Place::Nest, "{:?} does not accept {dtype}", a.combine);
        }
        for (i, inst) in epilogue.iter().enumerate() {
            self.inst(k.body.len() + i, inst, k.body.len())?;
        }
        Ok(())
    }

    /// These stores, numbered `number..`, write operands that are outputs, none twice, with values of their dtype that are numbered `from` or later.
    fn stores(&mut self, stores: &[Store], number: usize, from: usize) -> Check {
        let k = self.kernel;
        for (i, s) in stores.iter().enumerate() {
            let place = Place::Store(number + i);
            let Some(operand) = k.operands.get(s.operand as usize) else {
                return Err((place, format!("there is no operand {}", s.operand)));
            };
            require!(operand.role != Role::In, place, "operand {} is not written", s.operand);
            let dtype = self.value(place, s.value, from)?;
            require!(operand.dtype == dtype, place, "the operand is {}, the value {dtype}", operand.dtype);
            require!(!self.stored.contains(&s.operand), place, "operand {} is stored twice", s.operand);
            self.stored.push(s.operand);
        }
        Ok(())
    }

    fn all_stored(&self) -> Check {
        for (o, operand) in self.kernel.operands.iter().enumerate() {
            let stored = self.stored.contains(&(o as u32));
            require!(operand.role == Role::In || stored, Place::Header, "operand {o} is never stored");
        }
        Ok(())
    }
}
