//! The narrow waist between the compiler and the machines.
//!
//! The trait is asynchronous: nothing above it assumes that memory can be read by the host or that work has
//! finished when [`Backend::enqueue`] returns.

use crate::error::{Error, Result};
use crate::plan::{Plan, Signature, Step};
use crate::varying::Varying;
use smallvec::SmallVec;
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

/// A queue of work of one backend; plans of one stream run in the order they were enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Stream(pub u32);

/// Memory of one backend. Cloning shares it; it returns to the backend's cache when the last handle goes.
#[derive(Clone)]
pub struct Buffer {
    memory: Arc<dyn Memory>,
}

/// What a backend puts behind a [`Buffer`]; it downcasts its own.
pub trait Memory: Any + Send + Sync + Debug {
    /// Usable size in bytes.
    fn nbytes(&self) -> usize;
    /// Whether the memory belongs to somebody outside who may look at it: it is read and never written.
    fn is_foreign(&self) -> bool {
        false
    }
    fn as_any(&self) -> &dyn Any;
}

impl Buffer {
    #[inline]
    pub fn new(memory: Arc<dyn Memory>) -> Self {
        Self { memory }
    }
    #[inline]
    pub fn nbytes(&self) -> usize {
        self.memory.nbytes()
    }
    /// The backend's own memory type, if this buffer is of that backend.
    #[inline]
    pub fn memory<M: Memory>(&self) -> Option<&M> {
        self.memory.as_any().downcast_ref()
    }
    /// Whether no one else can see this memory: there is no other handle to it, and it belongs to nobody outside. Then whatever other threads
    /// did through theirs has happened before.
    #[inline]
    pub fn is_unique(&self) -> bool {
        let unique = Arc::strong_count(&self.memory) == 1 && !self.memory.is_foreign();
        fence(Ordering::Acquire);
        unique
    }
    /// Whether both handles are of the same memory.
    #[inline]
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }
    /// A number that tells live buffers apart.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.memory).cast::<()>() as usize
    }
}

impl Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.nbytes())
    }
}

/// A plan made ready by a backend: kernels generated, memory laid out. Cheap to run many times, from any thread.
pub trait Executable: Any + Send + Sync + Debug {
    fn signature(&self) -> &Signature;
    /// About how long a run takes, if that is known.
    fn cost(&self) -> Option<Duration> {
        None
    }
    /// Bytes that a run allocates besides its outputs: for what lies between its steps, and for what these work in.
    fn workspace(&self) -> usize;
    /// What runs, for people: of each step of the plan, the code of its functions (machine code, or the kernels of the interpreter).
    fn disassemble(&self) -> Result<Vec<Vec<Arc<str>>>>;
    fn as_any(&self) -> &dyn Any;
}

/// Completion of enqueued work.
pub trait Completion: Send + Sync + Debug {
    /// Whether the work is done, and its error if it failed.
    fn poll(&self) -> Option<Result<()>>;
    /// Blocks until the work is done; its error, if it failed.
    fn wait(&self) -> Result<()>;
    /// Blocks until the work is done, but no longer than this.
    fn wait_for(&self, time: Duration) -> Option<Result<()>>;
    /// Asks the work to stop where it can: it then fails with an error of kind `Cancelled`. Work that has inputs to overwrite does not stop
    /// once it has begun, so that they are never left half-written.
    fn cancel(&self);
}

/// Handle on enqueued work.
#[derive(Debug, Clone, Default)]
pub struct Event(Option<Arc<dyn Completion>>);

impl Event {
    /// Of work that is done.
    #[inline]
    pub fn done() -> Self {
        Self(None)
    }
    pub fn new(completion: Arc<dyn Completion>) -> Self {
        Self(Some(completion))
    }
    /// Of work that failed.
    pub fn failed(error: Error) -> Self {
        Self(Some(Arc::new(Failed(error))))
    }
    #[inline]
    pub fn is_done(&self) -> bool {
        self.poll().is_some()
    }
    /// Whether the work is done, and its error if it failed.
    #[inline]
    pub fn poll(&self) -> Option<Result<()>> {
        self.0.as_ref().map_or(Some(Ok(())), |c| c.poll())
    }
    pub fn wait(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |c| c.wait())
    }
    /// Blocks until the work is done, but no longer than this.
    pub fn wait_for(&self, time: Duration) -> Option<Result<()>> {
        self.0.as_ref().map_or(Some(Ok(())), |c| c.wait_for(time))
    }
    /// Asks the work to stop where it can.
    pub fn cancel(&self) {
        if let Some(completion) = &self.0 {
            completion.cancel();
        }
    }
}

