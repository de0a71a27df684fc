//! Functions of trees, of any arity: what [`compile`](crate::compile) accepts, and what functions return.
//!
//! Closures and functions take their arguments by reference. A first argument `&mut S` is state, which a compiled function updates.
//! The parameter `M` of [`Function`] is the signature, so that the implementations for different arities do not overlap; it is
//! always inferred. Absent: more than five arguments (use a tuple), generic closures, differentiation (see [`crate::differentiate`]).

use crate::compile::{Compiled, Shared, call};
use crate::explain::explain_call;
use crate::raise::must;
use crate::tree::Tree;
use lazuli_explain::Explanation;
use lazuli_ir::{Error, Location, Result};
use std::sync::Arc;

/// What functions return: a tree, or a `Result` of one.
pub trait Output: 'static {
    /// The tree.
    type Tree: Tree + Clone;
    /// `U`, or a `Result` of it, as the function returns one.
    type With<U>;
    /// The tree, or the error.
    ///
    /// # Errors
    /// If the function returned one.
    fn into_result(self) -> Result<Self::Tree>;
    /// The inverse of [`into_result`](Self::into_result).
    ///
    /// # Panics
    /// If the result is an error and `Self` has no place for it.
    fn from_result(result: Result<Self::Tree>) -> Self;
    /// Another value in the tree's place.
    ///
    /// # Panics
    /// If the result is an error and `Self` has no place for it.
    fn with<U>(result: Result<U>) -> Self::With<U>;
}

impl<T: Tree + Clone> Output for T {
    type Tree = T;
    type With<U> = U;
    fn into_result(self) -> Result<T> {
        Ok(self)
    }
    #[track_caller]
    fn from_result(result: Result<T>) -> T {
        must(result)
    }
    #[track_caller]
    fn with<U>(result: Result<U>) -> U {
        must(result)
    }
}

impl<T: Tree + Clone, E: From<Error> + Into<Error> + 'static> Output for Result<T, E> {
    type Tree = T;
    type With<U> = Result<U, E>;
    fn into_result(self) -> Result<T> {
        self.map_err(Into::into)
    }
    fn from_result(result: Result<T>) -> Self {
        result.map_err(E::from)
    }
    fn with<U>(result: Result<U>) -> Result<U, E> {
        result.map_err(E::from)
    }
}

/// What a function is called in messages: its name, or where a closure was handed over.
pub(crate) fn name_of<F>(place: Location) -> String {
    let full = std::any::type_name::<F>();
    match full.contains("{{closure}}") {
        true => format!("closure at {place}"),
        false => full.rsplit("::").next().unwrap_or(full).to_owned(),
    }
}

