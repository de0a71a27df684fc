//! Rust types that are elements of arrays.

use crate::array::Array;
use half::{bf16, f16};
use lazuli_ir::{DType, Scalar};
use std::borrow::Cow;

/// A Rust type with a dtype of its own.
pub trait Element: Copy + Send + Sync + 'static {
    /// The dtype.
    const DTYPE: DType;
    /// The bytes of the elements.
    fn bytes(data: &[Self]) -> Cow<'_, [u8]>;
    /// Inverse of [`bytes`](Self::bytes).
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
    /// The element as a scalar of its dtype.
    fn to_scalar(self) -> Scalar {
        Scalar::from_bytes(Self::DTYPE, &Self::bytes(&[self]))
    }
}

/// An array of shape `()`.
impl<T: Element> From<T> for Array {
    fn from(value: T) -> Array {
        Array::from_slice(&[value], &[])
    }
}

/// An array of one dimension.
impl<T: Element> From<&[T]> for Array {
    fn from(elements: &[T]) -> Array {
        Array::from_slice(elements, &[elements.len()])
    }
}

/// An array of one dimension.
///
/// ```
/// use lazuli_core::{Array, DType};
/// assert_eq!(Array::from(vec![1.0, 2.0]).dtype(), DType::F64);
/// ```
impl<T: Element> From<Vec<T>> for Array {
    fn from(elements: Vec<T>) -> Array {
        elements[..].into()
    }
}

/// An array of one dimension.
impl<T: Element, const N: usize> From<[T; N]> for Array {
    fn from(elements: [T; N]) -> Array {
        elements[..].into()
    }
}

macro_rules! plain {
    ($($t:ty => $d:ident),* $(,)?) => { $(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            fn bytes(data: &[Self]) -> Cow<'_, [u8]> {
                Cow::Borrowed(bytemuck::cast_slice(data))
            }
            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytemuck::pod_collect_to_vec(bytes)
            }
        }
    )* };
}

plain! { u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32, i64 => I64, f32 => F32, f64 => F64 }

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn bytes(data: &[Self]) -> Cow<'_, [u8]> {
        Cow::Borrowed(bytemuck::cast_slice(data))
    }
    fn from_bytes(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|&b| b != 0).collect()
    }
}

macro_rules! halves {
    ($($t:ty => $d:ident),*) => { $(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            fn bytes(data: &[Self]) -> Cow<'_, [u8]> {
                Cow::Owned(data.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytes.chunks_exact(2).map(|b| <$t>::from_le_bytes([b[0], b[1]])).collect()
            }
        }
    )* };
}

halves! { f16 => F16, bf16 => BF16 }
