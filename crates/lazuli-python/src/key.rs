//! What decides whether a call of a compiled function may reuse a trace.
//!
//! A call is read into a list of tokens: the mode, the structure of its arguments and captured trees, each constant by type and bits, each
//! array by dtype and shape, and which leaves are one array object. Two calls with equal tokens do the same thing. Objects compared by
//! identity enter by their address; whoever keeps a key has to see that they live ([`Identities`]).

mod token;
mod tokens;

use crate::array::{Held, PyArray};
use crate::convert::{literal, to_array};
use crate::dtype::PyDtype;
use crate::nodes::{self, Parts};
use crate::objects::Objects;
use crate::random::RandomState;
use crate::scalars::Number;
use crate::tree::{self, Level};
use lazuli_core::cache;
use lazuli_core::program::Arrays;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyEllipsis, PyFloat, PyInt, PyList, PySlice, PyString, PyTuple, PyType,
    PyWeakrefReference,
};
pub use token::Token;
pub use tokens::Tokens;

/// How arrays enter the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shapes {
    Exact,
    Ranked,
    Any,
}

/// Objects whose addresses are in a key, held weakly wherever that is possible.
#[derive(Debug, Default)]
pub struct Identities {
    weak: Vec<Py<PyWeakrefReference>>,
    pub strong: Vec<Py<PyAny>>,
}

impl Identities {
    pub fn new(py: Python<'_>, objects: Vec<Py<PyAny>>) -> Identities {
        let mut held = Identities::default();
        for object in objects {
            match PyWeakrefReference::new(object.bind(py)) {
                Ok(weak) => held.weak.push(weak.unbind()),
                Err(_) => held.strong.push(object),
            }
        }
        held
    }
    /// Whether all of them live, so that an address in the key is still that of the object it was taken from.
    pub fn live(&self, py: Python<'_>) -> bool {
        self.weak.iter().all(|weak| weak.bind(py).upgrade().is_some())
    }
}

/// A call as read: its key, and what it refers to.
#[derive(Default)]
pub struct Call<'k> {
    pub tokens: Tokens<'k>,
    /// Distinct array objects, and what they stand for.
    pub objects: Objects<PyArray>,
    pub arrays: Arrays,
    /// Distinct lists, dicts and objects of registered classes.
    pub containers: Objects<PyAny>,
    /// Objects compared by identity.
    pub identities: Vec<Py<PyAny>>,
    /// Leaves that an array was made of (numbers, numpy arrays and the like), and where the array is. In the order of reading.
    pub made: Vec<(Py<PyAny>, usize)>,
    /// Objects of registered classes, taken apart, in the order of reading: what a class's function gives need not be the same objects next time.
    pub nodes: Vec<Parts>,
    /// State that attributes lead to, for [`read_reached`](Self::read_reached).
    pub reached: Vec<Py<PyTuple>>,
    /// Numbers are read as arrays.
    pub traced_scalars: bool,
    /// Arrays, and leaves of unknown types, are read as identities.
    pub by_identity: bool,
    /// Leaves of unknown types are read as identities: within attributes.
    pub unknown_by_identity: bool,
    /// What was read before is not read again.
    pub once: bool,
    /// What is read is captured: the function sees the objects themselves, so none can be converted.
    pub captured: bool,
}

