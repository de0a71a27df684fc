//! The lazy array: a cheap handle on a node of the graph that is being recorded.
//!
//! A node changes once, from pending to done; a handle is `Send + Sync` and clones for the price of a counter. Shape and dtype are
//! known from the start. Absent here: how nodes are run (`eval`), and how they become graphs (`trace`).

use crate::element::Element;
use crate::eval::Running;
use crate::program::Program;
use crate::raise::must;
use crate::shapeless;
use crate::trace::Read;
use lazuli_ir::{Aval, DType, Error, ErrorKind, Location, Meta, Prim, Result, Scalar, shape};
use lazuli_kernel::{Buffer, Event, Layout};
use smallvec::{SmallVec, smallvec};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// An n-dimensional array, computed when its value is first needed.
///
/// ```
/// use lazuli_core::{Array, DType};
/// let a = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]);
/// assert_eq!((a.shape(), a.dtype()), ([2, 2].as_slice(), DType::F32));
/// assert_eq!(a.to_vec::<f32>(), [1.0, 2.0, 3.0, 4.0]);
/// ```
#[derive(Clone)]
pub struct Array {
    pub(crate) node: Arc<Node>,
    /// Which output of the node.
    pub(crate) index: u32,
}

/// One recorded operation and, once run, its results.
pub(crate) struct Node {
    pub avals: SmallVec<[Aval; 1]>,
    pub meta: Meta,
    /// Whether a live or past trace can reach this node's inputs: then it keeps its record after evaluation.
    pub traced: bool,
    /// The results, once the node was run. They never change.
    values: OnceLock<SmallVec<[Value; 1]>>,
    state: Mutex<State>,
}

pub(crate) enum State {
    /// Not run yet.
    Pending(Arc<Record>),
    /// The same, of a call of a compiled function that no trace can reach: most are run by themselves, and need no record.
    Call(Call),
    /// Some thread is running it.
    Running(Arc<Record>, Running),
    /// Run, or uploaded: the node has its values. The record is kept for traces only.
    Done(Option<Arc<Record>>),
    /// An input of a trace: it has no value.
    Hole(Arc<Hole>),
}

/// The results of a run, or of an upload.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub buffer: Buffer,
    pub layout: Layout,
    pub event: Event,
}

/// What a node computes.
pub(crate) struct Record {
    pub op: Op,
    pub inputs: SmallVec<[Array; 2]>,
    /// Arrays whose extents the parameters mention.
    pub shapes: SmallVec<[Array; 1]>,
}

/// What such a node computes.
pub(crate) struct Call {
    pub program: Arc<Program>,
    pub inputs: SmallVec<[Array; 2]>,
}

pub(crate) enum Op {
    Prim(Prim),
    /// A scalar written in the program.
    Literal(Scalar),
    /// Input 0 itself: how a trace marks an array whose value is known.
    Alias,
    /// A call of a compiled function.
    Program(Arc<Program>),
}

/// Whose placeholder a value-less array is, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Hole {
    /// The function being traced.
    pub function: String,
    pub transform: &'static str,
    /// Cleared when the trace ends.
    pub live: Arc<std::sync::atomic::AtomicBool>,
    /// Whether its extents are those of a constant.
    pub fixed: bool,
}

/// Where in the program what a trace has left behind was made, of all that these arrays depend on: the nearest place that is known.
fn made_in_a_trace(wanted: &[Array]) -> Option<Location> {
    let mut seen = std::collections::HashSet::new();
    let mut todo: std::collections::VecDeque<Array> = wanted.iter().cloned().collect();
    while let Some(array) = todo.pop_front() {
        if !array.is_traced() || !seen.insert(array.id()) {
            continue;
        }
        if array.location() != Location::UNKNOWN {
            return Some(array.location());
        }
        todo.extend(array.node.record().iter().flat_map(|record| record.inputs.iter().cloned()));
    }
    None
}

impl Drop for Record {
    fn drop(&mut self) {
        free(&mut self.inputs, &mut self.shapes);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        free(&mut self.inputs, &mut SmallVec::new());
    }
}

