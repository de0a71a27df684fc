//! Noticing a fork: the child has none of its parent's threads, so what owns threads starts afresh there.
//!
//! Queued work is finished before the fork, so that no array of the child waits for a thread that it does not have. Absent: locks that
//! other threads of the parent hold at the moment of the fork stay locked in the child, as with any library.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// Work to finish before a fork.
pub trait Drain: Send + Sync {
    fn drain(&self);
}

/// How many forks lie between this process and the one that began.
static GENERATION: AtomicU32 = AtomicU32::new(0);

static DRAINS: Mutex<Vec<Weak<dyn Drain>>> = Mutex::new(Vec::new());

/// Another number in a child than in its parent.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Has this drained before every fork, for as long as it lives.
pub fn before_fork(work: Weak<dyn Drain>) {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        // SAFETY: both handlers are functions of the C convention that do not unwind: they catch what could.
        unsafe { libc::pthread_atfork(Some(prepare), None, Some(child)) };
    });
    let mut drains = DRAINS.lock().unwrap_or_else(|e| e.into_inner());
    drains.retain(|d| d.strong_count() > 0);
    drains.push(work);
}

extern "C" fn prepare() {
    // Not under the lock: what is drained may run code of ours.
    let known: Vec<Arc<dyn Drain>> =
        DRAINS.lock().unwrap_or_else(|e| e.into_inner()).iter().filter_map(Weak::upgrade).collect();
    for work in known {
        // A panic must not cross the system's fork.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work.drain()));
    }
}

extern "C" fn child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
