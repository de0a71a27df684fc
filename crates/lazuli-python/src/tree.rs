//! Trees of Python containers: what transformations and compiled functions take and return.
//!
//! Lists, tuples (named ones too), dicts (a `Module` is one) and objects of registered classes are nodes, arrays are leaves, everything
//! else is a constant leaf that is kept as is.

use crate::array::PyArray;
use crate::dim;
use crate::nodes;
use crate::random::RandomState;
use lazuli_core::Array;
use pyo3::exceptions::PyRecursionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyDict, PyFrozenSet, PyList, PySet, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

/// A tree with its arrays taken out, in order; [`fill`](Template::fill) puts others in.
#[derive(Debug)]
pub enum Template {
    Array,
    Leaf(Py<PyAny>),
    /// Of a derived class: an empty object of it.
    List(Option<Py<PyAny>>, Vec<Template>),
    /// Of a derived class: the class, and the attributes of the tuple. A named tuple is made anew by its `_make`.
    Tuple(Option<(Py<PyType>, Attributes)>, Vec<Template>),
    /// Of a derived class (a `Module`): an empty object of it with the same attributes.
    Dict(Option<Py<PyAny>>, Vec<(Py<PyAny>, Template)>),
    /// An object of a registered class: what it is made of besides its children.
    Node(Py<PyType>, Py<PyAny>, Vec<Template>),
}

/// What becomes of dicts of a derived class when a tree is built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// An object of the class with the same attributes: what a function is called with.
    Classes,
    /// A plain dict: gradients.
    Contents,
}

/// Attributes of an object of a derived class, by name.
pub type Attributes = Vec<(String, Py<PyAny>)>;

/// The number that stands for all attributes of a module or an optimizer's state.
pub fn version(object: &Bound<'_, PyAny>) -> Option<u64> {
    object.getattr(intern!(object.py(), "_version")).ok()?.extract().ok()
}

/// The same, brought up to date where attributes can change without being assigned, or were written past `__setattr__`; and the state that the attributes
/// lead to: arrays, modules, states of optimizers.
pub fn version_now<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<(u64, Option<Bound<'py, PyTuple>>)>> {
    let py = object.py();
    let Ok(Ok(own)) = object.getattr(intern!(py, "__dict__")).map(|own| own.cast_into::<PyDict>()) else {
        return Ok(None);
    };
    let Some(version) = own.get_item(intern!(py, "_version"))? else { return Ok(None) };
    if let Some(seen) = own.get_item(intern!(py, "_seen"))?
        && let Ok(seen) = seen.cast_into::<PyTuple>()
        && own.len() == seen.len() / 2 + 2 // nothing else is noted
        && are_pairs(&own, &seen, &[intern!(py, "_version"), intern!(py, "_seen")])
    {
        return Ok(Some((version.extract()?, None)));
    }
    if may_have_changed(object, &own)? {
        object.call_method0(intern!(py, "_configuration_changed"))?;
    }
    let Some(version) = version_of(&own)? else { return Ok(None) };
    let reached = own.get_item(intern!(py, "_reached"))?.and_then(|reached| reached.cast_into::<PyTuple>().ok());
    Ok(Some((version, reached.filter(|reached| !reached.is_empty()))))
}

fn version_of(own: &Bound<'_, PyDict>) -> PyResult<Option<u64>> {
    own.get_item(intern!(own.py(), "_version"))?.map(|version| version.extract()).transpose()
}

/// Whether attributes of a module or optimizer, or of the one that this is the state of, can be others than when they were looked at.
fn may_have_changed(object: &Bound<'_, PyAny>, own: &Bound<'_, PyDict>) -> PyResult<bool> {
    let py = object.py();
    let is_loose =
        |own: &Bound<'_, PyDict>| own.get_item(intern!(py, "_loose"))?.map_or(Ok(false), |loose| loose.is_truthy());
    if is_loose(own)? {
        return Ok(true);
    }
    let Some(owner) = own.get_item(intern!(py, "_owner"))? else {
        let seen = own.get_item(intern!(py, "_seen"))?.and_then(|seen| seen.cast_into::<PyTuple>().ok());
        return seen.map_or(Ok(true), |seen| Ok(!are_seen(own, &seen)?));
    };
    let owner = owner.call0()?;
    if owner.is_none() {
        return Ok(false);
    }
    let owners = owner.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?;
    Ok(is_loose(&owners)? || version_of(&owners)? != version_of(own)? || {
        let seen = owners.get_item(intern!(py, "_seen"))?.and_then(|seen| seen.cast_into::<PyTuple>().ok());
        !seen.map_or(Ok(false), |seen| are_seen(&owners, &seen))?
    })
}

