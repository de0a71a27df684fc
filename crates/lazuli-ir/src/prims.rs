//! The primitives that are not elementwise, one block each.

mod along;
mod arg;
mod bitcast;
mod call;
mod cast;
mod cond;
mod cumulative;
mod debug;
mod diagonal;
mod gather;
mod join;
mod matmul;
mod part;
mod random;
mod recurrence;
mod reduce;
mod reshape;
mod slice;
mod sort;
mod source;
mod view;
mod write;

pub use along::{GatherAxis, ScatterAxis};
pub use arg::{ArgOp, ArgReduce};
pub use bitcast::Bitcast;
pub use call::{Call, Derivative, GraphRule, ReadRule, Rule, Source, VmapRule};
pub use cast::Cast;
pub use cond::Cond;
pub use cumulative::Cumulative;
pub use debug::DebugPrint;
pub use diagonal::{Diagonal, Undiagonal};
pub use gather::{Gather, Scatter};
pub use join::{Concatenate, Pad};
pub use matmul::Matmul;
pub use part::Part;
pub use random::{RandomBits, threefry};
pub use recurrence::Recurrence;
pub use reduce::{Reduce, ReduceOp};
pub use reshape::{Flatten, Reshape, Unflatten, reshape};
pub use slice::{Bound, Slice, SliceUpdate, Unslice};
pub use sort::{ArgSort, Sort};
pub use source::{Iota, NumberOfElements};
pub use view::{Broadcast, ExpandDims, Squeeze, Transpose, broadcast_to, expand_dims, squeeze};

use crate::aval::Aval;
use crate::builder::Builder;
use crate::elementwise::Unary;
use crate::graph::Atom;
use lazuli_kernel::{DType, Error, Result, Scalar, Shape, small};

/// Sums what broadcasting stretched: the transpose of broadcasting from `to`.
pub fn unbroadcast(b: &mut Builder, a: Atom, to: &[usize]) -> Result<Atom> {
    let shape = Shape::from_slice(b.shape(a));
    if *shape == *to {
        return Ok(a);
    }
    let extra = shape.len() - to.len();
    let axes = small((0..shape.len()).filter(|&i| i < extra || to[i - extra] == 1 && shape[i] != 1));
    let summed = b.op(Reduce { op: ReduceOp::Sum, axes, keepdims: true }, &[a])?;
    view::squeeze(b, summed, &small::<[usize; 4]>(0..extra))
}

/// Zeros of the dtype and shape of `a`.
pub fn zeros_like(b: &mut Builder, a: Atom) -> Result<Atom> {
    let aval = b.aval(a);
    zeros(b, aval.dtype, &aval.shape)
}

/// Zeros of a dtype and shape.
pub fn zeros(b: &mut Builder, dtype: DType, shape: &[usize]) -> Result<Atom> {
    broadcast_to(b, Atom::Lit(Scalar::zero(dtype)), shape)
}

/// A tangent, or the zeros that none stands for.
fn tangent_or_zeros(b: &mut Builder, tangent: Option<Atom>, primal: Atom) -> Result<Atom> {
    let none = || {
        let zeros = zeros_like(b, primal)?;
        b.alike(zeros, primal);
        Ok(zeros)
    };
    tangent.map_or_else(none, Ok)
}

/// The complex conjugate; itself for other dtypes.
pub fn conjugate(b: &mut Builder, a: Atom) -> Result<Atom> {
    match b.dtype(a) {
        DType::C64 => b.unary(Unary::Conjugate, a),
        _ => Ok(a),
    }
}

/// The cotangent of an equation with one output.
fn cotangent(cotangents: &[Option<Atom>]) -> Atom {
    cotangents[0].expect("not called with a zero cotangent")
}

fn check_axis(op: &str, axis: usize, a: &Aval) -> Result<()> {
    if axis < a.rank() {
        return Ok(());
    }
    Err(Error::index(op, format!("axis {axis} is out of bounds for an array with {} dimensions", a.rank())))
}

/// All operands have one dtype.
fn check_alike(op: &str, operands: &[&Aval]) -> Result<()> {
    if operands.iter().all(|a| a.dtype == operands[0].dtype) {
        return Ok(());
    }
    let got: Vec<_> = operands.iter().map(|a| a.dtype.name()).collect();
    Err(Error::value(op, format!("operands must have one dtype, not {}: cast with astype first", got.join(", "))))
}
