//! `compile` for Rust: a cache of traced programs in front of a function of trees.
//!
//! A call is read into tokens: the structure of its state and arguments, each constant by type and bits, each array by dtype and
//! shape. Calls with equal tokens share a trace; lists are compared in full, hashes only find candidates. The function runs on
//! stand-ins, and on a copy of the state, so an error or a panic leaves the caller's state alone. No lock is held while it runs.
//! Absent: shapeless traces, which need extents that can be told from numbers.

use crate::array::Array;
use crate::function::{Function, Output};
use crate::program::Program;
use crate::switch;
use crate::trace::Trace;
use crate::tree::{self, Constant, Leaf, Tree};
use lazuli_compile::Options;
use lazuli_ir::{Aval, Error, Location, Result, Scalar};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock};

/// How many signatures a function keeps.
const CACHE_SIZE: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Token {
    Array(Aval),
    Constant(Constant),
    Open(&'static str, usize),
    Close,
}

/// A traced call: the program, and trees into which its outputs go.
struct Entry {
    program: Arc<Program>,
    /// The function's result, of type `O::Tree`.
    output: Box<dyn Any + Send + Sync>,
    /// The state after the call, of type `S`; its arrays are the first outputs.
    state: Option<Box<dyn Any + Send + Sync>>,
}

#[derive(Default)]
struct Cache {
    entries: Mutex<HashMap<Vec<Token>, Arc<Entry>>>,
}

/// Name and cache of a compiled function.
#[doc(hidden)]
pub struct Shared {
    name: String,
    place: Location,
    cache: Arc<Cache>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).field("traces", &self.traces()).finish()
    }
}

impl Shared {
    fn traces(&self) -> usize {
        self.cache.entries.lock().unwrap_or_else(|e| e.into_inner()).len()
    }
    fn find(&self, key: &[Token]) -> Option<Arc<Entry>> {
        self.cache.entries.lock().unwrap_or_else(|e| e.into_inner()).get(key).cloned()
    }
    fn insert(&self, key: Vec<Token>, entry: Arc<Entry>) {
        let mut entries = self.cache.entries.lock().unwrap_or_else(|e| e.into_inner());
        if entries.len() >= CACHE_SIZE
            && let Some(any) = entries.keys().next().cloned()
        {
            entries.remove(&any);
        }
        entries.insert(key, entry);
    }
}

/// A compiled function: call it as the function itself.
pub struct Compiled<C: ?Sized> {
    call: Arc<C>,
    shared: Arc<Shared>,
}

impl<C: ?Sized> Deref for Compiled<C> {
    type Target = C;
    fn deref(&self) -> &C {
        &self.call
    }
}

impl<C: ?Sized> Clone for Compiled<C> {
    fn clone(&self) -> Self {
        Compiled { call: self.call.clone(), shared: self.shared.clone() }
    }
}

impl<C: ?Sized> fmt::Debug for Compiled<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("name", &self.shared.name).field("traces", &self.traces()).finish()
    }
}

impl<C: ?Sized> Compiled<C> {
    /// How many traces of the function are kept.
    pub fn traces(&self) -> usize {
        self.shared.traces()
    }
    pub(crate) fn into_call(self) -> Arc<C> {
        self.call
    }
}

/// Compiles a function: its first call with arguments of new structure, shapes, dtypes or constants runs it on placeholders, then
/// simplifies and fuses what it did; later calls run that.
///
/// Arrays that the function captures are constants. A first argument `&mut S` is state: what the function does to it happens to the
/// caller's at every call. A function or a closure without captures has one cache, however often it is compiled.
///
/// ```
/// use lazuli_core::{Array, array, compile};
/// let f = compile(|x: &Array, y: &Array| (-x).exp() + y);
/// let (x, y) = (array(0.0), array(2.0));
/// assert_eq!(f(&x, &y).item::<f32>(), 3.0);
/// f(&y, &x);
/// assert_eq!(f.traces(), 1);
///
/// let push = compile(|seen: &mut Vec<Array>, x: &Array| seen.push(x + 1.0f32));
/// let mut seen = vec![];
/// push(&mut seen, &x);
/// assert_eq!(seen[0].item::<f32>(), 1.0);
/// ```
///
/// # Panics
/// When called: as the function does, and if it reads the value of an array that depends on its arguments. With
/// [`try_call`](Compiled::try_call) that is an error.
#[track_caller]
pub fn compile<M, F: Function<M>>(f: F) -> Compiled<F::Call> {
    let place = Location::caller();
    let full = std::any::type_name::<F>();
    let name = match full.contains("{{closure}}") {
        true => format!("closure at {place}"),
        false => full.rsplit("::").next().unwrap_or(full).to_owned(),
    };
    let cache = if size_of::<F>() == 0 { cache_of(TypeId::of::<F>()) } else { Arc::default() };
    let shared = Arc::new(Shared { name, place, cache });
    Compiled { call: f.compiled(shared.clone()), shared }
}

