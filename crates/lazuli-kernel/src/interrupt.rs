//! Stopping what a thread does.
//!
//! A front end gives a thread a question to ask now and then: has the user interrupted? Whatever may take long asks it: stages of compiling over many
//! equations, evaluation between plans, waiting. It may run any code, so that it is asked with no lock of ours held; who must hold one defers it
//! ([`defer`]). Without a question, nothing is asked. What was interrupted stays as it was before, and can be done again.
//!
//! At the same places who shows the progress of long work may look at the clock ([`look`]).

use crate::{Error, ErrorKind, Result};
use std::cell::Cell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// How often it is asked.
pub const EVERY: Duration = Duration::from_millis(50);
/// Loops over many items look at the clock after so many.
const BETWEEN_LOOKS: usize = 64;

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
    static LOOK: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// The thread's question, for as long as this lives.
#[derive(Debug)]
pub struct Watch {
    before: Question,
    /// It is this thread's.
    _here: PhantomData<*const ()>,
}

/// From now on, `interrupted` is asked about every 50 ms on this thread while it compiles, evaluates arrays or waits for them.
pub fn watch(interrupted: fn() -> bool) -> Watch {
    let before = QUESTION.replace(Question { ask: Some(interrupted), ..Question::default() });
    Watch { before, _here: PhantomData }
}

/// Nothing is asked on this thread for as long as this lives.
pub fn defer() -> Watch {
    Watch { before: QUESTION.take(), _here: PhantomData }
}

impl Drop for Watch {
    fn drop(&mut self) {
        QUESTION.set(self.before);
    }
}

/// From now on this is called wherever this thread polls; None ends that.
pub fn look(look: Option<fn()>) {
    LOOK.set(look);
}

/// Whether this thread has a question to ask.
pub fn is_watched() -> bool {
    QUESTION.get().ask.is_some()
}

/// An error if the user has interrupted. Asks if the last time is long enough ago.
pub fn poll() -> Result<()> {
    if let Some(look) = LOOK.get() {
        look();
    }
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

/// The same in a loop, at the item of this number: now and then.
#[inline]
pub fn poll_at(number: usize) -> Result<()> {
    if number.is_multiple_of(BETWEEN_LOOKS) { poll() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_defers_is_not_asked() {
        let watching = watch(|| true);
        assert!(poll().is_ok(), "the first period begins");
        std::thread::sleep(EVERY);
        let deferred = defer();
        assert!(!is_watched() && poll().is_ok());
        drop(deferred);
        assert!(poll_at(1).is_ok());
        assert_eq!(poll_at(BETWEEN_LOOKS).unwrap_err().kind(), ErrorKind::Cancelled);
        drop(watching);
        assert!(!is_watched() && poll().is_ok());
    }
}
