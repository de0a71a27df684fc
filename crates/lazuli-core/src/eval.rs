//! Running what has been recorded: who runs what.
//!
//! `eval` collects the cut of nodes that its arrays need and that no one has run, and claims them all under one lock, so that each
//! node is run once; others wait for the claim. A single call of a compiled function whose inputs are there is claimed by itself: whoever
//! claims one node waits for nobody while it holds it. How claimed nodes are run is in `run`.

use crate::array::{Array, Hole, Node, Op, Record, State};
use crate::backend;
use crate::interrupt;
use crate::run::{run, run_program};
use crate::trace::Read;
use lazuli_ir::{Error, Result};
use lazuli_kernel::{Mode, Stream};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

/// Computes the arrays and returns when their values are there.
///
/// # Errors
/// If one of them is, or depends on, an input of a trace; if memory runs out; if the user interrupts. Nothing is changed then.
pub fn eval(arrays: &[Array]) -> Result<()> {
    start(arrays, Mode::Wait)?;
    arrays.iter().filter_map(Array::value).try_for_each(|value| interrupt::wait(&value.event))
}

/// Runs a node for its effects, which happen before this returns. A front end's lock is given up meanwhile.
pub(crate) fn happen(node: &Array) -> Result<()> {
    let mut result = Ok(());
    let mut run = || result = start(std::slice::from_ref(node), Mode::Wait);
    match WAITER.get() {
        Some(waiter) => waiter(&mut run),
        None => run(),
    }
    result
}

/// Runs what it is given, in such a way that other threads can meanwhile do what that waits for.
type Waiter = fn(&mut (dyn FnMut() + Send));

static WAITER: OnceLock<Waiter> = OnceLock::new();

/// Sets how a front end waits for effects, which may need its lock on another thread. Once for the process.
pub fn set_waiter(waiter: Waiter) {
    let _ = WAITER.set(waiter);
}

/// Starts computing the arrays and returns at once. An error of the computation is told to whoever reads a result.
///
/// ```
/// use lazuli_core::{array, async_eval};
/// let y = array([1.0, 4.0]).sqrt();
/// async_eval(&[y.clone()])?; // the next step can be recorded meanwhile
/// assert_eq!(y.to_vec::<f32>(), [1.0, 2.0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
///
/// # Errors
/// If an array has no value, as while its function is traced.
#[track_caller]
pub fn async_eval(arrays: &[Array]) -> Result<()> {
    Read::EVAL.of(|| start(arrays, Mode::Background))
}

/// Waits for all work that has been started.
pub fn synchronize() -> Result<()> {
    let event = backend::default().synchronize(Stream::default());
    // Errors are for those who read the results.
    if interrupt::is_watched() {
        interrupt::wait_by(|time| event.wait_for(time)).map(drop)
    } else {
        let _ = event.wait();
        Ok(())
    }
}

/// Marks nodes that a thread is running, for other threads to wait on.
#[derive(Debug)]
pub(crate) struct Claim {
    owner: ThreadId,
    over: Mutex<bool>,
    bell: Condvar,
}

thread_local! {
    /// A claim of this thread's that nobody waits on, to be used again.
    static SPARE: Cell<Option<Arc<Claim>>> = const { Cell::new(None) };
}

/// A claim that this thread holds. Dropping it wakes those who wait on it; no node is marked with it any more then.
struct Mark(Option<Arc<Claim>>);

impl Mark {
    fn new() -> Mark {
        let fresh = || Claim { owner: std::thread::current().id(), over: Mutex::default(), bell: Condvar::new() };
        // A thread that ends has no spare any more.
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        Mark(Some(spare.unwrap_or_else(|| Arc::new(fresh()))))
    }
    fn claim(&self) -> &Arc<Claim> {
        self.0.as_ref().expect("it is taken when dropped")
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let Some(claim) = self.0.take() else { return };
        if Arc::strong_count(&claim) > 1 {
            *claim.is_over() = true;
            claim.bell.notify_all();
            return;
        }
        // Who waited on it before is done with it.
        fence(Ordering::Acquire);
        let _ = SPARE.try_with(|spare| spare.set(Some(claim)));
    }
}

impl Claim {
    fn is_over(&self) -> MutexGuard<'_, bool> {
        self.over.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn wait(&self) -> Result<()> {
        if self.owner == std::thread::current().id() {
            return Err(Error::internal(
                "eval",
                "this array is being evaluated by the very code that was interrupted to run this: it cannot be read here",
            ));
        }
        interrupt::wait_by(|time| self.wait_for(time))
    }
    fn wait_for(&self, time: Duration) -> Option<()> {
        let over = self.is_over();
        let over = self.bell.wait_timeout_while(over, time, |over| !*over).unwrap_or_else(|e| e.into_inner()).0;
        over.then_some(())
    }
}

/// A node of the cut and what it computes.
pub(crate) struct Task {
    pub node: Arc<Node>,
    pub record: Arc<Record>,
}

/// Nodes that this thread has claimed, in an order in which they can run. Dropping it puts back those that were not run, on errors and
/// panics too, and wakes those who wait.
pub(crate) struct Claimed {
    pub tasks: VecDeque<Task>,
    mark: Mark,
}