/// A function that can be compiled: `Fn(&A, …) -> O` or `Fn(&mut S, &A, …) -> O` of trees.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of trees that can be compiled",
    label = "not a function of trees",
    note = "annotate a closure's arguments, each a reference: `|x: &Array, y: &Array| …`; state comes first, as `&mut S`",
    note = "arguments and state must be trees, structs by `#[derive(Clone, Tree)]`; numbers and texts too are passed as references: `k: &f32`, `name: &String`",
    note = "the result must be an owned tree: `x.clone()` in place of a reference",
    note = "captures must be owned (`move`), `Send` and `Sync`"
)]
pub trait Function<M>: Send + Sync + Sized + 'static {
    /// The signature of the compiled function.
    type Call: ?Sized + Send + Sync;
    #[doc(hidden)]
    fn compiled(self, shared: Arc<Shared>) -> Compiled<Self::Call>;
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
            fn compiled(self, shared: Arc<Shared>) -> Compiled<Self::Call> {
                let own = shared.clone();
                Compiled::new(shared, Arc::new(move |$($a: &$A),*| {
                    O::from_result(call::<(), O>(&own, None, &[$($a as &dyn Tree),*], &mut |_, holes| match holes {
                        None => self($($a),*),
                        #[allow(unused_variables, reason = "a function may have no arguments")]
                        Some(holes) => self($(&holes.stand_in($a)),*),
                    }))
                }))
            }
        }
        impl<F, S: Tree + Clone, O: Output, $($A: Tree + Clone),*> Function<fn(&mut S, $(&$A),*) -> O> for F
        where
            F: Fn(&mut S, $(&$A),*) -> O + Send + Sync + 'static,
        {
            type Call = dyn Fn(&mut S, $(&$A),*) -> O + Send + Sync;
            fn compiled(self, shared: Arc<Shared>) -> Compiled<Self::Call> {
                let own = shared.clone();
                Compiled::new(shared, Arc::new(move |state: &mut S, $($a: &$A),*| {
                    O::from_result(call(&own, Some(state), &[$($a as &dyn Tree),*], &mut |state, holes| {
                        let state = state.expect("the state that was given");
                        match holes {
                            None => self(state, $($a),*),
                            #[allow(unused_variables, reason = "a function may have no arguments")]
                            Some(holes) => self(state, $(&holes.stand_in($a)),*),
                        }
                    }))
                }))
            }
        }
        #[diagnostic::do_not_recommend]
        impl<O: Output, $($A: Tree + Clone),*> Function<Again<fn($(&$A),*) -> O>>
            for Compiled<dyn Fn($(&$A),*) -> O + Send + Sync>
        {
            type Call = dyn Fn($(&$A),*) -> O + Send + Sync;
            fn compiled(self, _: Arc<Shared>) -> Compiled<Self::Call> {
                self
            }
        }
        #[diagnostic::do_not_recommend]
        impl<S: Tree + Clone, O: Output, $($A: Tree + Clone),*> Function<Again<fn(&mut S, $(&$A),*) -> O>>
            for Compiled<dyn Fn(&mut S, $(&$A),*) -> O + Send + Sync>
        {
            type Call = dyn Fn(&mut S, $(&$A),*) -> O + Send + Sync;
            fn compiled(self, _: Arc<Shared>) -> Compiled<Self::Call> {
                self
            }
        }
        impl<O: Output, $($A: Tree + Clone),*> Compiled<dyn Fn($(&$A),*) -> O + Send + Sync> {
            /// Calls the function; what would be a panic over an array's shape, dtype or missing value is an error.
            ///
            /// # Errors
            /// Of kind [`TracedRead`](crate::ErrorKind::TracedRead) if the function reads a value while it is traced, and as the
            /// operations in it.
            pub fn try_call(&self, $($a: &$A),*) -> Result<O::Tree> {
                crate::catch(|| (**self)($($a),*).into_result())
            }
            /// What a call with these arguments runs, and why; nothing is computed.
            ///
            /// # Errors
            /// As [`try_call`](Self::try_call).
            pub fn explain(&self, $($a: &$A),*) -> Result<Explanation> {
                explain_call(|| self.try_call($($a),*))
            }
        }
        impl<S: Tree + Clone, O: Output, $($A: Tree + Clone),*> Compiled<dyn Fn(&mut S, $(&$A),*) -> O + Send + Sync> {
            /// Calls the function; what would be a panic over an array's shape, dtype or missing value is an error, which leaves the
            /// state as it was.
            ///
            /// # Errors
            /// Of kind [`TracedRead`](crate::ErrorKind::TracedRead) if the function reads a value while it is traced, and as the
            /// operations in it.
            pub fn try_call(&self, state: &mut S, $($a: &$A),*) -> Result<O::Tree> {
                crate::catch(|| (**self)(state, $($a),*).into_result())
            }
            /// What a call with this state and these arguments runs, and why; nothing is computed, and the state stays as it is.
            ///
            /// # Errors
            /// As [`try_call`](Self::try_call).
            pub fn explain(&self, state: &S, $($a: &$A),*) -> Result<Explanation> {
                explain_call(|| self.try_call(&mut state.clone(), $($a),*))
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
    A a B b C c D d E e;
}
