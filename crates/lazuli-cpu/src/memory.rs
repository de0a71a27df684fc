//! The allocator: buffers of 64-byte alignment, kept for re-use when they are dropped.
//!
//! Sizes are rounded up to classes, four to each doubling. Touching fresh pages costs as much as a kernel, so few are touched: from 64 KiB
//! on a buffer is a mapping of its own, which begins somewhere in a page ([`next_colour`]), and one that is kept grows to a larger size by the pages that it lacks, as where one function is
//! called with longer and longer inputs; from 2 MiB on it is aligned to 2 MiB and advised to use huge pages. Running out is an error of
//! kind `Memory`, never an abort: a request beyond the machine's memory is refused before the system grants what it does not have. What is no larger
//! than a scalar needs no block.

use crate::exec::last_error;
use lazuli_kernel::backend::Memory;
use lazuli_kernel::{Buffer, Error, ErrorKind, MemoryStats, Result};
use std::any::Any;
use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

pub const ALIGN: usize = 64;
const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;
/// Blocks of this size and more are mappings, smaller ones lie on the heap.
const MAPPED: usize = 64 << 10;
/// Blocks smaller than this are found without a search.
const SMALL: usize = 2048;

/// Memory of the CPU backend.
#[derive(Debug)]
pub struct CpuMemory {
    nbytes: usize,
    place: Place,
}

