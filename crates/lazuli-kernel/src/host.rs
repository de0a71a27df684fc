//! What a plan asks of the host between its kernels: an effect, such as printing.
//!
//! A backend knows such a call as an object that is given arrays and may fail; what stands behind it (a front end, an interpreter's lock) is none of
//! its business. No lock of ours is held during a call, and a panic in it is an error.

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use std::fmt::{self, Debug};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

/// An array as a host call sees it.
#[derive(Debug, Clone, Copy)]
pub struct HostArray<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    /// The elements in row-major order.
    pub bytes: &'a [u8],
}

/// An effect.
pub trait HostCall: Debug + Send + Sync {
    /// What it is called in plans.
    fn name(&self) -> &'static str;
    fn call(&self, arrays: &[HostArray<'_>]) -> Result<()>;
}

/// Makes a call; a panic in it is an error.
pub fn perform(call: &dyn HostCall, arrays: &[HostArray<'_>]) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| call.call(arrays))).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(Error::internal(call.name(), format!("it panicked: {text}")))
    })
}

type Write = dyn Fn(&str) -> Result<()> + Send + Sync;

/// Where printed text goes.
#[derive(Clone)]
pub struct Writer(Arc<Write>);

impl Writer {
    /// Text is given to `write`, whole lines at a time, on whichever thread runs the plan.
    pub fn new(write: impl Fn(&str) -> Result<()> + Send + Sync + 'static) -> Writer {
        Writer(Arc::new(write))
    }
}

impl Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

static WRITER: RwLock<Option<Writer>> = RwLock::new(None);

/// Sets where printed text goes, in the whole process; `None` for the standard output. Returns what was set before.
pub fn set_writer(writer: Option<Writer>) -> Option<Writer> {
    std::mem::replace(&mut WRITER.write().unwrap_or_else(PoisonError::into_inner), writer)
}

/// Writes text to where printed text goes.
pub fn write(text: &str) -> Result<()> {
    let writer = WRITER.read().unwrap_or_else(PoisonError::into_inner).clone();
    match writer {
        Some(Writer(write)) => write(text),
        None => {
            let mut out = std::io::stdout().lock();
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            written.map_err(|e| Error::new(ErrorKind::Io, "print", format!("cannot write to the standard output: {e}")))
        }
    }
}