/// Completion of work that failed.
#[derive(Debug)]
struct Failed(Error);

impl Completion for Failed {
    fn poll(&self) -> Option<Result<()>> {
        Some(self.wait())
    }
    fn wait(&self) -> Result<()> {
        Err(self.0.clone())
    }
    fn wait_for(&self, _: Duration) -> Option<Result<()>> {
        self.poll()
    }
    fn cancel(&self) {}
}

/// What `enqueue` gives back: buffers that will hold the outputs once `event` is done.
#[derive(Debug)]
pub struct Run {
    pub outputs: SmallVec<[Buffer; 2]>,
    pub event: Event,
}

/// Whether the caller is about to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The caller waits for the result at once: a CPU backend may work on the caller's thread.
    Wait,
    /// Return as soon as the work is queued.
    Background,
}

/// Bytes of memory: in use, the highest ever in use since the last reset, and cached for re-use. A backend may leave out what lies within handles on it, as
/// scalars may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStats {
    pub active: usize,
    pub peak: usize,
    pub cache: usize,
}

/// What a backend is and can do, for people and for scheduling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    pub name: String,
    /// Instruction set or device architecture in use.
    pub architecture: String,
    pub threads: usize,
    /// Whether [`Backend::host_pointer`] works.
    pub host_memory: bool,
}

/// A plan that differs from others in some numbers only.
pub trait Variant {
    /// What the plans have in common, the same allocation for all of them, and the values that are its own; None if that is not known yet.
    fn values(&self) -> Option<(&Arc<Varying>, &[i64])>;
    /// The plan itself, which is written out only where it is asked for.
    fn plan(&mut self) -> &mut Plan;
    /// One of its steps.
    fn step(&mut self, number: usize) -> &Step {
        &self.plan().steps[number]
    }
}

/// A machine that runs plans.
pub trait Backend: Send + Sync + Debug {
    fn features(&self) -> Features;

    /// Generates what the plan needs. Kernels are verified and cached by structure: preparing a plan whose kernels are known
    /// generates no code. What runs does not need the plan any more; kernels that the backend has already take the place of equal ones in it.
    fn prepare(&self, plan: &mut Plan) -> Result<Arc<dyn Executable>>;

    /// The same, for a plan that differs in some numbers only from others, some of which may have been prepared beside `like`, if that is not the first: what they have in common is taken over from
    /// there, where a backend can do that.
    fn prepare_variant(
        &self,
        variant: &mut dyn Variant,
        like: Option<&Arc<dyn Executable>>,
    ) -> Result<Arc<dyn Executable>> {
        let _ = like;
        self.prepare(variant.plan())
    }

    /// Runs a prepared plan. `inputs[i]` is the buffer of slot `Input(i)`; `donate[i]` says that the caller gives it up (no one else will
    /// read it). The plan runs once the work of `after` is done, and fails if that failed.
    ///
    /// All memory is allocated before the first step: an error returned here leaves all inputs intact. What goes wrong later is told by the
    /// run's event.
    fn enqueue(
        &self,
        stream: Stream,
        executable: &Arc<dyn Executable>,
        inputs: &[&Buffer],
        donate: &[bool],
        after: &[Event],
        mode: Mode,
    ) -> Result<Run>;

    /// An event that is done when all work queued on a stream so far is.
    fn synchronize(&self, stream: Stream) -> Event;

    /// Fresh memory with these bytes.
    fn upload(&self, bytes: &[u8]) -> Result<Buffer>;

    /// Copies bytes `offset..offset + out.len()` to the host. The work that produces them must be done.
    fn download(&self, buffer: &Buffer, offset: usize, out: &mut [u8]) -> Result<()>;

    /// Address of the memory, where the host can read it. Valid as long as a handle on the buffer lives.
    fn host_pointer(&self, buffer: &Buffer) -> Option<*mut u8>;

    fn memory(&self) -> MemoryStats;
    fn reset_peak_memory(&self);
    /// Returns cached memory to the system.
    fn clear_cache(&self);
    /// Limits how much freed memory is kept for re-use, in bytes; returns the old limit.
    fn set_cache_limit(&self, nbytes: usize) -> usize;
    /// Limits the memory in use, in bytes: allocations beyond it fail with an error of kind `Memory`. Returns the old limit.
    fn set_memory_limit(&self, nbytes: usize) -> usize;
    /// Kernels generated since the process began.
    fn kernels_generated(&self) -> usize;
}