/// Where memory lies, and whom it goes back to.
#[derive(Debug)]
enum Place {
    /// Here: a scalar's. It stays where it is, as nobody but a [`Buffer`] has it.
    Here(UnsafeCell<Few>),
    Block(Block, &'static Allocator),
    /// With somebody outside; dropping this gives the memory back.
    Foreign(NonNull<u8>, #[allow(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>),
}

/// So many bytes lie beside the handle that is made for them anyway, and are counted as little as that.
const FEW: usize = 16;

#[derive(Debug, Default)]
#[repr(align(16))]
struct Few(#[allow(dead_code, reason = "read and written through its address")] [u8; FEW]);

/// Memory of somebody outside as a buffer, which is read and never written. `owner` is dropped, on any thread, when the last handle goes.
///
/// # Safety
/// From `start` on, `nbytes` bytes must be initialised and readable until `owner` is dropped, and `start` aligned to the elements that are
/// read from it.
pub unsafe fn adopt(start: NonNull<u8>, nbytes: usize, owner: Box<dyn Any + Send + Sync>) -> Buffer {
    Buffer::new(Arc::new(CpuMemory { nbytes, place: Place::Foreign(start, owner) }))
}

// SAFETY: a `CpuMemory` owns its bytes; sharing one hands out an address only, and whoever reads or writes through it argues for itself.
unsafe impl Send for CpuMemory {}
// SAFETY: as above.
unsafe impl Sync for CpuMemory {}

impl CpuMemory {
    /// The address; valid while `self` lives. `nbytes` long, initialised (to anything). Aligned to 64 bytes, but for what is foreign, and for the memory of
    /// scalars, which is aligned to its elements.
    #[inline]
    pub fn pointer(&self) -> *mut u8 {
        match &self.place {
            Place::Here(few) => few.get().cast(),
            Place::Block(block, _) => block.start.as_ptr(),
            Place::Foreign(start, _) => start.as_ptr(),
        }
    }
}

impl Memory for CpuMemory {
    fn nbytes(&self) -> usize {
        self.nbytes
    }
    fn is_foreign(&self) -> bool {
        matches!(self.place, Place::Foreign(..))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for CpuMemory {
    fn drop(&mut self) {
        if let Place::Block(block, allocator) = self.place {
            allocator.release(block);
        }
    }
}

/// A piece of memory of the size of its class.
#[derive(Debug, Clone, Copy)]
struct Block {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: plain memory, owned by whoever holds the block.
unsafe impl Send for Block {}

/// Memory of the host. It lives as long as the process, so that buffers need not count who has it.
#[derive(Debug)]
pub struct Allocator {
    state: Mutex<State>,
    physical: usize,
}

#[derive(Debug)]
struct State {
    /// Free blocks by size; the last one freed is used first.
    free: BTreeMap<usize, Vec<Block>>,
    /// Free blocks of the sizes below `SMALL`, by size in lines.
    small: [Vec<Block>; SMALL / ALIGN],
    stats: MemoryStats,
    /// The most that may be in use.
    limit: usize,
    /// The most that is kept for re-use.
    cache_limit: usize,
}

/// `n` rounded up to its class.
fn class(n: usize) -> usize {
    if n >= HUGE {
        return n.next_multiple_of(HUGE);
    }
    let step = (n.next_power_of_two() / 8).max(ALIGN);
    n.next_multiple_of(step)
}

impl Allocator {
    /// That of the process: all backends of one machine share its memory.
    pub fn of_process() -> &'static Self {
        static ALLOCATOR: LazyLock<Allocator> = LazyLock::new(Allocator::new);
        &ALLOCATOR
    }

    fn new() -> Self {
        let physical = physical_memory();
        let state = State {
            free: BTreeMap::new(),
            small: Default::default(),
            stats: MemoryStats::default(),
            limit: physical,
            cache_limit: physical / 2,
        };
        Self { state: Mutex::new(state), physical }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Memory for an array.
    #[inline]
    pub fn buffer(&'static self, nbytes: usize) -> Result<Buffer> {
        let memory = match nbytes {
            ..=FEW => CpuMemory { nbytes, place: Place::Here(UnsafeCell::default()) },
            _ => self.allocate(nbytes)?,
        };
        Ok(Buffer::new(Arc::new(memory)))
    }

    /// Memory for a run.
    pub fn allocate(&'static self, nbytes: usize) -> Result<CpuMemory> {
        Ok(CpuMemory { nbytes, place: Place::Block(self.block(nbytes)?, self) })
    }

    /// A block of at least so many bytes.
    fn block(&self, nbytes: usize) -> Result<Block> {
        if nbytes == 0 {
            return Ok(Block { start: NonNull::<Aligned>::dangling().cast(), size: 0 });
        }
        let out_of_memory = |why: &str| {
            let message = format!("cannot allocate {nbytes} bytes: {why}");
            Error::new(ErrorKind::Memory, "allocate", message)
        };
        if nbytes > self.physical {
            return Err(out_of_memory(&format!("this machine has {} bytes of memory", self.physical)));
        }
        let size = class(nbytes);
        let mut state = self.state();
        if state.stats.active + size > state.limit {
            let (active, limit) = (state.stats.active, state.limit);
            let why = match limit < self.physical {
                true => format!("{active} bytes are in use, and the limit set is {limit}"),
                false => format!("{active} of the machine's {limit} bytes are in use"),
            };
            return Err(out_of_memory(&why));
        }
        if let Some(block) = state.take(size) {
            return Ok(block);
        }
        let smaller = state.take_smaller(size);
        // What is kept and what is used together stay within the limit.
        let most = state.limit - state.stats.active - size;
        state.evict(most);
        let block = match smaller.and_then(|block| block.grow(size)).or_else(|| Block::map(size)) {
            Some(block) => block,
            None => {
                state.evict(0);
                Block::map(size).ok_or_else(|| out_of_memory(&last_error().to_string()))?
            }
        };
        state.grow(size);
        Ok(block)
    }

    fn release(&self, block: Block) {
        if block.size == 0 {
            return;
        }
        let mut state = self.state();
        state.stats.active -= block.size;
        state.stats.cache += block.size;
        match block.size < SMALL {
            true => state.small[block.size / ALIGN].push(block),
            false => state.free.entry(block.size).or_default().push(block),
        }
        let limit = state.cache_limit;
        if state.stats.cache > limit {
            state.evict(limit);
        }
    }

    pub fn stats(&self) -> MemoryStats {
        self.state().stats
    }
    pub fn reset_peak(&self) {
        let mut state = self.state();
        state.stats.peak = state.stats.active;
    }
    pub fn clear_cache(&self) {
        self.state().evict(0);
    }
    pub fn set_cache_limit(&self, limit: usize) -> usize {
        let mut state = self.state();
        let old = std::mem::replace(&mut state.cache_limit, limit);
        state.evict(limit);
        old
    }
    /// Limits what may be in use; returns the old limit.
    pub fn set_limit(&self, limit: usize) -> usize {
        std::mem::replace(&mut self.state().limit, limit.min(self.physical))
    }
}

impl State {
    fn grow(&mut self, size: usize) {
        self.stats.active += size;
        self.stats.peak = self.stats.peak.max(self.stats.active);
    }
    /// A cached block of this size; of the mappings, one a little larger will do.
    fn take(&mut self, size: usize) -> Option<Block> {
        let spare = match size {
            ..MAPPED => 0,
            MAPPED..HUGE => size / 4,
            HUGE.. => size / 8,
        };
        let block = match size < SMALL {
            true => self.small[size / ALIGN].pop()?,
            false => {
                let (&found, _) = self.free.range(size..=size + spare).next()?;
                self.pop(found)?
            }
        };
        self.stats.cache -= block.size;
        self.grow(block.size);
        Some(block)
    }
    /// A cached mapping that is worth growing to this size: the largest of its kind that is smaller, unless more than half would be missing.
    /// Taking it from a size that is asked for again costs nothing in the end: that then touches the pages which this one need not touch now.
    fn take_smaller(&mut self, size: usize) -> Option<Block> {
        let least = if size < HUGE { MAPPED } else { HUGE };
        let (&found, _) = self.free.range(least.max(size / 2)..size.max(least)).next_back()?;
        let block = self.pop(found)?;
        self.stats.cache -= block.size;
        Some(block)
    }
    /// The last one freed of this size, which has its place in `free`.
    fn pop(&mut self, size: usize) -> Option<Block> {
        let blocks = self.free.get_mut(&size)?;
        let block = blocks.pop();
        if blocks.is_empty() {
            self.free.remove(&size);
        }
        block
    }
    /// Frees cached blocks, the largest first, until at most `limit` bytes are kept.
    fn evict(&mut self, limit: usize) {
        while self.stats.cache > limit {
            let Some(mut last) = self.free.last_entry() else { break };
            if let Some(block) = last.get_mut().pop() {
                self.stats.cache -= block.size;
                block.unmap();
            }
            if last.get().is_empty() {
                last.remove();
            }
        }
        for blocks in self.small.iter_mut().rev() {
            while self.stats.cache > limit
                && let Some(block) = blocks.pop()
            {
                self.stats.cache -= block.size;
                block.unmap();
            }
        }
    }
}

impl Block {
    fn layout(size: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(size, ALIGN).expect("sizes are far below isize::MAX")
    }

    fn map(size: usize) -> Option<Block> {
        if size < MAPPED {
            // SAFETY: the size is not 0. Zeroed, so that every byte a kernel could read is initialised.
            let start = unsafe { std::alloc::alloc_zeroed(Self::layout(size)) };
            return Some(Block { start: NonNull::new(start)?, size });
        }
        // SAFETY: the colour is less than the page that the mapping has beyond its size.
        let block = Block { start: unsafe { map_pages(size)?.add(next_colour()) }, size };
        block.prepare(0);
        Some(block)
    }

    /// Bytes from the beginning of the mapping to that of the block, in the first page.
    fn colour(self) -> usize {
        self.start.addr().get() % PAGE
    }

    fn base(self) -> *mut u8 {
        self.start.as_ptr().wrapping_sub(self.colour())
    }

    /// This mapping, moved to where there is room for zeros after what it holds. It is given up if the system refuses.
    fn grow(self, size: usize) -> Option<Block> {
        let Some(start) = map_pages(size) else {
            self.unmap();
            return None;
        };
        let base = self.base();
        // SAFETY: both ranges are mappings that nobody else knows of; the one is moved over the other, which it replaces. The page beyond the size is given
        // up before, as it would stand where a huge page can be.
        let moved = unsafe {
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            libc::munmap(base.add(self.size).cast(), PAGE);
            libc::mremap(base.cast(), self.size, size + PAGE, flags, start.as_ptr())
        };
        if moved == libc::MAP_FAILED {
            // SAFETY: as above. The new range is left alone: whether it is still mapped is unknown.
            unsafe { libc::munmap(base.cast(), self.size) };
            return None;
        }
        // SAFETY: the colour is less than the page that a mapping has beyond its size.
        let block = Block { start: unsafe { start.add(self.colour()) }, size };
        block.prepare(self.size);
        Some(block)
    }

    /// Has the pages of a mapping from `begin` on made as they are best used. Systems may refuse; then each is made when it is touched.
    fn prepare(self, begin: usize) {
        let advice = match self.size < HUGE {
            // All at once, which costs less than one by one.
            true => libc::MADV_POPULATE_WRITE,
            false => libc::MADV_HUGEPAGE,
        };
        // SAFETY: the range lies in the mapping; neither advice changes what it holds.
        unsafe {
            libc::madvise(self.base().add(begin).cast(), self.size + PAGE - begin, advice);
        }
    }

    fn unmap(self) {
        // SAFETY: the block came from `map` or `grow` with this size, and its owner gives it up here.
        unsafe {
            match self.size < MAPPED {
                true => std::alloc::dealloc(self.start.as_ptr(), Self::layout(self.size)),
                false => _ = libc::munmap(self.base().cast(), self.size + PAGE),
            }
        }
    }
}

/// The colour of the next mapping: cache lines, less than a page of them, in bytes. The cache next to a core puts a line where its address within its page says, so
/// that of arrays which all began with a page no more could be read side by side than such a cache has lines for one place (8 or 12). In steps of the golden
/// section, mappings made one after another lie far apart.
fn next_colour() -> usize {
    static MAPPINGS: AtomicUsize = AtomicUsize::new(0);
    let lines = PAGE / ALIGN;
    MAPPINGS.fetch_add(1, Ordering::Relaxed).wrapping_mul(39) % lines * ALIGN
}

/// Fresh pages, one more than the size, which hold zeros and take memory once they are touched; from `HUGE` on at an address that huge pages can have.
fn map_pages(size: usize) -> Option<NonNull<u8>> {
    let size = size.checked_add(PAGE)?;
    // To be aligned they are mapped with room to spare, which is then trimmed.
    let spare = if size < HUGE + PAGE { 0 } else { HUGE };
    let whole = size.checked_add(spare)?;
    // SAFETY: a fresh anonymous mapping, placed by the system; the trimmed parts are its own first and last pages.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let mapping = libc::mmap(std::ptr::null_mut(), whole, protection, flags, -1, 0);
        if mapping == libc::MAP_FAILED {
            return None;
        }
        let mapping = mapping.cast::<u8>();
        let before = if spare > 0 { mapping.align_offset(HUGE) } else { 0 };
        let start = mapping.add(before);
        if before > 0 {
            libc::munmap(mapping.cast(), before);
        }
        if spare > before {
            libc::munmap(start.add(size).cast(), spare - before);
        }
        NonNull::new(start)
    }
}

/// Type whose dangling pointer is aligned like every buffer.
#[repr(align(64))]
struct Aligned;

fn physical_memory() -> usize {
    // SAFETY: no preconditions.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    usize::try_from(pages).unwrap_or(1 << 20).saturating_mul(usize::try_from(size).unwrap_or(4096))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn allocator() -> &'static Allocator {
        Box::leak(Box::new(Allocator::new()))
    }

    #[test]
    fn buffers_are_cached_and_counted() {
        let allocator = allocator();
        for nbytes in [0, 1, 64, 1000, 100_000, 3 << 20, 10 << 20] {
            let a = allocator.allocate(nbytes).unwrap();
            let (address, active) = (a.pointer() as usize, allocator.stats().active);
            assert_eq!(address % ALIGN, 0);
            assert!(active >= nbytes && active <= (nbytes + nbytes / 4 + 64).next_multiple_of(64).max(class(nbytes)));
            drop(a);
            assert_eq!(allocator.stats().active, 0);
            let again = allocator.allocate(nbytes).unwrap();
            assert_eq!(again.pointer() as usize, address, "{nbytes} bytes are re-used");
            drop(again);
            allocator.clear_cache();
            assert_eq!(allocator.stats().cache, 0);
        }
        assert!(allocator.stats().peak >= 10 << 20);
    }

    #[test]
    fn mappings_that_are_kept_are_used_for_other_sizes() {
        // Kibibytes freed, kibibytes asked for, and whether the one is made of the other.
        let cases = [
            ("grows", 64, 65, true),
            ("grows", 100, 150, true),
            ("grows", 1000, 1700, true),
            ("grows", 2 << 10, 3 << 10, true),
            ("grows", 9 << 10, 20 << 10, true),
            ("is a little larger", 80, 64, true),
            ("is a little larger", 18 << 10, 16 << 10, true),
            ("lacks more than half", 70, 200, false),
            ("lacks more than half", 4 << 10, 10 << 10, false),
            ("is much larger", 200, 90, false),
            ("is much larger", 16 << 10, 8 << 10, false),
            ("has small pages", 1500, 2 << 10, false),
            ("lies on the heap", 50, 64, false),
        ];
        for (why, freed, asked, expected) in cases {
            let allocator = allocator();
            let memory = allocator.allocate(freed << 10).unwrap();
            // SAFETY: the memory is this test's, and as long as that.
            unsafe { memory.pointer().write_bytes(0xa5, freed << 10) };
            drop(memory);
            let kept = allocator.stats().cache;

            let memory = allocator.allocate(asked << 10).unwrap();
            // SAFETY: as above; all of it is initialised.
            let bytes = unsafe { std::slice::from_raw_parts(memory.pointer(), asked << 10) };
            let both = freed.min(asked) << 10;
            let case = format!("{freed} KiB for {asked} KiB: {why}");
            // What has grown left its last page behind.
            assert_eq!(bytes[..both - PAGE].iter().all(|&b| b == 0xa5), expected, "{case}");
            assert!(bytes[both..].iter().all(|&b| b == 0), "{case}");
            let stats = allocator.stats();
            let (size, cache) = match (expected, asked > freed) {
                (true, false) => (kept, 0),
                (_, _) => (class(asked << 10), if expected { 0 } else { kept }),
            };
            assert_eq!((stats.active, stats.cache), (size, cache), "{case}");
            drop(memory);
            allocator.clear_cache();
            assert_eq!(allocator.stats().cache, 0, "{case}");
        }
    }

    #[test]
    fn mappings_after_one_another_begin_at_other_places_of_their_pages() {
        let allocator = allocator();
        for nbytes in [MAPPED, HUGE] {
            let all: Vec<_> = (0..12).map(|_| allocator.allocate(nbytes).unwrap()).collect();
            let places: BTreeSet<usize> = all.iter().map(|memory| memory.pointer() as usize % PAGE).collect();
            assert_eq!(places.len(), 12, "{nbytes} bytes");
        }
    }

    #[test]
    fn running_out_is_an_error() {
        let allocator = allocator();
        for nbytes in [1usize << 45, usize::MAX, isize::MAX as usize] {
            assert_eq!(allocator.allocate(nbytes).unwrap_err().kind(), ErrorKind::Memory);
        }
    }

    #[test]
    fn the_cache_keeps_to_its_limit() {
        let allocator = allocator();
        allocator.set_cache_limit(1 << 20);
        let all: Vec<_> = (0..8).map(|_| allocator.allocate(512 << 10).unwrap()).collect();
        drop(all);
        assert!(allocator.stats().cache <= 1 << 20);
    }

    #[test]
    fn memory_in_use_keeps_to_its_limit() {
        let allocator = allocator();
        let old = allocator.set_limit(8 << 20);
        let a = allocator.allocate(6 << 20).unwrap();
        assert_eq!(allocator.allocate(4 << 20).unwrap_err().kind(), ErrorKind::Memory);
        drop(a);
        // What is cached does not count as in use, and makes room.
        drop(allocator.allocate(8 << 20).unwrap());
        assert!(allocator.stats().cache <= 8 << 20);
        assert_eq!(allocator.set_limit(old), 8 << 20);
        allocator.allocate(12 << 20).unwrap();
    }
}
