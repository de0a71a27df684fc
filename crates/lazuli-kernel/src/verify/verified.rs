//! Plans that were verified, and what was noted of their proofs for others.

use super::noted::Proof;
use super::plan::UsesOf;
use super::words::Words;
use crate::error::Result;
use crate::plan::Plan;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

/// A plan that was verified, and stays as it is.
#[derive(Debug)]
pub struct Verified {
    plan: Plan,
    proofs: Arc<Proofs>,
}

/// Proofs about plans that were made one beside the other.
#[derive(Debug, Default)]
struct Proofs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The one that held last is the last.
    proofs: Vec<Proof>,
    /// How many were noted since one held.
    in_vain: usize,
    /// Room for the words of a plan, and for what is computed of them.
    words: Words,
    values: Vec<i64>,
}

/// How many proofs are kept, and how many are noted in vain.
const MOST: usize = 8;

impl Proofs {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether one of them is about this plan; its words, if not.
    fn hold(&self, plan: &Plan) -> Result<(), Words> {
        let Known { proofs, in_vain, words, values } = &mut *self.known();
        words.write(plan);
        let Some(n) = proofs.iter().rposition(|proof| proof.holds(words, &plan.donations, values)) else {
            return Err(std::mem::take(words));
        };
        proofs[n..].rotate_left(1);
        *in_vain = 0;
        Ok(())
    }

    fn are_wanted(&self) -> bool {
        self.known().in_vain < MOST
    }

    fn add(&self, proof: Proof) {
        let mut known = self.known();
        if known.proofs.len() == MOST {
            known.proofs.remove(0);
        }
        known.proofs.push(proof);
        known.in_vain += 1;
    }
}

impl Verified {
    /// Verifies a plan for a backend that knows some kernels already: `uses` gives those of a kernel that is well-formed, by [`Kernel::verify`](crate::Kernel::verify), or an error. A proof
    /// that was noted when a plan was verified beside another one of the same structure is not looked for again where it holds of this one. The verdict is that of [`Plan::verify`].
    ///
    /// # Errors
    /// Of kind [`Internal`](crate::ErrorKind::Internal): a broken invariant, with the step at fault.
    pub fn new(plan: Plan, like: Option<&Verified>, uses: &UsesOf) -> Result<Verified> {
        let Some(like) = like else {
            plan.prove(&Words::of(&plan), uses)?;
            return Ok(Verified { plan, proofs: Arc::default() });
        };
        let proofs = like.proofs.clone();
        let Err(words) = proofs.hold(&plan) else { return Ok(Verified { plan, proofs }) };
        let was = (proofs.are_wanted() && !words.has_choices).then(|| Words::of(&like.plan));
        match was.filter(|was| was.structure == words.structure) {
            Some(was) => proofs.add(plan.prove_noting(words, &was, uses)?),
            None => plan.prove(&words, uses)?,
        }
        Ok(Verified { plan, proofs })
    }
}

impl Deref for Verified {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.plan
    }
}

#[cfg(test)]
mod tests;
