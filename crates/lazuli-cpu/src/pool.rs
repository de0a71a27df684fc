//! The threads that kernels and library calls share.
//!
//! A call hands out task numbers from a counter; the caller works too. Workers spin briefly for the next call, and the caller for the last of
//! them, then they sleep: to be woken takes longer than most calls do. A worker that finds itself on its caller's processor moves to another. Results
//! never depend on the number of threads, because tasks are cut by shape alone or write apart. After a fork the child has no workers: the
//! pool notices and starts afresh. A plan that is asked to stop stops between tasks.

use crate::float_mode::DefaultFloats;
use crate::{fork, stream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Rounds of waiting before a thread sleeps: some tens of microseconds.
const SPINS: usize = 1500;

#[derive(Debug)]
pub struct Pool {
    threads: usize,
    /// The workers of this process; replaced after a fork, and then leaked.
    team: AtomicPtr<Team>,
}

#[derive(Debug)]
struct Team {
    /// Of the process: see [`fork::generation`].
    generation: u32,
    /// Held by the caller whose job runs; others work alone.
    busy: Mutex<()>,
    state: Mutex<State>,
    /// Counts jobs, so that spinning workers see a new one without the lock.
    epoch: AtomicUsize,
    /// The processor that the last job was called on.
    processor: AtomicUsize,
    /// Workers inside the job. Changed under the lock, read without it by the caller that spins.
    active: AtomicUsize,
    wake: Condvar,
    done: Condvar,
}

#[derive(Debug)]
struct State {
    job: Option<Job>,
    sleeping: usize,
    /// Whether the caller sleeps until the last worker is out.
    waiting: bool,
}

/// A running call, which outlives every worker that joined it.
#[derive(Debug, Clone, Copy)]
struct Job {
    work: *const Work<'static>,
}

// SAFETY: `Work` is `Sync`, and `run` keeps it alive until no worker is inside.
unsafe impl Send for Job {}

struct Work<'a> {
    task: &'a (dyn Fn(usize, usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    /// How many threads have had a task.
    threads: AtomicUsize,
    /// Set when the caller's plan should stop.
    stop: Option<Arc<AtomicBool>>,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

impl Work<'_> {
    fn run(&self) {
        let mut number = None;
        loop {
            let k = self.next.fetch_add(1, Ordering::Relaxed);
            if k >= self.tasks || stream::is_stopped(&self.stop) {
                return;
            }
            let thread = *number.get_or_insert_with(|| self.threads.fetch_add(1, Ordering::Relaxed));
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.task)(thread, k))) {
                lock(&self.panic).get_or_insert(payload);
                self.next.store(self.tasks, Ordering::Relaxed);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Waits a moment for the condition to end.
fn spin_while(condition: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if !condition() {
            return;
        }
        std::hint::spin_loop();
    }
}

const UNKNOWN: usize = usize::MAX;

/// The processor that this thread runs on.
#[cfg(target_os = "linux")]
fn processor() -> usize {
    // SAFETY: a question without arguments.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(UNKNOWN)
}
#[cfg(not(target_os = "linux"))]
fn processor() -> usize {
    UNKNOWN
}

/// Moves this thread off a processor, if there is another that it may use. Where all others have work of other programs, the system wakes a worker beside
/// its caller and leaves it there: the two would take turns for good.
#[cfg(target_os = "linux")]
fn leave(processor: usize) {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: sets are plain bits, for which zeros are valid; each call reads or fills one of that size, of this thread.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if processor >= 8 * size || libc::sched_getaffinity(0, size, &mut allowed) != 0 {
            return;
        }
        let mut others = allowed;
        libc::CPU_CLR(processor, &mut others);
        if libc::CPU_COUNT(&others) > 0 && libc::sched_setaffinity(0, size, &others) == 0 {
            libc::sched_setaffinity(0, size, &allowed);
        }
    }
}
#[cfg(not(target_os = "linux"))]
fn leave(_: usize) {}

