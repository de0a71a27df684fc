//! Functions of trees, of any arity: what [`compile`](crate::compile), [`grad`] and [`vmap`](crate::vmap()) accept.
//!
//! Closures and functions take their arguments by reference. A first argument `&mut S` is state, which a compiled function updates.
//! The parameter `M` of [`Function`] is the signature, so that the implementations for different arities do not overlap; it is
//! always inferred. Absent: more than four arguments (use a tuple), generic closures.

use crate::array::Array;
use crate::compile::{Compiled, Shared, call};
use crate::raise::must;
use crate::transform;
use crate::tree::{self, Tree};
use lazuli_ir::{Error, Result};
use std::sync::Arc;

/// What functions return: a tree, or a `Result` of one.
pub trait Output: 'static {
    type Tree: Tree + Clone;
    fn into_result(self) -> Result<Self::Tree>;
    /// # Panics
    /// If the result is an error and `Self` has no place for it.
    fn from_result(result: Result<Self::Tree>) -> Self;
}

impl<T: Tree + Clone> Output for T {
    type Tree = T;
    fn into_result(self) -> Result<T> {
        Ok(self)
    }
    #[track_caller]
    fn from_result(result: Result<T>) -> T {
        must(result)
    }
}

impl<T: Tree + Clone, E: From<Error> + Into<Error> + 'static> Output for Result<T, E> {
    type Tree = T;
    fn into_result(self) -> Result<T> {
        self.map_err(Into::into)
    }
    fn from_result(result: Result<T>) -> Self {
        result.map_err(E::from)
    }
}

/// A function that can be compiled: `Fn(&A, …) -> O` or `Fn(&mut S, &A, …) -> O` of trees.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of trees that can be compiled",
    label = "not a function of trees",
    note = "annotate a closure's arguments, each a reference: `|x: &Array, y: &Array| …`; state comes first, as `&mut S`",
    note = "arguments, state and result must be trees (`#[derive(Clone, Tree)]`), captures must be owned (`move`), `Send` and `Sync`"
)]
pub trait Function<M>: Send + Sync + Sized + 'static {
    /// The signature of the compiled function.
    type Call: ?Sized + Send + Sync;
    #[doc(hidden)]
    fn compiled(self, shared: Arc<Shared>) -> Arc<Self::Call>;
}

/// The signature of a compiled function that is compiled again.
#[derive(Debug)]
pub struct Again<M>(std::marker::PhantomData<M>);

macro_rules! functions {
    ($($($A:ident $a:ident)*;)*) => { $(
        impl<F, O: Output, $($A: Tree + Clone),*> Function<fn($(&$A),*) -> O> for F
        where
            F: Fn($(&$A),*) -> O + Send + Sync + 'static,
        {
            type Call = dyn Fn($(&$A),*) -> O + Send + Sync;
            fn compiled(self, shared: Arc<Shared>) -> Arc<Self::Call> {
                Arc::new(move |$($a: &$A),*| {
                    O::from_result(call::<(), O>(&shared, None, &[$($a as &dyn Tree),*], &mut |_, holes| match holes {
                        None => self($($a),*),
                        #[allow(unused_variables, reason = "a function may have no arguments")]
                        Some(holes) => self($(&holes.stand_in($a)),*),
                    }))
                })
            }
        }
        impl<F, S: Tree + Clone, O: Output, $($A: Tree + Clone),*> Function<fn(&mut S, $(&$A),*) -> O> for F
        where
            F: Fn(&mut S, $(&$A),*) -> O + Send + Sync + 'static,
        {
            type Call = dyn Fn(&mut S, $(&$A),*) -> O + Send + Sync;
            fn compiled(self, shared: Arc<Shared>) -> Arc<Self::Call> {
                Arc::new(move |state: &mut S, $($a: &$A),*| {
                    O::from_result(call(&shared, Some(state), &[$($a as &dyn Tree),*], &mut |state, holes| {
                        let state = state.expect("the state that was given");
                        match holes {
                            None => self(state, $($a),*),
                            #[allow(unused_variables, reason = "a function may have no arguments")]
                            Some(holes) => self(state, $(&holes.stand_in($a)),*),
                        }
                    }))
                })
            }
        }
        impl<O: Output, $($A: Tree + Clone),*> Function<Again<fn($(&$A),*) -> O>>
            for Compiled<dyn Fn($(&$A),*) -> O + Send + Sync>
        {
            type Call = dyn Fn($(&$A),*) -> O + Send + Sync;
            fn compiled(self, _: Arc<Shared>) -> Arc<Self::Call> {
                self.into_call()
            }
        }
        impl<S: Tree + Clone, O: Output, $($A: Tree + Clone),*> Function<Again<fn(&mut S, $(&$A),*) -> O>>
            for Compiled<dyn Fn(&mut S, $(&$A),*) -> O + Send + Sync>
        {
            type Call = dyn Fn(&mut S, $(&$A),*) -> O + Send + Sync;
            fn compiled(self, _: Arc<Shared>) -> Arc<Self::Call> {
                self.into_call()
            }
        }
        impl<O: Output, $($A: Tree + Clone),*> Compiled<dyn Fn($(&$A),*) -> O + Send + Sync> {
            /// Calls the function; what would be a panic over an array's shape, dtype or missing value is an error.
            pub fn try_call(&self, $($a: &$A),*) -> Result<O::Tree> {
                crate::catch(|| (**self)($($a),*).into_result())
            }
        }
        impl<S: Tree + Clone, O: Output, $($A: Tree + Clone),*> Compiled<dyn Fn(&mut S, $(&$A),*) -> O + Send + Sync> {
            /// Calls the function; what would be a panic over an array's shape, dtype or missing value is an error, which leaves the
            /// state as it was.
            pub fn try_call(&self, state: &mut S, $($a: &$A),*) -> Result<O::Tree> {
                crate::catch(|| (**self)(state, $($a),*).into_result())
            }
        }
    )* };
}

