//! `compile` for Rust: a cache of traced programs in front of a function of trees.
//!
//! A call is read into tokens: the structure of its state and arguments, each constant by type and bits, each array by dtype and
//! shape. Calls with equal tokens share a trace; lists are compared in full, hashes only find candidates. The function runs on
//! stand-ins, and on a copy of the state, so an error or a panic leaves the caller's state alone. No lock is held while it runs.

use crate::array::Array;
use crate::function::{self, Function, Output};
use crate::program::Program;
use crate::shapeless::{self, Scope};
use crate::switch;
use crate::trace::Trace;
use crate::tree::{self, Constant, Leaf, Tree};
use lazuli_compile::Options;
use lazuli_ir::{Aval, DType, Error, ErrorKind, Location, Result, Scalar};
use smallvec::SmallVec;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// How many signatures a function keeps.
const CACHE_SIZE: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Token {
    Array(Aval),
    /// Of a shapeless function: dtype, and of each axis whether its extent is 0, 1 or more.
    Ranked(DType, SmallVec<[u8; 4]>),
    /// Of a shapeless function of any rank.
    AnyRank(DType),
    /// Marks the keys of a shapeless function; the number tells traces of one key apart.
    Shapeless(usize),
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
    shapeless: AtomicU8,
}

/// How a function treats shapes that it was not traced for.
const EXACT: u8 = 0;
const SHAPELESS: u8 = 1;
const AUTO: u8 = 2;

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
    /// A trace that holds for these shapes. `None` if a new one has to be made; the error if there is one that does not hold, and `mode` has it
    /// reported.
    fn find_shapeless(&self, key: &[Token], arrays: &[Array], mode: u8) -> Result<Option<Arc<Entry>>> {
        for any_rank in [true, false] {
            for n in 0.. {
                let Some(entry) = self.find(&blurred(key, any_rank, n)) else { break };
                match entry.program.admit(arrays) {
                    Ok(()) => return Ok(Some(entry)),
                    Err(e) if mode == AUTO && e.kind() == ErrorKind::ShapeGuard => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(None)
    }
    /// The first key of these arguments that no trace has.
    fn free_key(&self, key: &[Token], any_rank: bool) -> Vec<Token> {
        let keys = (0..).map(|n| blurred(key, any_rank, n));
        let mut free = keys.skip_while(|key| self.find(key).is_some());
        free.next().expect("there are more numbers than traces")
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

/// The key of the `n`-th shapeless trace of such arguments.
fn blurred(key: &[Token], any_rank: bool, n: usize) -> Vec<Token> {
    let blur = |t: &Token| match t {
        Token::Array(a) if any_rank => Token::AnyRank(a.dtype),
        Token::Array(a) => Token::Ranked(a.dtype, a.shape.iter().map(|&n| n.min(2) as u8).collect()),
        t => t.clone(),
    };
    std::iter::once(Token::Shapeless(n)).chain(key.iter().map(blur)).collect()
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
    /// The same function, which is not traced again where only extents differ: operations work them out anew at each call, and for a function of
    /// elementwise operations alone the number of axes may differ, too.
    ///
    /// An extent that is passed on as a [`Dim`](crate::Dim) stays open. Where the function reads or compares its number, it is refused for
    /// shapes for which that comes out differently: with a panic, or from [`try_call`](Compiled::try_call) with an error of the kind
    /// [`ShapeGuard`](crate::ErrorKind::ShapeGuard) that names the dimension, both values and the line.
    ///
    /// ```
    /// use lazuli_core::{Array, ErrorKind, array, compile};
    /// let f = compile(|x: &Array, y: &Array| (x + y).abs()).shapeless();
    /// f(&array(1.0), &array(-2.0));
    /// f(&array([1.0, -6.0]), &array([-2.0, 3.0]));
    /// assert_eq!(f.traces(), 1);
    ///
    /// let bad = compile(|x: &Array| x.reshape([x.dim(0) * x.dim(1), -1])).shapeless();
    /// bad(&Array::from_slice(&[0.0f32; 24], &[2, 3, 4]));
    /// let error = bad.try_call(&Array::from_slice(&[0.0f32; 60], &[5, 3, 4])).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::ShapeGuard);
    ///
    /// let ok = compile(|x: &Array| x.flatten(0..=1)).shapeless();
    /// assert_eq!(ok(&Array::from_slice(&[0.0f32; 24], &[2, 3, 4])).shape(), [6, 4]);
    /// assert_eq!(ok(&Array::from_slice(&[0.0f32; 60], &[5, 3, 4])).shape(), [15, 4]);
    /// ```
    #[must_use]
    pub fn shapeless(self) -> Self {
        self.shared.shapeless.store(SHAPELESS, Ordering::Relaxed);
        self
    }
    /// As [`shapeless`](Self::shapeless), but where it would be refused the function is traced again.
    #[must_use]
    pub fn shapeless_auto(self) -> Self {
        self.shared.shapeless.store(AUTO, Ordering::Relaxed);
        self
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
    let name = function::name_of::<F>(place);
    let cache = if size_of::<F>() == 0 { cache_of(TypeId::of::<F>()) } else { Arc::default() };
    let shared = Arc::new(Shared { name, place, cache, shapeless: AtomicU8::new(EXACT) });
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
            Leaf::Name(_) => return,
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
    // Within a shapeless trace the function is a part of that: its own trace would take extents for numbers.
    if !switch::compile_is_enabled() || shapeless::is_live() {
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
    let mode = shared.shapeless.load(Ordering::Relaxed);
    let found = if mode == EXACT { shared.find(&key) } else { shared.find_shapeless(&key, &arrays, mode)? };
    let entry = match found {
        Some(entry) => entry,
        None => {
            let entry = Arc::new(trace(shared, state.as_deref(), &arrays, mode != EXACT, run)?);
            if mode != EXACT {
                key = shared.free_key(&key, entry.program.is_any_rank());
            }
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
    shapeless: bool,
    run: &mut dyn FnMut(Option<&mut S>, Option<&mut Holes<'_>>) -> O,
) -> Result<Entry> {
    let trace = Trace::begin(shared.name.clone(), "compile");
    let scope = shapeless.then(Scope::begin);
    let mut holes = Holes { trace: &trace, arrays: Vec::new() };
    let mut state = state.map(|s| holes.stand_in(s));
    let output = run(state.as_mut(), Some(&mut holes)).into_result()?;
    let mut outputs = state.as_ref().map(tree::arrays).unwrap_or_default();
    outputs.extend(tree::arrays(&output));
    let placeholders = holes.arrays;
    let facts = scope.map(Scope::end);
    drop(trace);
    let (name, options) = (shared.name.clone(), Options { simplify: true, fuse: true });
    let program = match facts {
        None => Program::from_trace(name, &placeholders, &outputs, options)?,
        Some(facts) => Program::from_shapeless_trace(name, &placeholders, &outputs, options, facts)?,
    };
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
