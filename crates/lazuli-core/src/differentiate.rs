//! Transformations of functions of trees: gradients, directional derivatives, batches.
//!
//! Each calls the function on marked arrays or placeholders and hands lists of arrays to [`crate::transform`]. A derivative is taken by
//! the arrays that [vary](crate::paths::Entry::varies): floats and complex numbers that are not fixed. Absent: custom derivatives.

use crate::array::Array;
use crate::function::{Output, name_of};
use crate::paths::{self, Entry};
use crate::raise::must;
use crate::transform;
use crate::tree::{self, Tree};
use lazuli_ir::{Error, Location, Result, Scalar};

/// A function of trees that can be differentiated: `Fn(&A, …) -> O`, where the first array of `O` is a float scalar.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of trees that can be differentiated",
    label = "not a function of trees",
    note = "annotate a closure's arguments, each a reference: `|model: &Linear, x: &Array| …`; a compiled function is passed as `&*f`"
)]
pub trait Differentiable<'f, M> {
    /// The signature of the gradient by the first argument.
    type Grad: ?Sized;
    /// The signature of the function that returns value and gradient.
    type ValueAndGrad: ?Sized;
    /// The signature of the gradient by all arguments.
    type GradAll: ?Sized;
    #[doc(hidden)]
    fn grad(self, place: Location) -> Box<Self::Grad>;
    #[doc(hidden)]
    fn value_and_grad(self, place: Location) -> Box<Self::ValueAndGrad>;
    #[doc(hidden)]
    fn grad_all(self, place: Location) -> Box<Self::GradAll>;
}

/// A function of trees that can be run over a batch: `Fn(&A, …) -> O`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of trees that can be mapped over a batch",
    label = "not a function of trees",
    note = "annotate a closure's arguments, each a reference: `|x: &Array, y: &Array| …`; a compiled function is passed as `&*f`"
)]
pub trait Mappable<'f, M> {
    /// The signature of the mapped function.
    type Mapped: ?Sized;
    #[doc(hidden)]
    fn vmap(self, axes: Axes, place: Location) -> Box<Self::Mapped>;
}

/// Along which axes a batch lies.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Axes {
    /// Per argument; `None` is 0 for all.
    arguments: Option<Vec<Option<isize>>>,
    output: isize,
}

impl Axes {
    fn of(&self, argument: usize) -> Option<isize> {
        self.arguments.as_ref().map_or(Some(0), |axes| axes.get(argument).copied().flatten())
    }
}

/// A tree taken apart for a derivative.
struct Point<'a, A> {
    at: &'a A,
    entries: Vec<Entry>,
}

impl<'a, A: Tree + Clone> Point<'a, A> {
    fn new(at: &'a A) -> Self {
        Point { at, entries: paths::entries(at) }
    }
    /// An error if nothing varies, though nothing is frozen: a gradient of zeros would be taken for one.
    fn must_vary(self) -> Result<Self> {
        let Some(first) = self.entries.first() else { return Ok(self) };
        if self.entries.iter().any(|e| e.varies() || e.fixed) {
            return Ok(self);
        }
        let dtype = first.array.dtype();
        let message = format!(
            "what is differentiated has dtype {dtype}, and gradients are those of float and complex arrays: convert it with astype(DType::F32)"
        );
        Err(Error::value("grad", message))
    }
    /// The arrays of another tree of this structure that stand where this one varies.
    fn varying(&self, other: &A) -> Vec<Array> {
        tree::arrays(other).into_iter().zip(&self.entries).filter_map(|(a, e)| e.varies().then_some(a)).collect()
    }
    /// The tree with these arrays where it varies, and `rest` of the others.
    fn with(&self, arrays: &mut dyn Iterator<Item = Array>, rest: impl Fn(&Array) -> Result<Array>) -> Result<A> {
        let mut new = Vec::with_capacity(self.entries.len());
        for e in &self.entries {
            new.push(if e.varies() { arrays.next().expect("one per varying array") } else { rest(&e.array)? });
        }
        Ok(tree::fill(self.at, &mut new.into_iter()))
    }
    /// Cotangents where it varies, zeros elsewhere.
    fn gradient(&self, cotangents: Vec<Array>) -> Result<A> {
        self.with(&mut cotangents.into_iter(), |a| crate::ops::full_like(a, Scalar::zero(a.dtype())))
    }
}