impl Pool {
    /// As many threads as the machine has, or as `LAZULI_NUM_THREADS` says.
    pub fn new() -> Self {
        let wanted = std::env::var("LAZULI_NUM_THREADS").ok().and_then(|v| v.parse().ok()).filter(|&n: &usize| n > 0);
        let threads = wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
        Self::with_threads(threads)
    }
    pub fn with_threads(threads: usize) -> Self {
        Self { threads: threads.max(1), team: AtomicPtr::default() }
    }
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `task(thread, k)` for every `k` below `tasks`, on all threads; returns when all are done. The number of a thread, below
    /// [`threads`](Self::threads) and below `tasks`, is its own during the call. Panics of tasks come out here.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        if tasks <= 1 {
            return (0..tasks).for_each(|k| task(0, k));
        }
        let stop = stream::stop_flag();
        let alone = || {
            for k in 0..tasks {
                stream::stop_here(&stop);
                task(0, k);
            }
        };
        if self.threads == 1 {
            return alone();
        }
        let team = self.team();
        // Another call has the workers, perhaps one further up this very stack.
        let Ok(_busy) = team.busy.try_lock() else { return alone() };
        let work = Work {
            task,
            tasks,
            next: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            stop: stop.clone(),
            panic: Mutex::new(None),
        };
        // SAFETY: only the lifetime changes. The reference is withdrawn, and the workers inside waited for, before `work` goes.
        let job = Job { work: unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(&work) } };
        {
            let mut state = lock(&team.state);
            state.job = Some(job);
            team.processor.store(processor(), Ordering::Relaxed);
            team.epoch.fetch_add(1, Ordering::Release);
            let asleep = state.sleeping > 0;
            drop(state);
            if asleep {
                team.wake.notify_all();
            }
        }
        work.run();
        // From here on no worker joins.
        lock(&team.state).job = None;
        spin_while(|| team.active.load(Ordering::Acquire) > 0);
        let mut state = lock(&team.state);
        while team.active.load(Ordering::Acquire) > 0 {
            state.waiting = true;
            state = team.done.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        state.waiting = false;
        drop(state);
        if let Some(payload) = work.panic.into_inner().unwrap_or_else(|e| e.into_inner()) {
            resume_unwind(payload);
        }
        stream::stop_here(&stop);
    }

    fn team(&self) -> &'static Team {
        let generation = fork::generation();
        let current = self.team.load(Ordering::Acquire);
        // SAFETY: the pointer is null or of a leaked team.
        if let Some(team) = unsafe { current.as_ref() }
            && team.generation == generation
        {
            return team;
        }
        let team: &'static Team = Box::leak(Box::new(Team {
            generation,
            busy: Mutex::new(()),
            state: Mutex::new(State { job: None, sleeping: 0, waiting: false }),
            epoch: AtomicUsize::new(0),
            processor: AtomicUsize::new(UNKNOWN),
            active: AtomicUsize::new(0),
            wake: Condvar::new(),
            done: Condvar::new(),
        }));
        let new = std::ptr::from_ref(team).cast_mut();
        match self.team.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                for n in 1..self.threads {
                    // A machine that refuses a thread still has the caller's.
                    let _ = std::thread::Builder::new().name(format!("lazuli-{n}")).spawn(|| team.work());
                }
                team
            }
            // SAFETY: another thread of this process was first, with a leaked team.
            Err(first) => unsafe { &*first },
        }
    }
}

impl Team {
    fn work(&self) {
        let _floats = DefaultFloats::set();
        let mut seen = 0;
        loop {
            spin_while(|| self.epoch.load(Ordering::Acquire) == seen);
            let mut state = lock(&self.state);
            while self.epoch.load(Ordering::Acquire) == seen {
                state.sleeping += 1;
                state = self.wake.wait(state).unwrap_or_else(|e| e.into_inner());
                state.sleeping -= 1;
            }
            seen = self.epoch.load(Ordering::Acquire);
            let job = state.job;
            self.active.fetch_add(job.is_some() as usize, Ordering::Relaxed);
            drop(state);
            let here = processor();
            if here != UNKNOWN && here == self.processor.load(Ordering::Relaxed) {
                leave(here);
            }
            let Some(job) = job else { continue };
            // SAFETY: counted as active while the job stood, so `run` waits for us before the work goes.
            unsafe { (*job.work).run() };
            let state = lock(&self.state);
            let is_last = self.active.fetch_sub(1, Ordering::Release) == 1;
            if is_last && state.waiting {
                self.done.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::with_threads(threads);
            for tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|thread, k| {
                    assert!(thread < threads.min(tasks));
                    counts[k].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{tasks} tasks on {threads} threads");
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_that_left_a_processor_may_come_back() {
        let allowed = || std::thread::available_parallelism().map(|n| n.get()).ok();
        let before = allowed();
        leave(processor());
        leave(UNKNOWN);
        assert_eq!(allowed(), before);
    }

    #[test]
    fn calls_may_nest_and_panic() {
        let pool = Pool::with_threads(3);
        let total = AtomicUsize::new(0);
        pool.run(4, &|_, _| {
            pool.run(4, &|_, _| {
                total.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(total.load(Ordering::Relaxed), 16);
        assert!(catch_unwind(AssertUnwindSafe(|| pool.run(8, &|_, k| assert!(k != 5)))).is_err());
        pool.run(8, &|_, _| {});
    }
}