/// Frees a chain of any length without recursion.
#[inline]
fn free(inputs: &mut SmallVec<[Array; 2]>, shapes: &mut SmallVec<[Array; 1]>) {
    // Most inputs are held elsewhere too, or have no inputs of their own.
    let own = inputs.len() + shapes.len();
    let is_simple = |a: &Array| Arc::strong_count(&a.node) > own || a.node.values().is_some() && !a.node.traced;
    if !inputs.iter().chain(&*shapes).all(is_simple) {
        free_chain(inputs.drain(..).chain(shapes.drain(..)).collect());
    }
}

fn free_chain(mut doomed: Vec<Array>) {
    while let Some(array) = doomed.pop() {
        let Some(node) = Arc::into_inner(array.node) else { continue };
        let record = match node.state.into_inner().unwrap_or_else(|e| e.into_inner()) {
            State::Call(mut call) => {
                doomed.extend(call.inputs.drain(..));
                continue;
            }
            State::Pending(record) | State::Running(record, _) => Some(record),
            State::Done(record) => record,
            State::Hole(_) => None,
        };
        if let Some(mut record) = record.and_then(Arc::into_inner) {
            doomed.extend(record.inputs.drain(..).chain(record.shapes.drain(..)));
        }
    }
}

impl Op {
    fn describe(&self) -> String {
        match self {
            Op::Prim(prim) => format!("{} is to be run", prim.name()),
            Op::Program(program) => describe_call(program),
            Op::Literal(_) => "a number of the program".to_owned(),
            Op::Alias => "an input of a transformation".to_owned(),
        }
    }
}

fn describe_call(program: &Program) -> String {
    format!("a call of '{}' is to be run", program.name())
}

impl Call {
    fn into_record(mut self) -> Record {
        let inputs = std::mem::take(&mut self.inputs);
        Record { op: Op::Program(self.program.clone()), inputs, shapes: SmallVec::new() }
    }
}

impl State {
    /// The record, if the node is not run yet or has kept it.
    pub(crate) fn record(&mut self) -> Option<Arc<Record>> {
        if let State::Call(_) = self
            && let State::Call(call) = std::mem::replace(self, State::Done(None))
        {
            *self = State::Pending(Arc::new(call.into_record()));
        }
        match self {
            State::Pending(record) | State::Running(record, _) => Some(record.clone()),
            State::Done(record) => record.clone(),
            State::Hole(_) | State::Call(_) => None,
        }
    }
}

impl Node {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave a state half-written: every write is one assignment.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// The record, if the node is not run yet or has kept it.
    pub(crate) fn record(&self) -> Option<Arc<Record>> {
        self.state().record()
    }
    /// The placeholder that it is, if it is one.
    pub(crate) fn hole(&self) -> Option<Arc<Hole>> {
        match &*self.state() {
            State::Hole(hole) => Some(hole.clone()),
            _ => None,
        }
    }
    /// The results, if it has been run.
    #[inline]
    pub(crate) fn values(&self) -> Option<&[Value]> {
        self.values.get().map(|v| &v[..])
    }
    /// Gives the node its results, which are made in place.
    #[inline]
    pub(crate) fn finish(&self, values: impl FnOnce() -> SmallVec<[Value; 1]>) {
        let state = self.state();
        self.set_values(&state, values);
        self.settle(state);
    }
    /// The same, where its state is locked: whoever sees that the node was run sees the values too. To be followed by [`settle`](Self::settle).
    #[inline]
    pub(crate) fn set_values(&self, _locked: &State, values: impl FnOnce() -> SmallVec<[Value; 1]>) {
        self.values.get_or_init(values);
    }
    /// The node has its values. What a trace can reach keeps its record; another is dropped once the state is not locked any more, as it may hold the
    /// last handles of other things.
    #[inline]
    pub(crate) fn settle(&self, mut state: MutexGuard<'_, State>) {
        let record = if self.traced { state.record() } else { None };
        let before = std::mem::replace(&mut *state, State::Done(record));
        drop(state);
        if let State::Running(_, running) = before {
            running.over();
        }
    }
}