/// What `run` does, on lists of arrays: the marked ones in the varying places of the point. Keeps the tree that comes out.
fn on_lists<A: Tree + Clone, O: Output>(
    point: &Point<'_, A>,
    out: &mut Option<O::Tree>,
    marked: &[Array],
    run: impl FnOnce(&A) -> O,
) -> Result<Vec<Array>> {
    let tree = run(&point.with(&mut marked.iter().cloned(), |a| Ok(a.clone()))?).into_result()?;
    let arrays = tree::arrays(&tree);
    *out = Some(tree);
    Ok(arrays)
}

/// Value of `run` at `at`, and the gradient by what varies in it.
fn value_and_grad_at<A: Tree + Clone, O: Output>(
    name: &str,
    at: &A,
    run: impl FnOnce(&A) -> O,
) -> Result<(O::Tree, A)> {
    let point = Point::new(at).must_vary()?;
    let mut out = None;
    let pulled = transform::value_and_grad(name, |marked| on_lists(&point, &mut out, marked, run), &point.varying(at))?;
    let value = out.expect("the function has run");
    Ok((tree::fill(&value, &mut pulled.outputs.into_iter()), point.gradient(pulled.cotangents)?))
}

/// The error with the place where the function was handed over, if it has no place of its own.
fn located<T>(result: Result<T>, place: Location) -> Result<T> {
    result.map_err(|e| e.at(place.to_string()))
}

macro_rules! transformed {
    ($($($B:ident $b:ident $i:literal)*;)*) => { $(
        impl<'f, F, A: Tree + Clone, O: Output, $($B: Tree + Clone),*> Differentiable<'f, fn(&A, $(&$B),*) -> O> for F
        where
            F: Fn(&A, $(&$B),*) -> O + Send + Sync + 'f,
        {
            type Grad = dyn Fn(&A, $(&$B),*) -> O::With<A> + Send + Sync + 'f;
            type ValueAndGrad = dyn Fn(&A, $(&$B),*) -> O::With<(O::Tree, A)> + Send + Sync + 'f;
            type GradAll = dyn Fn(&A, $(&$B),*) -> O::With<(A, $($B,)*)> + Send + Sync + 'f;
            fn grad(self, place: Location) -> Box<Self::Grad> {
                let name = name_of::<F>(place);
                Box::new(move |at: &A, $($b: &$B),*| {
                    let both = value_and_grad_at(&name, at, |at| self(at, $($b),*));
                    O::with(located(both, place).map(|(_, gradient)| gradient))
                })
            }
            fn value_and_grad(self, place: Location) -> Box<Self::ValueAndGrad> {
                let name = name_of::<F>(place);
                Box::new(move |at: &A, $($b: &$B),*| {
                    O::with(located(value_and_grad_at(&name, at, |at| self(at, $($b),*)), place))
                })
            }
            fn grad_all(self, place: Location) -> Box<Self::GradAll> {
                let name = name_of::<F>(place);
                Box::new(move |a: &A, $($b: &$B),*| {
                    let run = |(a, $($b,)*): &(A, $($B,)*)| self(a, $($b),*);
                    let both = value_and_grad_at(&name, &(a.clone(), $($b.clone(),)*), run);
                    O::with(located(both, place).map(|(_, gradient)| gradient))
                })
            }
        }
        impl<'f, F, A: Tree + Clone, O: Output, $($B: Tree + Clone),*> Mappable<'f, fn(&A, $(&$B),*) -> O> for F
        where
            F: Fn(&A, $(&$B),*) -> O + Send + Sync + 'f,
        {
            type Mapped = dyn Fn(&A, $(&$B),*) -> O + Send + Sync + 'f;
            fn vmap(self, axes: Axes, place: Location) -> Box<Self::Mapped> {
                let name = name_of::<F>(place);
                Box::new(move |a: &A, $($b: &$B),*| {
                    let (mut inputs, mut in_axes) = (Vec::new(), Vec::new());
                    for (tree, axis) in [(tree::arrays(a), axes.of(0)), $((tree::arrays($b), axes.of($i))),*] {
                        in_axes.extend(tree.iter().map(|_| axis));
                        inputs.extend(tree);
                    }
                    let mut value = None;
                    let run = |holes: &[Array]| {
                        let mut holes = holes.iter().cloned();
                        let out = self(&tree::fill(a, &mut holes), $(&tree::fill($b, &mut holes)),*).into_result()?;
                        let arrays = tree::arrays(&out);
                        value = Some(out);
                        Ok(arrays)
                    };
                    let out = axes.output;
                    let outs = transform::vmap(&name, run, &inputs, &in_axes, |n| Ok(vec![Some(out); n]));
                    O::from_result(located(outs, place).map(|outs| {
                        tree::fill(&value.expect("the function has run"), &mut outs.into_iter())
                    }))
                })
            }
        }
    )* };
}

