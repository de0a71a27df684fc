//! Streams: queues of plans that run in order.
//!
//! A stream gets a thread of its own when something is first queued on it. A caller that waits anyway runs its plan itself if nothing is queued. After a
//! fork the child starts with fresh, empty queues; what was queued before is finished first.

use crate::float_mode::DefaultFloats;
use crate::fork::{self, Drain};
use lazuli_kernel::backend::Completion;
use lazuli_kernel::{Error, ErrorKind, Event, Result, Stream};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

type Work = Box<dyn FnOnce() -> Result<()> + Send>;

#[derive(Debug, Default)]
pub struct Streams {
    queues: Mutex<HashMap<(u32, Stream), Arc<Queue>>>,
    /// Plans that are queued or run by a stream's thread.
    unfinished: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    started: bool,
    /// The plan queued last.
    last: Option<Arc<Done>>,
}

/// A plan to run once others are done.
struct Job {
    work: Work,
    after: Vec<Event>,
    /// Whether it may be stopped half-way.
    stoppable: bool,
    done: Arc<Done>,
}

/// Completion of one plan.
#[derive(Debug, Default)]
struct Done {
    result: Mutex<Option<Result<()>>>,
    finished: AtomicBool,
    changed: Condvar,
    stop: Arc<AtomicBool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Done {
    fn finish(&self, result: Result<()>) {
        *lock(&self.result) = Some(result);
        self.finished.store(true, Ordering::Release);
        self.changed.notify_all();
    }
}

impl Completion for Done {
    fn poll(&self) -> Option<Result<()>> {
        if self.finished.load(Ordering::Acquire) { lock(&self.result).clone() } else { None }
    }
    fn wait(&self) -> Result<()> {
        let mut result = lock(&self.result);
        loop {
            match &*result {
                Some(done) => return done.clone(),
                None => result = self.changed.wait(result).unwrap_or_else(|e| e.into_inner()),
            }
        }
    }
    fn wait_for(&self, time: Duration) -> Option<Result<()>> {
        let end = Instant::now() + time;
        let mut result = lock(&self.result);
        loop {
            if result.is_some() {
                return result.clone();
            }
            let left = end.checked_duration_since(Instant::now())?;
            result = self.changed.wait_timeout(result, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }
    fn cancel(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

thread_local! {
    /// Whether this is a stream's thread.
    static OF_STREAM: Cell<bool> = const { Cell::new(false) };
    /// Set when the plan that this thread runs should stop.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// What a plan unwinds with when it is stopped.
struct Stopped;

/// The flag that asks the plan of this thread to stop, if it may be stopped.
pub fn stop_flag() -> Option<Arc<AtomicBool>> {
    STOP.with_borrow(Clone::clone)
}

/// Whether a flag says so.
pub fn is_stopped(flag: &Option<Arc<AtomicBool>>) -> bool {
    flag.as_ref().is_some_and(|f| f.load(Ordering::Relaxed))
}

/// Leaves the plan that this thread runs, by unwinding to where the stream began it, if it was asked to stop. Called between kernels and parts
/// of them.
pub fn stop_here(flag: &Option<Arc<AtomicBool>>) {
    if is_stopped(flag) {
        resume_unwind(Box::new(Stopped));
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "eval", "the computation was cancelled")
}

/// Runs it; a panic is an error.
fn guarded(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let _floats = DefaultFloats::set();
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        if payload.is::<Stopped>() {
            return Err(cancelled());
        }
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(Error::internal("run", format!("a kernel panicked: {text}")))
    })
}

impl Streams {
    fn queue(&self, stream: Stream) -> Arc<Queue> {
        lock(&self.queues).entry((fork::generation(), stream)).or_default().clone()
    }

    /// Runs the work on the caller's thread, if nothing is queued and what it comes after is done; else gives it back. What a call of the host runs
    /// on a stream's own thread does not wait for that.
    pub fn run_now(&self, after: &[Event], work: impl FnOnce() -> Result<()>) -> Option<Result<()>> {
        if self.unfinished.load(Ordering::Acquire) > 0 && !OF_STREAM.get() {
            return None;
        }
        for event in after {
            if let Err(e) = event.poll()? {
                return Some(Err(e));
            }
        }
        Some(guarded(work))
    }

    /// Queues work; `stoppable` says that it may be left half-way.
    pub fn enqueue(&self, stream: Stream, after: &[Event], stoppable: bool, work: Work) -> Result<Event> {
        let queue = self.queue(stream);
        let done = Arc::new(Done::default());
        let mut state = lock(&queue.state);
        if !state.started {
            let (queue, unfinished) = (queue.clone(), self.unfinished.clone());
            let thread = std::thread::Builder::new().name(format!("lazuli-stream-{}", stream.0));
            let spawned = thread.spawn(move || queue.work(&unfinished));
            spawned.map_err(|e| Error::internal("enqueue", format!("cannot start a thread: {e}")))?;
            state.started = true;
        }
        self.unfinished.fetch_add(1, Ordering::AcqRel);
        state.waiting.push_back(Job { work, after: after.to_vec(), stoppable, done: done.clone() });
        state.last = Some(done.clone());
        queue.arrived.notify_one();
        Ok(Event::new(done))
    }

    /// Waits for all that is queued on a stream. Errors are those who read results', not this caller's.
    pub fn synchronize(&self, stream: Stream) -> Event {
        let known = lock(&self.queues).get(&(fork::generation(), stream)).cloned();
        let last = known.and_then(|queue| lock(&queue.state).last.clone());
        last.map_or_else(Event::done, |done| Event::new(done))
    }
}

impl Drain for Streams {
    fn drain(&self) {
        let queues: Vec<Arc<Queue>> = lock(&self.queues).values().cloned().collect();
        for queue in queues {
            let last = lock(&queue.state).last.clone();
            // Its error is for those who read the results.
            let _ = last.map(|done| done.wait());
        }
    }
}

impl Queue {
    fn work(&self, unfinished: &AtomicUsize) {
        OF_STREAM.set(true);
        loop {
            let mut state = lock(&self.state);
            let Job { work, after, stoppable, done } = loop {
                match state.waiting.pop_front() {
                    Some(next) => break next,
                    None => state = self.arrived.wait(state).unwrap_or_else(|e| e.into_inner()),
                }
            };
            drop(state);
            let ready = after.iter().try_for_each(Event::wait);
            let stopped = done.stop.load(Ordering::Relaxed).then(cancelled).map_or(Ok(()), Err);
            // What the work holds goes before the result is told: whoever waited for it may then take the memory over.
            let result = ready.and(stopped).and_then(|()| {
                STOP.set(stoppable.then(|| done.stop.clone()));
                let result = guarded(work);
                STOP.set(None);
                result
            });
            drop(after);
            // Before the result is told: whoever waited for it finds the stream idle.
            unfinished.fetch_sub(1, Ordering::AcqRel);
            done.finish(result);
        }
    }
}
