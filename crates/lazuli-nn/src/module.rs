//! What a module is; and what every tree of parameters can do: name them, freeze them, switch modes, save and load.
//!
//! Absent: hooks, and parameters that are shared by two modules (each holds its own).

use crate::param::Frozen;
use lazuli_core::paths::{self, Entry};
use lazuli_core::tree::{Constant, Leaf, LeafMut};
use lazuli_core::{Array, DType, Error, ErrorKind, Result, Tree, files};
use std::collections::HashMap;
use std::fmt::Debug;
use std::path::Path;

/// A tree with a `forward` from one array to one array.
///
/// Implement it for a struct that derives `Clone`, `Debug` and `Tree`; or derive it, and the fields are applied in order:
///
/// ```
/// # extern crate lazuli_nn as lazuli;
/// use lazuli_core::{Array, array};
/// use lazuli_nn::{Linear, Module, Tree, activations};
///
/// #[derive(Debug, Clone, Tree)]
/// struct Mlp { hidden: Linear, out: Linear }
///
/// impl Module for Mlp {
///     fn forward(&self, x: &Array) -> Array {
///         self.out.forward(&activations::relu(&self.hidden.forward(x)))
///     }
/// }
///
/// #[derive(Debug, Clone, Module)]
/// struct Twice(Mlp, Option<Linear>);
///
/// let mlp = Mlp { hidden: Linear::new(2, 8), out: Linear::new(8, 2) };
/// assert_eq!(Twice(mlp, None).forward(&array([[1.0, 2.0]])).shape(), [1, 2]);
/// ```
///
/// A layer with more inputs is a struct that derives `Tree`, with a method of its own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    note = "implement `Module` for a struct with `#[derive(Debug, Clone, Tree)]`, or derive it: `#[derive(Debug, Clone, Module)]`"
)]
pub trait Module: Tree + CloneModule + Debug {
    /// The module's output for one input.
    ///
    /// # Panics
    /// If the input's shape or dtype does not fit the module.
    fn forward(&self, x: &Array) -> Array;
}

/// Cloning behind `Box<dyn Module>`: every module that is `Clone` has it.
pub trait CloneModule {
    /// A copy in a box.
    fn clone_module(&self) -> Box<dyn Module>;
}

impl<T: Module + Clone> CloneModule for T {
    fn clone_module(&self) -> Box<dyn Module> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Module> {
    fn clone(&self) -> Self {
        (**self).clone_module()
    }
}

impl Module for Box<dyn Module> {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        (**self).forward(x)
    }
}

/// The module, or the identity.
impl<M: Module + Clone> Module for Option<M> {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.as_ref().map_or_else(|| x.clone(), |m| m.forward(x))
    }
}

/// One after the other.
impl<M: Module + Clone> Module for Vec<M> {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.iter().fold(x.clone(), |x, m| m.forward(&x))
    }
}

/// Whether a module trains: a constant leaf, so a compiled function is traced once for either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Training(pub bool);

impl Tree for Training {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Constant(Constant::hashed(self)));
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        f(LeafMut::Constant(self));
    }
}