impl Array {
    #[inline]
    fn new(avals: SmallVec<[Aval; 1]>, meta: Meta, traced: bool, state: State) -> Array {
        let is_pending = matches!(state, State::Pending(_) | State::Call(_));
        let node = Arc::new(Node { avals, meta, traced, values: OnceLock::new(), state: Mutex::new(state) });
        if is_pending {
            crate::trace::recorded(&node);
        }
        Array { node, index: 0 }
    }
    #[inline]
    pub(crate) fn pending(
        op: Op,
        inputs: SmallVec<[Array; 2]>,
        shapes: SmallVec<[Array; 1]>,
        avals: SmallVec<[Aval; 1]>,
        meta: Meta,
    ) -> Array {
        let traced = inputs.iter().any(|a| a.node.traced) || shapes.iter().any(|a| a.node.traced);
        let array = Array::new(avals, meta, traced, State::Pending(Arc::new(Record { op, inputs, shapes })));
        if traced {
            shapeless::recorded(&array);
        }
        array
    }
    /// A call of a compiled function.
    #[inline]
    pub(crate) fn call(
        program: Arc<Program>,
        inputs: SmallVec<[Array; 2]>,
        avals: SmallVec<[Aval; 1]>,
        meta: Meta,
    ) -> Array {
        match inputs.iter().any(|a| a.node.traced) {
            true => Array::pending(Op::Program(program), inputs, SmallVec::new(), avals, meta),
            false => Array::new(avals, meta, false, State::Call(Call { program, inputs })),
        }
    }
    pub(crate) fn done(aval: Aval, buffer: Buffer, layout: Layout) -> Array {
        let array = Array::new(smallvec![aval], Meta::default(), false, State::Done(None));
        let _ = array.node.values.set(smallvec![Value { buffer, layout, event: Event::done() }]);
        array
    }
    pub(crate) fn hole(aval: Aval, hole: Arc<Hole>) -> Array {
        Array::new(smallvec![aval], Meta::default(), true, State::Hole(hole))
    }
    /// The same value, marked as an input of a trace.
    pub(crate) fn alias(&self) -> Array {
        let record = Record { op: Op::Alias, inputs: smallvec![self.clone()], shapes: SmallVec::new() };
        Array::new(smallvec![self.aval().clone()], Meta::default(), true, State::Pending(Arc::new(record)))
    }
    /// Another output of the same node.
    pub(crate) fn sibling(&self, index: u32) -> Array {
        Array { node: self.node.clone(), index }
    }

    /// A scalar of the program: within a compiled function it is a run-time parameter, no array.
    pub fn scalar(value: Scalar) -> Array {
        Array::pending(
            Op::Literal(value),
            SmallVec::new(),
            SmallVec::new(),
            smallvec![Aval::scalar(value.dtype)],
            Meta::default(),
        )
    }
    /// An array with these elements in row-major order.
    ///
    /// # Panics
    /// If the number of elements is not the product of `shape`.
    #[track_caller]
    pub fn from_slice<T: Element>(data: &[T], shape: &[usize]) -> Array {
        must(Array::try_from_bytes(T::bytes(data).as_ref(), T::DTYPE, shape))
    }
    /// An array of `dtype` from the bytes of its elements, row-major, little-endian.
    pub fn try_from_bytes(bytes: &[u8], dtype: DType, dims: &[usize]) -> Result<Array> {
        let aval = Aval::new(dtype, dims);
        if bytes.len() != aval.nbytes() {
            let got = bytes.len() / dtype.itemsize();
            return Err(Error::value(
                "array",
                format!("{got} elements do not fill shape {}, which has {}", shape::show(dims), aval.size()),
            ));
        }
        let buffer = crate::backend::default().upload(bytes)?;
        Ok(Array::done(aval, buffer, Layout::row(dims)))
    }

