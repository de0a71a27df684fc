//! What a plan touches as another one does that was verified.
//!
//! An access is *kept* if the other plan has it too: at the same place among its steps and bindings, through the same operand of the same kernel or call, to the same input or output,
//! of the same size, and at each point to the same bytes, whatever the extents of axes along which it does not move. What was proved of kept accesses holds of them here: that
//! they stay in their slots, that no two points write one element, that they do not meet, and that an output may take over an input. Accesses to the arena are never kept, as
//! pieces move.
//!
//! Nothing is said of accesses that the other plan has besides: fewer accesses are in nobody's way.

use super::access::{Axes, is_far};
use super::uses::At;
use crate::ir::Kernel;
use crate::plan::{Arg, Binding, Plan, Slot};

/// A part of a plan that was verified, and that plan.
pub(super) type Was<'w, T> = Option<(&'w Plan, &'w T)>;

/// A binding beside one of the other plan, of the same kernel.
pub(super) struct Beside<'b> {
    sizes: [&'b Plan; 2],
    args: [&'b [Arg]; 2],
    /// The axes whose extents differ, and those that are not reduced.
    changed: u64,
    kept_axes: u64,
}

impl<'b> Beside<'b> {
    /// None if nothing is to be kept. The binding has as many extents and arguments as its kernel says.
    pub fn new(plan: &'b Plan, kernel: &Kernel, binding: &'b Binding, was: Was<'b, Binding>) -> Option<Self> {
        let (of, was) = was?;
        let rank = binding.extents.len();
        if rank >= 64 {
            return None;
        }
        let vector = kernel.vector_axis as usize;
        let mut changed = 0;
        for (axis, (&now, &before)) in binding.extents.iter().zip(&was.extents).enumerate() {
            if now == before && now != 0 {
                continue;
            }
            // Nothing was proved of no points, nor of how operands lie along vectors of one element.
            if is_far(now, 0) || before == 0 || axis == vector && before == 1 {
                return None;
            }
            changed |= 1 << axis;
        }
        let kept_axes = (1 << (rank - kernel.reduced() as usize)) - 1;
        let args = [&binding.args[..], &was.args[..]];
        Some(Self { sizes: [plan, of], args, changed, kept_axes })
    }

    /// Whether the access through this operand is kept.
    #[inline]
    pub fn keeps(&self, operand: usize, at: At, writes: bool) -> bool {
        let [arg, was] = self.args.map(|args| &args[operand]);
        if !is_same_slot(self.sizes, arg.slot, was.slot) || arg.offset != was.offset {
            return false;
        }
        let walked = match at {
            At::Computed => return arg.len == was.len,
            At::All => u64::MAX,
            At::Kept | At::Later => self.kept_axes,
        };
        // Along an axis that became longer than 1 all points would write the same.
        arg.strides == was.strides
            && (self.changed == 0 || self.stands(&arg.strides) && !(writes && self.changed & walked != 0))
    }

    /// Whether nothing moves along the axes whose extents differ.
    fn stands(&self, strides: &[isize]) -> bool {
        strides.iter().enumerate().all(|(axis, &stride)| stride == 0 || self.changed >> axis & 1 == 0)
    }
}

/// Whether an access at all points of some axes is kept, of which the other plan has one of the same dtype through this argument and axes.
pub(super) fn keeps_whole(plan: &Plan, arg: &Arg, axes: &Axes, writes: bool, was: Option<(&Plan, &Arg, Axes)>) -> bool {
    let Some((of, was, before)) = was else { return false };
    let stands =
        |((now, before), &stride): ((usize, usize), &isize)| now == before || stride == 0 && !writes && !is_far(now, 0);
    is_same_slot([plan, of], arg.slot, was.slot)
        && arg.offset == was.offset
        && arg.strides == was.strides
        && [arg.strides.len(), axes.rank()] == [axes.rank(), before.rank()]
        && !before.is_empty()
        && axes.extents().zip(before.extents()).zip(&arg.strides).all(stands)
}

/// Whether a slot of the first plan is the caller's, and that of the second plan, of the same size.
#[inline]
fn is_same_slot(plans: [&Plan; 2], slot: Slot, was: Slot) -> bool {
    let same = |n: u32, was: u32, sizes: [&Vec<usize>; 2]| {
        let [now, before] = sizes.map(|sizes| sizes.get(n as usize));
        n == was && now.is_some() && now == before
    };
    match (slot, was) {
        (Slot::Input(n), Slot::Input(was)) => same(n, was, plans.map(|plan| &plan.inputs)),
        (Slot::Output(n), Slot::Output(was)) => same(n, was, plans.map(|plan| &plan.outputs)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
