//! A line on the terminal when compiling a function takes longer than a second: what is being done, and when it is over.
//!
//! The time of a function is that of its trace, its simplification and its first plan together, which may be long apart: [`begin`], [`go_on`] and
//! [`go_on_after`] begin the parts. Work tells what it does by [`recorded`] and [`stage`]; the clock is looked at then, and wherever long work polls. On a
//! terminal the line is written over and over, elsewhere it is written once. Nothing is written where compiling is quick, which is nearly always.

use lazuli_kernel::interrupt;
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Quicker than this, nothing is said.
const PATIENCE: Duration = Duration::from_secs(1);
/// The line is written anew this often.
const EVERY: Duration = Duration::from_millis(200);
/// Operations recorded between two looks at the clock.
const BETWEEN_LOOKS: usize = 16;

#[derive(Debug)]
struct State {
    name: String,
    began: Instant,
    /// Before that.
    spent: Duration,
    /// When something was said last.
    said: Option<Instant>,
    recorded: usize,
    /// What is being done.
    doing: String,
}

thread_local! {
    /// What this thread compiles, the outermost function.
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
    /// The trace that is over and becomes a program now.
    static TRACED: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// A part of compiling a function, until it is dropped.
#[derive(Debug)]
pub(crate) struct Compiling {
    outermost: bool,
    /// It is the last one.
    last: bool,
}

/// Begins to trace a function; if another one is being compiled, this is a part of it.
pub(crate) fn begin(name: &str) -> Compiling {
    TRACED.take();
    start(name, Duration::ZERO, false, false)
}

/// Goes on with the function that was traced just now.
pub(crate) fn go_on(name: &str) -> Compiling {
    let (spent, said) = match TRACED.take() {
        Some(traced) if traced.name == name => (traced.elapsed(), traced.said.is_some()),
        _ => (Duration::ZERO, false),
    };
    start(name, spent, said, false)
}

/// Goes on with a function on which so much time was spent before; `said`: whether that was said then.
pub(crate) fn go_on_after(name: &str, spent: Duration, said: bool) -> Compiling {
    start(name, spent, said, true)
}

fn start(name: &str, spent: Duration, said: bool, last: bool) -> Compiling {
    let outermost = STATE.with_borrow_mut(|state| {
        let outermost = state.is_none();
        state.get_or_insert_with(|| {
            let began = Instant::now();
            State { name: name.into(), began, spent, said: said.then_some(began), recorded: 0, doing: String::new() }
        });
        outermost
    });
    if outermost {
        interrupt::look(Some(look));
    }
    Compiling { outermost, last }
}

impl Compiling {
    /// Ends a part; whether something was said of the function.
    pub fn pause(self) -> bool {
        self.outermost && {
            look();
            STATE.with_borrow(|state| state.as_ref().is_some_and(|state| state.said.is_some()))
        }
    }
}

impl Drop for Compiling {
    fn drop(&mut self) {
        if !self.outermost {
            return;
        }
        interrupt::look(None);
        if let Some(mut state) = STATE.take() {
            state.look();
            state.end(self.last);
            if !self.last {
                TRACED.set(Some(state));
            }
        }
    }
}

/// Looks at the clock.
fn look() {
    STATE.with_borrow_mut(|state| state.iter_mut().for_each(State::look));
}

/// Counts an operation that a trace records.
pub(crate) fn recorded() {
    STATE.with_borrow_mut(|state| {
        let Some(state) = state else { return };
        state.recorded += 1;
        if state.recorded % BETWEEN_LOOKS == 0 {
            state.look();
        }
    });
}

/// Tells that a stage of so many operations begins.
pub(crate) fn stage(what: &str, operations: usize) {
    STATE.with_borrow_mut(|state| {
        let Some(state) = state else { return };
        let operations = if operations == 1 { "1 operation".into() } else { format!("{operations} operations") };
        state.doing = format!("{what} {operations}");
        state.look();
    });
}

impl State {
    fn elapsed(&self) -> Duration {
        self.spent + self.began.elapsed()
    }
    /// Says what is being done, if it is time to.
    fn look(&mut self) {
        let is_due = match self.said {
            None => self.elapsed() >= PATIENCE,
            Some(at) => at.elapsed() >= EVERY && std::io::stderr().is_terminal(),
        };
        if is_due {
            let line = self.line();
            self.write(
                |to, is_terminal| if is_terminal { write!(to, "\r{line}\x1b[K") } else { writeln!(to, "{line}") },
            );
            self.said = Some(Instant::now());
        }
    }
    /// On a terminal the line is left behind when all is done, and taken away until more is.
    fn end(&mut self, last: bool) {
        if self.said.is_none() {
            return;
        }
        self.doing = "done".into();
        let line = self.line();
        self.write(|to, is_terminal| match (is_terminal, last) {
            (true, true) => writeln!(to, "\r{line}\x1b[K"),
            (true, false) => write!(to, "\r\x1b[K"),
            (false, _) => Ok(()),
        });
    }
    fn write(&self, write: impl FnOnce(&mut dyn Write, bool) -> std::io::Result<()>) {
        let mut to = std::io::stderr().lock();
        let is_terminal = to.is_terminal();
        // Whether the line can be written is nobody's concern.
        let _ = write(&mut to, is_terminal).and_then(|()| to.flush());
    }
    fn line(&self) -> String {
        let tracing =
            || format!("tracing, {} operation{} so far", self.recorded, if self.recorded == 1 { "" } else { "s" });
        let doing = if self.doing.is_empty() { tracing() } else { self.doing.clone() };
        format!("lazuli: compiling '{}': {doing} ({:.1} s)", self.name, self.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a function after so much time.
    fn said_after(spent: Duration, work: impl FnOnce()) -> bool {
        let compiling = go_on_after("f", spent, false);
        work();
        compiling.pause()
    }

    #[test]
    fn only_what_takes_long_is_told() {
        let many = || (0..2 * BETWEEN_LOOKS).for_each(|_| recorded());
        assert!(!said_after(Duration::ZERO, many));
        assert!(said_after(PATIENCE, many));
        assert!(!said_after(Duration::ZERO, || stage("simplifying", 1_000_000)));
        assert!(said_after(PATIENCE, || stage("simplifying", 10)));
        assert!(said_after(PATIENCE, || drop(interrupt::poll())));
    }

    #[test]
    fn the_parts_of_one_function_are_said_once() {
        let traced = begin("f");
        STATE.with_borrow_mut(|s| s.as_mut().unwrap().spent = PATIENCE);
        drop(traced);
        let simplified = go_on("f");
        STATE.with_borrow(|s| assert!(s.as_ref().is_some_and(|s| s.spent >= PATIENCE && s.said.is_some())));
        stage("simplifying", 1);
        let line = STATE.with_borrow(|s| s.as_ref().unwrap().line());
        assert!(line.starts_with("lazuli: compiling 'f': simplifying 1 operation (1."), "{line}");
        assert!(simplified.pause());
        // Another one has a time of its own.
        let other = go_on("g");
        assert!(!other.pause());
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