    /// Shape and dtype. What is decided by these extents is not guarded in a shapeless trace: for shape rules and messages.
    pub fn aval(&self) -> &Aval {
        &self.node.avals[self.index as usize]
    }
    /// The extents as numbers. In a shapeless trace they are guarded, so that the function is refused for others: see [`dim`](Self::dim).
    #[track_caller]
    pub fn shape(&self) -> &[usize] {
        shapeless::read_all(self);
        &self.aval().shape
    }
    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        self.aval().dtype
    }
    /// How many axes there are.
    pub fn ndim(&self) -> usize {
        if self.is_traced() {
            shapeless::read_rank();
        }
        self.aval().rank()
    }
    /// Number of elements; guarded as [`shape`](Self::shape).
    #[track_caller]
    pub fn size(&self) -> usize {
        shapeless::read_all(self);
        self.aval().size()
    }
    /// Bytes of the elements; guarded as [`shape`](Self::shape).
    #[track_caller]
    pub fn nbytes(&self) -> usize {
        self.size() * self.dtype().itemsize()
    }
    /// Where in the program the array was made, if that was within a trace.
    pub fn location(&self) -> Location {
        self.node.meta.location
    }
    /// What is known of the array without running anything: shape, dtype, and where its value stands.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([1.0, 2.0]).describe(), "array of shape (2,), float32, evaluated");
    /// ```
    pub fn describe(&self) -> String {
        let at = |place: Location| if place == Location::UNKNOWN { String::new() } else { format!(" at {place}") };
        let value = match &*self.node.state() {
            State::Done { .. } => match self.value().and_then(|v| v.event.poll()) {
                Some(Err(error)) => format!("without a value, as its computation failed: {error}"),
                _ => "evaluated".to_owned(),
            },
            State::Running(..) => "being evaluated".to_owned(),
            State::Hole(hole) => hole.describe(),
            State::Pending(record) => format!("not evaluated: {}{}", record.op.describe(), at(self.location())),
            State::Call(call) => format!("not evaluated: {}{}", describe_call(&call.program), at(self.location())),
        };
        let traced = match self.node.traced && !matches!(&*self.node.state(), State::Hole(_)) {
            true => ", depends on what is or was traced",
            false => "",
        };
        format!("array of shape {}, {}, {value}{traced}", shape::show(&self.aval().shape), self.dtype())
    }
    /// A number that tells live arrays apart: two handles have one id if they are of the same result.
    pub fn id(&self) -> (usize, u32) {
        (Arc::as_ptr(&self.node) as usize, self.index)
    }
    /// Whether the value is there (work may still be queued behind it).
    pub fn is_evaluated(&self) -> bool {
        self.node.values().is_some()
    }
    /// Whether this is an input of a trace, or depends on one.
    pub fn is_traced(&self) -> bool {
        self.node.traced
    }
    /// The scalar, if this array is one that was written in the program.
    pub(crate) fn literal(&self) -> Option<Scalar> {
        match &*self.node.state() {
            State::Pending(r) => match r.op {
                Op::Literal(s) => Some(s),
                _ => None,
            },
            _ => None,
        }
    }
    /// The result, if it has been run (work may still be queued behind it).
    pub(crate) fn value(&self) -> Option<&Value> {
        self.node.values().map(|v| &v[self.index as usize])
    }
    /// The result, run now if need be, and finished.
    pub(crate) fn force(&self) -> Result<&Value> {
        if self.value().is_none_or(|v| !matches!(v.event.poll(), Some(Ok(())))) {
            crate::eval::eval(std::slice::from_ref(self))?;
        }
        self.value().ok_or_else(|| Error::internal("eval", "the array was not run"))
    }

    /// The bytes of the elements in row-major order.
    pub fn try_to_bytes(&self) -> Result<Vec<u8>> {
        let value = self.force()?;
        let backend = crate::backend::default();
        let item = self.dtype().itemsize();
        let mut out = vec![0; self.nbytes()];
        if value.layout.is_row_contiguous() {
            backend.download(&value.buffer, value.layout.offset as usize * item, &mut out)?;
            return Ok(out);
        }
        let Some((lo, hi)) = value.layout.span() else { return Ok(out) };
        let mut raw = vec![0; (hi - lo + 1) as usize * item];
        backend.download(&value.buffer, lo as usize * item, &mut raw)?;
        for (i, at) in positions(&value.layout).enumerate() {
            let from = (at - lo) as usize * item;
            out[i * item..(i + 1) * item].copy_from_slice(&raw[from..from + item]);
        }
        Ok(out)
    }
    /// The same elements, row-contiguous in memory: the array itself if it lies so already.
    pub fn contiguous(&self) -> Result<Array> {
        if self.force()?.layout.is_row_contiguous() {
            return Ok(self.clone());
        }
        Array::try_from_bytes(&self.try_to_bytes()?, self.dtype(), self.shape())
    }
    /// The elements in row-major order.
    #[track_caller]
    pub fn try_to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if self.dtype() != T::DTYPE {
            return Err(Error::new(
                ErrorKind::Type,
                "to_vec",
                format!("the array is of {}, not {}: cast it with astype first", self.dtype(), T::DTYPE),
            ));
        }
        Read::VALUES.of(|| self.try_to_bytes()).map(|bytes| T::from_bytes(&bytes))
    }
    /// As [`try_to_vec`](Self::try_to_vec); panics at the caller's line.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        must(self.try_to_vec())
    }
    /// The one element of an array of size 1.
    #[track_caller]
    pub fn try_item_scalar(&self) -> Result<Scalar> {
        if self.aval().size() != 1 {
            let shape = shape::show(&self.aval().shape);
            return Err(Error::value(
                "item",
                format!("an array of shape {shape} has {} elements: item() needs exactly one", self.aval().size()),
            ));
        }
        if let Some(s) = self.literal() {
            return Ok(s);
        }
        Read::ITEM.of(|| self.try_to_bytes()).map(|bytes| Scalar::from_bytes(self.dtype(), &bytes))
    }
    /// The one element of an array of size 1, as `T`.
    #[track_caller]
    pub fn item<T: Element>(&self) -> T {
        let elements = Read::ITEM.of(|| self.try_to_vec::<T>());
        must(elements.and_then(|v| if v.len() == 1 { Ok(v[0]) } else { self.try_item_scalar().map(|_| v[0]) }))
    }
}

