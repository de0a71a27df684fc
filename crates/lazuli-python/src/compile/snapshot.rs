//! What state was before a function ran: copies of containers, and what variables stood for, to be compared with and put back.

use crate::array::PyArray;
use crate::nodes;
use crate::tree;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::collections::HashMap;

/// An attribute: its name, and what it is now, if it is there.
pub type Attribute<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

/// Sees a place: its container, its key, what stood there, and what stands there.
type See<'a, 'py> = dyn FnMut(&Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>) -> PyResult<()>
    + 'a;

/// Shallow copies of containers, and of the attributes of those that have some; what variables stand for.
#[derive(Default)]
pub struct Snapshot {
    copies: HashMap<usize, Copies>,
    variables: Vec<Variable>,
}

/// A variable that functions share.
struct Variable {
    name: Py<PyAny>,
    /// A cell, or the dict of the globals.
    holder: Py<PyAny>,
    value: Option<Py<PyAny>>,
}

impl Variable {
    fn now<'py>(name: &Bound<'py, PyAny>, holder: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match holder.cast::<PyDict>() {
            Ok(globals) => globals.get_item(name),
            // A cell that is not assigned yet has no contents.
            Err(_) => Ok(holder.getattr(intern!(holder.py(), "cell_contents")).ok()),
        }
    }
    fn restore(&self, py: Python<'_>) -> PyResult<()> {
        let (holder, contents) = (self.holder.bind(py), intern!(py, "cell_contents"));
        match (holder.cast::<PyDict>(), &self.value) {
            (Ok(globals), Some(value)) => globals.set_item(&self.name, value),
            (Ok(globals), None) => globals.del_item(&self.name),
            (Err(_), Some(value)) => holder.setattr(contents, value),
            (Err(_), None) => holder.delattr(contents),
        }
    }
}

struct Copies {
    /// How many were copied before.
    number: usize,
    container: Py<PyAny>,
    items: Py<PyAny>,
    attributes: Option<Py<PyDict>>,
}

impl Copies {
    fn restore_attributes(&self, py: Python<'_>) -> PyResult<()> {
        let Some(attributes) = &self.attributes else { return Ok(()) };
        let now = self.container.bind(py).getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?;
        now.clear();
        now.update(attributes.bind(py).as_mapping())
    }
}