/// The names of what is noted of a module or an optimizer when its attributes are looked at.
pub fn kept_by_looks(py: Python<'_>) -> [&Bound<'_, PyString>; 6] {
    [
        intern!(py, "_version"),
        intern!(py, "_seen"),
        intern!(py, "_seen_in_class"),
        intern!(py, "_loose"),
        intern!(py, "_reached"),
        intern!(py, "_held"),
    ]
}

/// Whether attributes are those that were noted when they were looked at: names and values in their order.
fn are_seen(own: &Bound<'_, PyDict>, seen: &Bound<'_, PyTuple>) -> PyResult<bool> {
    if let Some(values) = own.get_item(intern!(own.py(), "_seen_in_class"))? {
        let values = values.cast_into::<PyTuple>()?;
        for k in (0..values.len()).step_by(3) {
            let (class, name, value) = (values.get_item(k)?, values.get_item(k + 1)?, values.get_item(k + 2)?);
            if !class.getattr_opt(name.cast::<PyString>()?)?.is_some_and(|now| now.is(&value)) {
                return Ok(false);
            }
        }
    }
    Ok(are_pairs(own, seen, &kept_by_looks(own.py())))
}

/// Whether names and values of a dict, but for these names, are those of a tuple, in their order.
fn are_pairs(own: &Bound<'_, PyDict>, pairs: &Bound<'_, PyTuple>, but: &[&Bound<'_, PyString>]) -> bool {
    let mut pairs = pairs.iter_borrowed();
    for (name, value) in own {
        if but.iter().any(|but| name.is(*but)) {
            continue;
        }
        let is_next = |part: Option<Borrowed<'_, '_, PyAny>>, v: &Bound<'_, PyAny>| {
            part.is_some_and(|part| part.as_ptr() == v.as_ptr())
        };
        if !is_next(pairs.next(), &name) || !is_next(pairs.next(), &value) {
            return false;
        }
    }
    pairs.next().is_none()
}

/// Entries in the order in which Python code meets them. They are taken out, as what is done with them may run the user's code.
pub fn entries<'py>(dict: &Bound<'py, PyDict>) -> PyResult<Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    let Some(class) = ordered(dict)? else { return Ok(dict.iter().collect()) };
    let mut entries = Vec::with_capacity(dict.len());
    for key in class.call_method1("keys", (dict,))?.try_iter()? {
        let key = key?;
        entries.extend(dict.get_item(&key)?.map(|value| (key, value)));
    }
    Ok(entries)
}

/// `OrderedDict` for an object of it, which keeps an order of its own beside that of a dict: its own methods know both.
fn ordered<'py>(dict: &Bound<'py, PyDict>) -> PyResult<Option<Bound<'py, PyType>>> {
    static ORDERED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = dict.py();
    if dict.is_exact_instance_of::<PyDict>() {
        return Ok(None);
    }
    let class = ORDERED.import(py, "collections", "OrderedDict")?;
    Ok(dict.is_instance(class)?.then(|| class.clone()))
}

/// Puts an entry into a dict, whatever its class makes of assignments.
pub fn set_entry(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match ordered(dict)? {
        Some(class) => class.call_method1("__setitem__", (dict, key, value)).map(drop),
        None => dict.set_item(key, value),
    }
}

/// Takes an entry out of a dict, whatever its class makes of that.
pub fn remove_entry(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyAny>) -> PyResult<()> {
    match ordered(dict)? {
        Some(class) => class.call_method1("__delitem__", (dict, key)).map(drop),
        None => dict.del_item(key),
    }
}

