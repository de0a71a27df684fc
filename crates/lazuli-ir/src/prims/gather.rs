//! Reads and writes at positions given by integer arrays: windows anywhere in an array.
//!
//! Negative indices count from the end. An index out of range never touches foreign memory: what is read there is unspecified, what
//! is written there is dropped.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::extents::{Place, Relations, kept, stated, stretched};
use crate::graph::Atom;
use crate::number::Number;
use crate::param::fields;
use crate::pointwise::{Index, Ix, Lane, Pointwise};
use crate::prim::{Arity, Lowering, Primals, Primitive, ScatterPoint, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::write::{Writes, position_at};
use crate::prims::{Iota, Transpose, check_alike, check_axis, cotangent, expand_dims, squeeze, zeros};
use lazuli_kernel::{DType, Error, Result, ScatterOp, Shape, shape};
use smallvec::{SmallVec, smallvec};

/// Windows of extents `slice_sizes` (one per axis) out of the array (input 0). The integer arrays (inputs 1…, one per entry of `axes`) broadcast
/// together and give where a window begins along these axes; along the others it begins at 0. The output's shape is that
/// of the indices, then `slice_sizes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gather {
    pub axes: SmallVec<[usize; 4]>,
    pub slice_sizes: SmallVec<[Dim; 4]>,
}

/// The target (input 0) with windows of updates (the last input) combined into it, in row-major order of the updates. The integer arrays
/// between them, one per entry of `axes`, broadcast together and give where a window begins; the updates' shape is that of the
/// indices, then one extent of the window per axis of the target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scatter {
    pub axes: SmallVec<[usize; 4]>,
    pub op: ScatterOp,
}

/// Shape that the index arrays broadcast to.
fn index_shape(op: &str, axes: &[usize], array: &Aval, indices: &[&Aval]) -> Result<Shape> {
    let mut out = Shape::new();
    for index in indices {
        if !index.dtype.is_integer() {
            return Err(Error::value(
                op,
                format!("indices must be integers, not {}: cast with astype first", index.dtype),
            ));
        }
        out = shape::broadcast(op, &out, &index.shape)?;
    }
    for (i, &axis) in axes.iter().enumerate() {
        check_axis(op, axis, array)?;
        if axes[..i].contains(&axis) {
            return Err(Error::value(op, format!("axis {axis} is indexed twice")));
        }
    }
    Ok(out)
}

fn check_window(op: &str, window: &[usize], array: &Aval) -> Result<()> {
    if window.len() != array.rank() || window.iter().zip(&array.shape).any(|(w, n)| w > n) {
        let (window, from) = (shape::show(window), shape::show(&array.shape));
        return Err(Error::value(op, format!("a window of shape {window} does not fit into an array of shape {from}")));
    }
    Ok(())
}

/// The same as relations.
fn fits(extents: &mut dyn Relations, window: &[Number]) {
    for (axis, &n) in window.iter().enumerate() {
        let whole = extents.extent(Place::Input(0, axis));
        extents.at_most(n, whole);
    }
}

