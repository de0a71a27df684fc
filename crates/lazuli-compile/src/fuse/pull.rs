//! Whether a value is computed where it is needed, or stored.

use super::{Class, Fuser, Placement, operands};
use crate::lower::is_joined;
use lazuli_ir::{Equation, Var, shape};
use smallvec::SmallVec;

/// Instructions a point that may be computed more often than needed: about what a load and a store cost.
const CHEAP: u32 = 8;
/// Instructions that may be computed again in another kernel, where that moves fewer bytes: one exponential fits.
const MODERATE: u32 = 40;
/// How many (kernel, class) pairs one value is computed in at most.
const MOST_COPIES: usize = 4;

impl Fuser<'_> {
    /// Where a value that need not be stored is computed, or why it has to be stored after all.
    pub(super) fn pull(
        &self,
        demands: &[Placement],
        e: &Equation,
        v: Var,
        cost: u32,
    ) -> Result<SmallVec<[Placement; 2]>, &'static str> {
        if !demands.iter().all(|d| self.has_room(d.kernel, cost)) {
            return Err("the kernel would be too large");
        }
        let own = matches!(demands, [d] if self.stores_at(d));
        if is_joined(e) && !(own && self.is_cut(demands[0].kernel)) {
            return Err("its parts are computed one after another");
        }
        if own {
            return Ok(demands.into());
        }
        // What follows from shapes alone is nothing but a number to each kernel.
        if cost == 0 && e.inputs.is_empty() {
            return Ok(demands.into());
        }
        let size = shape::size(self.shape(v));
        let points: usize = demands.iter().map(|d| self.points(d, size)).sum();
        let kernels =
            demands.iter().enumerate().filter(|(n, d)| !demands[..*n].iter().any(|p| p.kernel == d.kernel)).count();
        let spent = demands.iter().map(|d| d.spent).max().unwrap_or(0) + if points > size { cost } else { 0 };
        if kernels == 1 && points <= size {
            return Ok(demands.into());
        }
        if demands.len() > MOST_COPIES {
            return Err("many kernels need it");
        }
        let again = |d: &Placement| Placement { spent, ..*d };
        if kernels == 1 || points > kernels * size {
            let few = points <= 2 * kernels * size && kernels == 1;
            return match spent <= if few { MODERATE } else { CHEAP } {
                true => Ok(demands.iter().map(again).collect()),
                false => Err("it would be computed more often than it is stored"),
            };
        }
        let reads = operands(e).filter(|&u| 2 * shape::size(self.shape(u)) >= size).count();
        if spent <= MODERATE && reads * kernels <= reads + 1 + kernels {
            return Ok(demands.iter().map(again).collect());
        }
        Err("several kernels need it")
    }

    /// Whether a kernel may be cut where parts of what it computes meet.
    pub(super) fn is_cut(&self, kernel: u32) -> bool {
        let k = self.kernel(kernel);
        k.is_map() && !k.is_epilogue
    }

    /// How often a demand computes a value of `size` elements.
    pub(super) fn points(&self, d: &Placement, size: usize) -> usize {
        if let Class::Other(n) = d.class
            && let Some(points) = self.others[n as usize].points
        {
            return points;
        }
        match &self.kernel(d.kernel).nest {
            None => size,
            Some(nest) => nest.points(self.base(d.class)),
        }
    }
}