impl Call<'_> {
    /// Reads one tree. `path` names it in errors: `args`, `inputs`.
    pub fn read(&mut self, v: &Bound<'_, PyAny>, path: &dyn Fn() -> String) -> PyResult<()> {
        if self.once && self.known(v) {
            return Ok(());
        }
        if let Ok(a) = v.cast::<PyArray>() {
            self.array(a);
            return Ok(());
        }
        let _level = Level::enter()?;
        if let Ok(list) = v.cast::<PyList>() {
            self.container(v);
            if !list.is_exact_instance_of::<PyList>() {
                self.class(v);
                self.attributes(v, path)?;
            }
            self.tokens.push(Token::List(list.len()));
            return self.read_all(list.iter(), path);
        }
        if let Ok(tuple) = v.cast::<PyTuple>() {
            if !tuple.is_exact_instance_of::<PyTuple>() {
                self.class(v);
                self.attributes(v, path)?;
            }
            self.tokens.push(Token::Tuple(tuple.len()));
            return self.read_all(tuple.iter(), path);
        }
        if let Ok(dict) = v.cast::<PyDict>() {
            return self.dict(v, dict, path);
        }
        if self.traced_scalars && !self.captured && is_number(v) {
            return self.number(v);
        }
        if self.constant(v)? {
            return Ok(());
        }
        if v.is_instance_of::<RandomState>() {
            self.class(v);
            self.tokens.push(Token::List(1));
            self.array(&crate::random::key_object(v.py())?);
            return Ok(());
        }
        if let Some(node) = nodes::find(v)? {
            self.container(v);
            self.class(v);
            self.tokens.push(Token::Node(node.children.len()));
            self.identities_of(&node.aux, &|| format!("{}.aux", path()))?;
            let children = node.children.clone();
            if !self.by_identity {
                self.nodes.push(node.unbind());
            }
            return self.read_all(children.iter(), path);
        }
        if self.by_identity {
            self.identify(v);
            return Ok(());
        }
        if let Some(value) = numpy_number(v)? {
            // Integers do more than arithmetic (`[x] * n`), which an array in their place would do otherwise: they are traced where that is asked for.
            if !self.captured && (self.traced_scalars || matches!(value, Token::Float(_) | Token::Complex(..))) {
                return self.number(v);
            }
            self.class(v);
            self.tokens.push(value);
            return Ok(());
        }
        // Texts of numpy's are those of Python's.
        let is_text = v.is_instance_of::<PyString>() || v.is_instance_of::<PyBytes>();
        if !is_text && v.hasattr("__array__")? {
            return if self.captured {
                Err(refused(v, path())?)
            } else {
                let array = to_array(v, None).map_err(|e| untraceable(v, path(), e))?;
                self.convert(v, PyArray::new(array))
            };
        }
        // Numbers and texts of derived classes: by class, value and attributes.
        let value = if v.is_instance_of::<PyInt>() {
            int(v)?
        } else if let Ok(f) = v.cast::<PyFloat>() {
            float(f.value())
        } else if let Ok(s) = v.cast::<PyString>() {
            text(s)?
        } else if let Ok(b) = v.cast::<PyBytes>() {
            Token::Bytes(b.as_bytes().into())
        } else if self.unknown_by_identity {
            self.identify(v);
            return Ok(());
        } else {
            return Err(refused(v, path())?);
        };
        self.class(v);
        // The object itself is passed on, with the arrays that it may have: they are what they are, as in a closure.
        let by_identity = std::mem::replace(&mut self.by_identity, true);
        let attributes = self.attributes(v, path);
        self.by_identity = by_identity;
        attributes?;
        self.tokens.push(value);
        Ok(())
    }

    /// Reads which containers and arrays of an output capture are those that were read before. If state that is captured as inputs is no longer captured
    /// as outputs, what a trace did to the one is not what a call has to do.
    pub fn read_outputs(&mut self, v: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(array) = v.cast::<PyArray>() {
            self.tokens.push(self.objects.place(array).map_or(Token::None, Token::Same));
            return Ok(());
        }
        // What is in it was read too.
        if let Some(place) = self.containers.place(v) {
            self.tokens.push(Token::Again(place));
            return Ok(());
        }
        let _level = Level::enter()?;
        if let Ok(list) = v.cast::<PyList>() {
            list.iter().try_for_each(|x| self.read_outputs(&x))
        } else if let Ok(tuple) = v.cast::<PyTuple>() {
            tuple.iter().try_for_each(|x| self.read_outputs(&x))
        } else if let Ok(dict) = v.cast::<PyDict>() {
            tree::entries(dict)?.iter().try_for_each(|(_, x)| self.read_outputs(x))
        } else if let Some(node) = nodes::find(v)? {
            node.children.iter().try_for_each(|x| self.read_outputs(&x))
        } else {
            Ok(())
        }
    }

    /// Reads the state that attributes of modules and optimizers lead to, once all that is captured is read: what is captured counts by its place, as it
    /// is shown to the function; the rest is a constant, by identity and what was done to it.
    pub fn read_reached(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.reached.is_empty() {
            return Ok(());
        }
        self.tokens.push(Token::Part("what attributes hold"));
        (self.by_identity, self.once) = (true, true);
        let mut next = 0;
        while let Some(state) = self.reached.get(next).map(|state| state.bind(py).clone()) {
            next += 1;
            self.tokens.push(Token::List(state.len()));
            for v in &state {
                // What is only referred to weakly.
                let v = v.cast::<PyWeakrefReference>().map_or(Some(v.clone()), |weak| weak.upgrade());
                let v = v.unwrap_or_else(|| py.None().into_bound(py));
                self.read(&v, &|| "what attributes hold".into())?;
            }
        }
        (self.by_identity, self.once) = (false, false);
        self.reached.clear();
        Ok(())
    }

    /// Reads what was read before by its place; false for anything else.
    fn known(&mut self, v: &Bound<'_, PyAny>) -> bool {
        if let Ok(array) = v.cast::<PyArray>() {
            let place = self.objects.place(array);
            place.into_iter().for_each(|place| self.tokens.push(Token::Same(place)));
            return place.is_some();
        }
        let Some(place) = self.containers.place(v) else {
            // Another object of the same contents is other state.
            if v.is_instance_of::<PyDict>() || v.is_instance_of::<PyList>() {
                self.tokens.push(Token::Class(v.as_ptr() as usize));
                self.identities.push(v.clone().unbind());
            }
            return false;
        };
        self.tokens.push(Token::Again(place));
        self.tokens.push(Token::None);
        true
    }

    /// Reads a tree of what arrays are made with: arrays in it count by identity.
    fn identities_of(&mut self, v: &Bound<'_, PyAny>, path: &dyn Fn() -> String) -> PyResult<()> {
        let by_identity = std::mem::replace(&mut self.by_identity, true);
        let read = self.read(v, path);
        self.by_identity = by_identity;
        read
    }

    /// The attributes of an object of a derived class, which its contents do not show.
    fn attributes(&mut self, v: &Bound<'_, PyAny>, path: &dyn Fn() -> String) -> PyResult<()> {
        let attributes = tree::attributes(v)?;
        if attributes.is_empty() {
            return Ok(());
        }
        self.tokens.push(Token::Attributes(attributes.len()));
        let outer = std::mem::replace(&mut self.unknown_by_identity, true);
        for (name, value) in attributes {
            self.tokens.push(Token::Key(name.as_str().into()));
            self.read(&value, &|| format!("{}.{name}", path()))?;
        }
        self.unknown_by_identity = outer;
        Ok(())
    }

    fn read_all<'py>(
        &mut self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        path: &dyn Fn() -> String,
    ) -> PyResult<()> {
        items.enumerate().try_for_each(|(i, x)| self.read(&x, &|| format!("{}[{i}]", path())))
    }

    fn array(&mut self, object: &Bound<'_, PyArray>) {
        if self.by_identity {
            // What an update in place puts there is another array.
            self.tokens.push(Token::Version(object.get().version()));
            return self.identify(object.as_any());
        }
        if let Some(place) = self.objects.place(object) {
            self.tokens.push(Token::Same(place));
            return;
        }
        self.objects.push(object);
        self.arrays.push(match object.get().held() {
            Held::Number(n) => {
                self.tokens.push(Token::Number(n.default()));
                n.value
            }
            Held::Array(a) => {
                // Not `shape()`: within a shapeless trace that would be a reading of numbers.
                self.tokens.push_array(a.dtype(), &a.aval().shape);
                a
            }
        });
    }

    /// Notes a container that can be changed: where it is one that stands before, what is done to the one is done to the other. Its contents are read
    /// all the same.
    fn container(&mut self, v: &Bound<'_, PyAny>) {
        match self.containers.place(v) {
            Some(place) => self.tokens.push(Token::Again(place)),
            None => self.containers.push(v),
        }
    }

    /// Where each array object stands first: `args[0]['w']`.
    pub fn paths(&self) -> Vec<String> {
        let paths = <Token as cache::Token>::paths(&self.tokens);
        paths
            .into_iter()
            .zip(&*self.tokens)
            .filter(|(_, t)| matches!(t, Token::Array(..) | Token::Number(_)))
            .map(|(p, _)| p)
            .collect()
    }

    /// A leaf that is traced as the array made of it.
    fn convert(&mut self, v: &Bound<'_, PyAny>, array: PyArray) -> PyResult<()> {
        let a = Bound::new(v.py(), array)?;
        // An object that occurs twice is two arrays: what one of them is updated to, the other is not.
        self.made.push((v.clone().unbind(), self.objects.len()));
        self.array(&a);
        Ok(())
    }

    /// A number that is traced.
    fn number(&mut self, v: &Bound<'_, PyAny>) -> PyResult<()> {
        let array = match literal(v)? {
            Some(number) => PyArray::number(Number::new(number)),
            None => PyArray::new(to_array(v, None)?),
        };
        self.convert(v, array)
    }

    /// Entries in the order in which the function meets them, which may decide what it does.
    fn dict(&mut self, v: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>, path: &dyn Fn() -> String) -> PyResult<()> {
        self.container(v);
        if !dict.is_exact_instance_of::<PyDict>() {
            self.class(v);
            match tree::version_now(v)? {
                Some((version, reached)) => {
                    self.tokens.push(Token::Version(version));
                    self.reached.extend(reached.map(Bound::unbind));
                }
                None => self.attributes(v, path)?,
            }
        }
        let entries = tree::entries(dict)?;
        self.tokens.push(Token::Dict(entries.len()));
        for (key, value) in &entries {
            self.dict_key(key)?;
            self.read(value, &|| format!("{}[{}]", path(), key_text(key)))?;
        }
        Ok(())
    }

    fn dict_key(&mut self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let token = if let Ok(s) = key.cast_exact::<PyString>() {
            match text(s)? {
                Token::Surrogates(escaped) => Token::OtherKey(key.hash()?, escaped),
                Token::Text(s) => Token::Key(s),
                _ => unreachable!("the two tokens of texts"),
            }
        } else if says_all(key) {
            Token::OtherKey(key.hash()?, key.repr()?.to_string_lossy().into())
        } else {
            self.identities.push(key.clone().unbind());
            Token::ObjectKey(key.as_ptr() as usize, key.str()?.to_string_lossy().into())
        };
        self.tokens.push(token);
        Ok(())
    }

    fn class(&mut self, v: &Bound<'_, PyAny>) {
        let class = v.get_type().into_any();
        self.tokens.push(Token::Class(class.as_ptr() as usize));
        self.identities.push(class.unbind());
    }

    /// An object compared by identity.
    pub fn identify(&mut self, v: &Bound<'_, PyAny>) {
        self.tokens.push(Token::Identity(v.as_ptr() as usize));
        self.identities.push(v.clone().unbind());
    }

    /// A callable: a bound method, which is a new object at each access, by its object and function; others by identity.
    pub fn callable(&mut self, v: &Bound<'_, PyAny>) -> PyResult<()> {
        match bound_method(v)? {
            Some((object, function)) => {
                self.tokens.push(Token::Method(object.as_ptr() as usize, function.as_ptr() as usize));
                self.identities.extend([object.unbind(), function.unbind()]);
            }
            None => self.identify(v),
        }
        Ok(())
    }

    /// Reads a leaf that is a constant by its own type; false for one that is not.
    fn constant(&mut self, v: &Bound<'_, PyAny>) -> PyResult<bool> {
        let token = if v.is_none() {
            Token::None
        } else if let Ok(b) = v.cast::<PyBool>() {
            Token::Bool(b.is_true())
        } else if v.is_exact_instance_of::<PyInt>() {
            int(v)?
        } else if let Ok(f) = v.cast_exact::<PyFloat>() {
            float(f.value())
        } else if let Ok(c) = v.cast_exact::<PyComplex>() {
            complex(c)
        } else if let Ok(s) = v.cast_exact::<PyString>() {
            text(s)?
        } else if let Ok(b) = v.cast_exact::<PyBytes>() {
            Token::Bytes(b.as_bytes().into())
        } else if let Ok(d) = v.cast::<PyDtype>() {
            Token::DType(d.get().0)
        } else if v.is_instance_of::<PyEllipsis>() {
            Token::Ellipsis
        } else if let Ok(s) = v.cast::<PySlice>() {
            self.tokens.push(Token::Slice);
            for part in ["start", "stop", "step"] {
                if !self.constant(&s.getattr(part)?)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        } else if v.is_callable() {
            self.callable(v)?;
            return Ok(true);
        } else if is_enum(v)? {
            self.identify(v);
            return Ok(true);
        } else {
            return Ok(false);
        };
        self.tokens.push(token);
        Ok(true)
    }

    /// Whether this is the key of a trace for other shapes too, of a call like this one.
    pub fn is_like(&self, key: &[Token]) -> bool {
        let is_like = |(own, token): (&Token, &Token)| match (own, token) {
            (Token::Array(a, _), Token::AnyArray(b)) => a == b,
            (Token::Array(a, shape), Token::Ranked(b, few)) => a == b && few_of(shape).eq(few.iter().copied()),
            (own, token) => own == token,
        };
        self.tokens.len() == key.len() && self.tokens.iter().zip(key).all(is_like)
    }

    /// The tokens with arrays as `shapes` says.
    pub fn key(&self, shapes: Shapes) -> Vec<Token> {
        if shapes == Shapes::Exact {
            return self.tokens.to_vec();
        }
        let blur = |t: &Token| match t {
            Token::Array(d, _) if shapes == Shapes::Any => Token::AnyArray(*d),
            Token::Array(d, s) => Token::Ranked(*d, few_of(s).collect()),
            t => t.clone(),
        };
        self.tokens.iter().map(blur).collect()
    }
}

