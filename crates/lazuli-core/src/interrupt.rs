//! Stopping what a thread waits for.
//!
//! A front end gives a thread a question to ask now and then: has the user interrupted? It is asked between the plans of an evaluation and while
//! waiting, with no lock of ours held, and may run any code. Without one, nothing is asked. What was interrupted stays as it was before, and can be
//! evaluated again.

use lazuli_ir::{Error, ErrorKind, Result};
use lazuli_kernel::Event;
use std::cell::Cell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(50);

/// What a thread asks.
#[derive(Debug, Clone, Copy, Default)]
struct Question {
    ask: Option<fn() -> bool>,
    /// When it was asked last.
    asked: Option<Instant>,
    /// Whether the answer was yes.
    interrupted: bool,
}

thread_local! {
    static QUESTION: Cell<Question> = Cell::default();
}

/// The thread's question, for as long as this lives.
#[derive(Debug)]
pub struct Watch {
    before: Question,
    /// It is this thread's.
    _here: PhantomData<*const ()>,
}

/// From now on, `interrupted` is asked about every 50 ms on this thread while it evaluates arrays or waits for them.
pub fn watch(interrupted: fn() -> bool) -> Watch {
    let before = QUESTION.replace(Question { ask: Some(interrupted), ..Question::default() });
    Watch { before, _here: PhantomData }
}

impl Drop for Watch {
    fn drop(&mut self) {
        QUESTION.set(self.before);
    }
}

/// Whether this thread has a question to ask.
pub(crate) fn is_watched() -> bool {
    QUESTION.get().ask.is_some()
}

/// An error if the user has interrupted. Asks if the last time is long enough ago.
pub(crate) fn poll() -> Result<()> {
    let mut question = QUESTION.get();
    let Some(ask) = question.ask else { return Ok(()) };
    let now = Instant::now();
    // The first period begins here: short evaluations ask nothing.
    let last = question.asked.unwrap_or(now);
    question.asked = Some(last);
    if now.duration_since(last) >= EVERY {
        // It may run any code, with questions of its own.
        question.interrupted |= ask();
        question.asked = Some(Instant::now());
    }
    QUESTION.set(question);
    match question.interrupted {
        true => Err(Error::new(ErrorKind::Cancelled, "eval", "the computation was interrupted")),
        false => Ok(()),
    }
}

/// Calls `step`, which blocks for at most the time it is given, until it has a result or the user interrupts.
pub(crate) fn wait_by<T>(mut step: impl FnMut(Duration) -> Option<T>) -> Result<T> {
    // A wait begins a period of its own.
    let _ = poll();
    loop {
        if let Some(result) = step(EVERY) {
            return Ok(result);
        }
        poll()?;
    }
}

/// Waits for an event; an error if it failed or the user interrupted.
pub(crate) fn wait(event: &Event) -> Result<()> {
    match event.poll() {
        Some(result) => result,
        None if !is_watched() => event.wait(),
        None => wait_by(|time| event.wait_for(time))?,
    }
}
