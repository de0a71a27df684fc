//! Views: the same elements seen through another index map. They move no data unless a copy is asked for.

use crate::aval::{Aval, Dim, show_axes};
use crate::builder::Builder;
use crate::extents::{Place, Relations, kept, known, stated, stretched};
use crate::graph::Atom;
use crate::number::{Arithmetic, Extents, Number, Strided};
use crate::param::fields;
use crate::pointwise::{Ix, Lane, Pointwise, aligned};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::unbroadcast;
use lazuli_kernel::{Error, Result, Shape, shape, small};
use smallvec::{SmallVec, smallvec};

/// Rules of a view: linear in its one operand, lowered to the index map.
macro_rules! view_rules {
    () => {
        fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
            Ok(smallvec![match tangents[0] {
                Some(t) => Some(b.equation(self.clone(), &[t], primals.shapes)?[0].into()),
                None => None,
            }])
        }
        fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
            Lowering::Pointwise
        }
        fn is_view(&self) -> bool {
            true
        }
    };
}
pub(super) use view_rules;

/// Permutes axes: axis i of the output is axis `axes[i]` of the input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transpose {
    pub axes: SmallVec<[usize; 4]>,
}

impl Transpose {
    fn inverse(&self) -> Self {
        let mut axes: SmallVec<[usize; 4]> = SmallVec::from_elem(0, self.axes.len());
        for (i, &a) in self.axes.iter().enumerate() {
            axes[a] = i;
        }
        Self { axes }
    }
}

impl Primitive for Transpose {
    fields!("transpose" axes);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        let mut seen: SmallVec<[usize; 4]> = self.axes.clone();
        seen.sort_unstable();
        if !seen.iter().copied().eq(0..a.rank()) {
            return Err(Error::value(
                "transpose",
                format!("axes {} are not a permutation of the axes of {a}", show_axes(&self.axes)),
            ));
        }
        Ok(smallvec![Aval::new(a.dtype, self.axes.iter().map(|&i| a.shape[i]).collect::<Shape>())])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, _: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![Some(b.op(self.inverse(), &[cotangents[0].expect("a cotangent")])?)])
    }
    fn same_extents(&self, _: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, self.axes.iter().copied(), same);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let axes = std::iter::once(0).chain(self.axes.iter().map(|a| a + 1)).collect();
        Ok(smallvec![b.op(Transpose { axes }, cx.inputs)?])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let index: SmallVec<[Ix; 4]> = self.inverse().axes.iter().map(|&i| at[i].clone()).collect();
        cx.input(0, &index)
    }
    fn strided(&self, _: &mut dyn Arithmetic, input: &Strided, output: &[Number], _: &[Extents]) -> Option<Strided> {
        let strides = small(self.axes.iter().map(|&i| input.strides[i]));
        Some(Strided { extents: output.into(), strides, offset: input.offset })
    }
}

/// Stretches axes of extent 1, and adds axes in front, to the extents `shape`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broadcast {
    pub shape: SmallVec<[Dim; 4]>,
}

impl Primitive for Broadcast {
    fields!("broadcast_to" shape);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn dims(&self) -> &[Dim] {
        &self.shape
    }
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let to: Shape = self.shape.iter().map(|d| d.resolve(shapes)).collect();
        let fits = shape::broadcast("broadcast_to", &inputs[0].shape, &to).is_ok_and(|s| s == to);
        if !fits {
            let (from, to) = (shape::show(&inputs[0].shape), shape::show(&to));
            return Err(Error::value(
                "broadcast_to",
                format!(
                    "an array of shape {from} can't be broadcast to {to}: only axes of extent 1 stretch, aligned at the last axis"
                ),
            ));
        }
        Ok(smallvec![Aval::new(inputs[0].dtype, to)])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![Some(unbroadcast(b, cotangents[0].expect("a cotangent"), &cx.avals[0].shape)?)])
    }
    fn same_extents(&self, inputs: &[&Aval], output: &Aval, same: &mut dyn FnMut(Place, Place)) {
        stretched(0, &inputs[0].shape, &output.shape, same);
        stated(&self.shape, 0, same);
    }
    fn relate(&self, extents: &mut dyn Relations, _: &[&Aval]) {
        extents.stated(&self.shape, 0);
    }
    fn extent_follows_from(&self, _: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        known(&self.shape, axis)
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let missing = self.shape.len() + 1 - b.rank(cx.inputs[0]);
        let operand = expand_dims(b, cx.inputs[0], &(1..=missing).collect::<Vec<_>>())?;
        let shape = cx.batched_dims(b, &self.shape);
        Ok(smallvec![b.equation(Broadcast { shape }, &[operand], cx.shapes)?[0].into()])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let index = aligned(cx.input_shape(0), at);
        cx.input(0, &index)
    }
    fn strided(&self, cx: &mut dyn Arithmetic, input: &Strided, output: &[Number], _: &[Extents]) -> Option<Strided> {
        let mut strides: Extents = SmallVec::from_elem(Number::ZERO, output.len() - input.extents.len());
        strides.extend(input.extents.iter().zip(&input.strides).map(|(&n, &stride)| match cx.equal(n, Number::ONE) {
            true => Number::ZERO,
            false => stride,
        }));
        Some(Strided { extents: output.into(), strides, offset: input.offset })
    }
}

