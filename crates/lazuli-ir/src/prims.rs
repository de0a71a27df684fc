//! The primitives that are not elementwise, one block each.

mod cast;
mod reduce;
mod view;

pub use cast::Cast;
pub use reduce::{Reduce, ReduceOp};
pub use view::{Broadcast, ExpandDims, Squeeze, Transpose, broadcast_to, expand_dims, squeeze};

use crate::builder::Builder;
use crate::graph::Atom;
use lazuli_kernel::Result;

/// Sums what broadcasting stretched: the transpose of broadcasting from `to`.
pub fn unbroadcast(b: &mut Builder, a: Atom, to: &[usize]) -> Result<Atom> {
    let shape: Vec<usize> = b.shape(a).to_vec();
    if shape == to {
        return Ok(a);
    }
    let extra = shape.len() - to.len();
    let axes: smallvec::SmallVec<[usize; 4]> =
        (0..shape.len()).filter(|&i| i < extra || to[i - extra] == 1 && shape[i] != 1).collect();
    let summed = b.op(Reduce { op: ReduceOp::Sum, axes, keepdims: true }, &[a])?;
    view::squeeze(b, summed, &(0..extra).collect::<Vec<_>>())
}