/// The cache of all functions of a type without data: they are one function.
fn cache_of(function: TypeId) -> Arc<Cache> {
    static CACHES: OnceLock<Mutex<HashMap<TypeId, Arc<Cache>>>> = OnceLock::new();
    let mut caches = CACHES.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    caches.entry(function).or_default().clone()
}

/// Placeholders that a trace has made so far, in the order of the call's arrays.
pub(crate) struct Holes<'a> {
    trace: &'a Trace,
    arrays: Vec<Array>,
}

impl Holes<'_> {
    /// The tree with placeholders for its arrays.
    pub fn stand_in<T: Tree + Clone>(&mut self, tree: &T) -> T {
        tree::map(tree, |a| {
            let hole = self.trace.placeholder(a.aval().clone());
            self.arrays.push(hole.clone());
            hole
        })
    }
}

fn read(tree: &dyn Tree, key: &mut Vec<Token>, arrays: &mut Vec<Array>) {
    tree.visit(&mut |leaf| {
        key.push(match leaf {
            Leaf::Array(a) => {
                arrays.push(a.clone());
                Token::Array(a.aval().clone())
            }
            Leaf::Constant(c) => Token::Constant(c),
            Leaf::Open(kind, n) => Token::Open(kind, n),
            Leaf::Close => Token::Close,
        });
    });
}

/// Calls a function through its cache. `run` runs it on the state given to it and, if there are holes, on stand-ins of the arguments.
pub(crate) fn call<S: Tree + Clone, O: Output>(
    shared: &Shared,
    state: Option<&mut S>,
    arguments: &[&dyn Tree],
    run: &mut dyn FnMut(Option<&mut S>, Option<&mut Holes<'_>>) -> O,
) -> Result<O::Tree> {
    if !switch::compile_is_enabled() {
        let mut copy = state.as_deref().cloned();
        let out = run(copy.as_mut(), None).into_result()?;
        if let (Some(state), Some(new)) = (state, copy) {
            *state = new;
        }
        return Ok(out);
    }
    let (mut key, mut arrays) = (Vec::new(), Vec::new());
    if let Some(state) = state.as_deref() {
        read(state, &mut key, &mut arrays);
    }
    arguments.iter().for_each(|a| read(*a, &mut key, &mut arrays));
    let entry = match shared.find(&key) {
        Some(entry) => entry,
        None => {
            let entry = Arc::new(trace(shared, state.as_deref(), &arrays, run)?);
            shared.insert(key, entry.clone());
            entry
        }
    };
    let mut outputs = entry.program.call(&arrays)?.into_iter();
    if let (Some(state), Some(new)) = (state, &entry.state) {
        let new = new.downcast_ref::<S>().expect("a function has one type of state");
        *state = tree::fill(new, &mut outputs);
    }
    let output = entry.output.downcast_ref::<O::Tree>().expect("a function has one type of result");
    Ok(tree::fill(output, &mut outputs))
}

/// Runs the function on placeholders.
fn trace<S: Tree + Clone, O: Output>(
    shared: &Shared,
    state: Option<&S>,
    arguments: &[Array],
    run: &mut dyn FnMut(Option<&mut S>, Option<&mut Holes<'_>>) -> O,
) -> Result<Entry> {
    let trace = Trace::begin(shared.name.clone(), "compile");
    let mut holes = Holes { trace: &trace, arrays: Vec::new() };
    let mut state = state.map(|s| holes.stand_in(s));
    let output = run(state.as_mut(), Some(&mut holes)).into_result()?;
    let mut outputs = state.as_ref().map(tree::arrays).unwrap_or_default();
    outputs.extend(tree::arrays(&output));
    let placeholders = holes.arrays;
    drop(trace);
    let program =
        Program::from_trace(shared.name.clone(), &placeholders, &outputs, Options { simplify: true, fuse: true })?;
    if program.constants().iter().any(|c| arguments.iter().any(|a| a.id() == c.id())) {
        let message = format!(
            "'{}' was given an array that it also captures (an uncaptured input): there it would be a constant. Use the argument, or \
             make the other part of the state",
            shared.name
        );
        return Err(Error::value("compile", message).at(shared.place.to_string()));
    }
    // What is kept need not keep the recorded graph alive.
    let nothing = Array::scalar(Scalar::bool(false));
    let state = state.map(|s| Box::new(tree::map(&s, |_| nothing.clone())) as _);
    let output = Box::new(tree::map(&output, |_| nothing.clone()));
    Ok(Entry { program: Arc::new(program), output, state })
}