/// Gives a dict these entries alone, in their order.
pub fn set_entries(dict: &Bound<'_, PyDict>, entries: &Bound<'_, PyDict>) -> PyResult<()> {
    match ordered(dict)? {
        Some(class) => class.call_method1("clear", (dict,)).map(drop)?,
        None => dict.clear(),
    }
    entries.iter().try_for_each(|(key, value)| set_entry(dict, &key, &value))
}

/// What an object of a derived class has besides its contents, in the order in which Python code meets it: its slots and attributes of C such as the
/// factory of a `defaultdict`, its `__dict__`.
pub fn attributes<'py>(object: &Bound<'py, PyAny>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    static MEMBERS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    let load = || Ok::<_, PyErr>(py.import("lazuli._members")?.getattr("members")?.unbind());
    let members = MEMBERS.get_or_try_init(py, load)?.bind(py).call1((object.get_type(),))?.cast_into::<PyTuple>()?;
    let mut found = Vec::new();
    for name in members.iter() {
        let name = name.cast_into::<PyString>()?;
        // A slot may be empty.
        if let Ok(value) = object.getattr(&name) {
            found.push((name.to_string_lossy().into_owned(), value));
        }
    }
    if let Ok(Ok(own)) = object.getattr("__dict__").map(|d| d.cast_into::<PyDict>()) {
        found.extend(own.iter().map(|(name, value)| (name.to_string(), value)));
    }
    Ok(found)
}

/// Gives an object attributes, whatever its class makes of assignments.
fn assign<'py>(object: &Bound<'py, PyAny>, attributes: &[(String, Bound<'py, PyAny>)]) -> PyResult<()> {
    static ASSIGN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    let own = object.getattr("__dict__").ok().and_then(|d| d.cast_into::<PyDict>().ok());
    let load = || Ok::<_, PyErr>(py.import("builtins")?.getattr("object")?.getattr("__setattr__")?.unbind());
    for (name, value) in attributes {
        match &own {
            Some(own) if own.contains(name)? || !object.get_type().hasattr(name)? => own.set_item(name, value)?,
            _ => drop(ASSIGN.get_or_try_init(py, load)?.bind(py).call1((object, name, value))?),
        }
    }
    Ok(())
}

/// An object of the class of `object`, a derived list or dict, with its attributes and without contents.
pub fn shell<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let class = object.get_type();
    let Ok(attributes) = object.getattr("__dict__") else {
        // One of the standard library's, which may hide attributes (`defaultdict`): a copy keeps them.
        let copy = object.py().import("copy")?.call_method1("copy", (object,))?;
        copy.call_method0("clear")?;
        return Ok(copy);
    };
    let new = class.call_method1("__new__", (&class,))?;
    match new.getattr("__dict__") {
        // All that a module or an optimizer's state has is there.
        Ok(own) if version(object).is_some() => {
            own.cast::<PyDict>()?.update(attributes.cast::<PyDict>()?.as_mapping())?;
        }
        _ => assign(&new, &self::attributes(object)?)?,
    }
    Ok(new)
}

/// The same, where `f` says what becomes of the attributes.
pub fn shell_with<'py>(
    object: &Bound<'py, PyAny>,
    f: &mut dyn FnMut(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let new = shell(object)?;
    if version(object).is_none() {
        let mut changed = map_attributes(object, f)?;
        changed.retain(|(name, value)| !new.getattr(name).is_ok_and(|old| old.is(value)));
        assign(&new, &changed)?;
    }
    Ok(new)
}

/// The attributes, each put through `f`.
pub fn map_attributes<'py>(
    object: &Bound<'py, PyAny>,
    f: &mut dyn FnMut(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    attributes(object)?.into_iter().map(|(name, value)| Ok((name, f(&value)?))).collect()
}

/// Puts entries into an empty dict of a derived class, whatever that makes of assignments.
pub fn put_entries(object: &Bound<'_, PyAny>, entries: &Bound<'_, PyDict>) -> PyResult<()> {
    let dict = object.cast::<PyDict>()?;
    entries.iter().try_for_each(|(key, value)| set_entry(dict, &key, &value))
}

