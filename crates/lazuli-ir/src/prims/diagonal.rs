//! Diagonals of the last two axes, and matrices of zeros around them.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::extents::{Place, Relations, kept, known, stated};
use crate::graph::Atom;
use crate::number::{Arithmetic, Extents, Number, Operation, Strided};
use crate::param::fields;
use crate::pointwise::{Index, Ix, Lane, Pointwise};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::view::view_rules;
use crate::prims::{Bound, cotangent};
use lazuli_kernel::{Error, Result, Shape, shape};
use smallvec::{SmallVec, smallvec};

/// The elements (i, i + `offset`) of the last two axes, as the last axis of the output.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagonal {
    pub offset: isize,
}

/// Zeros with the last axis of the input on a diagonal of the last two axes, which are of the extents `shape`: the transpose of [`Diagonal`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Undiagonal {
    pub offset: isize,
    pub shape: SmallVec<[Dim; 4]>,
}

/// Row and column of the first element of a diagonal.
fn begin(offset: isize) -> [usize; 2] {
    [offset.min(0).unsigned_abs(), offset.max(0).unsigned_abs()]
}

/// The number of elements of a diagonal of a matrix of these extents.
fn length(offset: isize, matrix: [usize; 2]) -> usize {
    let [row, column] = begin(offset);
    matrix[0].saturating_sub(row).min(matrix[1].saturating_sub(column))
}

/// The same of numbers.
fn number_of_elements(extents: &mut dyn Relations, offset: isize, [n, m]: [Number; 2]) -> Number {
    let [row, column] = begin(offset).map(|first| Bound { start: Some(first as isize), ..Bound::ALL });
    let (rows, columns) = (extents.of(Operation::Count(row), n), extents.of(Operation::Count(column), m));
    extents.compute(Operation::Least, rows, columns)
}

impl Primitive for Diagonal {
    fields!("diagonal" offset);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let [batch @ .., n, m] = &inputs[0].shape[..] else {
            return Err(Error::value("diagonal", format!("needs at least 2 dimensions, not {}", inputs[0].rank())));
        };
        let mut out = Shape::from_slice(batch);
        out.push(length(self.offset, [*n, *m]));
        Ok(smallvec![Aval::new(inputs[0].dtype, out)])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let matrix = &cx.avals[0].shape[cx.avals[0].rank() - 2..];
        let undiagonal = Undiagonal { offset: self.offset, shape: b.extents(matrix) };
        Ok(smallvec![Some(b.op(undiagonal, &[cotangent(cotangents)])?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, 0..inputs[0].rank() - 2, same);
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let row = inputs[0].rank() - 2;
        let matrix = [row, row + 1].map(|axis| extents.extent(Place::Input(0, axis)));
        let n = number_of_elements(extents, self.offset, matrix);
        extents.is(Place::Output(row), n);
    }
    fn extent_follows_from(&self, inputs: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        let row = inputs[0].rank() - 2;
        (axis == row).then(|| smallvec![Place::Input(0, row), Place::Input(0, row + 1)])
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.op(self.clone(), cx.inputs)?])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let [batch @ .., i] = at else { unreachable!("the output has an axis") };
        let mut index = Index::from(batch);
        for first in begin(self.offset) {
            index.push(cx.affine(i, Number::ONE, Number::fixed(first as isize)));
        }
        cx.input(0, &index)
    }
    fn strided(&self, cx: &mut dyn Arithmetic, input: &Strided, output: &[Number], _: &[Extents]) -> Option<Strided> {
        let [batch @ .., n, m] = &input.strides[..] else { return None };
        let mut strides = Extents::from_slice(batch);
        strides.push(cx.sum(*n, *m));
        let mut offset = input.offset;
        if !output.iter().any(|n| cx.equal(*n, Number::ZERO)) {
            for (first, stride) in begin(self.offset).into_iter().zip([*n, *m]) {
                let skipped = cx.product(stride, Number::fixed(first as isize));
                offset = cx.sum(offset, skipped);
            }
        }
        Some(Strided { extents: output.into(), strides, offset })
    }
}

impl Primitive for Undiagonal {
    fields!("undiagonal" offset, shape);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn dims(&self) -> &[Dim] {
        &self.shape
    }
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let (Some((&got, batch)), [n, m]) = (inputs[0].shape.split_last(), &self.shape[..]) else {
            let message = format!("makes a matrix of a vector, not {} dimensions of {}", self.shape.len(), inputs[0]);
            return Err(Error::internal("undiagonal", message));
        };
        let matrix = [n, m].map(|dim| dim.resolve(shapes));
        let want = length(self.offset, matrix);
        if got != want {
            let (offset, matrix) = (self.offset, shape::show(&matrix));
            return Err(Error::value(
                "undiagonal",
                format!("diagonal {offset} of a matrix of shape {matrix} has {want} elements, the input {got}"),
            ));
        }
        let out: Shape = batch.iter().copied().chain(matrix).collect();
        Ok(smallvec![Aval::new(inputs[0].dtype, out)])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let t = cotangent(tangents);
        Ok(smallvec![Some(b.equation(self.clone(), &[t], primals.shapes)?[0].into())])
    }
    fn transpose(&self, b: &mut Builder, _: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![Some(b.op(Diagonal { offset: self.offset }, &[cotangent(cotangents)])?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let batch = inputs[0].rank() - 1;
        kept(0, 0..batch, same);
        stated(&self.shape, batch, same);
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let batch = inputs[0].rank() - 1;
        let matrix = extents.stated(&self.shape, batch);
        let n = number_of_elements(extents, self.offset, [matrix[0], matrix[1]]);
        extents.is(Place::Input(0, batch), n);
    }
    fn extent_follows_from(&self, inputs: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        known(&self.shape, axis.checked_sub(inputs[0].rank() - 1)?)
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let undiagonal = Undiagonal { offset: self.offset, shape: cx.dims(&self.shape) };
        Ok(smallvec![b.equation(undiagonal, cx.inputs, cx.shapes)?[0].into()])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    /// An element on the diagonal is within it, as it is within the matrix.
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let [batch @ .., row, column] = at else { unreachable!("the output is a matrix") };
        let there = cx.affine(row, Number::ONE, Number::fixed(self.offset));
        let (here, there) = (cx.position(column), cx.position(&there));
        let is_on = cx.emit().eq(here, there);
        let mut index = Index::from(batch);
        index.push(cx.affine(row, Number::ONE, Number::fixed(self.offset.min(0))));
        cx.input_masked(0, &index, is_on)
    }
}
