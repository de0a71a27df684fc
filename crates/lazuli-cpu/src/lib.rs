//! The CPU backend: generates machine code for kernels at run time (AVX-512 or AVX2, chosen when the backend is made), and runs
//! plans with it on a small pool of threads.
//!
//! Invariants:
//! - the same bits as the reference interpreter, on either instruction set and any number of threads;
//! - a plan is verified (`Plan::verify`) before anything of it runs. That is what makes running generated code sound: every access
//!   of every step was proved to be within its slot, and the sizes of the buffers are checked at each run;
//! - `unsafe` lives in named rooms: executable memory (`exec`), the allocator (`memory`), calls of generated code (`tile`, and the nests that
//!   hand it their buffers), library calls, and the thread pool.
//!
//! Absent on purpose: primitives and graphs. See `codegen` for the road from a kernel to bytes, `nest` for what surrounds it.

mod codegen;
mod cpu;
mod exec;
mod float_mode;
mod fork;
mod isa;
mod kernels;
mod known;
mod library;
mod memory;
mod nest;
mod places;
mod pool;
mod settle;
mod steps;
mod stream;
mod tile;
mod variants;
mod words;

pub use cpu::Cpu;
pub use isa::Isa;
pub use memory::adopt;
