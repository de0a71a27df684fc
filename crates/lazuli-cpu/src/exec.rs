//! Executable memory: images of generated functions, packed page by page into arenas.
//!
//! Pages are written while they are writable and not executable, then sealed: executable and not writable, for good. An arena is
//! one mapping, sealed from its start on, so the system keeps two regions for it however many functions it holds. It is unmapped when nobody has any of
//! its functions.

use crate::codegen::Image;
use lazuli_kernel::{Error, ErrorKind, Result};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

/// Address space of one arena.
const ARENA: usize = 256 << 10;

/// A generated function: takes its argument block.
pub type Entry = unsafe extern "C" fn(*mut u64);

#[derive(Debug)]
struct Arena {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: an arena is plain memory that belongs to no thread; what is not sealed of it is changed only under the lock of `ExecutableMemory`.
unsafe impl Send for Arena {}
// SAFETY: as above; what is sealed is only read.
unsafe impl Sync for Arena {}

/// An installed function.
#[derive(Debug)]
pub struct Code {
    /// Valid while this lives.
    pub entry: Entry,
    start: NonNull<u8>,
    nbytes: usize,
    /// Where in its bytes the function begins.
    offset: usize,
    arena: Arc<Arena>,
}

// SAFETY: sealed memory, which is only read and executed.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Code {
    /// The image: constants, then the function from the second part of the result on.
    pub fn image(&self) -> (&[u8], usize) {
        // SAFETY: sealed bytes of the arena that `self` keeps mapped; they are readable and never change.
        (unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.nbytes) }, self.offset)
    }
    /// Keeps it for the rest of the process.
    pub fn leak(self) -> Entry {
        std::mem::forget(self.arena);
        self.entry
    }
}

/// The arena that is being filled, and bytes of it sealed so far: whole pages.
#[derive(Debug, Default)]
pub struct ExecutableMemory {
    current: Mutex<Option<(Arc<Arena>, usize)>>,
}

impl ExecutableMemory {
    /// Copies an image into executable memory.
    pub fn install(&self, image: &Image) -> Result<Code> {
        let page = page_size();
        let need = image.bytes.len().next_multiple_of(page);
        let mut current = self.current.lock().unwrap_or_else(|e| e.into_inner());
        if current.as_ref().is_none_or(|(arena, used)| arena.size - used < need) {
            *current = Some((Arc::new(Arena::map(need.max(ARENA))?), 0));
        }
        let (arena, used) = current.as_mut().expect("an arena was just made");
        // SAFETY: `used + need <= size`, so the destination lies within the mapping; its pages past `used` are still
        // readable and writable, not executable, and nothing else refers to them.
        let target = unsafe {
            let target = arena.start.as_ptr().add(*used);
            std::ptr::copy_nonoverlapping(image.bytes.as_ptr(), target, image.bytes.len());
            target
        };
        // SAFETY: whole pages of our own mapping, on which no Rust reference exists.
        let sealed = unsafe { libc::mprotect(target.cast(), need, libc::PROT_READ | libc::PROT_EXEC) };
        if sealed != 0 {
            return Err(Error::internal("generate", format!("cannot make code executable: {}", last_error())));
        }
        *used += need;
        // SAFETY: `entry` is where the emitter began a function of this signature that follows the C calling convention; the
        // pages are executable and stay mapped while the result keeps the arena.
        let entry = unsafe { std::mem::transmute::<*mut u8, Entry>(target.add(image.entry)) };
        let start = NonNull::new(target).expect("within a mapping");
        Ok(Code { entry, start, nbytes: image.bytes.len(), offset: image.entry, arena: arena.clone() })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no code is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

impl Arena {
    fn map(size: usize) -> Result<Self> {
        // SAFETY: a fresh anonymous mapping, placed by the system.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            let message = format!("no memory for {size} bytes of code: {}", last_error());
            return Err(Error::new(ErrorKind::Memory, "generate", message));
        }
        let start = NonNull::new(start.cast()).expect("a mapping is never at address 0");
        Ok(Self { start, size })
    }
}

pub fn page_size() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

pub fn last_error() -> std::io::Error {
    std::io::Error::last_os_error()
}
