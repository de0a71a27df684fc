//! What decides whether a call of a compiled function may reuse a trace.
//!
//! A call is read into a list of tokens: the structure of its arguments and captured trees, each constant by type and value, each array
//! by dtype and shape, and which arrays are one. Two calls with equal tokens do the same thing. Lists are compared in full;
//! hashes only find candidates.

use crate::array::PyArray;
use crate::convert::to_array;
use crate::dtype::PyDtype;
use crate::tree::Level;
use lazuli_core::{Array, DType, Shape};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyDict, PyEllipsis, PyFloat, PyInt, PyList, PySlice, PyString, PyTuple};
use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Token {
    List(usize),
    Tuple(usize),
    /// A tuple of a derived class, by the class.
    Named(usize, usize),
    Dict(usize),
    /// A dict of a derived class: the class, the number of entries, and the version of its attributes.
    Object(usize, usize, u64),
    Key(Box<str>),
    /// A key that is no string, by its hash and text.
    OtherKey(isize, Box<str>),
    Array(DType, Shape),
    /// An array of any rank and extents (shapeless).
    AnyArray(DType),
    /// An array of this rank, and per axis whether its extent is 0, 1 or more (shapeless).
    Ranked(DType, Box<[u8]>),
    /// Behind a shapeless key: a further trace for such arguments.
    Next,
    /// The same array as an earlier leaf.
    Same(usize),
    None,
    Ellipsis,
    Bool(bool),
    Int(i64),
    BigInt(Box<str>),
    Float(u64),
    Complex(u64, u64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    DType(DType),
    /// An object that is compared by identity; the cache keeps it alive.
    Identity(usize),
}

/// How arrays enter the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shapes {
    Exact,
    Ranked,
    Any,
}

/// A call as read: its key, and what it refers to.
#[derive(Default)]
pub struct Call {
    pub tokens: Vec<Token>,
    /// Distinct arrays in order of appearance.
    pub arrays: Vec<Array>,
    /// Every array object of the call, and which of the distinct arrays it stands for.
    pub objects: Vec<(Py<PyArray>, usize)>,
    /// Objects compared by identity.
    pub alive: Vec<Py<PyAny>>,
    seen: HashMap<(usize, u32), usize>,
}

impl Call {
    /// Reads one tree. `path` names it in errors: `args`, `inputs`.
    pub fn read(&mut self, v: &Bound<'_, PyAny>, path: &dyn Fn() -> String) -> PyResult<()> {
        if let Ok(a) = v.cast::<PyArray>() {
            self.array(a);
            return Ok(());
        }
        let _level = Level::enter()?;
        if let Ok(list) = v.cast::<PyList>() {
            self.tokens.push(Token::List(list.len()));
            for (i, x) in list.iter().enumerate() {
                self.read(&x, &|| format!("{}[{i}]", path()))?;
            }
            return Ok(());
        }
        if let Ok(tuple) = v.cast::<PyTuple>() {
            let token = match tuple.is_exact_instance_of::<PyTuple>() {
                true => Token::Tuple(tuple.len()),
                false => Token::Named(self.identity(tuple.get_type().as_any()), tuple.len()),
            };
            self.tokens.push(token);
            for (i, x) in tuple.iter().enumerate() {
                self.read(&x, &|| format!("{}[{i}]", path()))?;
            }
            return Ok(());
        }
        if let Ok(dict) = v.cast::<PyDict>() {
            return self.dict(v, dict, path);
        }
        let token = match self.constant(v)? {
            Some(token) => token,
            None if v.hasattr("__array__")? => {
                let a = Bound::new(v.py(), PyArray::new(to_array(v, None)?))?;
                self.array(&a);
                return Ok(());
            }
            None => {
                let what = v.get_type().name()?;
                return Err(PyValueError::new_err(format!(
                    "[compile] {} is of type {what}: a compiled function takes arrays, numbers, strings and other constants, and lists, tuples \
                     and dicts of them",
                    path()
                )));
            }
        };
        self.tokens.push(token);
        Ok(())
    }

    fn array(&mut self, object: &Bound<'_, PyArray>) {
        let a = object.get().get();
        let next = self.arrays.len();
        let place = *self.seen.entry(a.id()).or_insert(next);
        self.objects.push((object.clone().unbind(), place));
        if place < next {
            self.tokens.push(Token::Same(place));
            return;
        }
        self.tokens.push(Token::Array(a.dtype(), a.shape().into()));
        self.arrays.push(a);
    }

