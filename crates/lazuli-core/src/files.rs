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

/// What a file is, if it begins as files of a known format do that is not the one of this module.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    let beginnings: [(&[u8], &str); 8] = [
        (b"\x93NUMPY", "an array of numpy (.npy)"),
        (b"PK\x03\x04", "an archive (.npz of numpy, .pt of torch, .zip)"),
        (b"GGUF", "a model in the format GGUF"),
        (b"\x89HDF", "a file of HDF5"),
        (b"\x1f\x8b", "compressed by gzip"),
        (b"\x7fELF", "a program or a library"),
        (b"\x80\x04", "a pickle of Python"),
        (b"\x80\x05", "a pickle of Python"),
    ];
    let found = beginnings.iter().find(|(beginning, _)| bytes.starts_with(beginning)).map(|(_, kind)| *kind);
    let is_text = |bytes: &[u8]| bytes.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e));
    match found {
        None if bytes.is_empty() => Some("empty"),
        None if is_text(&bytes[..bytes.len().min(256)]) => Some("text"),
        found => found,
    }
}

/// The arrays and texts of a file.
pub(crate) fn load_with(op: &str, file: &Path) -> Result<(Vec<(String, Array)>, Metadata)> {
    let bytes = std::fs::read(file).map_err(|e| io(op, file, e))?;
    let wrong = |e: safetensors::SafeTensorError| match kind_of(&bytes) {
        Some(kind) => {
            let writer = if op == "import_function" { "export_function writes" } else { "safetensors is" };
            io(op, file, format!("is {kind}, and no file in the format that {writer}"))
        }
        None => io(op, file, format!("is damaged, or in another format than safetensors: {e}")),
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(wrong)?;
    let mut arrays = Vec::new();
    for (name, view) in tensors.iter() {
        let dtype = DType::ALL.into_iter().find(|&d| in_file(d) == view.dtype());
        let dtype =
            dtype.ok_or_else(|| io(op, file, format!("'{name}' is of {:?}, which is no dtype", view.dtype())))?;
        arrays.push((name.to_owned(), Array::try_from_bytes(view.data(), dtype, view.shape())?));
    }
    Ok((arrays, header.metadata().clone().unwrap_or_default()))
}