transformed! {
    ;
    B b 1;
    B b 1 C c 2;
    B b 1 C c 2 D d 3;
    B b 1 C c 2 D d 3 E e 4;
}

/// The gradient of a scalar function by its first argument: a tree of the argument's structure. Arrays in it that are neither float
/// nor complex, or are fixed (frozen parameters, running statistics), get zeros.
///
/// To differentiate by several arguments take them as one tuple, or use [`grad_all`]. If the function returns a `Result`, so does its
/// gradient.
///
/// ```
/// use lazuli_core::{Array, array, compile, grad};
/// let slope = grad(Array::exp);
/// assert!((slope(&array(1.0)).item::<f32>() - 1f32.exp()).abs() < 1e-6);
/// let compiled = compile(grad(Array::exp));
/// assert_eq!(compiled(&array(0.0)).item::<f32>(), 1.0);
/// ```
///
/// # Panics
/// When called, if the function's first output is not a float scalar, or no array of the argument is float or complex although none is fixed; within
/// [`catch`](crate::catch) that is an error.
#[track_caller]
pub fn grad<'f, M, F: Differentiable<'f, M>>(f: F) -> Box<F::Grad> {
    f.grad(Location::caller())
}

/// What the function returns, and the gradient of its first output by its first argument: see [`grad`].
///
/// ```
/// use lazuli_core::{Array, array, value_and_grad};
/// let y = array([1.0, 2.0]);
/// let (value, slope) = value_and_grad(|x: &Array| (x * &y).sum(()))(&array([3.0, 4.0]));
/// assert_eq!((value.item::<f32>(), slope.to_vec::<f32>()), (11.0, vec![1.0, 2.0]));
/// ```
///
/// # Panics
/// When called, as [`grad`].
#[track_caller]
pub fn value_and_grad<'f, M, F: Differentiable<'f, M>>(f: F) -> Box<F::ValueAndGrad> {
    f.value_and_grad(Location::caller())
}

/// The gradients by all arguments, as a tuple: take those that are wanted. The others are lazy, and never computed.
///
/// ```
/// use lazuli_core::{Array, array, grad_all};
/// let by = grad_all(|x: &Array, y: &Array| x * y * y);
/// assert_eq!(by(&array(2.0), &array(3.0)).1.item::<f32>(), 12.0);
/// ```
///
/// # Panics
/// When called, as [`grad`].
#[track_caller]
pub fn grad_all<'f, M, F: Differentiable<'f, M>>(f: F) -> Box<F::GradAll> {
    f.grad_all(Location::caller())
}

/// The function over a batch: axis 0 of every array of every argument is mapped, and is axis 0 of every output.
///
/// ```
/// use lazuli_core::{Array, array, vmap};
/// let dot = |x: &Array, y: &Array| (x * y).sum(());
/// let rows = vmap(dot)(&array([[1.0, 2.0], [3.0, 4.0]]), &array([[1.0, 1.0], [0.0, 2.0]]));
/// assert_eq!(rows.to_vec::<f32>(), [3.0, 8.0]);
/// ```
///
/// # Panics
/// When called, if the mapped axes have different extents, or there are none.
#[track_caller]
pub fn vmap<'f, M, F: Mappable<'f, M>>(f: F) -> Box<F::Mapped> {
    f.vmap(Axes { arguments: None, output: 0 }, Location::caller())
}

/// The function over a batch that lies along these axes, one per argument; `None` gives an argument whole to every call. The batch is
/// axis 0 of every output.
///
/// ```
/// use lazuli_core::{Array, array, vmap_along};
/// let scaled = vmap_along(|x: &Array, by: &Array| x * by, [Some(1), None]);
/// assert_eq!(scaled(&array([[1.0, 2.0]]), &array(10.0)).shape(), [2, 1]);
/// ```
///
/// # Panics
/// When called, as [`vmap`], and if an argument has no such axis.
#[track_caller]
pub fn vmap_along<'f, M, F: Mappable<'f, M>>(f: F, axes: impl Into<Vec<Option<isize>>>) -> Box<F::Mapped> {
    vmap_into(f, axes, 0)
}