    /// Entries in the order of their keys, so that the order of insertion does not matter.
    fn dict(&mut self, v: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>, path: &dyn Fn() -> String) -> PyResult<()> {
        let token = if dict.is_exact_instance_of::<PyDict>() {
            Token::Dict(dict.len())
        } else {
            let version = v.getattr("_version").and_then(|n| n.extract()).unwrap_or(0);
            Token::Object(self.identity(v.get_type().as_any()), dict.len(), version)
        };
        self.tokens.push(token);
        for (name, key, value) in sorted(dict)? {
            self.tokens.push(match key.cast::<PyString>() {
                Ok(_) => Token::Key(name.as_str().into()),
                Err(_) => Token::OtherKey(key.hash()?, name.as_str().into()),
            });
            self.read(&value, &|| format!("{}[{name:?}]", path()))?;
        }
        Ok(())
    }

    /// The token of an object compared by identity, which is kept alive so that its address stays its own.
    fn identity(&mut self, v: &Bound<'_, PyAny>) -> usize {
        self.alive.push(v.clone().unbind());
        v.as_ptr() as usize
    }

    fn constant(&mut self, v: &Bound<'_, PyAny>) -> PyResult<Option<Token>> {
        Ok(Some(if v.is_none() {
            Token::None
        } else if v.is_instance_of::<PyBool>() {
            Token::Bool(v.is_truthy()?)
        } else if v.is_exact_instance_of::<PyInt>() {
            match v.extract::<i64>() {
                Ok(i) => Token::Int(i),
                Err(_) => Token::BigInt(v.str()?.to_string().into()),
            }
        } else if v.is_exact_instance_of::<PyFloat>() {
            let f: f64 = v.extract()?;
            // NaN equals NaN.
            Token::Float(if f.is_nan() { f64::NAN.to_bits() } else { f.to_bits() })
        } else if let Ok(c) = v.cast_exact::<PyComplex>() {
            Token::Complex(c.real().to_bits(), c.imag().to_bits())
        } else if let Ok(s) = v.cast_exact::<PyString>() {
            Token::Text(s.to_string().into())
        } else if let Ok(b) = v.cast_exact::<PyBytes>() {
            Token::Bytes(b.as_bytes().into())
        } else if let Ok(d) = v.cast::<PyDtype>() {
            Token::DType(d.get().0)
        } else if v.is_instance_of::<PyEllipsis>() {
            Token::Ellipsis
        } else if let Ok(s) = v.cast::<PySlice>() {
            // Three constants behind a mark of its own.
            self.tokens.push(Token::Text("slice".into()));
            for part in ["start", "stop", "step"] {
                let part = s.getattr(part)?;
                match self.constant(&part)? {
                    Some(t) => self.tokens.push(t),
                    None => return Ok(None),
                }
            }
            Token::Ellipsis
        } else if v.is_callable() || is_enum(v)? {
            Token::Identity(self.identity(v))
        } else {
            return Ok(None);
        }))
    }

    /// The tokens with arrays as `shapes` says.
    pub fn key(&self, shapes: Shapes) -> Vec<Token> {
        if shapes == Shapes::Exact {
            return self.tokens.clone();
        }
        let blur = |t: &Token| match t {
            Token::Array(d, _) if shapes == Shapes::Any => Token::AnyArray(*d),
            Token::Array(d, s) => Token::Ranked(*d, s.iter().map(|&n| n.min(2) as u8).collect()),
            t => t.clone(),
        };
        self.tokens.iter().map(blur).collect()
    }
}

fn is_enum(v: &Bound<'_, PyAny>) -> PyResult<bool> {
    v.is_instance(&v.py().import("enum")?.getattr("Enum")?)
}

/// A key's text, the key, the value.
type Entry<'py> = (String, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Entries of a dict with their keys' texts, sorted by them.
fn sorted<'py>(dict: &Bound<'py, PyDict>) -> PyResult<Vec<Entry<'py>>> {
    let entry = |(k, v): (Bound<'py, PyAny>, Bound<'py, PyAny>)| Ok((k.str()?.to_string(), k, v));
    let mut entries = dict.iter().map(entry).collect::<PyResult<Vec<_>>>()?;
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}
