//! Executable memory: images of generated functions, packed page by page into arenas.
//!
//! Pages are written while they are writable and not executable, then sealed: executable and not writable, for good. An arena is
//! one mapping, sealed from its start on, so the system keeps two regions for it however many functions it holds. Functions
//! are never freed: they are keyed by structure, few, and small.

use crate::codegen::Image;
use lazuli_kernel::{Error, ErrorKind, Result};
use std::ptr::NonNull;
use std::sync::Mutex;

/// Address space of one arena.
const ARENA: usize = 1 << 20;

/// A generated function: takes its argument block.
pub type Entry = unsafe extern "C" fn(*mut u64);

#[derive(Debug)]
struct Arena {
    start: NonNull<u8>,
    size: usize,
    /// Bytes sealed so far, whole pages.
    used: usize,
}

// SAFETY: an arena is plain memory that belongs to no thread; it is changed only under the lock of `ExecutableMemory`.
unsafe impl Send for Arena {}

/// All arenas of a backend.
#[derive(Debug, Default)]
pub struct ExecutableMemory {
    arenas: Mutex<Vec<Arena>>,
}

impl ExecutableMemory {
    /// Copies an image into executable memory. The entry is valid for the rest of the process: arenas are never unmapped.
    pub fn install(&self, image: &Image) -> Result<Entry> {
        let page = page_size();
        let need = image.bytes.len().next_multiple_of(page);
        let mut arenas = self.arenas.lock().unwrap_or_else(|e| e.into_inner());
        if arenas.last().is_none_or(|a| a.size - a.used < need) {
            arenas.push(Arena::map(need.max(ARENA))?);
        }
        let arena = arenas.last_mut().expect("an arena was just made");
        // SAFETY: `used + need <= size`, so the destination lies within the mapping; its pages past `used` are still
        // readable and writable, not executable, and nothing else refers to them.
        let target = unsafe {
            let target = arena.start.as_ptr().add(arena.used);
            std::ptr::copy_nonoverlapping(image.bytes.as_ptr(), target, image.bytes.len());
            target
        };
        // SAFETY: whole pages of our own mapping, on which no Rust reference exists.
        let sealed = unsafe { libc::mprotect(target.cast(), need, libc::PROT_READ | libc::PROT_EXEC) };
        if sealed != 0 {
            return Err(Error::internal("generate", format!("cannot make code executable: {}", last_error())));
        }
        arena.used += need;
        // SAFETY: `entry` is where the emitter began a function of this signature that follows the C calling convention; the
        // pages are executable and stay mapped.
        Ok(unsafe { std::mem::transmute::<*mut u8, Entry>(target.add(image.entry)) })
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
        Ok(Self { start, size, used: 0 })
    }
}

pub fn page_size() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

pub fn last_error() -> std::io::Error {
    std::io::Error::last_os_error()
}