/// Puts items into an empty list of a derived class.
pub fn put_items(object: &Bound<'_, PyAny>, items: &Bound<'_, PyList>) -> PyResult<()> {
    object.cast::<PyList>()?.set_slice(0, 0, items)
}

/// A tuple of this derived class with these attributes, whatever its class asks for in order to make one.
pub fn tuple_of<'py>(
    class: &Bound<'py, PyType>,
    attributes: &[(String, Bound<'py, PyAny>)],
    items: Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let new = match class.py().get_type::<PyTuple>().call_method1("__new__", (class, &items)) {
        Ok(new) => new,
        // Of a class written in C.
        Err(_) => class.call1((items,))?,
    };
    // What its constructor has set, it has.
    let mut missing = Vec::new();
    for (name, value) in attributes {
        if !new.hasattr(name)? || new.getattr("__dict__").is_ok_and(|own| own.contains(name).unwrap_or(false)) {
            missing.push((name.clone(), value.clone()));
        }
    }
    assign(&new, &missing)?;
    Ok(new)
}

/// How deep trees may be nested: deeper ones, and those that contain themselves, would exhaust the stack.
const MAX_DEPTH: usize = 256;

thread_local! {
    static DEPTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// One level of a walk over a tree, for as long as it lives.
pub struct Level;

impl Level {
    pub fn enter() -> PyResult<Level> {
        if DEPTH.get() >= MAX_DEPTH {
            return Err(PyRecursionError::new_err(format!(
                "a tree of arrays is nested more than {MAX_DEPTH} deep: does a container hold itself?"
            )));
        }
        DEPTH.set(DEPTH.get() + 1);
        Ok(Level)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Takes a tree apart: its arrays go to `arrays`.
pub fn flatten(v: &Bound<'_, PyAny>, arrays: &mut Vec<Array>) -> PyResult<Template> {
    map_arrays(v, &mut |a| {
        arrays.push(a.get().get());
        Ok(())
    })
}

/// The same of arguments: numbers that are traced are passed on as they are, as other numbers are.
pub fn flatten_arguments(v: &Bound<'_, PyAny>, arrays: &mut Vec<Array>) -> PyResult<Template> {
    map_places(v, &mut |x: &Bound<'_, PyAny>| match x.cast::<PyArray>() {
        Ok(array) if array.get().as_number().is_none() => {
            arrays.push(array.get().get());
            Ok(true)
        }
        _ => Ok(false),
    })
}

/// Takes a tree apart, calling `see` with each array object.
pub fn map_arrays<'py>(
    v: &Bound<'py, PyAny>,
    see: &mut dyn FnMut(&Bound<'py, PyArray>) -> PyResult<()>,
) -> PyResult<Template> {
    map_places(v, &mut |x: &Bound<'py, PyAny>| match x.cast::<PyArray>() {
        Ok(array) => see(array).map(|()| true),
        Err(_) => Ok(false),
    })
}

/// Who is shown the parts of a tree that is taken apart.
pub trait Apart<'py> {
    /// Whether the template has a place for this part, in the place of an array.
    fn take(&mut self, v: &Bound<'py, PyAny>) -> PyResult<bool>;
    /// Is told of each container that may change, after what is in it.
    fn pass(&mut self, _container: &Bound<'py, PyAny>) {}
}

impl<'py, F: FnMut(&Bound<'py, PyAny>) -> PyResult<bool>> Apart<'py> for F {
    fn take(&mut self, v: &Bound<'py, PyAny>) -> PyResult<bool> {
        self(v)
    }
}

/// Takes a tree apart; where `apart` says so of a part, the template has a place for it in the place of an array.
pub fn map_places<'py>(v: &Bound<'py, PyAny>, apart: &mut dyn Apart<'py>) -> PyResult<Template> {
    if apart.take(v)? { Ok(Template::Array) } else { map_contents(v, apart) }
}

