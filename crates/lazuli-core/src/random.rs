//! Random numbers: from the calling thread's key, or from a [`State`] of one's own.
//!
//! A draw splits a key in two: one part makes the numbers, the other is kept for the next draw. The functions here do so with the key of
//! the calling thread, which [`seed`] sets; the methods of a [`State`] with theirs. The same key gives the same numbers on every
//! backend, eager or compiled, and in Python. Functions of explicit keys, which never change, are in [`crate::ops::random`].
//!
//! A compiled function that draws anew at each call takes a [`State`] in its state. What it draws from the thread's key instead is drawn
//! once, when it is traced, and is a constant from then on:
//!
//! ```
//! use lazuli_core::{Array, compile, random};
//! let noisy = compile(|rng: &mut random::State, x: &Array| x + rng.normal(x.dims()));
//! let (mut rng, x) = (random::State::new(0), lazuli_core::array([1.0, 2.0]));
//! assert_ne!(noisy(&mut rng, &x).to_vec::<f32>(), noisy(&mut rng, &x).to_vec::<f32>());
//! assert_eq!(noisy.traces(), 1);
//! ```
//!
//! Functions that draw from the thread's key, as layers with dropout do, run within [`using`]. Absent: generators other than
//! Threefry-2x32.

use crate::array::Array;
use crate::dim::{Extent, Extents};
use crate::ops::{self, Operand, random as keyed};
use crate::raise::must;
use crate::trace;
use lazuli_ir::{DType, Result};
use std::cell::RefCell;
use std::ops::Range;

pub use crate::ops::random::key;

/// A source of random numbers: a key that moves on with each draw. It is a tree of one array, so a compiled function can have it in its
/// state.
///
/// ```
/// use lazuli_core::random::State;
/// let (mut a, mut b) = (State::new(7), State::new(7));
/// assert_eq!(a.uniform([3]).to_vec::<f32>(), b.uniform([3]).to_vec::<f32>());
/// assert_ne!(a.uniform([3]).to_vec::<f32>(), a.uniform([3]).to_vec::<f32>());
/// ```
#[derive(Debug, Clone)]
pub struct State {
    /// uint32 of shape (2,).
    pub key: Array,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

impl State {
    /// From the key of a seed.
    pub fn new(seed: u64) -> State {
        State { key: key(seed) }
    }
    /// A key for one draw; the state moves on.
    ///
    /// # Errors
    /// If the state's key is no key.
    #[track_caller]
    pub fn next_key(&mut self) -> Result<Array> {
        let keys = keyed::split(&self.key, 2)?;
        let row = |i: isize| ops::get(&keys, &[ops::Item::Int(i)]);
        self.key = row(0)?;
        row(1)
    }
}

/// Sets the calling thread's key from a number.
///
/// ```
/// use lazuli_core::random;
/// random::seed(1);
/// let first = random::normal([2]).to_vec::<f32>();
/// random::seed(1);
/// assert_eq!(random::normal([2]).to_vec::<f32>(), first);
/// ```
pub fn seed(seed: u64) {
    STATE.set(Some(State::new(seed)));
}

/// The calling thread's state (of seed 0 if none was set): a copy, for a compiled function to carry on from. Give it back with
/// [`set_state`] to go on drawing behind it.
pub fn state() -> State {
    STATE.with_borrow_mut(|s| s.get_or_insert_with(|| State::new(0)).clone())
}

/// Replaces the calling thread's state.
pub fn set_state(state: State) {
    STATE.set(Some(state));
}

/// A fresh key; the calling thread's state moves on.
///
/// # Errors
/// If the thread's key is no key.
#[track_caller]
pub fn next_key() -> Result<Array> {
    let mut state = state();
    trace::draw(&state.key);
    let key = state.next_key()?;
    set_state(state);
    Ok(key)
}

/// Runs `f` with this state as the calling thread's; what is left of it afterwards goes back, and the thread's own returns, also if `f`
/// panics. So a compiled function draws anew at each call, with the key as part of its state.
///
/// ```
/// use lazuli_core::{compile, random};
/// let draw = compile(|state: &mut random::State| random::using(state, || random::uniform([4])));
/// let mut state = random::state();
/// assert_ne!(draw(&mut state).to_vec::<f32>(), draw(&mut state).to_vec::<f32>());
/// ```
pub fn using<T>(state: &mut State, f: impl FnOnce() -> T) -> T {
    /// Puts the thread's own key back, also when `f` panics.
    struct Restore(Option<State>);
    impl Drop for Restore {
        fn drop(&mut self) {
            STATE.set(self.0.take());
        }
    }
    let restore = Restore(STATE.replace(Some(state.clone())));
    let result = f();
    *state = self::state();
    drop(restore);
    result
}

/// Each distribution once: as a function of the thread's state, and as a method.
macro_rules! distributions {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $t:ty),*) |$key:ident| $body:expr;)*) => {
        $(
            $(#[$doc])*
            #[track_caller]
            pub fn $name($($arg: $t),*) -> Array {
                let $key = &must(next_key());
                must($body)
            }
        )*
        /// As the functions of the module.
        impl State { $(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&mut self, $($arg: $t),*) -> Array {
                let $key = &must(self.next_key());
                must($body)
            }
        )* }
    };
}

