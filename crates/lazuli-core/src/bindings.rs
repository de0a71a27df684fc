//! The plans that a program has for arguments that lie in different ways.

use crate::array::Value;
use crate::run::Ready;
use lazuli_kernel::hash::{Map, WordHasher};
use smallvec::SmallVec;
use std::hash::{Hash as _, Hasher};
use std::sync::Arc;

/// Steps that the plans of a program have together at most: a few kilobytes each.
const STEPS: usize = if cfg!(test) { 256 } else { 1 << 14 };
/// Plans that are kept however many steps they have.
const LEAST: usize = 32;

/// Plans by a hash of layouts. When they have too many steps, the half of them goes that was used least recently.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    plans: Map<Hash, SmallVec<[Known; 1]>>,
    count: usize,
    steps: usize,
    clock: u64,
}

#[derive(Debug)]
struct Known {
    ready: Arc<Ready>,
    used: u64,
}

/// That of how arguments lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, std::hash::Hash)]
pub(crate) struct Hash(u64);

impl Hash {
    fn of(arguments: &[&Value]) -> Self {
        let mut hasher = WordHasher::default();
        arguments.iter().for_each(|v| v.layout.hash(&mut hasher));
        Hash(hasher.finish())
    }
}

impl Bindings {
    /// The plan for arguments that lie like these; if there is none, what to [add](Self::add) it by.
    pub fn find(&mut self, arguments: &[&Value]) -> Result<Arc<Ready>, Hash> {
        let hash = Hash::of(arguments);
        let mut alike = self.plans.get_mut(&hash).into_iter().flatten();
        let known = alike.find(|known| known.ready.fits(arguments)).ok_or(hash)?;
        self.clock += 1;
        known.used = self.clock;
        Ok(known.ready.clone())
    }

    /// Takes a plan for such arguments out: what to add another by.
    pub fn take_out(&mut self, arguments: &[&Value], plan: &Arc<Ready>) -> Hash {
        let hash = Hash::of(arguments);
        if let Some(alike) = self.plans.get_mut(&hash) {
            let before = alike.len();
            alike.retain(|known| !Arc::ptr_eq(&known.ready, plan));
            if alike.len() < before {
                self.count -= 1;
                self.steps -= plan.steps();
            }
        }
        hash
    }

    /// Adds a plan for arguments of this hash.
    pub fn add(&mut self, hash: Hash, ready: Arc<Ready>) {
        if self.steps + ready.steps() > STEPS && self.count >= LEAST {
            self.forget_half();
        }
        self.clock += 1;
        self.count += 1;
        self.steps += ready.steps();
        self.plans.entry(hash).or_default().push(Known { ready, used: self.clock });
    }

    fn forget_half(&mut self) {
        let mut times: Vec<u64> = self.plans.values().flatten().map(|known| known.used).collect();
        let middle = times.len() / 2;
        let (_, &mut since, _) = times.select_nth_unstable(middle);
        self.plans.retain(|_, alike| {
            alike.retain(|known| known.used >= since);
            !alike.is_empty()
        });
        self.count = self.plans.values().map(SmallVec::len).sum();
        self.steps = self.plans.values().flatten().map(|known| known.ready.steps()).sum();
    }
}

#[cfg(test)]
mod tests {
    use crate::{Array, compile, compile_stats};

    #[test]
    fn the_plans_used_last_stay() {
        let f = compile(|x: &Array| x * 2.0f32).shapeless();
        let makes_a_plan = |n: usize| {
            let before = compile_stats().plans;
            f(&Array::from_slice(&vec![1.0f32; n], &[n])).eval();
            compile_stats().plans > before
        };
        assert!((1..200).all(makes_a_plan));
        assert!(!(1..200).any(makes_a_plan));
        // Beyond as many as are kept, one that is used all the time stays, and others go.
        assert!((200..600).all(|n| makes_a_plan(n) && !makes_a_plan(7)));
        assert!(!makes_a_plan(599) && makes_a_plan(8) && !makes_a_plan(8));
    }
}