/// The same of what is in a tree.
pub fn map_contents<'py>(v: &Bound<'py, PyAny>, apart: &mut dyn Apart<'py>) -> PyResult<Template> {
    let template = map_items(v, apart)?;
    if matches!(template, Template::List(..) | Template::Dict(..) | Template::Node(..)) {
        apart.pass(v);
    }
    Ok(template)
}

fn map_items<'py>(v: &Bound<'py, PyAny>, apart: &mut dyn Apart<'py>) -> PyResult<Template> {
    let _level = Level::enter()?;
    if let Ok(list) = v.cast::<PyList>() {
        let items = list.iter().map(|x| map_places(&x, apart)).collect::<PyResult<_>>()?;
        let derived = (!list.is_exact_instance_of::<PyList>()).then(|| shell(v)).transpose()?;
        return Ok(Template::List(derived.map(Bound::unbind), items));
    }
    if let Ok(tuple) = v.cast::<PyTuple>() {
        let derived = match tuple.is_exact_instance_of::<PyTuple>() {
            true => None,
            false => {
                let attributes = attributes(v)?.into_iter().map(|(name, value)| (name, value.unbind())).collect();
                Some((tuple.get_type().unbind(), attributes))
            }
        };
        return Ok(Template::Tuple(derived, tuple.iter().map(|x| map_places(&x, apart)).collect::<PyResult<_>>()?));
    }
    if let Ok(dict) = v.cast::<PyDict>() {
        let entry = |(k, x): (Bound<'py, PyAny>, _)| Ok((k.unbind(), map_places(&x, apart)?));
        let entries = entries(dict)?.into_iter().map(entry).collect::<PyResult<_>>()?;
        let derived = (!dict.is_exact_instance_of::<PyDict>()).then(|| shell(v)).transpose()?;
        return Ok(Template::Dict(derived.map(Bound::unbind), entries));
    }
    if let Some(node) = nodes::find(v)? {
        let children = node.children.iter().map(|x| map_places(&x, apart)).collect::<PyResult<_>>()?;
        return Ok(Template::Node(v.get_type().unbind(), node.aux.unbind(), children));
    }
    Ok(Template::Leaf(v.clone().unbind()))
}

/// Calls `see` with every array object of a tree; of the random state with the thread's key.
pub fn visit<'py>(v: &Bound<'py, PyAny>, see: &mut dyn FnMut(&Bound<'py, PyArray>) -> PyResult<()>) -> PyResult<()> {
    if let Ok(a) = v.cast::<PyArray>() {
        return see(a);
    }
    let _level = Level::enter()?;
    if let Ok(list) = v.cast::<PyList>() {
        return list.iter().try_for_each(|x| visit(&x, see));
    }
    if let Ok(tuple) = v.cast::<PyTuple>() {
        return tuple.iter().try_for_each(|x| visit(&x, see));
    }
    if let Ok(dict) = v.cast::<PyDict>() {
        return entries(dict)?.iter().try_for_each(|(_, x)| visit(x, see));
    }
    if v.is_instance_of::<RandomState>() {
        return see(&crate::random::key_object(v.py())?);
    }
    match nodes::find(v)? {
        Some(node) => node.children.iter().try_for_each(|x| visit(&x, see)),
        None => Ok(()),
    }
}

/// What a template is filled with.
pub trait Places<'py> {
    /// What stands in the next place.
    fn next(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>>;
    /// Is told of each container that may change, after what is in it.
    fn pass(&mut self, _container: &Bound<'py, PyAny>) {}
}

impl<'py, F: FnMut(Python<'py>) -> PyResult<Bound<'py, PyAny>>> Places<'py> for F {
    fn next(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self(py)
    }
}

