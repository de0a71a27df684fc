//! `compile` for Rust: a cache of traced programs in front of a function of trees.
//!
//! A call is read into tokens: the mode, the structure of its state and arguments, each constant by type and bits, each array by
//! dtype and shape, and which arrays are one. Calls with equal tokens share a trace. The function runs on stand-ins, and on a copy
//! of the state, so an error or a panic leaves the caller's state alone. No lock is held while it runs.

mod key;

use crate::array::Array;
use crate::cache::{Cache, Change, cause_of};
use crate::explain;
use crate::function::{self, Function, Output};
use crate::log;
use crate::program::{Arrays, Program, Recorded};
use crate::shapeless::{self, Scope};
use crate::switch::{self, CompileMode};
use crate::trace::{self, Trace};
use crate::tree::{self, LeafMut, Tree};
use crate::updates::Updates;
use crate::{random, verify};
use key::{Call, Given, Token, blurred, skeleton};
use lazuli_ir::{ErrorKind, Location, Result, Scalar};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// A traced call: the program, and trees into which its outputs go.
struct Entry {
    program: Arc<Program>,
    /// The function's result, of type `O::Tree`.
    output: Box<dyn Any + Send + Sync>,
    /// The state after the call, of type `S`, if the function changed more of it than its arrays, which are the first outputs.
    state: Option<Box<dyn Any + Send + Sync>>,
}