functions! {
    ;
    A a;
    A a B b;
    A a B b C c;
    A a B b C c D d;
}

/// A function whose first argument it can be differentiated by: `Fn(&A, …) -> O`, where the first array of `O` is a float scalar.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of trees that can be differentiated",
    note = "annotate a closure's arguments, each a reference: `|model: &Linear, x: &Array| …`; a compiled function is passed as `&*f`"
)]
pub trait Differentiable<'f, M> {
    /// The signature of the function's gradient.
    type Grad: ?Sized;
    /// The signature of the function that returns value and gradient.
    type ValueAndGrad: ?Sized;
    #[doc(hidden)]
    fn grad(self) -> Box<Self::Grad>;
    #[doc(hidden)]
    fn value_and_grad(self) -> Box<Self::ValueAndGrad>;
}

/// A function of trees that can be run over a batch: `Fn(&A, …) -> O`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of trees that can be mapped over a batch",
    note = "annotate a closure's arguments, each a reference: `|x: &Array, y: &Array| …`; a compiled function is passed as `&*f`"
)]
pub trait Mappable<'f, M> {
    /// The signature of the mapped function.
    type Mapped: ?Sized;
    #[doc(hidden)]
    fn vmap(self, axes: Option<Vec<Option<isize>>>) -> Box<Self::Mapped>;
}

/// Value of `run` at `at`, and the gradient by its float arrays.
fn value_and_grad_at<A: Tree + Clone, O: Tree + Clone>(
    name: &str,
    at: &A,
    run: impl FnOnce(&A) -> O,
) -> Result<(O, A)> {
    let leaves = tree::arrays(at);
    let varies = |a: &Array| a.dtype().is_float() || a.dtype().is_complex();
    let primals: Vec<Array> = leaves.iter().filter(|a| varies(a)).cloned().collect();
    let mut value = None;
    let pulled = transform::value_and_grad(
        name,
        |marked| {
            let mut marked = marked.iter().cloned();
            let out =
                run(&tree::map(at, |a| if varies(a) { marked.next().expect("one per float") } else { a.clone() }));
            let arrays = tree::arrays(&out);
            value = Some(out);
            Ok(arrays)
        },
        &primals,
    )?;
    let value = value.expect("the function has run");
    let mut cotangents = pulled.cotangents.into_iter();
    // Arrays of other dtypes have no gradient: zeros keep the structure.
    let mut gradient = |a: &Array| match varies(a) {
        true => Ok(cotangents.next().expect("one per primal")),
        false => crate::ops::full_like(a, lazuli_ir::Scalar::zero(a.dtype())),
    };
    let gradients = leaves.iter().map(&mut gradient).collect::<Result<Vec<_>>>()?;
    Ok((tree::fill(&value, &mut pulled.outputs.into_iter()), tree::fill(at, &mut gradients.into_iter())))
}

