//! Named arrays in `.safetensors` files, which the Python package reads and writes too.
//!
//! Absent: other formats, and reading parts of a file.

use crate::array::Array;
use lazuli_ir::{DType, Error, ErrorKind, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The type of a dtype's elements in a file.
fn in_file(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::U8 => Dtype::U8,
        DType::U16 => Dtype::U16,
        DType::U32 => Dtype::U32,
        DType::U64 => Dtype::U64,
        DType::I8 => Dtype::I8,
        DType::I16 => Dtype::I16,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::C64 => Dtype::C64,
    }
}

pub(crate) fn io(op: &str, file: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, op, format!("{}: {error}", file.display()))
}

/// Writes arrays of any dtype under their names; computes what is pending.
///
/// ```
/// use lazuli_core::{array, files};
/// let file = std::env::temp_dir().join("lazuli-save.safetensors");
/// files::save_safetensors(&file, [("w".to_owned(), array([1.0, 2.0]))])?;
/// let arrays = files::load_safetensors(&file)?;
/// assert_eq!(arrays[0].0, "w");
/// assert_eq!(arrays[0].1.to_vec::<f32>(), [1.0, 2.0]);
/// # std::fs::remove_file(file).unwrap();
/// # Ok::<(), lazuli_core::Error>(())
/// ```
///
/// # Errors
/// If the file cannot be written, two arrays have one name, or an array has no value.
pub fn save_safetensors(file: impl AsRef<Path>, arrays: impl IntoIterator<Item = (String, Array)>) -> Result<()> {
    save_with("save_safetensors", file.as_ref(), arrays.into_iter().collect(), None)
}

/// The arrays of a file and their names.
///
/// # Errors
/// If the file cannot be read, is damaged, or has elements of a type that arrays do not have.
pub fn load_safetensors(file: impl AsRef<Path>) -> Result<Vec<(String, Array)>> {
    Ok(load_with("load_safetensors", file.as_ref())?.0)
}

/// Texts by name that stand beside the arrays of a file.
pub(crate) type Metadata = HashMap<String, String>;

/// Writes arrays and texts.
pub(crate) fn save_with(op: &str, file: &Path, arrays: Vec<(String, Array)>, metadata: Option<Metadata>) -> Result<()> {
    crate::eval::eval(&arrays.iter().map(|(_, a)| a.clone()).collect::<Vec<_>>())?;
    let (mut names, mut bytes) = (HashSet::new(), Vec::with_capacity(arrays.len()));
    for (name, a) in &arrays {
        if !names.insert(name) {
            return Err(Error::value(op, format!("two arrays are named '{name}'")));
        }
        bytes.push(a.try_to_bytes()?);
    }
    let mut views = Vec::with_capacity(arrays.len());
    for ((name, a), bytes) in arrays.iter().zip(&bytes) {
        let view = TensorView::new(in_file(a.dtype()), a.shape().to_vec(), bytes).map_err(|e| io(op, file, e))?;
        views.push((name, view));
    }
    let text = safetensors::serialize(views, metadata).map_err(|e| io(op, file, e))?;
    std::fs::write(file, text).map_err(|e| io(op, file, e))
}

/// The arrays and texts of a file.
pub(crate) fn load_with(op: &str, file: &Path) -> Result<(Vec<(String, Array)>, Metadata)> {
    let bytes = std::fs::read(file).map_err(|e| io(op, file, e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| io(op, file, e))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| io(op, file, e))?;
    let mut arrays = Vec::new();
    for (name, view) in tensors.iter() {
        let dtype = DType::ALL.into_iter().find(|&d| in_file(d) == view.dtype());
        let dtype =
            dtype.ok_or_else(|| io(op, file, format!("'{name}' is of {:?}, which is no dtype", view.dtype())))?;
        arrays.push((name.to_owned(), Array::try_from_bytes(view.data(), dtype, view.shape())?));
    }
    Ok((arrays, header.metadata().clone().unwrap_or_default()))
}
