//! Proofs about plans that differ in some numbers only.

use super::plan::UsesOf;
use super::words::PlanWords;
use crate::error::{Error, Result};
use crate::noted::Proof;
use crate::plan::Plan;
use crate::varying::Varying;
use std::sync::Arc;

/// How many proofs are kept, and how many are noted in vain.
const MOST: usize = 8;

/// Proofs about plans that differ in some numbers only.
#[derive(Debug, Default)]
pub struct Proofs {
    /// What the plans have in common.
    structure: Box<[u64]>,
    donations: Arc<[(u32, u32)]>,
    /// The one that held last is the last.
    proofs: Vec<Proof>,
    /// How many were noted since one held.
    in_vain: usize,
    /// Room for what a proof computes.
    computed: Vec<i64>,
}

impl Proofs {
    /// Whether one of the proofs is about the plan of these values too: then it is as [`Plan::verify`] would have it.
    pub fn hold(&mut self, values: &[i64]) -> bool {
        let Self { proofs, computed, in_vain, .. } = self;
        let holds = |proof: &Proof| {
            computed.clear();
            computed.extend_from_slice(values);
            proof.holds(computed)
        };
        let Some(n) = proofs.iter().rposition(holds) else { return false };
        proofs[n..].rotate_left(1);
        *in_vain = 0;
        true
    }

    /// Room for what else is computed of values, in which the last proof was gone through: it is in a cache.
    pub fn room(&mut self) -> &mut Vec<i64> {
        &mut self.computed
    }

    /// Checks that a plan of these words is the one of these values, as which proofs speak of it.
    ///
    /// # Errors
    /// Of kind [`Internal`](crate::ErrorKind::Internal), if it has other numbers, or another structure or other donations than those before.
    pub fn check(&self, plan: &Plan, words: &PlanWords, (varying, values): (&Varying, &[i64])) -> Result<()> {
        if !varying.is_plan_of(words, values) {
            return Err(Error::internal("verify", "a plan has other numbers than its values say"));
        }
        if self.structure[..] != words.structure[..] || self.donations != plan.donations {
            let message = "a plan has another structure, or other donations, than those that it is said to be like";
            return Err(Error::internal("verify", message));
        }
        Ok(())
    }

    /// Verifies the plan of these values, whose words these are, and notes the proof. `uses` gives those of a kernel that is well-formed, by [`Kernel::verify`](crate::Kernel::verify), or an
    /// error. The verdict is that of [`Plan::verify`].
    ///
    /// # Errors
    /// Of kind [`Internal`](crate::ErrorKind::Internal): a broken invariant, with the step at fault; or as for [`check`](Self::check).
    pub fn verify(
        &mut self,
        plan: &Plan,
        words: &PlanWords,
        (varying, values): (&Varying, &[i64]),
        uses: &UsesOf,
    ) -> Result<()> {
        if self.structure.is_empty() {
            (self.structure, self.donations) = (words.structure[..].into(), plan.donations.clone());
        }
        self.check(plan, words, (varying, values))?;
        if self.in_vain == MOST {
            return plan.prove(words, uses);
        }
        let proof = plan.prove_noting(words, varying, uses)?;
        if self.proofs.len() == MOST {
            self.proofs.remove(0);
        }
        self.proofs.extend(proof);
        self.in_vain += 1;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