/// Of each axis whether its extent is 0, 1 or more.
fn few_of(shape: &[usize]) -> impl Iterator<Item = u8> {
    shape.iter().map(|&n| n.min(2) as u8)
}

/// Object and function of a bound method.
pub fn bound_method<'py>(v: &Bound<'py, PyAny>) -> PyResult<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    static METHOD: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
    let py = v.py();
    let method = METHOD.get_or_try_init(py, || Ok::<_, PyErr>(py.import("types")?.getattr("MethodType")?.unbind()))?;
    if !v.get_type().is(method.bind(py)) {
        return Ok(None);
    }
    Ok(Some((v.getattr(intern!(py, "__self__"))?, v.getattr(intern!(py, "__func__"))?)))
}

fn is_number(v: &Bound<'_, PyAny>) -> bool {
    v.is_instance_of::<PyBool>()
        || v.is_exact_instance_of::<PyInt>()
        || v.is_exact_instance_of::<PyFloat>()
        || v.is_exact_instance_of::<PyComplex>()
}

/// A number of numpy's that stands beside an array as one of Python's does: an integer, a bool, and what is a Python float or complex number too. Others
/// (`numpy.float32`) have a dtype that counts, as arrays have.
fn numpy_number(v: &Bound<'_, PyAny>) -> PyResult<Option<Token>> {
    let class = v.get_type();
    if class.module()? != "numpy" {
        return Ok(None);
    }
    Ok(if let Ok(f) = v.cast::<PyFloat>() {
        Some(float(f.value()))
    } else if let Ok(c) = v.cast::<PyComplex>() {
        Some(complex(c))
    } else if v.hasattr("__len__")? {
        None
    } else if v.hasattr("__index__")? {
        Some(int(&v.call_method0("__index__")?)?)
    } else {
        let is_bool = v.get_type().name()?.to_str()?.starts_with("bool");
        is_bool.then(|| v.is_truthy().map(Token::Bool)).transpose()?
    })
}

