//! What array objects stand for while a function is traced, without touching the objects.
//!
//! While a thread traces, a frame shows it other arrays in the place of some objects: placeholders in captured ones, new values in those
//! that the function updates in place. Other threads see the objects as they are, and when the frame is dropped nothing has to be
//! put back. Objects made since the frame began are the function's own and are written to directly.
//!
//! Invariants: frames belong to a thread and nest as traces do; no reference is dropped while the frames are borrowed.

use crate::array::PyArray;
use lazuli_core::{Array, Location};
use pyo3::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts frames: an object that was made at a count lower than a frame's was there before it.
static FRAME: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

struct Frame {
    number: u64,
    seen: HashMap<usize, Seen>,
    /// Whether numbers were drawn from a key that no frame shows.
    drew: bool,
}

/// An object that was there before a frame and stands for another array in it.
pub struct Seen {
    pub object: Py<PyArray>,
    pub now: Array,
    /// What stood in it first: if this is not what it stands for now, the function has updated it.
    first: Array,
    /// Where it was updated last.
    pub at: Location,
}

impl Seen {
    pub fn is_updated(&self) -> bool {
        self.now.id() != self.first.id()
    }
}

/// The count for an object that is made now.
pub fn now() -> u64 {
    FRAME.load(Ordering::Relaxed)
}

fn address(object: &PyArray) -> usize {
    std::ptr::from_ref(object) as usize
}

/// What the object stands for on this thread, if a frame shows another array than its own.
pub fn look(object: &PyArray) -> Option<Array> {
    if DEPTH.get() == 0 {
        return None;
    }
    let shown = |frames: &Vec<Frame>| {
        let before = frames.iter().rev().take_while(|f| object.made < f.number);
        before.filter_map(|f| f.seen.get(&address(object))).map(|s| s.now.clone()).next()
    };
    FRAMES.with_borrow(shown)
}

/// Notes an update in place in the innermost frame; gives the array back if the object is newer than the frame, or there is none.
pub fn update(object: &Bound<'_, PyArray>, array: Array) -> Option<Array> {
    if DEPTH.get() == 0 {
        return Some(array);
    }
    let was = object.get().get();
    let at = lazuli_core::trace::place();
    let mut old = None;
    let array = FRAMES.with_borrow_mut(|frames| {
        let Some(frame) = frames.last_mut().filter(|f| object.get().made < f.number) else { return Some(array) };
        let fresh = || Seen { object: object.clone().unbind(), now: was.clone(), first: was.clone(), at };
        let seen = frame.seen.entry(address(object.get())).or_insert_with(fresh);
        seen.at = at;
        old = Some(std::mem::replace(&mut seen.now, array));
        None
    });
    drop(old);
    array
}

/// Whether the object was there before the innermost frame and was updated in it.
pub fn is_updated(object: &PyArray) -> bool {
    let updated =
        |frames: &Vec<Frame>| frames.last().is_some_and(|f| f.seen.get(&address(object)).is_some_and(Seen::is_updated));
    FRAMES.with_borrow(updated)
}

/// Notes that numbers were drawn from the key in this object.
pub fn draw(key: &PyArray) {
    if DEPTH.get() == 0 || look(key).is_some_and(|a| a.is_traced()) {
        return;
    }
    FRAMES.with_borrow_mut(|frames| {
        // A captured key that was set by a seed is set at every call.
        let is_captured = |f: &Frame| f.seen.get(&address(key)).is_some_and(|s| s.first.is_traced());
        if !frames.iter().any(is_captured) {
            frames.iter_mut().for_each(|f| f.drew = true);
        }
    });
}

/// A frame, for as long as it lives.
pub struct Scope(());

impl Scope {
    pub fn enter() -> Scope {
        let number = FRAME.fetch_add(1, Ordering::Relaxed) + 1;
        FRAMES.with_borrow_mut(|frames| frames.push(Frame { number, seen: HashMap::new(), drew: false }));
        DEPTH.set(DEPTH.get() + 1);
        Scope(())
    }
    /// Shows `array` in the object's place.
    pub fn stand(&self, object: &Bound<'_, PyArray>, array: Array) {
        let seen = Seen { object: object.clone().unbind(), now: array.clone(), first: array, at: Location::UNKNOWN };
        let old = FRAMES.with_borrow_mut(|frames| {
            frames.last_mut().and_then(|frame| frame.seen.insert(address(object.get()), seen))
        });
        drop(old);
    }
    /// Ends the frame: the objects that were updated, and whether numbers were drawn from a key that is not shown.
    pub fn finish(self) -> (Vec<Seen>, bool) {
        let frame = pop();
        std::mem::forget(self);
        frame.map_or_else(Default::default, |f| {
            let mut seen: Vec<Seen> = f.seen.into_values().filter(Seen::is_updated).collect();
            seen.sort_by_key(|s| s.object.as_ptr() as usize);
            (seen, f.drew)
        })
    }
}

fn pop() -> Option<Frame> {
    DEPTH.set(DEPTH.get() - 1);
    FRAMES.with_borrow_mut(|frames| frames.pop())
}

impl Drop for Scope {
    fn drop(&mut self) {
        drop(pop());
    }
}