/// The parameters of any tree, by path: a model, a part of one, or several in a tuple.
///
/// Paths are those of the Python package: `layers.0.weight`. All arrays have one; those that are trained are its float arrays that are
/// neither frozen nor running statistics.
///
/// ```
/// use lazuli_nn::{Linear, Parameters, Sequential};
/// let mut model = Sequential::new().then(Linear::new(4, 8)).then(Linear::new(8, 2).without_bias());
/// let paths: Vec<String> = model.parameters().into_iter().map(|p| p.path).collect();
/// assert_eq!(paths, ["layers.0.weight", "layers.0.bias", "layers.1.weight"]);
/// assert_eq!(model.num_parameters(), 4 * 8 + 8 + 8 * 2);
///
/// model.freeze_where(|path| path.starts_with("layers.0")).unwrap();
/// assert_eq!(model.trainable().len(), 1);
/// model.unfreeze();
/// assert_eq!(model.trainable().len(), 3);
/// ```
pub trait Parameters: Tree {
    /// Every array with its path, in order.
    fn parameters(&self) -> Vec<Entry> {
        paths::entries(self)
    }
    /// The arrays that are trained.
    fn trainable(&self) -> Vec<Entry> {
        self.parameters().into_iter().filter(Entry::varies).collect()
    }
    /// How many numbers are trained.
    fn num_parameters(&self) -> usize {
        self.trainable().iter().map(|p| p.array.size()).sum()
    }
    /// Stops training every parameter. Plain arrays, which are not [`Param`](crate::Param)s, are trained still.
    fn freeze(&mut self) -> &mut Self {
        set_frozen(self, |_| Some(true));
        self
    }
    /// Trains every parameter again.
    fn unfreeze(&mut self) -> &mut Self {
        set_frozen(self, |_| Some(false));
        self
    }
    /// Stops training the parameters whose path `frozen` accepts; the others stay as they are.
    ///
    /// # Errors
    /// If it accepts no path, or that of an array that cannot be frozen: a plain array in place of a [`Param`](crate::Param).
    fn freeze_where(&mut self, frozen: impl Fn(&str) -> bool) -> Result<&mut Self> {
        select(self, "freeze_where", &frozen)?;
        set_frozen(self, |path| frozen(path).then_some(true));
        Ok(self)
    }
    /// Trains the parameters whose path `trained` accepts; the others stay as they are.
    ///
    /// # Errors
    /// As [`freeze_where`](Self::freeze_where).
    fn unfreeze_where(&mut self, trained: impl Fn(&str) -> bool) -> Result<&mut Self> {
        select(self, "unfreeze_where", &trained)?;
        set_frozen(self, |path| trained(path).then_some(false));
        Ok(self)
    }
    /// Sets every module to training: dropout drops, batch norm uses its input's statistics.
    fn train(&mut self) -> &mut Self {
        set_training(self, true);
        self
    }
    /// Sets every module to evaluation.
    fn evaluate(&mut self) -> &mut Self {
        set_training(self, false);
        self
    }
    /// Casts the float arrays.
    ///
    /// ```
    /// use lazuli_core::DType;
    /// use lazuli_nn::{Linear, Parameters};
    /// let mut layer = Linear::new(2, 2);
    /// layer.set_dtype(DType::F16);
    /// assert_eq!(layer.weight.dtype(), DType::F16);
    /// ```
    fn set_dtype(&mut self, dtype: DType) -> &mut Self {
        self.visit_mut(&mut |leaf| {
            if let LeafMut::Array(a) = leaf
                && a.dtype().is_float()
            {
                *a = a.astype(dtype);
            }
        });
        self
    }
    /// Replaces arrays by those of the same path.
    ///
    /// # Errors
    /// If a path of the tree is missing, one of them is not in the tree, or a shape differs. Then the tree is as it was.
    fn set_parameters(&mut self, new: impl IntoIterator<Item = (String, Array)>) -> Result<&mut Self> {
        let mut new: HashMap<String, Array> = new.into_iter().collect();
        let mut placed = Vec::new();
        for Entry { path, array, .. } in self.parameters() {
            let value = new.remove(&path).ok_or_else(|| missing("set_parameters", &path))?;
            if value.shape() != array.shape() {
                let message = format!("'{path}' has shape {:?}, got {:?}", array.shape(), value.shape());
                return Err(Error::value("set_parameters", message));
            }
            placed.push(value);
        }
        if let Some(extra) = new.keys().min() {
            return Err(Error::value("set_parameters", format!("there is no parameter '{extra}'")));
        }
        let mut placed = placed.into_iter();
        self.visit_mut(&mut |leaf| {
            if let LeafMut::Array(a) = leaf {
                *a = placed.next().expect("one per array");
            }
        });
        Ok(self)
    }
    /// Writes every array under its path to a `.safetensors` file, as the Python package's `save_weights` does.
    ///
    /// ```
    /// use lazuli_nn::{Linear, Parameters};
    /// let file = std::env::temp_dir().join("lazuli-save-weights.safetensors");
    /// let (model, mut other) = (Linear::new(2, 3), Linear::new(2, 3));
    /// model.save_weights(&file)?;
    /// other.load_weights(&file)?;
    /// assert_eq!(model.weight.to_vec::<f32>(), other.weight.to_vec::<f32>());
    /// # std::fs::remove_file(file).unwrap();
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be written, or an array has no value.
    fn save_weights(&self, file: impl AsRef<Path>) -> Result<()> {
        files::save_safetensors(file, self.parameters().into_iter().map(|p| (p.path, p.array)))
    }
    /// Replaces every array by the one of its path in a `.safetensors` file.
    ///
    /// # Errors
    /// If the file cannot be read, and as [`set_parameters`](Self::set_parameters).
    fn load_weights(&mut self, file: impl AsRef<Path>) -> Result<&mut Self> {
        self.set_parameters(files::load_safetensors(file)?)
    }
}

impl<T: Tree + ?Sized> Parameters for T {}

fn missing(op: &str, path: &str) -> Error {
    Error::value(op, format!("the parameter '{path}' is missing"))
}

/// An error if the filter accepts nothing, or something that has no flag to be frozen by.
fn select(tree: &mut (impl Tree + ?Sized), op: &str, accepts: &dyn Fn(&str) -> bool) -> Result<()> {
    let mut flagged = Vec::new();
    set_frozen(tree, |path| {
        flagged.push(path.to_owned());
        None
    });
    let chosen: Vec<Entry> = paths::entries(tree).into_iter().filter(|e| accepts(&e.path)).collect();
    if chosen.is_empty() {
        return Err(Error::value(op, "no parameter's path is accepted: see parameters() for the paths"));
    }
    match chosen.iter().find(|e| !flagged.contains(&e.path)) {
        Some(Entry { path, .. }) => {
            let message =
                format!("'{path}' is a plain array, which has no flag to freeze it by: make its field a Param");
            Err(Error::new(ErrorKind::Type, op, message))
        }
        None => Ok(()),
    }
}

/// Sets the flag of each `Param` as told by its path; `None` leaves it.
fn set_frozen(tree: &mut (impl Tree + ?Sized), mut frozen: impl FnMut(&str) -> Option<bool>) {
    let entries = paths::entries(tree);
    let mut next = 0;
    tree.visit_mut(&mut |leaf| match leaf {
        LeafMut::Array(_) => next += 1,
        // The flag comes before its array.
        LeafMut::Constant(c) => {
            if let Some(flag) = c.downcast_mut::<Frozen>()
                && let Some(on) = frozen(&entries[next].path)
            {
                *flag = Frozen(on);
            }
        }
    });
}

/// Sets every module in the tree to training, or to evaluation.
///
/// ```
/// use lazuli_nn::{Dropout, Module, set_training};
/// let mut layer = Dropout::new(0.5);
/// set_training(&mut layer, false);
/// assert_eq!(layer.forward(&lazuli_core::array([1.0, 2.0])).to_vec::<f32>(), [1.0, 2.0]);
/// ```
pub fn set_training(tree: &mut (impl Tree + ?Sized), on: bool) {
    tree.visit_mut(&mut |leaf| {
        if let LeafMut::Constant(c) = leaf
            && let Some(training) = c.downcast_mut::<Training>()
        {
            *training = Training(on);
        }
    });
}