fn complex(c: &Bound<'_, PyComplex>) -> Token {
    let bits = |x: f64| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
    Token::Complex(bits(c.real()), bits(c.imag()))
}

fn int(v: &Bound<'_, PyAny>) -> PyResult<Token> {
    Ok(match v.extract::<i64>() {
        Ok(i) => Token::Int(i),
        // In hexadecimal: Python limits how many decimal digits it converts.
        Err(_) => Token::BigInt(v.call_method1("__format__", ("x",))?.str()?.to_string().into()),
    })
}

/// A text. Lone surrogates, which UTF-8 cannot hold, are escaped.
fn text(s: &Bound<'_, PyString>) -> PyResult<Token> {
    Ok(match s.to_str() {
        Ok(s) => Token::Text(s.into()),
        Err(_) => {
            Token::Surrogates(s.py().import("builtins")?.call_method1("ascii", (s,))?.extract::<String>()?.into())
        }
    })
}

/// Whether Python's text of a key tells it from all others: of numbers, strings, bytes, `None`, and tuples of such.
fn says_all(key: &Bound<'_, PyAny>) -> bool {
    if let Ok(tuple) = key.cast_exact::<PyTuple>() {
        return tuple.iter().all(|x| says_all(&x));
    }
    tree::is_number_or_text(key)
}