impl Template {
    /// Puts numbers in the places of extents, which fixes them.
    pub fn fix_extents(&mut self, py: Python<'_>) -> PyResult<()> {
        match self {
            Template::Array => Ok(()),
            Template::Leaf(v) => {
                *v = dim::plain(v.bind(py))?.unbind();
                Ok(())
            }
            Template::List(_, items) | Template::Tuple(_, items) | Template::Node(_, _, items) => {
                items.iter_mut().try_for_each(|item| item.fix_extents(py))
            }
            Template::Dict(_, entries) => entries.iter_mut().try_for_each(|(_, item)| item.fix_extents(py)),
        }
    }
    /// The tree with these arrays in the places of its own.
    pub fn fill<'py>(
        &self,
        py: Python<'py>,
        kept: Kept,
        arrays: &mut dyn Iterator<Item = Array>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.fill_with(py, kept, &mut |py: Python<'py>| {
            let a = arrays.next().expect("as many arrays as the template has places");
            Ok(Bound::new(py, PyArray::new(a))?.into_any())
        })
    }
    /// The tree with these objects in its places.
    pub fn fill_with<'py>(
        &self,
        py: Python<'py>,
        kept: Kept,
        places: &mut dyn Places<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let built = self.build(py, kept, places)?;
        if matches!(self, Template::List(..) | Template::Dict(..) | Template::Node(..)) {
            places.pass(&built);
        }
        Ok(built)
    }
    fn build<'py>(&self, py: Python<'py>, kept: Kept, places: &mut dyn Places<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut all =
            |items: &[Template]| items.iter().map(|t| t.fill_with(py, kept, places)).collect::<PyResult<Vec<_>>>();
        Ok(match self {
            Template::Array => places.next(py)?,
            Template::Leaf(v) => anew(v.bind(py))?,
            Template::List(derived, items) => {
                let list = PyList::new(py, all(items)?)?;
                match derived {
                    Some(object) if kept == Kept::Classes => {
                        let new = shell(object.bind(py))?;
                        put_items(&new, &list)?;
                        new
                    }
                    _ => list.into_any(),
                }
            }
            Template::Tuple(class, items) => {
                let tuple = PyTuple::new(py, all(items)?)?;
                match class {
                    None => tuple.into_any(),
                    Some((class, attributes)) => {
                        let attributes: Vec<_> =
                            attributes.iter().map(|(name, value)| (name.clone(), value.bind(py).clone())).collect();
                        tuple_of(class.bind(py), &attributes, tuple)?
                    }
                }
            }
            Template::Dict(derived, entries) => {
                let dict = PyDict::new(py);
                for (k, t) in entries {
                    dict.set_item(k, t.fill_with(py, kept, places)?)?;
                }
                match derived {
                    Some(object) if kept == Kept::Classes => {
                        let new = shell(object.bind(py))?;
                        put_entries(&new, &dict)?;
                        new
                    }
                    _ => dict.into_any(),
                }
            }
            Template::Node(class, aux, children) => {
                nodes::build(class.bind(py), aux.bind(py), PyTuple::new(py, all(children)?)?)?
            }
        })
    }
    /// A tree of axes for its arrays: ints in their places, `None` for arrays without one and for everything else.
    pub fn axes<'py>(
        &self,
        py: Python<'py>,
        axes: &mut dyn Iterator<Item = Option<usize>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut all = |items: &[Template]| items.iter().map(|t| t.axes(py, axes)).collect::<PyResult<Vec<_>>>();
        Ok(match self {
            Template::Array => axes.next().flatten().into_pyobject(py)?,
            Template::Leaf(_) => py.None().into_bound(py),
            Template::List(_, items) => PyList::new(py, all(items)?)?.into_any(),
            Template::Tuple(_, items) | Template::Node(_, _, items) => PyTuple::new(py, all(items)?)?.into_any(),
            Template::Dict(_, entries) => {
                let dict = PyDict::new(py);
                for (k, t) in entries {
                    dict.set_item(k, t.axes(py, axes)?)?;
                }
                dict.into_any()
            }
        })
    }
    /// The tree for people: `(array, {'a': array}, None)`.
    pub fn show(&self, py: Python<'_>) -> String {
        let all = |items: &[Template]| items.iter().map(|t| t.show(py)).collect::<Vec<_>>().join(", ");
        match self {
            Template::Array => "array".into(),
            Template::Leaf(v) => v.bind(py).repr().map_or_else(|_| "a constant".into(), |r| r.to_string()),
            Template::List(_, items) => format!("[{}]", all(items)),
            Template::Tuple(_, items) => format!("({})", all(items)),
            Template::Node(_, _, items) => format!("an object of ({})", all(items)),
            Template::Dict(_, entries) => {
                let entries = entries.iter().map(|(k, t)| format!("{}: {}", k.bind(py), t.show(py)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }
    /// How many arrays it has places for.
    pub fn len(&self) -> usize {
        match self {
            Template::Array => 1,
            Template::Leaf(_) => 0,
            Template::List(_, items) | Template::Tuple(_, items) | Template::Node(_, _, items) => {
                items.iter().map(Template::len).sum()
            }
            Template::Dict(_, entries) => entries.iter().map(|(_, t)| t.len()).sum(),
        }
    }
    /// Calls `see` with each leaf that is no array and stands in plain containers alone, and with where it is from `path` on (`args[0]['w'][2]`).
    pub fn leaves(
        &self,
        py: Python<'_>,
        path: &str,
        see: &mut dyn FnMut(&Bound<'_, PyAny>, &str) -> PyResult<()>,
    ) -> PyResult<()> {
        match self {
            Template::Array => Ok(()),
            Template::Leaf(v) => see(v.bind(py), path),
            Template::Node(..) | Template::List(Some(_), _) | Template::Dict(Some(_), _) => Ok(()),
            Template::List(None, items) | Template::Tuple(_, items) => {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(i, t)| t.leaves(py, &format!("{path}[{i}]"), see))
            }
            Template::Dict(None, entries) => entries.iter().try_for_each(|(k, t)| {
                let key = k.bind(py).repr()?;
                t.leaves(py, &format!("{path}[{key}]"), see)
            }),
        }
    }
    /// Where the `k`th array is from `path` on.
    pub fn path(&self, py: Python<'_>, path: &str, k: usize) -> String {
        let within = |parts: &mut dyn Iterator<Item = (String, &Template)>| {
            let mut k = k;
            for (path, part) in parts {
                if k < part.len() {
                    return part.path(py, &path, k);
                }
                k -= part.len();
            }
            path.to_owned()
        };
        match self {
            Template::Array | Template::Leaf(_) => path.to_owned(),
            Template::List(_, items) | Template::Tuple(_, items) | Template::Node(_, _, items) => {
                within(&mut items.iter().enumerate().map(|(i, t)| (format!("{path}[{i}]"), t)))
            }
            Template::Dict(_, entries) => within(&mut entries.iter().map(|(key, t)| {
                let key = key.bind(py).repr().map(|r| r.to_string()).unwrap_or_default();
                (format!("{path}[{key}]"), t)
            })),
        }
    }
    /// Whether two trees have one structure and equal constants.
    pub fn is_like(&self, other: &Template, py: Python<'_>) -> PyResult<bool> {
        let all = |a: &[Template], b: &[Template]| {
            let mut like = a.len() == b.len();
            for (a, b) in a.iter().zip(b) {
                like = like && a.is_like(b, py)?;
            }
            PyResult::Ok(like)
        };
        match (self, other) {
            (Template::Array, Template::Array) => Ok(true),
            (Template::Leaf(a), Template::Leaf(b)) => {
                let (a, b) = (a.bind(py), b.bind(py));
                // A NaN is not equal to itself, but one object is.
                Ok(a.is(b) || a.get_type().is(b.get_type()) && (a.eq(b)? || a.ne(a)? && b.ne(b)?))
            }
            (Template::List(_, a), Template::List(_, b)) => all(a, b),
            (Template::Tuple(_, a), Template::Tuple(_, b)) => all(a, b),
            (Template::Node(c, _, a), Template::Node(d, _, b)) => Ok(c.is(d) && all(a, b)?),
            (Template::Dict(_, a), Template::Dict(_, b)) => {
                let mut like = a.len() == b.len();
                for ((k, a), (l, b)) in a.iter().zip(b) {
                    like = like && k.bind(py).eq(l)? && a.is_like(b, py)?;
                }
                Ok(like)
            }
            _ => Ok(false),
        }
    }
    /// Whether it holds no object that could hold others: only arrays' places, plain containers, numbers, strings and the like.
    pub fn is_plain(&self, py: Python<'_>) -> bool {
        use pyo3::types::PyEllipsis;
        let plain = |v: &Bound<'_, PyAny>| {
            is_number_or_text(v)
                || v.is_exact_instance_of::<PyEllipsis>()
                || v.is_exact_instance_of::<crate::dtype::PyDtype>()
        };
        match self {
            Template::Array => true,
            Template::Leaf(v) => plain(v.bind(py)),
            Template::List(None, items) => items.iter().all(|t| t.is_plain(py)),
            Template::Tuple(derived, items) => {
                derived.as_ref().is_none_or(|(_, attributes)| attributes.iter().all(|(_, v)| plain(v.bind(py))))
                    && items.iter().all(|t| t.is_plain(py))
            }
            Template::Dict(None, entries) => entries.iter().all(|(k, t)| plain(k.bind(py)) && t.is_plain(py)),
            Template::List(Some(_), _) | Template::Dict(Some(_), _) | Template::Node(..) => false,
        }
    }
    /// Shows a garbage collector the objects that it holds.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Template::Array => Ok(()),
            Template::Leaf(v) => visit.call(v),
            Template::List(object, items) => {
                visit.call(object)?;
                items.iter().try_for_each(|t| t.traverse(visit))
            }
            Template::Tuple(derived, items) => {
                if let Some((class, attributes)) = derived {
                    visit.call(class)?;
                    attributes.iter().try_for_each(|(_, value)| visit.call(value))?;
                }
                items.iter().try_for_each(|t| t.traverse(visit))
            }
            Template::Dict(object, entries) => {
                visit.call(object)?;
                entries.iter().try_for_each(|(k, t)| visit.call(k).and_then(|()| t.traverse(visit)))
            }
            Template::Node(class, aux, children) => {
                visit.call(class)?;
                visit.call(aux)?;
                children.iter().try_for_each(|t| t.traverse(visit))
            }
        }
    }
}