/// Name and cache of a compiled function.
#[doc(hidden)]
pub struct Shared {
    name: String,
    place: Location,
    cache: Arc<Cache<Token, Entry>>,
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
        self.cache.len()
    }
    /// A trace that holds for these shapes. `None` if a new one has to be made; the error if there is one that does not hold, and `mode` has it
    /// reported.
    fn find_shapeless(&self, call: &Call, mode: u8) -> Result<Option<Arc<Entry>>> {
        for any_rank in [true, false] {
            for n in 0.. {
                let Some(entry) = self.cache.get(&blurred(&call.key, any_rank, n)) else { break };
                match entry.program.admit(&call.arrays) {
                    Ok(()) => return Ok(Some(entry)),
                    Err(e) if mode == AUTO && e.kind() == ErrorKind::ShapeGuard => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(None)
    }
    /// The first key of this call that no trace has, and the trace of the last before it.
    fn free_key(&self, call: &Call, any_rank: bool) -> (Vec<Token>, Option<Arc<Entry>>) {
        let mut latest = None;
        for n in 0.. {
            let key = blurred(&call.key, any_rank, n);
            match self.cache.get(&key) {
                None => return (key, latest),
                found => latest = found,
            }
        }
        unreachable!("there are more numbers than traces")
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
    ///
    /// Clones of a compiled function are one function with it, and become so too.
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
    /// The same function, of which this many traces are kept (1,024 by default). What was used least recently goes.
    ///
    /// ```
    /// use lazuli_core::{Array, array, compile};
    /// let f = compile(|x: &Array, n: &i32| x + *n).cache_size(1);
    /// (0..3).for_each(|n| assert_eq!(f(&array(1.0), &n).item::<f32>(), 1.0 + n as f32));
    /// assert_eq!(f.traces(), 1);
    /// ```
    pub fn cache_size(self, size: usize) -> Self {
        self.shared.cache.set_capacity(size);
        self
    }
    /// Why the latest trace was made: how its call differed from the one before it.
    ///
    /// ```
    /// use lazuli_core::{Array, array, compile};
    /// let f = compile(|x: &Array| x.exp());
    /// f(&array([1.0, 2.0]));
    /// f(&array([1.0, 2.0, 3.0]));
    /// assert_eq!(f.latest_changes()[0].to_string(), "argument 0.shape[0] was 2, is 3");
    /// ```
    pub fn latest_changes(&self) -> Vec<Change> {
        self.shared.cache.latest_changes()
    }
    pub(crate) fn new(shared: Arc<Shared>, call: Arc<C>) -> Compiled<C> {
        Compiled { call, shared }
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
/// A closure that changes what it captures is no function to compile:
///
/// ```compile_fail
/// use lazuli_core::{Array, array, compile};
/// let mut outer: Vec<Array> = vec![];
/// compile(|x: &Array| {
///     outer.push(x.clone());
///     x.exp()
/// })(&array(1.0));
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
    f.compiled(Arc::new(Shared { name, place, cache, shapeless: AtomicU8::new(EXACT) }))
}

type Caches = HashMap<TypeId, Arc<Cache<Token, Entry>>>;

/// The cache of all functions of a type without data: they are one function.
fn cache_of(function: TypeId) -> Arc<Cache<Token, Entry>> {
    static CACHES: OnceLock<Mutex<Caches>> = OnceLock::new();
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

/// Calls a function through its cache. `run` runs it on the state given to it and, if there are holes, on stand-ins of the arguments.
pub(crate) fn call<S: Tree + Clone, O: Output>(
    shared: &Shared,
    state: Option<&mut S>,
    arguments: &[&dyn Tree],
    run: &mut dyn FnMut(Option<&mut S>, Option<&mut Holes<'_>>) -> O,
) -> Result<O::Tree> {
    let mode = switch::current_compile_mode();
    // Within a shapeless trace the function is a part of that: its own trace would take extents for numbers.
    if mode == CompileMode::Disabled || shapeless::is_live() {
        let mut copy = state.as_deref().cloned();
        let out = run(copy.as_mut(), None).into_result()?;
        if let (Some(state), Some(new)) = (state, copy) {
            *state = new;
        }
        return Ok(out);
    }
    let verifies = mode == CompileMode::Verify && !trace::is_tracing();
    let mode = mode.compiled();
    let given = Given { mode, state: state.as_deref().map(|s| s as &dyn Tree), arguments };
    let shapeless = shared.shapeless.load(Ordering::Relaxed);
    let newest = shared.cache.newest();
    let mut arrays = Arrays::new();
    let alike = newest.as_ref().filter(|kept| {
        given.is(&kept.key, shapeless != EXACT, &mut arrays)
            && (shapeless == EXACT || kept.entry.program.admit(&arrays).is_ok())
    });
    let found;
    let entry = match alike {
        Some(kept) => &kept.entry,
        None => {
            let call = given.read();
            found = find_or_trace(shared, mode, shapeless, state.as_deref(), &call, run)?;
            arrays = call.arrays;
            &found
        }
    };
    explain::note(&entry.program, &arrays, || {
        (cause_of(&shared.cache.changes_to(entry).unwrap_or_default()), shared.cache.len())
    });
    let outputs = match verifies {
        true => verified(&entry.program, state.as_deref(), &arrays, run)?,
        false => entry.program.call_alike(arrays)?,
    };
    let mut outputs = outputs.into_iter();
    match (state, &entry.state) {
        // What a visit does not show is the caller's own.
        (Some(state), Some(new)) => {
            let new = new.downcast_ref::<S>().expect("a function has one type of state");
            let mut new = tree::fill(new, &mut outputs);
            new.keep_skipped(state);
            *state = new;
        }
        (Some(state), None) => state.visit_mut(&mut |leaf| {
            if let LeafMut::Array(a) = leaf {
                *a = outputs.next().expect("as many outputs as the state has arrays");
            }
        }),
        (None, _) => {}
    }
    let output = entry.output.downcast_ref::<O::Tree>().expect("a function has one type of result");
    Ok(tree::fill(output, &mut outputs))
}

/// The entry of a call, made now if there is none.
#[inline(never)]
fn find_or_trace<S: Tree + Clone, O: Output>(
    shared: &Shared,
    mode: CompileMode,
    shapeless: u8,
    state: Option<&S>,
    call: &Call,
    run: &mut dyn FnMut(Option<&mut S>, Option<&mut Holes<'_>>) -> O,
) -> Result<Arc<Entry>> {
    let found = match shapeless {
        EXACT => shared.cache.get(&call.key),
        _ => shared.find_shapeless(call, shapeless)?,
    };
    if let Some(entry) = found {
        return Ok(entry);
    }
    let entry = Arc::new(trace(shared, mode, shapeless != EXACT, state, call, run)?);
    Ok(if entry.program.is_symbolic() {
        // What was traced within another trace may mention that trace's placeholders: it serves this call alone.
        entry
    } else if shapeless == EXACT {
        insert(shared, call.key.clone(), entry, None)
    } else {
        let any_rank = entry.program.is_any_rank();
        let (key, latest) = shared.free_key(call, any_rank);
        let latest = latest.or_else(|| shared.free_key(call, !any_rank).1);
        let cause = latest.and_then(|latest| latest.program.refusal(&call.arrays));
        insert(shared, key, entry, cause)
    })
}

/// Runs the function plainly, on a copy of the state and with the thread's random key put back afterwards, and the program fused and unfused.
#[inline(never)]
fn verified<S: Tree + Clone, O: Output>(
    program: &Arc<Program>,
    state: Option<&S>,
    arrays: &[Array],
    run: &mut dyn FnMut(Option<&mut S>, Option<&mut Holes<'_>>) -> O,
) -> Result<Arrays> {
    let key = random::state();
    let mut copy = state.cloned();
    let output = trace::silently(|| run(copy.as_mut(), None).into_result());
    random::set_state(key);
    let mut plain = copy.as_ref().map(tree::arrays).unwrap_or_default();
    let states = plain.len();
    plain.extend(tree::arrays(&output?));
    let path = |i: usize| match i.checked_sub(states) {
        None => format!("array {i} of the state"),
        Some(i) => format!("array {i} of the result"),
    };
    verify::verify(program, arrays, &plain, &path)
}

fn insert(shared: &Shared, key: Vec<Token>, entry: Arc<Entry>, cause: Option<Change>) -> Arc<Entry> {
    let inserted = shared.cache.insert_for(key, entry, cause);
    log::traced(&shared.name, || shared.cache.latest_changes());
    if let Some(warning) = inserted.warning {
        warn(shared, &format!("keeps being traced: {warning}"));
    }
    inserted.entry
}

/// Tells of a function what its author should know.
fn warn(shared: &Shared, what: &str) {
    eprintln!("warning: '{}', compiled at {}, {what}", shared.name, shared.place);
}

/// Runs the function on placeholders.
fn trace<S: Tree + Clone, O: Output>(
    shared: &Shared,
    mode: CompileMode,
    shapeless: bool,
    state: Option<&S>,
    call: &Call,
    run: &mut dyn FnMut(Option<&mut S>, Option<&mut Holes<'_>>) -> O,
) -> Result<Entry> {
    let trace = Trace::begin(shared.name.clone(), "compile");
    let scope = shapeless.then(Scope::begin);
    let mut holes = Holes { trace: &trace, arrays: Vec::new() };
    let before = state.map(skeleton);
    let mut state = state.map(|s| holes.stand_in(s));
    let output = run(state.as_mut(), Some(&mut holes)).into_result()?;
    let mut outputs = state.as_ref().map(tree::arrays).unwrap_or_default();
    outputs.extend(tree::arrays(&output));
    let placeholders = holes.arrays;
    let facts = scope.map(Scope::end);
    let (time, drew) = (trace.elapsed(), trace.drew());
    let effects = &trace.end();
    // The arrays of state of one structure follow one another as its placeholders do.
    let state = state.filter(|s| before.as_ref() != Some(&skeleton(s)));
    let updates = match &state {
        None => Updates::of_arrays((0..call.state).map(|i| (i, i))),
        Some(_) => Updates::More,
    };
    // A clone of the state that the function captured is a constant by the user's will; an argument is not.
    let arguments = &call.arrays[call.state..];
    let path = |i: usize| format!("array {i} of the arguments");
    let recorded = Recorded {
        name: shared.name.clone(),
        inputs: &placeholders,
        outputs: &outputs,
        arguments,
        effects,
        path: &path,
        facts,
        time,
        updates,
    };
    let program = Program::from_trace(recorded, mode.options()).map_err(|e| e.at(shared.place.to_string()))?;
    if drew {
        warn(
            shared,
            "draws random numbers from the thread's key, so they are the same at every call: take a random::State in its state, and draw within random::using(state, || ...)",
        );
    }
    // What is kept need not keep the recorded graph alive.
    let nothing = Array::scalar(Scalar::bool(false));
    let state = state.map(|s| Box::new(tree::map(&s, |_| nothing.clone())) as _);
    let output = Box::new(tree::map(&output, |_| nothing.clone()));
    Ok(Entry { program: Arc::new(program), output, state })
}