impl Claimed {
    /// Lets go of the first `n` tasks: values that nobody else holds are freed, and nodes that were not given values can be run again.
    pub fn release(&mut self, n: usize) {
        for task in self.tasks.drain(..n) {
            put_back(&task.node, &task.record, self.mark.claim());
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let n = self.tasks.len();
        self.release(n);
    }
}

/// Marks a node that is pending as being run; its record.
fn begin(state: &mut State, mark: &Mark) -> Option<Arc<Record>> {
    let State::Pending(record) = state else { return None };
    let running = State::Running(record.clone(), mark.claim().clone());
    match std::mem::replace(state, running) {
        State::Pending(record) => Some(record),
        _ => None,
    }
}

/// Makes a node that this claim marks, and that was not given values, one that can be run.
fn put_back(node: &Node, record: &Arc<Record>, claim: &Arc<Claim>) {
    if node.values().is_some() {
        return;
    }
    let mut state = node.state();
    if matches!(&*state, State::Running(_, by) if Arc::ptr_eq(by, claim)) {
        *state = State::Pending(record.clone());
    }
}

/// Held while nodes are claimed, never while they are run.
fn claims() -> MutexGuard<'static, ()> {
    static CLAIMS: Mutex<()> = Mutex::new(());
    CLAIMS.lock().unwrap_or_else(|e| e.into_inner())
}

/// A call of a compiled function, claimed by itself. Dropping it puts it back if it was not run, and wakes those who wait.
struct Alone<'a> {
    node: &'a Node,
    record: Arc<Record>,
    mark: Mark,
}

impl<'a> Alone<'a> {
    /// Claims the node of an array, if it is a call of a compiled function that nobody runs and whose inputs are there.
    fn claim(array: &'a Array) -> Option<Self> {
        let node = &*array.node;
        let mut state = node.state();
        let State::Pending(record) = &*state else { return None };
        if !matches!(record.op, Op::Program(_)) || !record.inputs.iter().all(Array::is_evaluated) {
            return None;
        }
        let mark = Mark::new();
        let record = begin(&mut state, &mark)?;
        Some(Alone { node, record, mark })
    }
    fn run(&self, mode: Mode) -> Result<()> {
        let Op::Program(program) = &self.record.op else { unreachable!("nothing else is claimed by itself") };
        run_program(self.node, &self.record, program, mode)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        put_back(self.node, &self.record, self.mark.claim());
    }
}

fn start(arrays: &[Array], mode: Mode) -> Result<()> {
    if let [array] = arrays
        && !array.is_evaluated()
        && let Some(alone) = Alone::claim(array)
    {
        return alone.run(mode);
    }
    loop {
        if arrays.iter().all(Array::is_evaluated) {
            return Ok(());
        }
        let mut claimed = Claimed { tasks: VecDeque::new(), mark: Mark::new() };
        let lock = claims();
        let busy = collect(arrays, &mut claimed);
        drop(lock);
        match busy {
            // Not under the lock: the error asks the front end for the line.
            Err(hole) => return Err(hole.error(arrays)),
            Ok(None) => return run(&mut claimed, mode),
            Ok(Some(other)) => {
                drop(claimed);
                other.wait()?;
            }
        }
    }
}

/// Claims what has to be run for these arrays: a depth-first walk without recursion. Gives the claim of another thread that has to be
/// waited for, if it meets one, or the placeholder that it met.
fn collect(arrays: &[Array], claimed: &mut Claimed) -> Result<Option<Arc<Claim>>, Arc<Hole>> {
    enum Visit {
        Enter(Arc<Node>),
        Leave(Arc<Node>, Arc<Record>),
    }
    let mut stack: Vec<Visit> = arrays.iter().rev().map(|a| Visit::Enter(a.node.clone())).collect();
    let mut met = Ok(None);
    while let Some(visit) = stack.pop() {
        let node = match visit {
            Visit::Leave(node, record) => {
                claimed.tasks.push_back(Task { node, record });
                continue;
            }
            // What is claimed already when the walk breaks off is put back with the rest.
            Visit::Enter(_) if !matches!(met, Ok(None)) => continue,
            Visit::Enter(node) => node,
        };
        let mut state = node.state();
        match &*state {
            State::Pending(_) => {}
            State::Done(_) => continue,
            State::Running(_, claim) if Arc::ptr_eq(claim, claimed.mark.claim()) => continue,
            State::Running(_, claim) => {
                met = Ok(Some(claim.clone()));
                continue;
            }
            State::Hole(hole) => {
                met = Err(hole.clone());
                continue;
            }
        }
        let Some(record) = begin(&mut state, &claimed.mark) else { continue };
        drop(state);
        let pending = |a: &&Array| !a.is_evaluated();
        let inputs = record.inputs.iter().rev().filter(pending).map(|a| Visit::Enter(a.node.clone()));
        let inputs: smallvec::SmallVec<[Visit; 4]> = inputs.collect();
        stack.push(Visit::Leave(node, record));
        stack.extend(inputs);
    }
    met
}