/// As [`vmap_along`], with the batch along `out_axis` of every output.
///
/// ```
/// use lazuli_core::{Array, array, vmap_into};
/// let doubled = vmap_into(|x: &Array| x * 2.0, [Some(0)], -1);
/// assert_eq!(doubled(&array([[1.0, 2.0, 3.0]])).shape(), [3, 1]);
/// ```
///
/// # Panics
/// When called, as [`vmap_along`].
#[track_caller]
pub fn vmap_into<'f, M, F: Mappable<'f, M>>(
    f: F,
    axes: impl Into<Vec<Option<isize>>>,
    out_axis: isize,
) -> Box<F::Mapped> {
    f.vmap(Axes { arguments: Some(axes.into()), output: out_axis }, Location::caller())
}

/// What `f` returns at `primals`, and the cotangents of the primals that `cotangents` of the outputs pull back to.
///
/// Several arguments are one tuple. Primals that do not vary get zeros.
///
/// ```
/// use lazuli_core::{Array, array, vjp};
/// let (y, pulled) = vjp(Array::square, &array([1.0, 2.0]), &array([1.0, 10.0]));
/// assert_eq!((y.to_vec::<f32>(), pulled.to_vec::<f32>()), (vec![1.0, 4.0], vec![2.0, 40.0]));
/// ```
///
/// # Panics
/// If a cotangent has not the shape of its output, an output that is not float or complex depends on the primals, or `f` panics.
#[track_caller]
pub fn vjp<A: Tree + Clone, O: Output>(f: impl FnOnce(&A) -> O, primals: &A, cotangents: &O::Tree) -> (O::Tree, A) {
    must(try_vjp(f, primals, cotangents))
}

/// As [`vjp`].
///
/// # Errors
/// Where [`vjp`] panics over arrays, and if `f` returns an error.
#[track_caller]
pub fn try_vjp<A: Tree + Clone, O: Output, F: FnOnce(&A) -> O>(
    f: F,
    primals: &A,
    cotangents: &O::Tree,
) -> Result<(O::Tree, A)> {
    let name = name_of::<F>(Location::caller());
    crate::catch(|| {
        let point = Point::new(primals);
        let mut out = None;
        let run = |marked: &[Array]| on_lists(&point, &mut out, marked, f);
        let pulled = transform::vjp(&name, run, &point.varying(primals), |_| Ok(tree::arrays(cotangents)))?;
        let value = out.expect("the function has run");
        Ok((tree::fill(&value, &mut pulled.outputs.into_iter()), point.gradient(pulled.cotangents)?))
    })
}

/// What `f` returns at `primals`, and its directional derivative along `tangents`.
///
/// Several arguments are one tuple. Tangents of primals that do not vary are ignored.
///
/// ```
/// use lazuli_core::{Array, array, jvp};
/// let product = |(x, y): &(Array, Array)| x * y;
/// let (z, dz) = jvp(product, &(array(2.0), array(3.0)), &(array(1.0), array(10.0)));
/// assert_eq!((z.item::<f32>(), dz.item::<f32>()), (6.0, 23.0));
/// ```
///
/// # Panics
/// If the tangents have not the structure and shapes of the primals, or `f` panics.
#[track_caller]
pub fn jvp<A: Tree + Clone, O: Output>(f: impl FnOnce(&A) -> O, primals: &A, tangents: &A) -> (O::Tree, O::Tree) {
    must(try_jvp(f, primals, tangents))
}

/// As [`jvp`].
///
/// # Errors
/// Where [`jvp`] panics over arrays, and if `f` returns an error.
#[track_caller]
pub fn try_jvp<A: Tree + Clone, O: Output, F: FnOnce(&A) -> O>(
    f: F,
    primals: &A,
    tangents: &A,
) -> Result<(O::Tree, O::Tree)> {
    let name = name_of::<F>(Location::caller());
    crate::catch(|| {
        let point = Point::new(primals);
        let (given, wanted) = (tree::arrays(tangents).len(), point.entries.len());
        if given != wanted {
            let message =
                format!("tangents with {given} arrays for primals with {wanted}: their structures must agree");
            return Err(Error::value("jvp", message));
        }
        let mut out = None;
        let run = |marked: &[Array]| on_lists(&point, &mut out, marked, f);
        let (outputs, along) = transform::jvp(&name, run, &point.varying(primals), &point.varying(tangents))?;
        let value = out.expect("the function has run");
        Ok((tree::fill(&value, &mut outputs.into_iter()), tree::fill(&value, &mut along.into_iter())))
    })
}
