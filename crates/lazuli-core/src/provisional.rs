//! Plans of a shapeless program that serve until it is worth to make better ones.
//!
//! For arguments of another order of magnitude, or whose extents happen to be equal where they differed before, a graph may be better fused otherwise. To find out takes as long as many runs, so the first of
//! them are made with the plan that follows from one that is there, which is right as well. Once such runs have taken as long as it takes to compile, the graph is compiled for what is called then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long plans that may not be the best are run before the graph is compiled: about as long as that takes.
const LONG: Duration = Duration::from_millis(10);

/// How often the program had been compiled when such a plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Provisional(u64);

/// The runs of such plans of a program.
#[derive(Debug, Default)]
pub(crate) struct Provisionals {
    /// How often the program was compiled.
    compiled: AtomicU64,
    /// How long runs have taken since, in nanoseconds.
    spent: AtomicU64,
}

impl Provisionals {
    /// Whether a plan may serve of which a run takes about so long, from now on or once more.
    pub fn may_run(&self, cost: Duration) -> bool {
        let cost = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        let before = self.spent.fetch_add(cost.min(1 << 40), Ordering::Relaxed);
        u128::from(before) + u128::from(cost) <= LONG.as_nanos()
    }
    /// Plans that are made provisionally now.
    pub fn now(&self) -> Provisional {
        Provisional(self.compiled.load(Ordering::Relaxed))
    }
    /// The program was compiled.
    pub fn compiled(&self) {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        self.spent.store(0, Ordering::Relaxed);
    }
}
