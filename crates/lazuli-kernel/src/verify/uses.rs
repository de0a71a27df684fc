//! How kernels touch their operands: all that proofs about plans need of them besides their header.

use crate::ir::{Inst, Kernel, Nest, Role};
use smallvec::SmallVec;

/// How a kernel touches each of its operands. It depends on nothing else, so that a backend keeps it with the kernel.
#[derive(Debug, Clone)]
pub struct Uses(SmallVec<[Use; 8]>);

/// How a kernel touches one of its operands.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Use {
    /// At every point of the loop space.
    pub body: bool,
    /// At every point of the axes that are not reduced.
    pub kept: bool,
    /// At computed positions.
    pub computed: bool,
    /// Among the above is a store: at the kept points if there is a use at those, else at all.
    pub written: bool,
    /// What is touched at kept points is touched behind the stores at all points: in rows.
    pub later: bool,
}

impl Uses {
    /// Those of a kernel that is well-formed, by [`Kernel::verify`].
    pub fn of(kernel: &Kernel) -> Self {
        let mut uses: SmallVec<[Use; 8]> = SmallVec::from_elem(Use::default(), kernel.operands.len());
        let (mut body, mut kept): (SmallVec<[u32; 8]>, SmallVec<[u32; 8]>) = Default::default();
        let loads = |insts: &[Inst], into: &mut SmallVec<[u32; 8]>| {
            into.extend(insts.iter().filter_map(|i| if let Inst::Load(o) = i { Some(*o) } else { None }));
        };
        loads(&kernel.body, &mut body);
        for inst in kernel.insts() {
            if let Inst::LoadAt { operand, .. } = inst {
                uses[*operand as usize].computed = true;
            }
        }
        match &kernel.nest {
            Nest::Map { stores } => kept.extend(stores.iter().map(|s| s.operand)),
            Nest::Reduce { stores, epilogue, .. } => {
                kept.extend(stores.iter().map(|s| s.operand));
                loads(epilogue, &mut kept);
            }
            Nest::Rows { stores, epilogue, row_stores, .. } => {
                body.extend(stores.iter().map(|s| s.operand));
                kept.extend(row_stores.iter().map(|s| s.operand));
                loads(epilogue, &mut kept);
                uses.iter_mut().for_each(|u| u.later = true);
            }
            Nest::Scan { store, .. } => kept.push(*store),
            Nest::Scatter { target, .. } => {
                let target = &mut uses[*target as usize];
                (target.computed, target.written) = (true, true);
            }
        }
        kept.iter().for_each(|&o| uses[o as usize].kept = true);
        body.iter().for_each(|&o| uses[o as usize].body = true);
        for o in kept.into_iter().chain(body) {
            uses[o as usize].written = kernel.operands[o as usize].role != Role::In;
        }
        Self(uses)
    }

    /// In the order of the operands.
    pub(super) fn iter(&self) -> impl Iterator<Item = Use> {
        self.0.iter().copied()
    }
}
