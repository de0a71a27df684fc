//! Memory that arrays share with other libraries: lent to them, or taken from them.
//!
//! Who borrows an array's memory holds its buffer, so that it is neither freed nor given to the result of another operation. Memory that
//! comes from outside is read and never written.

use crate::array::Array;
use lazuli_ir::{Aval, DType, Error, ErrorKind, Result, shape};
use lazuli_kernel::{Buffer, Layout};

/// An array's memory, lent for as long as this lives. It must not be written.
#[derive(Debug)]
pub struct Lent {
    /// Address of the element with all indices 0.
    pub address: usize,
    /// Where the other elements lie, seen from there.
    pub layout: Layout,
    #[allow(dead_code, reason = "held, so that the memory stays as it is")]
    buffer: Buffer,
}

impl Array {
    /// Lends the array's memory; runs what is needed first.
    pub fn lend(&self) -> Result<Lent> {
        let value = self.force()?;
        let base = crate::backend::default().host_pointer(&value.buffer);
        let base = base.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "lend", "the array's memory cannot be read by the host")
        })?;
        let offset = value.layout.offset * self.dtype().itemsize() as isize;
        let layout = Layout { offset: 0, ..value.layout.clone() };
        Ok(Lent { address: (base as usize).wrapping_add_signed(offset), layout, buffer: value.buffer.clone() })
    }

    /// An array whose elements lie in `buffer` as `layout` says.
    ///
    /// # Errors
    /// If an element would lie outside the buffer.
    pub fn from_buffer(buffer: Buffer, dtype: DType, layout: Layout) -> Result<Array> {
        let room = (buffer.nbytes() / dtype.itemsize()) as isize;
        if layout.span().is_some_and(|(low, high)| low < 0 || high >= room) {
            let shape = shape::show(&layout.shape);
            let problem =
                format!("elements of shape {shape} and strides {:?} leave a buffer of {room}", layout.strides);
            return Err(Error::value("array", problem));
        }
        Ok(Array::done(Aval::new(dtype, layout.shape.clone()), buffer, layout))
    }
}
