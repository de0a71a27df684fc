//! Dropout (Hinton et al., arXiv:1207.0580), elementwise and by channel.
//!
//! All of it draws from the calling thread's random state. A compiled step keeps a [`random::State`] in its own and runs the model
//! within [`random::using`], or the same elements would be zeroed at every call.

use crate::{Module, Training};
use lazuli_core::raise::must;
use lazuli_core::{Array, Error, Extent, Extents, random};
use lazuli_derive::Tree;

macro_rules! dropouts {
    ($($(#[$doc:meta])* $name:ident $shared:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Tree)]
        pub struct $name {
            keep: f64,
            /// In evaluation the layer is the identity.
            pub training: Training,
        }

        impl $name {
            /// Drops with probability `p`.
            ///
            /// # Panics
            /// If `p` is not in [0, 1).
            #[track_caller]
            pub fn new(p: f64) -> $name {
                if !(0.0..1.0).contains(&p) {
                    must(Err(Error::value(stringify!($name), format!("probability p must be in [0, 1), got {p}"))))
                }
                $name { keep: 1.0 - p, training: Training(true) }
            }
        }

        impl Module for $name {
            #[track_caller]
            fn forward(&self, x: &Array) -> Array {
                if self.keep == 1.0 || !self.training.0 {
                    return x.clone();
                }
                must(dropped(stringify!($name), x, self.keep, $shared))
            }
        }
    )* };
}

dropouts! {
    /// In training, zeroes each element with probability p and scales the others by 1/(1 − p); else the identity.
    ///
    /// ```
    /// use lazuli_core::array;
    /// use lazuli_nn::{Dropout, Module, Parameters};
    /// let mut layer = Dropout::new(0.5);
    /// assert!(layer.forward(&array([1.0; 8])).to_vec::<f32>().iter().all(|&x| x == 0.0 || x == 2.0));
    /// assert_eq!(layer.evaluate().forward(&array([1.0; 3])).to_vec::<f32>(), [1.0; 3]);
    /// ```
    Dropout 0;
    /// [`Dropout`] of whole channels of images, `(N, H, W, C)` or `(H, W, C)` (Tompson et al., CVPR 2015).
    Dropout2d 2;
    /// [`Dropout`] of whole channels of volumes, `(N, D, H, W, C)` or `(D, H, W, C)`.
    Dropout3d 3;
}

/// `shared` axes before the channels live or die together.
#[track_caller]
fn dropped(op: &str, x: &Array, keep: f64, shared: usize) -> lazuli_core::Result<Array> {
    let mut shape = x.dims().extents();
    if shared > 0 {
        if ![shared + 1, shared + 2].contains(&x.ndim()) {
            let message = format!(
                "expected {} axes, or {} with a batch, channels last; got shape {:?}",
                shared + 1,
                shared + 2,
                x.shape()
            );
            return Err(Error::value(op, message));
        }
        let channels = shape.len() - 1;
        shape[channels - shared..channels].fill(Extent::Known(1));
    }
    Ok(random::bernoulli(keep, shape) * x * (1.0 / keep))
}