macro_rules! transformed {
    ($($($B:ident $b:ident $i:literal)*;)*) => { $(
        impl<'f, F, A: Tree + Clone, O: Tree + Clone, $($B: Tree + Clone),*> Differentiable<'f, fn(&A, $(&$B),*) -> O> for F
        where
            F: Fn(&A, $(&$B),*) -> O + Send + Sync + 'f,
        {
            type Grad = dyn Fn(&A, $(&$B),*) -> A + Send + Sync + 'f;
            type ValueAndGrad = dyn Fn(&A, $(&$B),*) -> (O, A) + Send + Sync + 'f;
            fn grad(self) -> Box<Self::Grad> {
                let both = Differentiable::<fn(&A, $(&$B),*) -> O>::value_and_grad(self);
                Box::new(move |a, $($b),*| both(a, $($b),*).1)
            }
            fn value_and_grad(self) -> Box<Self::ValueAndGrad> {
                Box::new(move |at: &A, $($b: &$B),*| {
                    must(value_and_grad_at(std::any::type_name::<F>(), at, |at| self(at, $($b),*)))
                })
            }
        }
        impl<'f, F, A: Tree + Clone, O: Tree + Clone, $($B: Tree + Clone),*> Mappable<'f, fn(&A, $(&$B),*) -> O> for F
        where
            F: Fn(&A, $(&$B),*) -> O + Send + Sync + 'f,
        {
            type Mapped = dyn Fn(&A, $(&$B),*) -> O + Send + Sync + 'f;
            fn vmap(self, axes: Option<Vec<Option<isize>>>) -> Box<Self::Mapped> {
                Box::new(move |a: &A, $($b: &$B),*| {
                    let axis = |i: usize| axes.as_ref().map_or(Some(0), |axes| axes.get(i).copied().flatten());
                    let (mut inputs, mut in_axes) = (Vec::new(), Vec::new());
                    for (tree, axis) in [(tree::arrays(a), axis(0)), $((tree::arrays($b), axis($i))),*] {
                        in_axes.extend(tree.iter().map(|_| axis));
                        inputs.extend(tree);
                    }
                    let mut value = None;
                    let run = |holes: &[Array]| {
                        let mut holes = holes.iter().cloned();
                        let out = self(&tree::fill(a, &mut holes), $(&tree::fill($b, &mut holes)),*);
                        let arrays = tree::arrays(&out);
                        value = Some(out);
                        Ok(arrays)
                    };
                    let name = std::any::type_name::<F>();
                    let outs = must(transform::vmap(name, run, &inputs, &in_axes, |n| Ok(vec![Some(0); n])));
                    tree::fill(&value.expect("the function has run"), &mut outs.into_iter())
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
}

/// The gradient of a scalar function by its first argument: a tree of the argument's structure. Arrays in it that are neither float
/// nor complex get zeros.
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
/// When called, if the function's first output is not a float scalar.
pub fn grad<'f, M, F: Differentiable<'f, M>>(f: F) -> Box<F::Grad> {
    f.grad()
}

/// What the function returns, and the gradient of its first output by its first argument: see [`grad`].
///
/// ```
/// use lazuli_core::{Array, array, value_and_grad};
/// let y = array([1.0, 2.0]);
/// let (value, slope) = value_and_grad(|x: &Array| (x * &y).sum(()))(&array([3.0, 4.0]));
/// assert_eq!((value.item::<f32>(), slope.to_vec::<f32>()), (11.0, vec![1.0, 2.0]));
/// ```
pub fn value_and_grad<'f, M, F: Differentiable<'f, M>>(f: F) -> Box<F::ValueAndGrad> {
    f.value_and_grad()
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
pub fn vmap<'f, M, F: Mappable<'f, M>>(f: F) -> Box<F::Mapped> {
    f.vmap(None)
}

/// The function over a batch that lies along these axes, one per argument; `None` gives an argument whole to every call.
///
/// ```
/// use lazuli_core::{Array, array, vmap_along};
/// let scaled = vmap_along(|x: &Array, by: &Array| x * by, [Some(1), None]);
/// assert_eq!(scaled(&array([[1.0, 2.0]]), &array(10.0)).shape(), [2, 1]);
/// ```
pub fn vmap_along<'f, M, F: Mappable<'f, M>>(f: F, axes: impl Into<Vec<Option<isize>>>) -> Box<F::Mapped> {
    f.vmap(Some(axes.into()))
}