impl Primitive for Gather {
    fields!("gather" axes, slice_sizes);
    fn arity(&self) -> Arity {
        Arity::Exactly(1 + self.axes.len())
    }
    fn dims(&self) -> &[Dim] {
        &self.slice_sizes
    }
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let array = inputs[0];
        let mut out = index_shape("gather", &self.axes, array, &inputs[1..])?;
        let window: Shape = self.slice_sizes.iter().map(|d| d.resolve(shapes)).collect();
        check_window("gather", &window, array)?;
        out.extend(window);
        Ok(smallvec![Aval::new(array.dtype, out)])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let Some(t) = tangents[0] else { return Ok(smallvec![None]) };
        let mut inputs: SmallVec<[Atom; 4]> = primals.inputs.into();
        inputs[0] = t;
        Ok(smallvec![Some(b.equation(self.clone(), &inputs, primals.shapes)?[0].into())])
    }
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let mut inputs: SmallVec<[Atom; 4]> = smallvec![zeros(b, cx.avals[0].dtype, &cx.avals[0].shape)?];
        inputs.extend(cx.inputs[1..].iter().map(|index| index.expect("indices are not linear")));
        inputs.push(cotangent(cotangents));
        let mut out: Tangents = cx.avals.iter().map(|_| None).collect();
        out[0] = Some(b.op(Scatter { axes: self.axes.clone(), op: ScatterOp::Add }, &inputs)?);
        Ok(out)
    }
    fn same_extents(&self, inputs: &[&Aval], output: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let positions = output.rank() - self.slice_sizes.len();
        for (k, index) in inputs.iter().enumerate().skip(1) {
            stretched(k, &index.shape, &output.shape[..positions], same);
        }
        stated(&self.slice_sizes, positions, same);
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let positions = inputs[1..].iter().map(|index| index.rank()).max().unwrap_or(0);
        let window = extents.stated(&self.slice_sizes, positions);
        fits(extents, &window);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let indexed = cx.batched[1..].contains(&true);
        let mut slice_sizes = cx.dims(&self.slice_sizes);
        let indices = batched_indices(b, &cx, 1..cx.inputs.len())?;
        let rank = index_rank(b, &cx, 1..cx.inputs.len());
        let mut inputs: SmallVec<[Atom; 4]> = smallvec![cx.inputs[0]];
        if indexed && !cx.batched[0] {
            inputs.extend(indices);
            let gather = Gather { axes: self.axes.clone(), slice_sizes };
            return Ok(smallvec![b.equation(gather, &inputs, cx.shapes)?[0].into()]);
        }
        let mut axes: SmallVec<[usize; 4]> = self.axes.iter().map(|axis| axis + 1).collect();
        if indexed {
            axes.insert(0, 0);
            slice_sizes.insert(0, Dim::Known(1));
            inputs.push(batch_numbers(b, cx.size, rank)?);
            inputs.extend(indices);
            let out = b.equation(Gather { axes, slice_sizes }, &inputs, cx.shapes)?[0];
            return Ok(smallvec![squeeze(b, out.into(), &[rank + 1])?]);
        }
        slice_sizes.insert(0, b.extent(cx.size));
        inputs.extend(indices);
        let out = b.equation(Gather { axes, slice_sizes }, &inputs, cx.shapes)?[0];
        Ok(smallvec![move_axis(b, out.into(), rank, 0)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let index = windowed(cx, &self.axes, at);
        cx.input(0, &index)
    }
}

/// Where a point of (indices ++ window) lies in input 0.
fn windowed(cx: &mut dyn Pointwise, axes: &[usize], at: &[Ix]) -> Index {
    let (index, window) = at.split_at(at.len() - cx.input_shape(0).len());
    let mut out: Index = window.into();
    for (k, &axis) in axes.iter().enumerate() {
        let n = cx.extent(Place::Input(0, axis));
        let start = position_at(cx, k + 1, index, n);
        out[axis] = cx.offset(&start, &window[axis]);
    }
    out
}

/// The most axes that a point of the batch has in these index arrays.
fn index_rank(b: &Builder, cx: &VmapCx, indices: std::ops::Range<usize>) -> usize {
    indices.map(|k| b.rank(cx.inputs[k]) - cx.batched[k] as usize).max().unwrap_or(0)
}

/// The index arrays such that they broadcast together with the batch in front.
fn batched_indices(b: &mut Builder, cx: &VmapCx, indices: std::ops::Range<usize>) -> Result<SmallVec<[Atom; 4]>> {
    let most = index_rank(b, cx, indices.clone());
    let mut out = SmallVec::new();
    for k in indices {
        let rank = b.rank(cx.inputs[k]);
        let missing = if cx.batched[k] { most + 1 - rank } else { 0 };
        out.push(expand_dims(b, cx.inputs[k], &(1..=missing).collect::<Vec<_>>())?);
    }
    Ok(out)
}

/// 0, 1, … along the batch, of shape (size, 1, …) with `rank` axes of extent 1.
fn batch_numbers(b: &mut Builder, size: usize, rank: usize) -> Result<Atom> {
    let numbers = b.op(Iota { dtype: DType::I32, shape: smallvec![b.extent(size)], axis: 0 }, &[])?;
    expand_dims(b, numbers, &(1..=rank).collect::<Vec<_>>())
}

/// `a` with the axis `from` moved to be axis `to`.
fn move_axis(b: &mut Builder, a: Atom, from: usize, to: usize) -> Result<Atom> {
    if from == to {
        return Ok(a);
    }
    let mut axes: SmallVec<[usize; 4]> = (0..b.rank(a)).filter(|&axis| axis != from).collect();
    axes.insert(to, from);
    b.op(Transpose { axes }, &[a])
}

impl Scatter {
    /// The rules of writing at these index arrays, with updates of shape `space`.
    fn with_writes<R>(&self, indices: &[Atom], target_rank: usize, space: &[usize], f: impl FnOnce(&Writes) -> R) -> R {
        let put = |b: &mut Builder, op: ScatterOp, target: Atom, updates: Atom| {
            let inputs: SmallVec<[Atom; 4]> =
                [target].into_iter().chain(indices.iter().copied()).chain([updates]).collect();
            b.op(Scatter { axes: self.axes.clone(), op }, &inputs)
        };
        let take = |b: &mut Builder, array: Atom| {
            let inputs: SmallVec<[Atom; 4]> = [array].into_iter().chain(indices.iter().copied()).collect();
            let slice_sizes = b.extents(&space[space.len() - target_rank..]);
            b.op(Gather { axes: self.axes.clone(), slice_sizes }, &inputs)
        };
        f(&Writes { name: "scatter", put: &put, take: &take, space: space.into() })
    }
}

impl Primitive for Scatter {
    fields!("scatter" axes, op);
    fn arity(&self) -> Arity {
        Arity::Exactly(2 + self.axes.len())
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let [target, indices @ .., updates] = inputs else { unreachable!("its arity was checked") };
        check_alike("scatter", &[target, updates])?;
        let index = index_shape("scatter", &self.axes, target, indices)?;
        if !updates.shape.starts_with(&index) {
            let (got, want) = (shape::show(&updates.shape), shape::show(&index));
            return Err(Error::value(
                "scatter",
                format!("updates of shape {got} must begin with the shape {want} of the indices: broadcast them first"),
            ));
        }
        check_window("scatter", &updates.shape[index.len()..], target)?;
        Ok(smallvec![(*target).clone()])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let [target, indices @ .., updates] = primals.inputs else { unreachable!("its inputs were inferred") };
        let space: Shape = b.shape(*updates).into();
        let rank = b.rank(*target);
        self.with_writes(indices, rank, &space, |writes| writes.jvp(b, self.op, primals, tangents))
    }
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let last = cx.avals.len() - 1;
        let indices: SmallVec<[Atom; 4]> =
            cx.inputs[1..last].iter().map(|i| i.expect("indices are not linear")).collect();
        let (rank, space) = (cx.avals[0].rank(), &cx.avals[last].shape);
        self.with_writes(&indices, rank, space, |writes| writes.transpose(b, self.op, cx, cotangents))
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, 0..inputs[0].rank(), same);
        let last = inputs.len() - 1;
        let positions = inputs[last].rank() - inputs[0].rank();
        for k in 1..last {
            stretched(k, &inputs[k].shape, &inputs[last].shape[..positions], &mut |from, to| match to {
                Place::Output(axis) => same(from, Place::Input(last, axis)),
                _ => unreachable!("it stretches to what is called the output"),
            });
        }
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let last = inputs.len() - 1;
        let (rank, all) = (inputs[0].rank(), inputs[last].rank());
        let window = extents.axes(last, all - rank..all);
        fits(extents, &window);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let last = cx.inputs.len() - 1;
        let indices = batched_indices(b, &cx, 1..last)?;
        let (target, updates) = (cx.batch(b, 0)?, cx.batch(b, last)?);
        let rank = b.rank(updates) - b.rank(target);
        let mut axes: SmallVec<[usize; 4]> = self.axes.iter().map(|axis| axis + 1).collect();
        let mut inputs: SmallVec<[Atom; 4]> = smallvec![target];
        if cx.batched[1..last].contains(&true) {
            axes.insert(0, 0);
            inputs.push(batch_numbers(b, cx.size, rank)?);
            inputs.extend(indices);
            inputs.push(expand_dims(b, updates, &[rank + 1])?);
        } else {
            inputs.extend(indices);
            inputs.push(move_axis(b, updates, 0, rank)?);
        }
        Ok(smallvec![b.op(Scatter { axes, op: self.op }, &inputs)?])
    }
    fn lowering(&self, inputs: &[&Aval], _: &[&Aval]) -> Lowering {
        let space = inputs[inputs.len() - 1].shape.clone();
        let is_run = inputs[0].rank().checked_sub(1).is_some_and(|last| !self.axes.contains(&last));
        let run = space.last().copied().filter(|_| is_run).unwrap_or(1);
        Lowering::Scatter { op: self.op, space, run }
    }
    fn scatter(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> ScatterPoint {
        let position = windowed(cx, &self.axes, at);
        ScatterPoint { at: position, value: cx.input(self.axes.len() + 1, at) }
    }
}