/// Whether it is a container of Python's or an array of numpy's that can be changed and is no tree.
fn is_loose(leaf: &Bound<'_, PyAny>) -> PyResult<bool> {
    static DEQUE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if is_number_or_text(leaf) {
        return Ok(false);
    }
    Ok(leaf.is_exact_instance_of::<PySet>()
        || leaf.is_exact_instance_of::<PyByteArray>()
        || leaf.get_type().is(DEQUE.import(leaf.py(), "collections", "deque")?)
        || leaf.hasattr("__array_interface__")?)
}

/// A leaf as a call gives it: what the caller can change is made anew each time, as lists are.
fn anew<'py>(leaf: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match is_loose(leaf)? {
        true => leaf.py().import("copy")?.call_method1("copy", (leaf,)),
        false => Ok(leaf.clone()),
    }
}

/// Whether it is a set or the like in which an array stands.
pub fn hides_arrays(leaf: &Bound<'_, PyAny>) -> PyResult<bool> {
    if leaf.hasattr("__array_interface__")? || !(is_loose(leaf)? || leaf.is_exact_instance_of::<PyFrozenSet>()) {
        return Ok(false);
    }
    leaf.try_iter()?.try_fold(false, |found, x| Ok(found || x?.is_instance_of::<PyArray>()))
}

/// Whether it is `None`, a number, a string or bytes of exactly Python's own class: an object that holds no others and never changes.
pub fn is_number_or_text(v: &Bound<'_, PyAny>) -> bool {
    use pyo3::types::{PyBool, PyBytes, PyComplex, PyFloat, PyInt, PyString};
    v.is_none()
        || v.is_exact_instance_of::<PyFloat>()
        || v.is_exact_instance_of::<PyInt>()
        || v.is_exact_instance_of::<PyBool>()
        || v.is_exact_instance_of::<PyString>()
        || v.is_exact_instance_of::<PyBytes>()
        || v.is_exact_instance_of::<PyComplex>()
}
