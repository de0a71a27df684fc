//! Streams: queues of plans that run in order.
//!
//! A stream gets a thread of its own when something is first queued on it. A caller that waits anyway runs its plan itself if the queue is empty. After a
//! fork the child starts with fresh, empty queues.

use crate::float_mode::DefaultFloats;
use lazuli_kernel::backend::Completion;
use lazuli_kernel::{Error, Event, Result, Stream};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

type Work = Box<dyn FnOnce() -> Result<()> + Send>;

#[derive(Debug, Default)]
pub struct Streams {
    queues: Mutex<HashMap<(u32, Stream), Arc<Queue>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    /// Held while a plan runs, on whatever thread.
    running: Mutex<()>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Work, Arc<Done>)>,
    /// The worker has taken a plan that is not done.
    working: bool,
    started: bool,
    /// The plan queued last.
    last: Option<Arc<Done>>,
}

/// Completion of one plan.
#[derive(Debug, Default)]
struct Done {
    result: Mutex<Option<Result<()>>>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Done {
    fn finish(&self, result: Result<()>) {
        *lock(&self.result) = Some(result);
        self.changed.notify_all();
    }
}

impl Completion for Done {
    fn is_done(&self) -> bool {
        lock(&self.result).is_some()
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
}

/// Runs it; a panic is an error.
fn guarded(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let _floats = DefaultFloats::set();
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(Error::internal("run", format!("a kernel panicked: {text}")))
    })
}

impl Streams {
    fn queue(&self, stream: Stream) -> Arc<Queue> {
        lock(&self.queues).entry((std::process::id(), stream)).or_default().clone()
    }

    /// Runs the work on the caller's thread if the stream has nothing else to do.
    pub fn run_now(&self, stream: Stream, work: impl FnOnce() -> Result<()>) -> std::result::Result<Result<()>, ()> {
        let known = lock(&self.queues).get(&(std::process::id(), stream)).cloned();
        let Some(queue) = known else { return Ok(guarded(work)) };
        let state = lock(&queue.state);
        if state.working || !state.waiting.is_empty() {
            return Err(());
        }
        let _running = lock(&queue.running);
        drop(state);
        Ok(guarded(work))
    }

    pub fn enqueue(&self, stream: Stream, work: Work) -> Result<Event> {
        let queue = self.queue(stream);
        let done = Arc::new(Done::default());
        let mut state = lock(&queue.state);
        if !state.started {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name(format!("lazuli-stream-{}", stream.0));
            let spawned = thread.spawn(move || queue.work());
            spawned.map_err(|e| Error::internal("enqueue", format!("cannot start a thread: {e}")))?;
            state.started = true;
        }
        state.waiting.push_back((work, done.clone()));
        state.last = Some(done.clone());
        queue.arrived.notify_one();
        Ok(Event::new(done))
    }

    pub fn synchronize(&self, stream: Stream) -> Result<()> {
        let known = lock(&self.queues).get(&(std::process::id(), stream)).cloned();
        let last = known.and_then(|queue| lock(&queue.state).last.clone());
        last.map_or(Ok(()), |done| done.wait())
    }
}

impl Queue {
    fn work(&self) {
        loop {
            let mut state = lock(&self.state);
            state.working = false;
            let (work, done) = loop {
                match state.waiting.pop_front() {
                    Some(next) => break next,
                    None => state = self.arrived.wait(state).unwrap_or_else(|e| e.into_inner()),
                }
            };
            state.working = true;
            drop(state);
            let running = lock(&self.running);
            let result = guarded(work);
            drop(running);
            done.finish(result);
        }
    }
}
