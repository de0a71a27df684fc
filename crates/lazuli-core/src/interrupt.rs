//! Stopping what a thread waits for: `lazuli_kernel::interrupt`, and waits that look at it.

use lazuli_ir::Result;
use lazuli_kernel::Event;
use lazuli_kernel::interrupt::EVERY;
pub use lazuli_kernel::interrupt::{Watch, watch};
pub(crate) use lazuli_kernel::interrupt::{defer, is_watched, poll};
use std::time::Duration;

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