/// NaN equals NaN.
fn float(f: f64) -> Token {
    Token::Float(if f.is_nan() { f64::NAN.to_bits() } else { f.to_bits() })
}

fn is_enum(v: &Bound<'_, PyAny>) -> PyResult<bool> {
    static ENUM: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
    let py = v.py();
    // Classes of enumerations are made by one of their own; asking that takes long.
    if v.get_type().get_type().is(py.get_type::<PyType>()) {
        return Ok(false);
    }
    let class = ENUM.get_or_try_init(py, || Ok::<_, PyErr>(py.import("enum")?.getattr("Enum")?.unbind()))?;
    v.is_instance(class.bind(py))
}

/// The error of a leaf that is neither array nor constant.
fn refused(v: &Bound<'_, PyAny>, path: String) -> PyResult<PyErr> {
    let what = v.get_type().name()?;
    let remedy = if v.hasattr("__array__")? {
        "Make an array of it with mx.array: what is captured is used where it stands".to_owned()
    } else if v.getattr("state").is_ok_and(|s| s.is_instance_of::<PyDict>()) {
        "Capture its state in its place".to_owned()
    } else {
        format!(
            "Make {what} a node of trees with mx.register_tree_node, or let the function reach the object through its closure"
        )
    };
    Ok(PyValueError::new_err(format!(
        "[compile] {path} is of type {what}: a compiled function takes arrays, numbers, strings and other constants, and lists, tuples and \
         dicts of them. {remedy}"
    )))
}

/// The error of what says that it is an array, and has elements that are none here.
fn untraceable(v: &Bound<'_, PyAny>, path: String, e: PyErr) -> PyErr {
    let py = v.py();
    if !e.is_instance_of::<PyTypeError>(py) {
        return e;
    }
    let what = v.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    PyValueError::new_err(format!("[compile] {path} is of type {what}, of which no array can be made: {}", e.value(py)))
}

/// A key as it stands between brackets in a path.
fn key_text(key: &Bound<'_, PyAny>) -> String {
    let text = key.str().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    if key.is_instance_of::<PyString>() { format!("'{text}'") } else { text }
}
