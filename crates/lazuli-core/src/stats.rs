//! Counts of what compilation did in this process.
//!
//! Each thread counts for itself, so that a call of which all is known pays for an addition and waits for no other core.

use crate::backend;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// Counts of what compilation did in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompileStats {
    /// Functions traced.
    pub traces: u64,
    /// Graphs simplified.
    pub simplifications: u64,
    /// Plans made ready, one per program and binding of layouts.
    pub plans: u64,
    /// Those of them for which a graph was lowered. The others, of shapeless programs, follow from such a one.
    pub lowered: u64,
    /// Kernels for which machine code was generated.
    pub kernels: u64,
    /// Calls that ran a plan that was there already.
    pub hits: u64,
}

/// What compilation has done in this process so far.
///
/// ```
/// use lazuli_core::{Array, array, compile, compile_stats};
/// let double = compile(|x: &Array| x * 2.0);
/// double(&array([1.0])).eval();
/// let before = compile_stats();
/// double(&array([3.0])).eval();
/// assert!(compile_stats().hits > before.hits && double.traces() == 1);
/// ```
pub fn compile_stats() -> CompileStats {
    let all = all();
    let of = |what: Count| {
        let live = all.live.iter().map(|counts| counts.0[what as usize].load(Relaxed));
        all.ended[what as usize] + live.sum::<u64>()
    };
    CompileStats {
        traces: of(Count::Traces),
        simplifications: of(Count::Simplifications),
        plans: of(Count::Plans),
        lowered: of(Count::Lowered),
        kernels: backend::default().kernels_generated() as u64,
        hits: of(Count::Hits),
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    Traces,
    Simplifications,
    Plans,
    Lowered,
    Hits,
}

const KINDS: usize = Count::Hits as usize + 1;

/// Those of one thread, which nobody else writes.
#[derive(Default)]
#[repr(align(128))]
struct Counts([AtomicU64; KINDS]);

/// Those of all threads.
struct All {
    live: Vec<Arc<Counts>>,
    ended: [u64; KINDS],
}

fn all() -> MutexGuard<'static, All> {
    static ALL: Mutex<All> = Mutex::new(All { live: Vec::new(), ended: [0; KINDS] });
    ALL.lock().unwrap_or_else(|e| e.into_inner())
}

struct Mine(Arc<Counts>);

impl Mine {
    fn new() -> Mine {
        let counts = Arc::<Counts>::default();
        all().live.push(counts.clone());
        Mine(counts)
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        let mut all = all();
        all.live.retain(|counts| !Arc::ptr_eq(counts, &self.0));
        for (ended, own) in all.ended.iter_mut().zip(&self.0.0) {
            *ended += own.load(Relaxed);
        }
    }
}

/// One more.
#[inline]
pub(crate) fn count(what: Count) {
    thread_local! {
        static MINE: Mine = Mine::new();
    }
    let add = |Mine(counts): &Mine| {
        let count = &counts.0[what as usize];
        count.store(count.load(Relaxed) + 1, Relaxed);
    };
    if MINE.try_with(add).is_err() {
        // The thread is at its end.
        all().ended[what as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_threads_that_have_ended_stay() {
        let before = compile_stats().lowered;
        let thread = std::thread::spawn(|| (0..3).for_each(|_| count(Count::Lowered)));
        thread.join().unwrap();
        count(Count::Lowered);
        assert!(compile_stats().lowered >= before + 4);
    }
}
