//! Proofs about plans that were verified one after another, by the structure of these.

use super::common::Common;
use super::plan::UsesOf;
use super::proof::Proof;
use super::words::PlanWords;
use crate::error::Result;
use crate::ir::Kernel;
use crate::plan::Plan;
use std::cell::RefCell;
use std::sync::Arc;

/// How many structures are kept, how many proofs about the plans of each, and how many of these are noted in vain.
const MOST: usize = 8;

/// Proofs about plans that were verified one after another.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    /// That of the last plan is the last.
    families: Vec<Family>,
    /// Room for the values that a proof computes.
    values: Vec<i64>,
}

/// Plans of one structure, and with the same donations.
#[derive(Debug)]
struct Family {
    structure: Box<[u64]>,
    donations: Arc<[(u32, u32)]>,
    /// Those that the structure names by their addresses, so that no others take these.
    _kernels: Vec<Arc<Kernel>>,
    common: Common,
    /// The one that held last is the last.
    proofs: Vec<Proof>,
    /// How many were noted since one held.
    in_vain: usize,
}

impl Proofs {
    /// Verifies a plan of these words.
    pub fn verify(&mut self, plan: &Plan, words: &PlanWords, uses: &UsesOf) -> Result<()> {
        if words.has_choices {
            return plan.prove(words, uses);
        }
        let Self { families, values } = self;
        if let Some(n) = families.iter().rposition(|family| family.has(plan, words)) {
            let verdict = families[n].verify(plan, words, uses, values);
            families[n..].rotate_left(1);
            return verdict;
        }
        let kernels = RefCell::new(Vec::new());
        let keep = |kernel: &Arc<Kernel>| {
            kernels.borrow_mut().push(kernel.clone());
            uses(kernel)
        };
        plan.prove(words, &keep)?;
        if families.len() == MOST {
            families.remove(0);
        }
        families.push(Family {
            structure: words.structure[..].into(),
            donations: plan.donations.clone(),
            _kernels: kernels.take(),
            common: Common::new(&words.numbers),
            proofs: vec![],
            in_vain: 0,
        });
        Ok(())
    }
}

impl Family {
    fn has(&self, plan: &Plan, words: &PlanWords) -> bool {
        let Self { donations, .. } = self;
        self.structure[..] == words.structure[..]
            && (Arc::ptr_eq(donations, &plan.donations) || *donations == plan.donations)
    }

    /// Verifies a plan of the family.
    fn verify(&mut self, plan: &Plan, words: &PlanWords, uses: &UsesOf, values: &mut Vec<i64>) -> Result<()> {
        let fits = self.common.fit(&words.numbers, values);
        if fits && self.hold(values) {
            return Ok(());
        }
        if self.in_vain == MOST {
            return plan.prove(words, uses);
        }
        if !fits {
            self.common.see(&words.numbers);
            self.proofs.clear();
        }
        let proof = plan.prove_noting(words, &self.common, uses)?;
        if self.proofs.len() == MOST {
            self.proofs.remove(0);
        }
        self.proofs.extend(proof);
        self.in_vain += 1;
        Ok(())
    }

    /// Whether one of the proofs is about a plan with these numbers that vary.
    fn hold(&mut self, values: &mut Vec<i64>) -> bool {
        let varying = self.common.varying();
        let holds = |proof: &Proof| {
            values.truncate(varying);
            proof.holds(values)
        };
        let Some(n) = self.proofs.iter().rposition(holds) else { return false };
        self.proofs[n..].rotate_left(1);
        self.in_vain = 0;
        true
    }
}
