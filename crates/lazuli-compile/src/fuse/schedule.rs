//! What fusing leads to: groups of equations, each of which becomes one kernel.

use crate::lower::lowering;
use lazuli_ir::{Equation, Graph, Lowering, Var};
use smallvec::{SmallVec, smallvec};

/// One kernel (or library call).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// The equations that are more than pointwise: none for a map.
    pub anchors: SmallVec<[u32; 1]>,
    /// Variables that are stored.
    pub stores: SmallVec<[Var; 2]>,
    /// Variables, of as many elements as the loop space, where the axes of which end its own should be split.
    pub splits: SmallVec<[Var; 1]>,
    /// All equations computed here, in order.
    pub members: Vec<u32>,
}

/// Groups in the order in which they run, and why neighbours are not one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub groups: Vec<Group>,
    /// Of variables that are stored: why they could not stay within a kernel.
    pub reasons: Vec<(Var, &'static str)>,
}

impl Schedule {
    /// Whether loops can be split where they are to be split, for other extents than those that it was made for: variables of these shapes.
    pub fn can_split<'a>(&self, shape_of: impl Fn(Var) -> &'a [usize] + Copy) -> bool {
        self.split(shape_of).all(|alike| nested(alike.into_iter().flat_map(|v| boundaries(shape_of(v)))).is_some())
    }
    /// Of each group whose loops are to be split the variables where the axes of which end, if they have these shapes.
    pub fn split<'a>(&self, shape_of: impl Fn(Var) -> &'a [usize] + Copy) -> impl Iterator<Item = SmallVec<[Var; 4]>> {
        let size = move |v: Var| shape_of(v).iter().product::<usize>();
        self.groups.iter().filter_map(move |group| {
            let &first = group.splits.first()?;
            let all = group.stores.iter().chain(&group.splits).copied();
            Some(all.filter(|&v| size(v) == size(first)).collect())
        })
    }
}

/// Every equation by itself.
pub(crate) fn apart(graph: &Graph) -> Schedule {
    let group = |(i, e): (usize, &Equation)| {
        let anchors = match lowering(graph, i as u32) {
            Lowering::Pointwise => smallvec![],
            _ => smallvec![i as u32],
        };
        Group { anchors, stores: e.outputs.iter().copied().collect(), splits: smallvec![], members: vec![i as u32] }
    };
    Schedule { groups: graph.equations.iter().enumerate().map(group).collect(), reasons: Vec::new() }
}

/// Boundaries in order, if each is a multiple of the one before.
pub(super) fn nested(all: impl Iterator<Item = usize>) -> Option<SmallVec<[usize; 4]>> {
    let mut all: SmallVec<[usize; 4]> = all.collect();
    all.sort_unstable();
    all.dedup();
    all.windows(2).all(|w| w[1].is_multiple_of(w[0])).then_some(all)
}

/// Where the axes of a shape end, in elements counted from the end; none if it is empty.
pub(super) fn boundaries(shape: &[usize]) -> SmallVec<[usize; 4]> {
    let mut ends: SmallVec<[usize; 4]> = SmallVec::new();
    let mut n = 1;
    for &extent in shape.iter().rev().filter(|&&n| n != 1) {
        ends.push(n);
        n *= extent;
    }
    ends.push(n);
    if n == 0 { SmallVec::new() } else { ends }
}
