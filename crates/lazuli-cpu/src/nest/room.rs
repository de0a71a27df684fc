//! What a step works with: the threads, and memory for each of them.
//!
//! How much memory that is follows from shapes alone ([`Need`]), so that a plan allocates it before its first step, with what lies between its steps. No step
//! asks for memory itself, and so none can fail for want of it when another has overwritten what was donated. Sizes saturate: what is too large to count is
//! too large to allocate.

use super::fold::Bytes;
use crate::memory::ALIGN;
use crate::pool::Pool;
use crate::settle::Settling;
use lazuli_kernel::DType;
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::ops::Range;

/// Bytes that a step works in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Need<N = usize> {
    /// For all of its tasks together.
    pub shared: N,
    /// For each task at work.
    pub each: N,
    /// The most tasks that it has.
    pub tasks: N,
}

impl Need {
    /// All bytes on so many threads.
    pub fn on(self, threads: usize) -> usize {
        self.shared.saturating_add(self.each.saturating_mul(self.tasks.min(threads)))
    }
}

impl<N: Copy> Need<N> {
    pub fn none<S: Settling<N = N>>() -> Self {
        let nothing = S::count(0);
        Need { shared: nothing, each: nothing, tasks: nothing }
    }
    /// All bytes on so many threads.
    pub fn settle<S: Settling<N = N>>(self, cx: &mut S, threads: usize) -> N {
        let at_work = cx.at_most(self.tasks, threads);
        let each = cx.mul(self.each, at_work);
        cx.add(self.shared, each)
    }
}

impl From<Need<i64>> for Need {
    fn from(Need { shared, each, tasks }: Need<i64>) -> Need {
        let [shared, each, tasks] = [shared, each, tasks].map(|n| n as usize);
        Need { shared, each, tasks }
    }
}

/// Memory that is handed out piece by piece.
#[derive(Debug)]
pub struct Room<'a> {
    /// None if it is only measured what is taken.
    start: Option<usize>,
    nbytes: usize,
    taken: usize,
    owner: PhantomData<&'a mut [u8]>,
}

impl<'a> Room<'a> {
    /// # Safety
    ///
    /// `nbytes` initialised bytes at `start`, aligned to [`ALIGN`], are nobody else's during `'a`.
    unsafe fn new(start: usize, nbytes: usize) -> Self {
        Self { start: Some(start), nbytes, taken: 0, owner: PhantomData }
    }

    /// The bytes that are taken.
    pub fn measure<T>(take: impl FnOnce(&mut Room<'a>) -> T) -> usize {
        let mut room = Room { start: None, nbytes: usize::MAX, taken: 0, owner: PhantomData };
        take(&mut room);
        room.taken
    }

    /// Room for so many elements, which hold anything.
    pub fn take(&mut self, elements: usize, dtype: DType) -> Scratch<'a> {
        self.take_bytes(elements.saturating_mul(dtype.itemsize()))
    }

    pub fn take_bytes(&mut self, nbytes: usize) -> Scratch<'a> {
        let from = self.taken;
        self.taken = from.saturating_add(nbytes.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX));
        let Some(start) = self.start else { return Scratch { start: ALIGN, nbytes: 0, owner: PhantomData } };
        assert!(self.taken <= self.nbytes, "a step takes more memory than it said");
        Scratch { start: start + from, nbytes, owner: PhantomData }
    }
}

/// Pieces of a room, few most often.
pub type Pieces<'a> = SmallVec<[Scratch<'a>; 2]>;

/// A piece of a room. One that was only measured has no bytes.
#[derive(Debug)]
pub struct Scratch<'a> {
    start: usize,
    nbytes: usize,
    owner: PhantomData<&'a mut [u8]>,
}

impl Scratch<'_> {
    /// For code that proves its accesses otherwise: [`ALIGN`]ed.
    pub fn address(&mut self) -> usize {
        self.start
    }
    pub fn is_empty(&self) -> bool {
        self.nbytes == 0
    }
    pub fn bytes(&self, from: usize, n: usize) -> &Bytes {
        assert!(from + n <= self.nbytes);
        // SAFETY: within the piece, which is initialised and which only `&mut self` gives out for writing.
        Bytes::new(unsafe { std::slice::from_raw_parts((self.start + from) as *const u8, n) })
    }
    pub fn bytes_mut(&mut self, from: usize, n: usize) -> &mut Bytes {
        assert!(from + n <= self.nbytes);
        // SAFETY: within the piece, which is initialised and exclusively ours.
        Bytes::new_mut(unsafe { std::slice::from_raw_parts_mut((self.start + from) as *mut u8, n) })
    }
    /// Bytes `..at`, and the `n` after them.
    pub fn split(&mut self, at: usize, n: usize) -> (&mut Bytes, &Bytes) {
        self.bytes_mut(0, at + n).split(at)
    }
    /// Two ranges of `n` bytes that do not overlap, the first before the second.
    pub fn two(&mut self, a: usize, b: usize, n: usize) -> (&mut Bytes, &Bytes) {
        assert!(a < b, "blocks move towards the first");
        let (low, high) = self.bytes_mut(a, b + n - a).split(b - a);
        (low.first(n), high)
    }
}