distributions! {
    /// Uniform in [0, 1), float32, of this shape.
    ///
    /// ```
    /// use lazuli_core::random;
    /// let x = random::uniform([32, 10]);
    /// assert_eq!(x.shape(), [32, 10]);
    /// assert!(x.min(()).item::<f32>() >= 0.0 && x.max(()).item::<f32>() < 1.0);
    /// ```
    uniform(shape: impl Extents) |key| keyed::uniform(0.0, 1.0, shape, DType::F32, key);
    /// Uniform in [low, high), float32, of this shape, to which `low` and `high` broadcast.
    ///
    /// ```
    /// use lazuli_core::random;
    /// assert!(random::uniform_in(2.0, 3.0, [8]).min(()).item::<f32>() >= 2.0);
    /// ```
    ///
    /// # Panics
    /// If a bound does not broadcast to the shape.
    uniform_in(low: impl Operand, high: impl Operand, shape: impl Extents) |key| {
        keyed::uniform(low, high, shape, DType::F32, key)
    };
    /// Normal with mean 0 and standard deviation 1, float32, of this shape.
    ///
    /// ```
    /// assert_eq!(lazuli_core::random::normal([2, 3]).shape(), [2, 3]);
    /// ```
    normal(shape: impl Extents) |key| keyed::normal(shape, DType::F32, 0.0, 1.0, key);
    /// Integers of a range, int32, of this shape.
    ///
    /// ```
    /// let dice = lazuli_core::random::randint(1..7, [100]);
    /// assert!(dice.min(()).item::<i32>() >= 1 && dice.max(()).item::<i32>() <= 6);
    /// ```
    randint(range: Range<i32>, shape: impl Extents) |key| {
        keyed::randint(range.start, range.end, shape, DType::I32, key)
    };
    /// True with probability `p`, bool, of this shape.
    ///
    /// ```
    /// use lazuli_core::{DType, random};
    /// assert_eq!(random::bernoulli(0.5, [3]).dtype(), DType::Bool);
    /// ```
    bernoulli(p: impl Operand, shape: impl Extents) |key| keyed::bernoulli(p, shape, key);
    /// Positions (uint32) drawn with probability softmax(logits) along the last axis; the shape is that of `logits` without it.
    ///
    /// ```
    /// use lazuli_core::{array, random};
    /// let certain = random::categorical(&array([[0.0, 100.0], [100.0, 0.0]]));
    /// assert_eq!(certain.to_vec::<u32>(), [1, 0]);
    /// ```
    ///
    /// # Panics
    /// If `logits` is a scalar.
    categorical(logits: &Array) |key| keyed::categorical(logits, -1, None, key);
    /// Standard Gumbel numbers, −log(−log u), float32, of this shape.
    gumbel(shape: impl Extents) |key| keyed::gumbel(shape, DType::F32, key);
    /// Laplace numbers with mean 0 and scale 1, float32, of this shape.
    laplace(shape: impl Extents) |key| keyed::laplace(shape, DType::F32, 0.0, 1.0, key);
    /// Standard normal numbers cut off outside [low, high], float32, of this shape.
    truncated_normal(low: impl Operand, high: impl Operand, shape: impl Extents) |key| {
        keyed::truncated_normal(low, high, shape, DType::F32, key)
    };
    /// A permutation of 0 … n − 1, uint32 of shape (n,).
    ///
    /// ```
    /// let mut order = lazuli_core::random::permutation(5).to_vec::<u32>();
    /// order.sort();
    /// assert_eq!(order, [0, 1, 2, 3, 4]);
    /// ```
    permutation(n: impl Into<Extent>) |key| keyed::permutation(n, key);
}
