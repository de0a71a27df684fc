//! Running what has been recorded: who runs what.
//!
//! `eval` collects the cut of nodes that its arrays need and that no one has run, and claims them all under one lock, so that each
//! node is run once; others wait for the nodes that they need. A single call of a compiled function whose inputs are there, and that takes next to no
//! time, is run under the lock of its node: that waits for nobody. How nodes are run is in `run`.

use crate::array::{Array, Hole, Node, Record, State};
use crate::backend;
use crate::interrupt;
use crate::run::{run, run_if_quick};
use crate::trace::Read;
use lazuli_ir::{Error, Result};
use lazuli_kernel::{Mode, Stream};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

/// Computes the arrays and returns when their values are there.
///
/// # Errors
/// If one of them is, or depends on, an input of a trace; if memory runs out; if the user interrupts. Nothing is changed then.
pub fn eval(arrays: &[Array]) -> Result<()> {
    start(arrays, Mode::Wait)?;
    arrays.iter().filter_map(Array::value).try_for_each(|value| interrupt::wait(&value.event))
}

/// Computes the arrays if that takes next to no time and waits for nobody, so that a front end can keep its lock; whether it did. If not, nothing has
/// changed, or the work is under way: [`eval`] does what is left.
///
/// # Errors
/// As [`eval`].
pub fn try_eval(arrays: &[Array]) -> Result<bool> {
    if let Some(array) = only_pending(arrays)
        && !run_if_quick(array, Mode::Wait)?
    {
        return Ok(false);
    }
    for array in arrays {
        match array.value().and_then(|value| value.event.poll()) {
            Some(done) => done?,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Runs a node for its effects, which happen before this returns. A front end's lock is given up meanwhile.
pub(crate) fn happen(node: &Array) -> Result<()> {
    start_alone(node, Mode::Wait)
}

/// Starts a node: its memory is there when this returns. A front end's lock is given up meanwhile.
pub(crate) fn started(node: &Array) -> Result<()> {
    start_alone(node, Mode::Background)
}

fn start_alone(node: &Array, mode: Mode) -> Result<()> {
    let mut result = Ok(());
    let mut run = || result = start(std::slice::from_ref(node), mode);
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

/// Who runs nodes: a thread, and which of its claims it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    thread: u64,
    number: u64,
}

impl Claim {
    /// A new one of this thread.
    fn new() -> Claim {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        thread_local! {
            static LATEST: Cell<Claim> = Cell::new(Claim { thread: THREADS.fetch_add(1, Ordering::Relaxed), number: 0 });
        }
        LATEST.with(|latest| {
            let Claim { thread, number } = latest.get();
            latest.replace(Claim { thread, number: number + 1 })
        })
    }
}

/// A node that is being run: who does it, and what those wait on who need it, if there are any.
#[derive(Debug)]
pub(crate) struct Running {
    claim: Claim,
    bell: Option<Arc<Bell>>,
}

impl Running {
    /// The node is not run any more: wakes who waits. Not to be called while its state is locked.
    pub fn over(self) {
        if let Some(bell) = self.bell {
            *bell.is_over() = true;
            bell.rung.notify_all();
        }
    }
}

/// Rung when a node is not run any more.
#[derive(Debug, Default)]
struct Bell {
    over: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    fn is_over(&self) -> MutexGuard<'_, bool> {
        self.over.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn wait_for(&self, time: Duration) -> Option<()> {
        let over = self.is_over();
        let over = self.rung.wait_timeout_while(over, time, |over| !*over).unwrap_or_else(|e| e.into_inner()).0;
        over.then_some(())
    }
}

/// A node that another claim runs, for this one to wait on.
struct Busy {
    claim: Claim,
    bell: Arc<Bell>,
}

impl Busy {
    fn wait(&self, own: Claim) -> Result<()> {
        if self.claim.thread == own.thread {
            return Err(Error::internal(
                "eval",
                "this array is being evaluated by the very code that was interrupted to run this: it cannot be read here",
            ));
        }
        interrupt::wait_by(|time| self.bell.wait_for(time))
    }
}

/// A node of the cut and what it computes.
pub(crate) struct Task {
    pub node: Arc<Node>,
    pub record: Arc<Record>,
}

/// Nodes that this thread has claimed, in an order in which they can run. Dropping it puts back those that were not run, on errors and
/// panics too.
pub(crate) struct Claimed {
    pub tasks: VecDeque<Task>,
    claim: Claim,
}

impl Claimed {
    /// Lets go of the first `n` tasks: values that nobody else holds are freed, and nodes that were not given values can be run again.
    pub fn release(&mut self, n: usize) {
        for task in self.tasks.drain(..n) {
            put_back(&task.node, self.claim);
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
fn begin(state: &mut State, claim: Claim) -> Option<Arc<Record>> {
    let (State::Pending(_) | State::Call(_)) = state else { return None };
    let record = state.record()?;
    *state = State::Running(record.clone(), Running { claim, bell: None });
    Some(record)
}

/// Makes a node that this claim marks, and that was not given values, one that can be run.
fn put_back(node: &Node, claim: Claim) {
    if node.values().is_some() {
        return;
    }
    let mut state = node.state();
    if !matches!(&*state, State::Running(_, running) if running.claim == claim) {
        return;
    }
    let State::Running(record, running) = std::mem::replace(&mut *state, State::Done(None)) else { return };
    *state = State::Pending(record);
    drop(state);
    running.over();
}

/// Held while nodes are claimed, never while they are run.
fn claims() -> MutexGuard<'static, ()> {
    static CLAIMS: Mutex<()> = Mutex::new(());
    CLAIMS.lock().unwrap_or_else(|e| e.into_inner())
}

/// An array of the one node that all the arrays are of that have no values yet.
fn only_pending(arrays: &[Array]) -> Option<&Array> {
    let mut pending = arrays.iter().filter(|array| !array.is_evaluated());
    let first = pending.next()?;
    pending.all(|array| Arc::ptr_eq(&array.node, &first.node)).then_some(first)
}

fn start(arrays: &[Array], mode: Mode) -> Result<()> {
    if let Some(array) = only_pending(arrays)
        && run_if_quick(array, mode)?
    {
        return Ok(());
    }
    start_all(arrays, mode)
}

#[inline(never)]
fn start_all(arrays: &[Array], mode: Mode) -> Result<()> {
    loop {
        if arrays.iter().all(Array::is_evaluated) {
            return Ok(());
        }
        let mut claimed = Claimed { tasks: VecDeque::new(), claim: Claim::new() };
        let lock = claims();
        let busy = collect(arrays, &mut claimed);
        drop(lock);
        match busy {
            // Not under the lock: the error asks the front end for the line.
            Err(hole) => return Err(hole.error(arrays)),
            Ok(None) => return run(&mut claimed, mode),
            Ok(Some(busy)) => {
                let own = claimed.claim;
                drop(claimed);
                busy.wait(own)?;
            }
        }
    }
}

/// Claims what has to be run for these arrays: a depth-first walk without recursion. Gives a node that has to be waited for, if it meets one, or the
/// placeholder that it met.
fn collect(arrays: &[Array], claimed: &mut Claimed) -> Result<Option<Busy>, Arc<Hole>> {
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
        match &mut *state {
            State::Pending(_) | State::Call(_) => {}
            State::Done(_) => continue,
            State::Running(_, running) if running.claim == claimed.claim => continue,
            State::Running(_, running) => {
                let bell = running.bell.get_or_insert_default().clone();
                met = Ok(Some(Busy { claim: running.claim, bell }));
                continue;
            }
            State::Hole(hole) => {
                met = Err(hole.clone());
                continue;
            }
        }
        let Some(record) = begin(&mut state, claimed.claim) else { continue };
        drop(state);
        let pending = |a: &&Array| !a.is_evaluated();
        let inputs = record.inputs.iter().rev().filter(pending).map(|a| Visit::Enter(a.node.clone()));
        let inputs: smallvec::SmallVec<[Visit; 4]> = inputs.collect();
        stack.push(Visit::Leave(node, record));
        stack.extend(inputs);
    }
    met
}
