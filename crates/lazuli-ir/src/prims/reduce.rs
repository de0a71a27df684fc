//! Reductions along axes.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, kept};
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::{Cumulative, broadcast_to, expand_dims, squeeze};
use lazuli_kernel::{Combine, DType, Error, Kind, Result, ScanOp};
use smallvec::{SmallVec, smallvec};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    Sum,
    Prod,
    Min,
    Max,
    All,
    Any,
}

/// Combines along `axes` (sorted, not negative). With `keepdims` they stay with extent 1. The sum and product of bool and of
/// integers narrower than 32 bits is int32 (unsigned: uint32), as in MLX. `All` and
/// `Any` take bool: a public function casts first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reduce {
    pub op: ReduceOp,
    pub axes: SmallVec<[usize; 4]>,
    pub keepdims: bool,
}

impl Reduce {
    fn kept(op: ReduceOp, axes: &[usize]) -> Self {
        Self { op, axes: axes.into(), keepdims: true }
    }
    /// A value of the result's shape, with the reduced axes back as extent 1.
    fn restore(&self, b: &mut Builder, a: Atom) -> Result<Atom> {
        if self.keepdims { Ok(a) } else { expand_dims(b, a, &self.axes) }
    }
}

impl Primitive for Reduce {
    fields!(op {
        ReduceOp::Sum => "sum",
        ReduceOp::Prod => "prod",
        ReduceOp::Min => "min",
        ReduceOp::Max => "max",
        ReduceOp::All => "all",
        ReduceOp::Any => "any",
    } axes, keepdims);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        let dtype = match (self.op, a.dtype.kind()) {
            (ReduceOp::All | ReduceOp::Any, Kind::Bool) => DType::Bool,
            (ReduceOp::All | ReduceOp::Any, _) => {
                return Err(Error::value(self.name(), format!("takes bool, not {}: cast with astype first", a.dtype)));
            }
            (ReduceOp::Prod, Kind::Complex) => {
                return Err(Error::value(
                    "prod",
                    "is not defined on complex64: multiply halves of the array until one element is left",
                ));
            }
            (ReduceOp::Min | ReduceOp::Max, Kind::Complex) => {
                return Err(Error::value(self.name(), "complex numbers have no order: reduce their abs, real or imag"));
            }
            (ReduceOp::Sum | ReduceOp::Prod, Kind::Bool | Kind::Signed) if a.dtype.itemsize() < 4 => DType::I32,
            (ReduceOp::Sum | ReduceOp::Prod, Kind::Unsigned) if a.dtype.itemsize() < 4 => DType::U32,
            _ => a.dtype,
        };
        let mut shape = a.shape.clone();
        for &axis in &self.axes {
            if axis >= a.rank() {
                return Err(Error::index(self.name(), format!("axis {axis} is out of bounds for {a}")));
            }
            if a.shape[axis] == 0 && matches!(self.op, ReduceOp::Min | ReduceOp::Max) {
                return Err(Error::value(
                    self.name(),
                    format!("axis {axis} of {a} is empty: an empty {} has no value", self.name()),
                ));
            }
            shape[axis] = 1;
        }
        if !self.keepdims {
            let mut i = 0;
            shape.retain(|_| {
                i += 1;
                !self.axes.contains(&(i - 1))
            });
        }
        Ok(smallvec![Aval::new(dtype, shape)])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let (x, y) = (primals.inputs[0], primals.outputs[0]);
        let Some(t) = tangents[0] else { return Ok(smallvec![None]) };
        Ok(smallvec![match self.op {
            _ if !b.dtype(x).is_inexact() => None,
            ReduceOp::Sum => Some(b.op(self.clone(), &[t])?),
            // Of the elements that attain the extremum, each gets an equal share.
            ReduceOp::Min | ReduceOp::Max => {
                let extremum = self.restore(b, y)?;
                let attains = b.binary(crate::Binary::Eq, x, extremum)?;
                let dtype = b.dtype(x);
                let attains = b.cast(attains, dtype)?;
                let count = b.op(Reduce::kept(ReduceOp::Sum, &self.axes), &[attains])?;
                let share = b.div(attains, count)?;
                let weighted = b.mul(t, share)?;
                Some(b.op(Reduce { op: ReduceOp::Sum, ..self.clone() }, &[weighted])?)
            }
            // Axis by axis: each tangent times the product of the elements before it and of those after it, which is right where the data has
            // zeros, as a quotient is not.
            ReduceOp::Prod => {
                let (mut x, mut t) = (x, t);
                for &axis in &self.axes {
                    let others = |reverse| Cumulative { op: ScanOp::Prod, axis, reverse, exclusive: true };
                    let (before, after) = (b.op(others(false), &[x])?, b.op(others(true), &[x])?);
                    let others = b.mul(before, after)?;
                    let term = b.mul(t, others)?;
                    t = b.op(Reduce::kept(ReduceOp::Sum, &[axis]), &[term])?;
                    x = b.op(Reduce::kept(ReduceOp::Prod, &[axis]), &[x])?;
                }
                Some(if self.keepdims { t } else { squeeze(b, t, &self.axes)? })
            }
            ReduceOp::All | ReduceOp::Any => None,
        }])
    }
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let ct = cotangents[0].expect("not called with a zero cotangent");
        let ct = self.restore(b, ct)?;
        Ok(smallvec![Some(broadcast_to(b, ct, &cx.avals[0].shape)?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let stays = |axis: &usize| !self.axes.contains(axis);
        match self.keepdims {
            true => {
                (0..inputs[0].rank()).filter(stays).for_each(|axis| same(Place::Input(0, axis), Place::Output(axis)))
            }
            false => kept(0, (0..inputs[0].rank()).filter(stays), same),
        }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let axes = self.axes.iter().map(|a| a + 1).collect();
        Ok(smallvec![b.op(Reduce { axes, ..self.clone() }, cx.inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        let combine = match self.op {
            ReduceOp::Sum => Combine::Sum,
            ReduceOp::Prod => Combine::Prod,
            ReduceOp::Min => Combine::Min,
            ReduceOp::Max => Combine::Max,
            ReduceOp::All => Combine::All,
            ReduceOp::Any => Combine::Any,
        };
        Lowering::Reduce { combine, axes: self.axes.clone() }
    }
}
