//! Verifies plans one after another, and goes by what was noted of the proofs about earlier ones.

use super::plan::UsesOf;
use super::proofs::Proofs;
use super::words::PlanWords;
use crate::error::Result;
use crate::plan::Plan;
use std::mem::swap;

/// Verifies plans that are much alike, such as those of one program for several shapes. A proof is noted when a plan is verified after another one of the same structure, and is not looked for
/// again where it holds of a later one.
#[derive(Debug, Default)]
pub struct Verifier {
    proofs: Proofs,
    /// The plan that was verified last, and the one before it.
    words: PlanWords,
    before: PlanWords,
}

impl Verifier {
    /// Verifies a plan for a backend that knows some kernels already: `uses` gives those of a kernel that is well-formed, by [`Kernel::verify`](crate::Kernel::verify), or an error. The verdict is
    /// that of [`Plan::verify`].
    ///
    /// # Errors
    /// Of kind [`Internal`](crate::ErrorKind::Internal): a broken invariant, with the step at fault.
    pub fn verify(&mut self, plan: &Plan, uses: &UsesOf) -> Result<()> {
        self.before.write(plan);
        self.proofs.verify(plan, &self.before, uses)?;
        swap(&mut self.words, &mut self.before);
        Ok(())
    }

    /// The plan that was verified last.
    pub fn words(&self) -> &PlanWords {
        &self.words
    }
    /// The plan that was verified before the last one, if none was refused between them.
    pub fn before(&self) -> &PlanWords {
        &self.before
    }
}

#[cfg(test)]
mod tests;