/// Positions of the elements in row-major order, in elements of the buffer.
fn positions(layout: &Layout) -> impl Iterator<Item = isize> + '_ {
    let mut index: SmallVec<[usize; 4]> = SmallVec::from_elem(0, layout.rank());
    let mut at = layout.offset;
    (0..layout.size()).map(move |_| {
        let here = at;
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at += layout.strides[axis];
            if index[axis] < layout.shape[axis] {
                break;
            }
            at -= layout.strides[axis] * layout.shape[axis] as isize;
            index[axis] = 0;
        }
        here
    })
}

impl Hole {
    fn describe(&self) -> String {
        let past = if self.live.load(std::sync::atomic::Ordering::Relaxed) { "" } else { ", which is over" };
        format!("a placeholder without a value in the trace of '{}' by {}{past}", self.function, self.transform)
    }
    /// The error of reading a value that isn't there, for the sake of `wanted`.
    pub(crate) fn error(&self, wanted: &[Array]) -> Error {
        let (f, t) = (&self.function, self.transform);
        let at = |place: Location| if place == Location::UNKNOWN { String::new() } else { format!(" at {place}") };
        if self.live.load(std::sync::atomic::Ordering::Relaxed) {
            let read = crate::trace::current_read();
            let how = read.map_or(String::new(), |r| format!(" with {}", r.how));
            let remedy = read.map_or(
                "return it as an output, print it with debug::print, use `select` or `cond` in place of a branch, or turn compilation off with \
                 disable_compile()",
                |r| r.remedy,
            );
            // Without a front end that knows the line, that of the array says where to look.
            let (made, place) = match crate::trace::place() {
                Location::UNKNOWN => (
                    wanted.first().map_or(String::new(), |a| at(a.location()).replacen(" at", " made at", 1)),
                    String::new(),
                ),
                place => (String::new(), at(place)),
            };
            let message = format!(
                "'{f}' reads the value of an array{made}{how}{place}, but arrays have no values while {t} traces the function: {remedy}"
            );
            return Error::new(ErrorKind::TracedRead, t, message);
        }
        let made = made_in_a_trace(wanted).map_or(String::new(), |place| format!(", made{}", at(place)));
        let capture = if t == "compile" { ", or capture the state that holds it with outputs=" } else { "" };
        let message = format!(
            "this array was left behind by '{f}' when {t} traced it{made}: it has no value. Return it from '{f}'{capture}"
        );
        Error::new(ErrorKind::LeakedTracer, t, message)
    }
}
