//! How kernels touch their operands: all that proofs about plans need of them besides their header.

use crate::ir::{Inner, Inst, Kernel, Nest, Operand, Store};
use smallvec::SmallVec;

/// How a kernel touches its operands. It depends on nothing else, so that a backend keeps it with the kernel.
#[derive(Debug, Clone)]
pub struct Uses(SmallVec<[Use; 8]>);

/// One way in which a kernel touches an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    pub operand: u32,
    pub itemsize: u8,
    pub inner: Inner,
    pub at: At,
    pub writes: bool,
}

/// Which elements of an operand are touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// That of each point of the loop space.
    All,
    /// That of each point of the axes that are not reduced. `Later`: behind the stores at all points, in rows.
    Kept,
    Later,
    /// Those of computed positions.
    Computed,
}

impl Uses {
    /// Those of a kernel that is well-formed, by [`Kernel::verify`].
    pub fn of(kernel: &Kernel) -> Self {
        let mut uses: SmallVec<[Use; 8]> = SmallVec::new();
        let mut touch = |operand: u32, at: At, writes: bool| {
            let same = |u: &&mut Use| u.operand == operand && u.at == at;
            match uses.iter_mut().find(same) {
                Some(known) => known.writes |= writes,
                None => {
                    let Operand { dtype, inner, .. } = kernel.operands[operand as usize];
                    uses.push(Use { operand, itemsize: dtype.itemsize() as u8, inner, at, writes });
                }
            }
        };
        let (kept, epilogue): (At, &[Inst]) = match &kernel.nest {
            Nest::Reduce { epilogue, .. } => (At::Kept, epilogue),
            Nest::Rows { epilogue, .. } => (At::Later, epilogue),
            Nest::Map { .. } | Nest::Scan { .. } | Nest::Recurrence { .. } | Nest::Scatter { .. } => (At::Kept, &[]),
        };
        for (insts, at) in [(&kernel.body[..], At::All), (epilogue, kept)] {
            for inst in insts {
                match inst {
                    Inst::Load(operand) => touch(*operand, at, false),
                    Inst::LoadAt { operand, .. } => touch(*operand, At::Computed, false),
                    _ => {}
                }
            }
        }
        let (at_all, at_kept): (&[Store], &[Store]) = match &kernel.nest {
            Nest::Map { stores } | Nest::Reduce { stores, .. } => (&[], stores),
            Nest::Rows { stores, row_stores, .. } => (stores, row_stores),
            Nest::Scan { store, .. } | Nest::Recurrence { store, .. } => {
                touch(*store, At::Kept, true);
                (&[], &[])
            }
            Nest::Scatter { target, .. } => {
                touch(*target, At::Computed, true);
                (&[], &[])
            }
        };
        at_all.iter().for_each(|s| touch(s.operand, At::All, true));
        at_kept.iter().for_each(|s| touch(s.operand, kept, true));
        uses.sort_by_key(|u| (u.operand, u.at as u8));
        Self(uses)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Use> {
        self.0.iter().copied()
    }
    /// Whether an operand is touched at computed positions.
    pub(super) fn is_computed(&self, operand: usize) -> bool {
        self.iter().any(|u| u.operand as usize == operand && u.at == At::Computed)
    }
}
