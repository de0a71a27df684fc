//! The one error type of the project.
//!
//! An error names its kind (which decides the exception that Python sees), the operation at fault, and a message
//! that says what was wrong and what to do about it. It prints as `[op] message`.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong; the Python binding maps each kind to one exception type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes, dtypes or parameters that an operation does not accept (`ValueError`).
    Value,
    /// An argument of a type that is not accepted (`TypeError`).
    Type,
    /// An index or axis out of range (`IndexError`).
    Index,
    /// The value of a placeholder was read while tracing (`TracerError`, a `ValueError`).
    TracedRead,
    /// A placeholder outlived its trace (`LeakedTracerError`).
    LeakedTracer,
    /// A guard of a shapeless trace failed (`ShapeGuardError`, a `ValueError`).
    ShapeGuard,
    /// In the mode that verifies, a compiled call gave something else than the plain function (`VerificationError`, a `RuntimeError`).
    Verification,
    /// No memory (`MemoryError`).
    Memory,
    /// Something this build or device cannot do (`NotImplementedError`).
    Unsupported,
    /// A file or stream failed (`OSError`).
    Io,
    /// The work was asked to stop.
    Cancelled,
    /// A broken invariant of Lazuli itself, or a failed device (`RuntimeError`).
    Internal,
}

/// Kind, operation, message and the place in the user's program.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    op: String,
    message: String,
    location: Option<String>,
    cause: Option<Arc<dyn Any + Send + Sync>>,
}

impl Error {
    pub fn new(kind: ErrorKind, op: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, op: op.into(), message: message.into(), location: None, cause: None }))
    }
    pub fn value(op: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Value, op, message)
    }
    pub fn index(op: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Index, op, message)
    }
    pub fn internal(op: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, op, message)
    }
    /// The same error with the place in the user's program (`file:line`), unless it already has one.
    pub fn at(mut self, location: impl Into<String>) -> Self {
        self.0.location.get_or_insert_with(|| location.into());
        self
    }
    /// The same error with what it stands for: a front end's own exception, which a host call raised.
    pub fn caused_by(mut self, cause: impl Any + Send + Sync) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }
    /// What it stands for, if that is of this type.
    pub fn cause<T: Any>(&self) -> Option<&T> {
        self.0.cause.as_ref().and_then(|c| (**c).downcast_ref())
    }
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
    pub fn op(&self) -> &str {
        &self.0.op
    }
    pub fn message(&self) -> &str {
        &self.0.message
    }
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.0.op, self.0.message)?;
        match &self.0.location {
            Some(at) => write!(f, " (at {at})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}
