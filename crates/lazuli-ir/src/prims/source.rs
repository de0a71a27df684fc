//! Arrays that come from parameters and shapes alone.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::extents::{Place, Relations, stated};
use crate::graph::Atom;
use crate::number::{Extents, Number};
use crate::param::fields;
use crate::pointwise::{Ix, Lane, Pointwise};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents};
use crate::prims::check_axis;
use lazuli_kernel::{DType, Error, Kind, Result, Scalar, Shape};
use smallvec::{SmallVec, smallvec};

/// 0, 1, 2, … along `axis`, repeated along the others. Any dtype but bool and complex64.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Iota {
    pub dtype: DType,
    pub shape: SmallVec<[Dim; 4]>,
    pub axis: usize,
}

impl Primitive for Iota {
    fields!("iota" dtype, shape, axis);
    fn arity(&self) -> Arity {
        Arity::Exactly(0)
    }
    fn dims(&self) -> &[Dim] {
        &self.shape
    }
    fn infer(&self, _: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let out = Aval::new(self.dtype, self.shape.iter().map(|d| d.resolve(shapes)).collect::<Shape>());
        if matches!(self.dtype, DType::Bool | DType::C64) {
            return Err(Error::value("iota", format!("counts in an integer or float dtype, not in {}", self.dtype)));
        }
        check_axis("iota", self.axis, &out)?;
        Ok(smallvec![out])
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![None])
    }
    fn same_extents(&self, _: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        stated(&self.shape, 0, same);
    }
    fn relate(&self, extents: &mut dyn Relations, _: &[&Aval]) {
        extents.stated(&self.shape, 0);
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let v = cx.position(&at[self.axis]);
        Lane::Real(cx.emit().cast(self.dtype, v))
    }
}

/// The product of the extents of `axes` of the equation's one shape operand, as a scalar: it holds in shapeless traces. Where it is `literal` it stands for a
/// number that would have been one of the program if the shapes had been known, and becomes one when they are ([`Graph::inline_rules`]).
///
/// [`Graph::inline_rules`]: crate::Graph::inline_rules
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NumberOfElements {
    pub axes: SmallVec<[usize; 4]>,
    pub dtype: DType,
    pub literal: bool,
}

impl NumberOfElements {
    /// The number for a shape operand of this shape.
    pub(crate) fn value(&self, shape: &[usize]) -> Scalar {
        let n: usize = self.axes.iter().map(|&axis| shape[axis]).product();
        Scalar::from_i64(self.dtype, n as i64)
    }
    /// The largest number that its dtype has, if there may be more elements.
    fn most(&self) -> Option<usize> {
        let bits = 8 * self.dtype.itemsize() - usize::from(self.dtype.kind() == Kind::Signed);
        (self.dtype.is_integer() && bits < 48).then(|| (1 << bits) - 1)
    }
}

impl Primitive for NumberOfElements {
    fields!("number_of_elements" axes, dtype, literal);
    fn arity(&self) -> Arity {
        Arity::Exactly(0)
    }
    fn infer(&self, _: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let Some(&of) = shapes.first() else {
            return Err(Error::internal("number_of_elements", "counts in a shape operand, and there is none"));
        };
        for &axis in &self.axes {
            check_axis("number_of_elements", axis, of)?;
        }
        let n: usize = self.axes.iter().map(|&axis| of.shape[axis]).product();
        if self.most().is_some_and(|most| n > most) {
            let message =
                format!("{n} elements are more than {} has numbers for: count them in a wider dtype", self.dtype);
            return Err(Error::value("number_of_elements", message));
        }
        Ok(smallvec![Aval::scalar(self.dtype)])
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![None])
    }
    fn relate(&self, extents: &mut dyn Relations, _: &[&Aval]) {
        if let Some(most) = self.most() {
            let counted: Extents = self.axes.iter().map(|&axis| extents.extent(Place::Shape(0, axis))).collect();
            let n = extents.product(&counted);
            extents.at_most(n, Number::fixed(most as isize));
        }
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, _: &[Ix]) -> Lane {
        let mut count = Number::ONE;
        for &axis in &self.axes {
            let n = cx.extent(Place::Shape(0, axis));
            count = cx.product(count, n);
        }
        // Of a complex number the real part.
        let value = cx.number(if self.dtype == DType::C64 { DType::F32 } else { self.dtype }, count);
        match self.dtype {
            DType::C64 => Lane::Complex(value, cx.emit().f32(0.0)),
            _ => Lane::Real(value),
        }
    }
}
