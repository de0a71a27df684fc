//! A word on the terminal when compiling a function takes longer than a second: what is being done, and when it is over.
//!
//! Work tells how far it is by [`recorded`] and [`stage`]; whoever begins ([`begin`]) has it end. On a terminal one line is written over and over,
//! elsewhere each stage is one line. Nothing is written where compiling is quick, which is nearly always.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Quicker than this, nothing is said.
const PATIENCE: Duration = Duration::from_secs(1);
/// The line is written anew this often.
const EVERY: Duration = Duration::from_millis(200);
/// Operations recorded between two looks at the clock.
const BETWEEN_LOOKS: usize = 256;
/// So many operations are known to take long.
const MANY: usize = 100_000;

struct State {
    name: String,
    began: Instant,
    /// When something was said last.
    said: Option<Instant>,
    recorded: usize,
}

thread_local! {
    /// What this thread compiles, the outermost function.
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// The compiling of a function, until it is dropped.
#[derive(Debug)]
pub(crate) struct Compiling {
    outermost: bool,
}

/// Begins to compile a function; if another one is being compiled, this is a part of it.
pub(crate) fn begin(name: &str) -> Compiling {
    let outermost = STATE.with_borrow_mut(|state| {
        let outermost = state.is_none();
        state.get_or_insert_with(|| State { name: name.into(), began: Instant::now(), said: None, recorded: 0 });
        outermost
    });
    Compiling { outermost }
}

impl Drop for Compiling {
    fn drop(&mut self) {
        if self.outermost
            && let Some(state) = STATE.take()
            && state.said.is_some()
        {
            state.say("done", true);
        }
    }
}

/// Counts an operation that a trace records.
pub(crate) fn recorded() {
    STATE.with_borrow_mut(|state| {
        let Some(state) = state else { return };
        state.recorded += 1;
        if state.recorded % BETWEEN_LOOKS == 0 && state.is_due() {
            state.say(&format!("tracing, {} operations so far", state.recorded), false);
            state.said = Some(Instant::now());
        }
    });
}

/// Tells that a stage of so many operations begins.
pub(crate) fn stage(what: &str, operations: usize) {
    STATE.with_borrow_mut(|state| {
        let Some(state) = state else { return };
        if state.said.is_some() || operations >= MANY || state.began.elapsed() >= PATIENCE {
            state.say(&format!("{what} {operations} operations"), false);
            state.said = Some(Instant::now());
        }
    });
}

impl State {
    fn is_due(&self) -> bool {
        match self.said {
            None => self.began.elapsed() >= PATIENCE,
            Some(at) => at.elapsed() >= EVERY && std::io::stderr().is_terminal(),
        }
    }
    fn say(&self, what: &str, last: bool) {
        let mut to = std::io::stderr().lock();
        let line = line(&self.name, what, self.began.elapsed());
        // Whether the line can be written is nobody's concern.
        let _ = match (to.is_terminal(), last) {
            (true, false) => write!(to, "\r{line}\x1b[K"),
            (true, true) => writeln!(to, "\r{line}\x1b[K"),
            (false, _) => writeln!(to, "{line}"),
        };
        let _ = to.flush();
    }
}

fn line(name: &str, what: &str, since: Duration) -> String {
    format!("lazuli: compiling '{name}': {what} ({:.1} s)", since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a function, if it was begun this long ago.
    fn said_after(ago: Duration, work: impl FnOnce()) -> bool {
        let compiling = begin("f");
        STATE.with_borrow_mut(|s| s.as_mut().unwrap().began -= ago);
        work();
        let said = STATE.with_borrow(|s| s.as_ref().unwrap().said.is_some());
        drop(compiling);
        said
    }

    #[test]
    fn only_what_takes_long_is_told() {
        let many = || (0..2 * BETWEEN_LOOKS).for_each(|_| recorded());
        assert!(!said_after(Duration::ZERO, many));
        assert!(said_after(PATIENCE, many));
        assert!(!said_after(Duration::ZERO, || stage("simplifying", 10)));
        assert!(said_after(PATIENCE, || stage("simplifying", 10)));
        assert!(said_after(Duration::ZERO, || stage("simplifying", MANY)));
        let text = line("f", "simplifying 10 operations", Duration::from_millis(2340));
        assert_eq!(text, "lazuli: compiling 'f': simplifying 10 operations (2.3 s)");
    }

    #[test]
    fn inner_functions_are_parts_of_the_outer_one() {
        let outer = begin("outer");
        drop(begin("inner"));
        assert!(STATE.with_borrow(|s| s.as_ref().is_some_and(|s| s.name == "outer")));
        drop(outer);
        assert!(STATE.with_borrow(Option::is_none));
    }
}