/// Adds axes of extent 1: `axes` are their positions in the output, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExpandDims {
    pub axes: SmallVec<[usize; 4]>,
}

/// Removes axes of extent 1: `axes` are their positions in the input, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Squeeze {
    pub axes: SmallVec<[usize; 4]>,
}

impl Primitive for ExpandDims {
    fields!("expand_dims" axes);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let mut shape = inputs[0].shape.clone();
        for &axis in &self.axes {
            if axis > shape.len() {
                return Err(Error::index("expand_dims", format!("axis {axis} is out of bounds for {}", inputs[0])));
            }
            shape.insert(axis, 1);
        }
        Ok(smallvec![Aval::new(inputs[0].dtype, shape)])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, _: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![Some(squeeze(b, cotangents[0].expect("a cotangent"), &self.axes)?)])
    }
    fn same_extents(&self, _: &[&Aval], output: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let from = (0..output.rank()).filter(|axis| !self.axes.contains(axis));
        from.enumerate().for_each(|(from, to)| same(Place::Input(0, from), Place::Output(to)));
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let axes: Vec<usize> = self.axes.iter().map(|a| a + 1).collect();
        Ok(smallvec![expand_dims(b, cx.inputs[0], &axes)?])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let index: SmallVec<[Ix; 4]> =
            at.iter().enumerate().filter(|(i, _)| !self.axes.contains(i)).map(|(_, ix)| ix.clone()).collect();
        cx.input(0, &index)
    }
    fn strided(&self, _: &mut dyn Arithmetic, input: &Strided, output: &[Number], _: &[Extents]) -> Option<Strided> {
        let mut strides = input.strides.clone();
        self.axes.iter().for_each(|&axis| strides.insert(axis, Number::ZERO));
        Some(Strided { extents: output.into(), strides, offset: input.offset })
    }
}

impl Primitive for Squeeze {
    fields!("squeeze" axes);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        if let Some(&axis) = self.axes.iter().find(|&&i| a.shape.get(i) != Some(&1)) {
            return Err(Error::value(
                "squeeze",
                format!("axis {axis} of an array of shape {} does not have extent 1", shape::show(&a.shape)),
            ));
        }
        let kept = a.shape.iter().enumerate().filter(|(i, _)| !self.axes.contains(i)).map(|(_, &n)| n);
        Ok(smallvec![Aval::new(a.dtype, kept.collect::<Shape>())])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, _: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![Some(expand_dims(b, cotangents[0].expect("a cotangent"), &self.axes)?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, (0..inputs[0].rank()).filter(|axis| !self.axes.contains(axis)), same);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let axes: Vec<usize> = self.axes.iter().map(|a| a + 1).collect();
        Ok(smallvec![squeeze(b, cx.inputs[0], &axes)?])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let mut index: SmallVec<[Ix; 4]> = at.into();
        for &axis in &self.axes {
            index.insert(axis, Ix::constant(0));
        }
        cx.input(0, &index)
    }
    fn strided(&self, _: &mut dyn Arithmetic, input: &Strided, output: &[Number], _: &[Extents]) -> Option<Strided> {
        let kept = input.strides.iter().enumerate().filter(|(i, _)| !self.axes.contains(i)).map(|(_, stride)| *stride);
        Some(Strided { extents: output.into(), strides: kept.collect(), offset: input.offset })
    }
}

/// `a` broadcast to these extents; itself if it has them.
pub fn broadcast_to(b: &mut Builder, a: Atom, to: &[usize]) -> Result<Atom> {
    if b.shape(a) == to {
        return Ok(a);
    }
    let shape = b.extents(to);
    b.op(Broadcast { shape }, &[a])
}

/// `a` with axes of extent 1 at these (sorted) positions of the result.
pub fn expand_dims(b: &mut Builder, a: Atom, axes: &[usize]) -> Result<Atom> {
    if axes.is_empty() { Ok(a) } else { b.op(ExpandDims { axes: axes.into() }, &[a]) }
}

/// `a` without these (sorted) axes of extent 1.
pub fn squeeze(b: &mut Builder, a: Atom, axes: &[usize]) -> Result<Atom> {
    if axes.is_empty() { Ok(a) } else { b.op(Squeeze { axes: axes.into() }, &[a]) }
}
