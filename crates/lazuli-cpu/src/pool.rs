//! The threads that kernels and library calls share.
//!
//! A call hands out task numbers from a counter; the caller works too. Workers spin briefly for the next call, and the caller for the last of
//! them, then they sleep: to be woken takes longer than most calls do. Workers come and go through one word, the [gate](Team::gate), and take no lock
//! unless they sleep; each that is woken wakes two more. A worker that finds itself on its caller's processor moves to another. Results
//! never depend on the number of threads, because tasks are cut by shape alone or write apart. After a fork the child has no workers: the
//! pool notices and starts afresh. A plan that is asked to stop stops between tasks.

use crate::float_mode::DefaultFloats;
use crate::{fork, stream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
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
    /// In one word: how many threads are inside ([`INSIDE`]), whether there is a job to join ([`OPEN`]), and the number of the job (in steps of [`JOB`]).
    /// So a worker that steps in learns at once whether that was in time, and for which job.
    gate: Line<AtomicU64>,
    /// What is worked at. It stands while the gate is open or somebody is inside.
    job: AtomicPtr<Work<'static>>,
    /// The processor that the last job was called on.
    processor: AtomicUsize,
    /// Workers that sleep until `wake`.
    sleeping: AtomicUsize,
    /// Whether the caller sleeps until the last worker is out.
    waiting: AtomicBool,
    /// Held by who is about to sleep, from its last look at the gate on.
    bed: Mutex<()>,
    wake: Condvar,
    done: Condvar,
}

/// The gate's parts.
const INSIDE: u64 = OPEN - 1;
const OPEN: u64 = 1 << 31;
const JOB: u64 = 1 << 32;

/// Something that many threads change, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

struct Work<'a> {
    task: &'a (dyn Fn(usize, usize) + Sync),
    tasks: usize,
    next: Line<AtomicUsize>,
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
            let k = self.next.0.fetch_add(1, Ordering::Relaxed);
            if k >= self.tasks || stream::is_stopped(&self.stop) {
                return;
            }
            let thread = *number.get_or_insert_with(|| self.threads.fetch_add(1, Ordering::Relaxed));
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.task)(thread, k))) {
                lock(&self.panic).get_or_insert(payload);
                self.next.0.store(self.tasks, Ordering::Relaxed);
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
    /// As many threads as the machine has, or as `LAZULI_NUM_THREADS` says; what is no number is complained of on the terminal.
    pub fn new() -> Self {
        let asked = std::env::var("LAZULI_NUM_THREADS").unwrap_or_default();
        let wanted = asked.parse().ok().filter(|&n: &usize| n > 0);
        if wanted.is_none() && !asked.is_empty() {
            eprintln!(
                "lazuli: LAZULI_NUM_THREADS is '{asked}', and no number of threads: there is one for each processor"
            );
        }
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
            next: Line::default(),
            threads: AtomicUsize::new(0),
            stop: stop.clone(),
            panic: Mutex::new(None),
        };
        // SAFETY: only the lifetime changes. The gate is closed, and who is inside waited for, before `work` goes; nobody else looks at it.
        let job = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(&work) };
        team.open(job, tasks);
        work.run();
        team.close();
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
            gate: Line::default(),
            job: AtomicPtr::default(),
            processor: AtomicUsize::new(UNKNOWN),
            sleeping: AtomicUsize::new(0),
            waiting: AtomicBool::new(false),
            bed: Mutex::new(()),
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
    /// Lets workers join a job.
    fn open(&self, job: *const Work<'static>, tasks: usize) {
        self.job.store(job.cast_mut(), Ordering::Relaxed);
        self.processor.store(processor(), Ordering::Relaxed);
        self.gate.0.fetch_add(JOB + OPEN, Ordering::SeqCst);
        self.rouse(tasks - 1);
    }
    /// From here on no worker joins; returns when all are out.
    fn close(&self) {
        let is_empty = || self.gate.0.load(Ordering::SeqCst) & INSIDE == 0;
        self.gate.0.fetch_sub(OPEN, Ordering::SeqCst);
        spin_while(|| !is_empty());
        if is_empty() {
            return;
        }
        let mut bed = lock(&self.bed);
        self.waiting.store(true, Ordering::SeqCst);
        while !is_empty() {
            bed = self.done.wait(bed).unwrap_or_else(|e| e.into_inner());
        }
        self.waiting.store(false, Ordering::Relaxed);
    }
    /// Steps in: the number of the last job, and whether it can be joined. Who could not join has to step out too.
    fn enter(&self) -> (u64, bool) {
        let before = self.gate.0.fetch_add(1, Ordering::SeqCst);
        (before / JOB, before & OPEN != 0)
    }
    fn exit(&self) {
        let is_last = self.gate.0.fetch_sub(1, Ordering::SeqCst) & (OPEN | INSIDE) == 1;
        // Either this sees that the caller waits, or the caller sees that nobody is inside.
        if is_last && self.waiting.load(Ordering::SeqCst) {
            drop(lock(&self.bed));
            self.done.notify_one();
        }
    }
    /// Wakes two of those who sleep, if there is work for so many.
    fn rouse(&self, tasks: usize) {
        // Either this sees who is about to sleep, or they see the job.
        let sleeping = self.sleeping.load(Ordering::SeqCst);
        if sleeping > 0 && tasks > 0 {
            drop(lock(&self.bed));
            (0..sleeping.min(tasks).min(2)).for_each(|_| self.wake.notify_one());
        }
    }
    /// Waits for a job other than the one seen last.
    fn await_other_than(&self, seen: u64) {
        let is_seen = || self.gate.0.load(Ordering::SeqCst) / JOB == seen;
        spin_while(is_seen);
        if is_seen() {
            let mut bed = lock(&self.bed);
            self.sleeping.fetch_add(1, Ordering::SeqCst);
            while is_seen() {
                bed = self.wake.wait(bed).unwrap_or_else(|e| e.into_inner());
            }
            self.sleeping.fetch_sub(1, Ordering::SeqCst);
        }
    }
    fn work(&self) {
        let _floats = DefaultFloats::set();
        let mut seen = 0;
        loop {
            self.await_other_than(seen);
            let joined;
            (seen, joined) = self.enter();
            if joined {
                let here = processor();
                if here != UNKNOWN && here == self.processor.load(Ordering::Relaxed) {
                    leave(here);
                }
                // SAFETY: whoever steps in while the gate is open sees the job that it was opened for, which stands until all are out.
                let work = unsafe { &*self.job.load(Ordering::Relaxed) };
                self.rouse(work.tasks.saturating_sub(work.next.0.load(Ordering::Relaxed)));
                work.run();
            }
            self.exit();
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
    fn workers_come_and_go() {
        let pool = Pool::with_threads(7);
        let mut rng = lazuli_kernel::testing::Rng(3);
        for _ in 0..300 {
            // Long enough that some sleep and others spin.
            std::thread::sleep(std::time::Duration::from_micros(rng.below(4) as u64 * 60));
            for _ in 0..20 {
                let tasks = 2 + rng.below(12);
                let total = AtomicUsize::new(0);
                pool.run(tasks, &|thread, k| {
                    assert!(thread < 7.min(tasks));
                    total.fetch_add(k + 1, Ordering::Relaxed);
                });
                assert_eq!(total.into_inner(), tasks * (tasks + 1) / 2);
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