impl Snapshot {
    /// Copies every list, dict and object of a registered class in a tree.
    pub fn add(&mut self, tree: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut todo = vec![tree.clone()];
        while let Some(v) = todo.pop() {
            if self.contains(&v) || v.is_instance_of::<PyArray>() {
                continue;
            }
            if let Ok(list) = v.cast::<PyList>() {
                todo.extend(list.iter());
            } else if let Ok(dict) = v.cast::<PyDict>() {
                todo.extend(dict.values().iter());
            } else if let Ok(tuple) = v.cast::<PyTuple>() {
                todo.extend(tuple.iter());
                continue;
            } else if let Some(node) = nodes::find(&v)? {
                todo.extend(node.children.iter());
            } else {
                continue;
            }
            self.add_one(&v)?;
        }
        Ok(())
    }
    /// Copies one container.
    pub fn add_one(&mut self, v: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = v.py();
        let items = if let Ok(list) = v.cast::<PyList>() {
            PyList::new(py, list.iter())?.into_any()
        } else if let Ok(dict) = v.cast::<PyDict>() {
            copy_of(dict)?.into_any()
        } else {
            PyTuple::empty(py).into_any()
        };
        let attributes = match v.getattr(intern!(v.py(), "__dict__")).map(|d| d.cast_into::<PyDict>()) {
            Ok(Ok(attributes)) => Some(copy_of(&attributes)?.unbind()),
            _ => None,
        };
        let number = self.copies.len();
        let copies = Copies { number, container: v.clone().unbind(), items: items.unbind(), attributes };
        self.copies.insert(v.as_ptr() as usize, copies);
        Ok(())
    }
    /// Notes what a variable stands for. `holder`: its cell, or the dict of the globals.
    pub fn add_variable(&mut self, name: &Bound<'_, PyAny>, holder: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = Variable::now(name, holder)?.map(Bound::unbind);
        self.variables.push(Variable { name: name.clone().unbind(), holder: holder.clone().unbind(), value });
        Ok(())
    }
    /// Attributes that an object has beside its contents and that are other ones than before, and what they are now: nothing, where they are gone.
    pub fn changed_attributes<'py>(&self, v: &Bound<'py, PyAny>) -> PyResult<Vec<Attribute<'py>>> {
        let py = v.py();
        let copies = self.copies.get(&(v.as_ptr() as usize));
        let Some(before) = copies.and_then(|copies| copies.attributes.as_ref()) else { return Ok(Vec::new()) };
        let (before, now) = (before.bind(py), v.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?);
        let mut changed = Vec::new();
        for (name, value) in now.iter() {
            let is_same = |old: Bound<'py, PyAny>| {
                let is_equal = tree::is_number_or_text(&value) && old.get_type().is(value.get_type());
                Ok::<_, PyErr>(old.is(&value) || is_equal && old.eq(&value)?)
            };
            if !before.get_item(&name)?.map(is_same).transpose()?.unwrap_or(false) {
                changed.push((name, Some(value)));
            }
        }
        for name in before.keys() {
            if !now.contains(&name)? {
                changed.push((name, None));
            }
        }
        // What follows from the others.
        let kept = tree::kept_by_looks(py);
        let follows =
            |name: &Bound<'py, PyAny>| kept.iter().any(|kept| name.is(kept)) || name.eq("_owner").unwrap_or(false);
        changed.retain(|(name, _)| !follows(name));
        Ok(changed)
    }
    pub fn contains(&self, container: &Bound<'_, PyAny>) -> bool {
        self.copies.contains_key(&(container.as_ptr() as usize))
    }
    pub fn items<'py>(&self, container: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        self.copies.get(&(container.as_ptr() as usize)).map(|c| c.items.bind(container.py()).clone())
    }
    /// Puts everything back.
    pub fn restore(&self, py: Python<'_>) -> PyResult<()> {
        self.restore_items(py)?;
        self.copies.values().try_for_each(|copies| copies.restore_attributes(py))?;
        for variable in &self.variables {
            let now = Variable::now(variable.name.bind(py), variable.holder.bind(py))?;
            if now.as_ref().map(Bound::as_ptr) != variable.value.as_ref().map(Py::as_ptr) {
                variable.restore(py)?;
            }
        }
        Ok(())
    }
    /// Puts the items of lists and dicts back, and what objects of registered classes are made of.
    pub fn restore_items(&self, py: Python<'_>) -> PyResult<()> {
        for copies in self.copies.values() {
            let (container, items) = (copies.container.bind(py), copies.items.bind(py));
            if let Ok(list) = container.cast::<PyList>() {
                list.set_slice(0, list.len(), items)?;
            } else if let Ok(dict) = container.cast::<PyDict>() {
                tree::set_entries(dict, items.cast::<PyDict>()?)?;
            } else {
                copies.restore_attributes(py)?;
            }
        }
        Ok(())
    }
    /// Array objects that stand in the copied containers and variables now and did not before, with the place of each. In the order in which the
    /// containers were copied.
    pub fn replaced<'py>(&self, py: Python<'py>) -> PyResult<Vec<Replaced<'py>>> {
        let mut found = Vec::new();
        self.changes(py, &mut |container, key, before, now| {
            // A container that was not copied is new: its arrays stand in the same place as far as names go.
            let Some(now) = now.filter(|now| !self.contains(now)) else { return Ok(()) };
            tree::visit(&now, &mut |array| {
                let (container, key, array) = (container.clone(), key.clone(), array.clone());
                let before = before
                    .as_ref()
                    .map_or(Before::Nothing, |b| if b.is_none() { Before::None } else { Before::Something });
                found.push(Replaced { container, key, array, before });
                Ok(())
            })
        })?;
        Ok(found)
    }
    /// Array objects that stood there before, where no array stands now.
    pub fn lost<'py>(&self, py: Python<'py>) -> PyResult<Vec<Replaced<'py>>> {
        let mut found = Vec::new();
        self.changes(py, &mut |container, key, before, now| {
            if let Some(Ok(array)) = before.map(Bound::cast_into::<PyArray>)
                && !now.is_some_and(|now| now.is_instance_of::<PyArray>())
            {
                found.push(Replaced { container: container.clone(), key, array, before: Before::Something });
            }
            Ok(())
        })?;
        Ok(found)
    }
    /// Calls `see` with each place whose contents are another object than before: its container, its key, and both.
    fn changes<'py>(&self, py: Python<'py>, see: &mut See<'_, 'py>) -> PyResult<()> {
        let differ = |a: &Option<Bound<'py, PyAny>>, b: &Option<Bound<'py, PyAny>>| {
            a.as_ref().map(Bound::as_ptr) != b.as_ref().map(Bound::as_ptr)
        };
        let mut all: Vec<&Copies> = self.copies.values().collect();
        all.sort_by_key(|copies| copies.number);
        for copies in all {
            let (container, items) = (copies.container.bind(py), copies.items.bind(py));
            if let (Ok(list), Ok(before)) = (container.cast::<PyList>(), items.cast::<PyList>()) {
                for i in 0..list.len().max(before.len()) {
                    let (old, now) = (before.get_item(i).ok(), list.get_item(i).ok());
                    if differ(&old, &now) {
                        see(container, i.into_pyobject(py)?.into_any(), old, now)?;
                    }
                }
            } else if let (Ok(dict), Ok(before)) = (container.cast::<PyDict>(), items.cast::<PyDict>()) {
                for (key, now) in dict.iter() {
                    let (old, now) = (before.get_item(&key)?, Some(now));
                    if differ(&old, &now) {
                        see(container, key, old, now)?;
                    }
                }
                for (key, old) in before.iter() {
                    if !dict.contains(&key)? {
                        see(container, key, Some(old), None)?;
                    }
                }
            }
        }
        let nowhere = py.None().into_bound(py);
        for variable in &self.variables {
            let name = variable.name.bind(py);
            let now = Variable::now(name, variable.holder.bind(py))?;
            let old = variable.value.as_ref().map(|v| v.bind(py).clone());
            if differ(&old, &now) {
                see(&nowhere, name.clone(), old, now)?;
            }
        }
        Ok(())
    }
}

/// An array object in a place where another one stood.
pub struct Replaced<'py> {
    /// `None` for a variable.
    pub container: Bound<'py, PyAny>,
    pub key: Bound<'py, PyAny>,
    pub array: Bound<'py, PyArray>,
    pub before: Before,
}

/// What stood in a place before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Nothing,
    None,
    Something,
}

pub fn copy_of<'py>(dict: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
    let copy = PyDict::new(dict.py());
    tree::entries(dict)?.into_iter().try_for_each(|(key, value)| copy.set_item(key, value))?;
    Ok(copy)
}
