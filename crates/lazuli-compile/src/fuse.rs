//! Which equations become one kernel.

use crate::lower::lowering;
use lazuli_ir::{Graph, Lowering, Var};
use smallvec::{SmallVec, smallvec};

/// One kernel (or library call): its anchors, the equations that are more than pointwise, and the variables it stores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub anchors: SmallVec<[u32; 1]>,
    pub stores: SmallVec<[Var; 2]>,
}

/// Every equation by itself.
pub(crate) fn apart(graph: &Graph) -> Vec<Group> {
    let group = |(i, e): (usize, &lazuli_ir::Equation)| {
        let anchors = match lowering(graph, i as u32) {
            Lowering::Pointwise => smallvec![],
            _ => smallvec![i as u32],
        };
        Group { anchors, stores: e.outputs.iter().copied().collect() }
    };
    graph.equations.iter().enumerate().map(group).collect()
}