/// Who works on a step, and in which memory.
#[derive(Debug)]
pub struct Context<'a> {
    /// None within a task, which is one of many already.
    pool: Option<&'a Pool>,
    room: Room<'a>,
}

impl<'a> Context<'a> {
    /// # Safety
    ///
    /// `nbytes` initialised bytes at `start`, aligned to [`ALIGN`], are nobody else's during `'a`.
    pub unsafe fn new(pool: &'a Pool, start: usize, nbytes: usize) -> Self {
        // SAFETY: passed on.
        Self { pool: Some(pool), room: unsafe { Room::new(start, nbytes) } }
    }

    /// On the calling thread alone.
    pub fn alone(room: Room<'a>) -> Self {
        Self { pool: None, room }
    }

    /// The same threads and all of the memory, for one step of several.
    pub fn step(&mut self) -> Context<'_> {
        let Room { start, nbytes, .. } = self.room;
        Context { pool: self.pool, room: Room { start, nbytes, taken: 0, owner: PhantomData } }
    }

    pub fn threads(&self) -> usize {
        self.pool.map_or(1, Pool::threads)
    }

    pub fn room(&mut self) -> &mut Room<'a> {
        &mut self.room
    }

    /// Calls `task(k)` for every `k` below `tasks`, on all threads.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        match self.pool {
            Some(pool) => pool.run(tasks, &|_, k| task(k)),
            None => (0..tasks).for_each(task),
        }
    }

    /// The same; each thread has `each` bytes of what is left of the memory to itself, anew for every task.
    pub fn run_in_rooms(&mut self, tasks: usize, each: usize, task: &(dyn Fn(usize, Room<'_>) + Sync)) {
        let at = self.room.take_bytes(each * tasks.min(self.threads())).start;
        // SAFETY: a piece of the room, of which every thread that takes part has a part of its own, aligned because `each` is a sum of aligned pieces.
        let room = |thread: usize| unsafe { Room::new(at + thread * each, each) };
        debug_assert!(each.is_multiple_of(ALIGN));
        match self.pool {
            Some(pool) => pool.run(tasks, &|thread, k| task(k, room(thread))),
            None => (0..tasks).for_each(|k| task(k, room(0))),
        }
    }

    /// Divides `units` of work into tasks for the threads, each with `each` bytes of memory.
    pub fn share(
        &mut self,
        tasks: usize,
        units: usize,
        each: usize,
        task: &(dyn Fn(Range<usize>, &mut Room<'_>) + Sync),
    ) {
        let tasks = if self.threads() == 1 { 1 } else { tasks.clamp(1, units.max(1)) };
        let range = |k: usize| units * k / tasks..units * (k + 1) / tasks;
        self.run_in_rooms(tasks, each, &|k, mut room| task(range(k), &mut room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Allocator;
    use lazuli_kernel::backend::Memory;
    use std::sync::Mutex;

    #[test]
    fn tasks_at_work_have_memory_of_their_own() {
        let pool = Pool::with_threads(3);
        let take = |room: &mut Room<'_>| [room.take(5, DType::F64).address(), room.take(3, DType::U8).address()];
        let each = Room::measure(take);
        assert_eq!(each, 2 * ALIGN);
        let need = Need { shared: ALIGN, each, tasks: 8 };
        assert_eq!([1, 3, 20].map(|threads| need.on(threads)), [1, 3, 8].map(|n| ALIGN + n * each));
        let memory = Allocator::of_process().allocate(need.on(3)).unwrap();
        // SAFETY: fresh memory.
        let mut cx = unsafe { Context::new(&pool, memory.pointer() as usize, memory.nbytes()) };
        let shared = cx.room().take(1, DType::F32).address();
        let (seen, at_work) = (Mutex::new(vec![]), Mutex::new(vec![shared]));
        cx.share(8, 100, each, &|units, room| {
            let own = take(room);
            own.iter().for_each(|a| assert!(!at_work.lock().unwrap().contains(a)));
            at_work.lock().unwrap().extend(own);
            std::thread::yield_now();
            at_work.lock().unwrap().retain(|a| !own.contains(a));
            seen.lock().unwrap().extend(units);
        });
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "more memory than it said")]
    fn more_than_was_said_is_refused() {
        let memory = Allocator::of_process().allocate(ALIGN).unwrap();
        // SAFETY: fresh memory.
        let mut room = unsafe { Room::new(memory.pointer() as usize, memory.nbytes()) };
        room.take(ALIGN + 1, DType::U8);
    }
}
