//! Classes of the user that are nodes of trees.
//!
//! A class is registered with two functions: one gives an object's children and what else it is made of, the other makes an object of
//! both. Everything that walks trees asks here; without registered classes that costs one load.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

/// By the class's address: the class, which lives for ever then, and its functions.
type Classes = HashMap<usize, (Py<PyType>, Py<PyAny>, Py<PyAny>)>;

static CLASSES: OnceLock<Mutex<Classes>> = OnceLock::new();
static ANY: AtomicBool = AtomicBool::new(false);

/// An object of a registered class, taken apart.
pub struct BoundParts<'py> {
    pub object: Bound<'py, PyAny>,
    pub children: Bound<'py, PyTuple>,
    pub aux: Bound<'py, PyAny>,
}

/// The same, to be kept.
pub struct Parts {
    pub object: Py<PyAny>,
    pub children: Py<PyTuple>,
    pub aux: Py<PyAny>,
}

impl BoundParts<'_> {
    pub fn unbind(self) -> Parts {
        Parts { object: self.object.unbind(), children: self.children.unbind(), aux: self.aux.unbind() }
    }
}

fn functions(class: &Bound<'_, PyType>) -> Option<(Py<PyAny>, Py<PyAny>)> {
    if !ANY.load(Ordering::Relaxed) {
        return None;
    }
    let classes = CLASSES.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    let (_, flatten, unflatten) = classes.get(&(class.as_ptr() as usize))?;
    Some((flatten.clone_ref(class.py()), unflatten.clone_ref(class.py())))
}

/// The parts of an object whose class is registered.
pub fn find<'py>(v: &Bound<'py, PyAny>) -> PyResult<Option<BoundParts<'py>>> {
    let class = v.get_type();
    let Some((flatten, _)) = functions(&class) else { return Ok(None) };
    let parts = flatten.bind(v.py()).call1((v,))?;
    let wrong = || {
        let name = class.name().map_or_else(|_| "the class".to_owned(), |n| n.to_string());
        PyTypeError::new_err(format!(
            "[register_tree_node] flatten of {name} must return a pair: the children (an iterable), and what else the object is made of"
        ))
    };
    let parts = parts.cast_into::<PyTuple>().map_err(|_| wrong())?;
    if parts.len() != 2 {
        return Err(wrong());
    }
    let children = parts.get_item(0)?.try_iter().map_err(|_| wrong())?.collect::<PyResult<Vec<_>>>()?;
    Ok(Some(BoundParts { object: v.clone(), children: PyTuple::new(v.py(), children)?, aux: parts.get_item(1)? }))
}

/// An object of a registered class, from its parts.
pub fn build<'py>(
    class: &Bound<'py, PyType>,
    aux: &Bound<'py, PyAny>,
    children: Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let (_, unflatten) = functions(class).expect("a class stays registered");
    unflatten.bind(class.py()).call1((aux, children))
}

/// Makes a class a node of trees; see `register_tree_node`.
#[pyfunction]
pub fn _register_tree_node(class: &Bound<'_, PyType>, flatten: Py<PyAny>, unflatten: Py<PyAny>) {
    let entry = (class.clone().unbind(), flatten, unflatten);
    let classes = CLASSES.get_or_init(Mutex::default);
    let old = classes.lock().unwrap_or_else(|e| e.into_inner()).insert(class.as_ptr() as usize, entry);
    ANY.store(true, Ordering::Relaxed);
    drop(old);
}

/// The children of an object of a registered class and what else it is made of, or `None`.
#[pyfunction]
pub fn _tree_node_parts<'py>(v: &Bound<'py, PyAny>) -> PyResult<Option<(Bound<'py, PyTuple>, Bound<'py, PyAny>)>> {
    Ok(find(v)?.map(|p| (p.children, p.aux)))
}

/// An object of the registered class of `like`, from its parts.
#[pyfunction]
pub fn _tree_node_build<'py>(
    like: &Bound<'py, PyAny>,
    aux: &Bound<'py, PyAny>,
    children: Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    build(&like.get_type(), aux, children)
}
