//! Verifies plans one after another, and goes by what was noted of the proofs about earlier ones.

use super::noted::Proof;
use super::plan::UsesOf;
use super::words::Words;
use crate::error::Result;
use crate::plan::Plan;
use std::mem::swap;

/// Verifies plans that are much alike, such as those of one program for several shapes. A proof is noted when a plan is verified after another one of the same structure, and is not looked for
/// again where it holds of a later one.
#[derive(Debug, Default)]
pub struct Verifier {
    /// The one that held last is the last.
    proofs: Vec<Proof>,
    /// How many were noted since one held.
    in_vain: usize,
    /// The plan that was verified last, and the one before it.
    words: Words,
    before: Words,
    /// Room for what is computed of words.
    values: Vec<i64>,
}

/// How many proofs are kept, and how many are noted in vain.
const MOST: usize = 8;

impl Verifier {
    /// Verifies a plan for a backend that knows some kernels already: `uses` gives those of a kernel that is well-formed, by [`Kernel::verify`](crate::Kernel::verify), or an error. The verdict is
    /// that of [`Plan::verify`].
    ///
    /// # Errors
    /// Of kind [`Internal`](crate::ErrorKind::Internal): a broken invariant, with the step at fault.
    pub fn verify(&mut self, plan: &Plan, uses: &UsesOf) -> Result<()> {
        self.before.write(plan);
        if !self.is_known(plan) {
            let (now, was) = (&self.before, &self.words);
            let is_noted = self.in_vain < MOST && !now.has_choices && now.structure == was.structure;
            match is_noted.then(|| plan.prove_noting(now, was, uses)) {
                Some(proof) => self.add(proof?),
                None => plan.prove(now, uses)?,
            }
        }
        swap(&mut self.words, &mut self.before);
        Ok(())
    }

    /// Whether a proof that was noted is one about a plan, of which the words are there.
    fn is_known(&mut self, plan: &Plan) -> bool {
        let Self { proofs, before: words, values, .. } = self;
        let Some(n) = proofs.iter().rposition(|proof| proof.holds(words, &plan.donations, values)) else {
            return false;
        };
        proofs[n..].rotate_left(1);
        self.in_vain = 0;
        true
    }

    fn add(&mut self, proof: Proof) {
        if self.proofs.len() == MOST {
            self.proofs.remove(0);
        }
        self.proofs.push(proof);
        self.in_vain += 1;
    }

    /// Whether this step of the plan that was verified last is the same one in the plan verified before it, but for where its arrays lie. Of a choice nothing is said of the plans within.
    pub fn is_as_before(&self, step: usize) -> bool {
        self.words.is_alike(&self.before, step)
    }
}

#[cfg(test)]
mod tests;
