//! Trees: structures of arrays and constants, which functions take, return and update.
//!
//! A tree is visited leaf by leaf. Invariants: [`Tree::visit`] and [`Tree::visit_mut`] meet the same arrays in the same order, and
//! what `visit` reports besides the arrays decides everything else that a function of the tree may depend on. A tree is built by
//! cloning one of its structure and putting new arrays in. Names are for people and files (see [`crate::paths`]): nothing computes with them.

use crate::array::Array;
use crate::trace::Read;
use smallvec::SmallVec;
use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a visit meets.
#[derive(Debug)]
pub enum Leaf<'a> {
    /// An array.
    Array(&'a Array),
    /// A constant.
    Constant(Constant),
    /// A container begins: its kind, and its length (or variant).
    Open(&'static str, usize),
    /// The innermost container ends.
    Close,
    /// What the innermost container calls the tree that follows.
    Name(Name<'a>),
}

/// The name of a part of a container.
#[derive(Clone, Copy)]
pub enum Name<'a> {
    /// A field of a struct.
    Field(&'static str),
    /// A position in a tuple or list.
    Index(usize),
    /// A key of a map.
    Key(&'a dyn std::fmt::Display),
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Name::Field(name) => f.write_str(name),
            Name::Index(i) => write!(f, "{i}"),
            Name::Key(key) => write!(f, "{key}"),
        }
    }
}

impl std::fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The kind of a container whose arrays are not differentiated: frozen parameters, running statistics.
pub const FIXED: &str = "fixed";

/// What a mutable visit meets: the same arrays, and the constants that may be changed; nothing of the structure.
pub enum LeafMut<'a> {
    /// An array.
    Array(&'a mut Array),
    /// A constant, whose type the visitor may ask for.
    Constant(&'a mut dyn Any),
}

impl std::fmt::Debug for LeafMut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LeafMut::Array(a) => f.debug_tuple("Array").field(a).finish(),
            LeafMut::Constant(_) => f.write_str("Constant(..)"),
        }
    }
}

/// A constant's type and bits: a compiled function is traced anew when either changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Constant {
    of: TypeId,
    bytes: SmallVec<[u8; 16]>,
    /// The value, where the bits need not be all of it.
    value: Option<Kept>,
}

/// A value that compares by its order.
#[derive(Clone)]
struct Kept(Arc<dyn Ordered>);

trait Ordered: Any + Send + Sync {
    fn equals(&self, other: &dyn Any) -> bool;
}

impl<T: Ord + Send + Sync + 'static> Ordered for T {
    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>().is_some_and(|other| self.cmp(other).is_eq())
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(..)")
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Kept) -> bool {
        let other: &dyn Any = &*other.0;
        self.0.equals(other)
    }
}

impl Eq for Kept {}

/// Equal values have equal bits, which are hashed.
impl Hash for Kept {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Constant {
    /// A constant of type `T` that these bytes tell apart from all others of its type.
    pub fn new<T: 'static>(bytes: &[u8]) -> Constant {
        Constant { of: TypeId::of::<T>(), bytes: bytes.into(), value: None }
    }
    /// A constant that is told apart by everything its `Hash` feeds to a hasher: no digest, all of it.
    pub fn hashed<T: Hash + 'static>(value: &T) -> Constant {
        struct Recorder(SmallVec<[u8; 16]>);
        impl Hasher for Recorder {
            fn write(&mut self, bytes: &[u8]) {
                self.0.extend_from_slice(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut recorder = Recorder(SmallVec::new());
        value.hash(&mut recorder);
        Constant { of: TypeId::of::<T>(), bytes: recorder.0, value: None }
    }
    /// A key of a map, which is told apart as it is in the map, by its order; its `Hash` may leave something out.
    fn key<K: Hash + Ord + Clone + Send + Sync + 'static>(key: &K) -> Constant {
        let is_hashed_whole = |of: &TypeId| *of == TypeId::of::<K>();
        let value = match HASHED_WHOLE.iter().any(is_hashed_whole) {
            true => None,
            false => Some(Kept(Arc::new(key.clone()))),
        };
        Constant { value, ..Constant::hashed(key) }
    }
}

/// Types of keys that feed all that they are to a hasher.
static HASHED_WHOLE: [TypeId; 8] = [
    TypeId::of::<String>(),
    TypeId::of::<&'static str>(),
    TypeId::of::<usize>(),
    TypeId::of::<u32>(),
    TypeId::of::<u64>(),
    TypeId::of::<i32>(),
    TypeId::of::<i64>(),
    TypeId::of::<char>(),
];

/// The value, where its type is one that users write down; another's is not known here.
impl std::fmt::Display for Constant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        macro_rules! numbers {
            ($($t:ty),*) => { $(
                if self.of == TypeId::of::<$t>()
                    && let Ok(bytes) = self.bytes[..].try_into()
                {
                    return write!(f, "{:?}", <$t>::from_le_bytes(bytes));
                }
            )* };
        }
        numbers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64);
        if self.of == TypeId::of::<bool>() {
            return write!(f, "{}", self.bytes[..] != [0]);
        }
        if self.of == TypeId::of::<String>() || self.of == TypeId::of::<&'static str>() {
            return write!(f, "{:?}", String::from_utf8_lossy(&self.bytes));
        }
        f.write_str("a constant")?;
        self.bytes.iter().try_for_each(|b| write!(f, " {b:02x}"))
    }
}

/// A structure of arrays and constants. Derive it for a struct whose fields are trees: `#[derive(Clone, Tree)]`.
///
/// ```
/// use lazuli_core::{Array, tree};
/// let batch = (Array::from_slice(&[1.0f32], &[1]), vec![true, false]);
/// assert_eq!(tree::arrays(&batch).len(), 1);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tree of arrays",
    note = "arrays, numbers, strings, tuples, `Vec`, `Option` and `BTreeMap` of trees are; a struct becomes one with `#[derive(Clone, Tree)]`"
)]
pub trait Tree: AsAny + Send + Sync {
    /// Meets every leaf, and the ends of containers, in order.
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>));
    /// Meets every leaf in the same order, to change it.
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>));
    /// Takes over from another tree of this type what visits leave out (`#[tree(skip)]`), where both have it. A compiled function whose state changes its
    /// structure makes the new state after that of the call that was traced; what no function of the tree may depend on stays the caller's.
    fn keep_skipped(&mut self, of: &mut dyn Any) {
        let _ = of;
    }
    /// A tree of the same structure, with what `next` gives in the place of its arrays, in order.
    #[doc(hidden)]
    fn filled(&self, next: &mut dyn FnMut() -> Array) -> Self
    where
        Self: Sized + Clone,
    {
        map(self, |_| next())
    }
}

/// What any type is, also behind a `Box<dyn …>`.
#[doc(hidden)]
pub trait AsAny: Any {
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Any> AsAny for T {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// The arrays of a tree, in order.
pub fn arrays(tree: &(impl Tree + ?Sized)) -> Vec<Array> {
    let mut found = Vec::new();
    tree.visit(&mut |leaf| {
        if let Leaf::Array(a) = leaf {
            found.push(a.clone());
        }
    });
    found
}

/// A tree of the same structure, with `f` of each array in its place.
pub fn map<T: Tree + Clone>(tree: &T, mut f: impl FnMut(&Array) -> Array) -> T {
    let mut new = tree.clone();
    new.visit_mut(&mut |leaf| {
        if let LeafMut::Array(a) = leaf {
            *a = f(a);
        }
    });
    new
}

/// A tree of the same structure, with these arrays in their order.
///
/// # Panics
/// If there are fewer arrays than leaves.
pub(crate) fn fill<T: Tree + Clone>(tree: &T, arrays: &mut impl Iterator<Item = Array>) -> T {
    tree.filled(&mut || arrays.next().expect("as many arrays as the tree has leaves"))
}

/// Computes every array of a tree.
///
/// ```
/// use lazuli_core::{array, tree};
/// let pair = (array([1.0, 2.0]).exp(), array([3.0]).sqrt());
/// assert!(!pair.0.is_evaluated());
/// tree::eval(&pair);
/// assert!(pair.0.is_evaluated() && pair.1.is_evaluated());
/// ```
///
/// # Panics
/// At the caller's line, if an array cannot be computed.
#[track_caller]
pub fn eval(tree: &(impl Tree + ?Sized)) {
    crate::raise::must(Read::EVAL.of(|| crate::eval::eval(&arrays(tree))));
}

impl Tree for Array {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Array(self));
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        f(LeafMut::Array(self));
    }
    fn filled(&self, next: &mut dyn FnMut() -> Array) -> Array {
        next()
    }
}

impl Tree for crate::random::State {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Open(FIXED, 0));
        self.key.visit(f);
        f(Leaf::Close);
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        self.key.visit_mut(f);
    }
}

macro_rules! constants {
    ($($t:ty => |$v:ident| $bytes:expr;)*) => { $(
        impl Tree for $t {
            fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
                let $v = self;
                f(Leaf::Constant(Constant::new::<$t>($bytes.as_ref())));
            }
            fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
                f(LeafMut::Constant(self));
            }
        }
    )* };
}

// Floats by their bits: 0.0 and -0.0 are two constants, a NaN is one.
constants! {
    bool => |v| [*v as u8];
    char => |v| (*v as u32).to_le_bytes();
    u8 => |v| v.to_le_bytes();
    u16 => |v| v.to_le_bytes();
    u32 => |v| v.to_le_bytes();
    u64 => |v| v.to_le_bytes();
    usize => |v| v.to_le_bytes();
    i8 => |v| v.to_le_bytes();
    i16 => |v| v.to_le_bytes();
    i32 => |v| v.to_le_bytes();
    i64 => |v| v.to_le_bytes();
    isize => |v| v.to_le_bytes();
    f32 => |v| if v.is_nan() { f32::NAN } else { *v }.to_le_bytes();
    f64 => |v| if v.is_nan() { f64::NAN } else { *v }.to_le_bytes();
    String => |v| v.as_bytes();
    &'static str => |v| v.as_bytes();
}

macro_rules! hashed_constants {
    ($($t:ty),*) => { $(
        impl Tree for $t {
            fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
                f(Leaf::Constant(Constant::hashed(self)));
            }
            fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
                f(LeafMut::Constant(self));
            }
        }
    )* };
}

hashed_constants! { lazuli_ir::DType, lazuli_ir::Scalar }

fn visit_items<'a, T: Tree>(items: &'a [T], f: &mut dyn FnMut(Leaf<'a>)) {
    for (i, x) in items.iter().enumerate() {
        f(Leaf::Name(Name::Index(i)));
        x.visit(f);
    }
}

impl<T: Tree> Tree for Vec<T> {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Open("Vec", self.len()));
        visit_items(self, f);
        f(Leaf::Close);
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        self.iter_mut().for_each(|x| x.visit_mut(f));
    }
    fn keep_skipped(&mut self, of: &mut dyn Any) {
        let Some(of) = of.downcast_mut::<Self>() else { return };
        self.iter_mut().zip(of.iter_mut()).for_each(|(x, of)| x.keep_skipped(of));
    }
}

impl<T: Tree, const N: usize> Tree for [T; N] {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Open("array", N));
        visit_items(self, f);
        f(Leaf::Close);
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        self.iter_mut().for_each(|x| x.visit_mut(f));
    }
    fn keep_skipped(&mut self, of: &mut dyn Any) {
        let Some(of) = of.downcast_mut::<Self>() else { return };
        self.iter_mut().zip(of.iter_mut()).for_each(|(x, of)| x.keep_skipped(of));
    }
}

impl<T: Tree> Tree for Option<T> {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Open("Option", self.is_some() as usize));
        self.iter().for_each(|x| x.visit(f));
        f(Leaf::Close);
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        self.iter_mut().for_each(|x| x.visit_mut(f));
    }
    fn keep_skipped(&mut self, of: &mut dyn Any) {
        let Some(of) = of.downcast_mut::<Self>() else { return };
        self.iter_mut().zip(of.iter_mut()).for_each(|(x, of)| x.keep_skipped(of));
    }
}

impl<T: Tree + ?Sized> Tree for Box<T> {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        (**self).visit(f);
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        (**self).visit_mut(f);
    }
    fn keep_skipped(&mut self, of: &mut dyn Any) {
        let Some(of) = of.downcast_mut::<Self>() else { return };
        (**self).keep_skipped((**of).as_any_mut());
    }
}

/// Keys are constants of the structure, met in their order. A `HashMap` is no tree: the order of its entries differs between maps that are equal, and a function
/// that goes through one would do so in an order that no key of a cache states.
impl<K: Hash + Ord + Clone + std::fmt::Display + Send + Sync + 'static, T: Tree> Tree for BTreeMap<K, T> {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Open("BTreeMap", self.len()));
        for (k, x) in self {
            f(Leaf::Constant(Constant::key(k)));
            f(Leaf::Name(Name::Key(k)));
            x.visit(f);
        }
        f(Leaf::Close);
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        self.values_mut().for_each(|x| x.visit_mut(f));
    }
    fn keep_skipped(&mut self, of: &mut dyn Any) {
        let Some(of) = of.downcast_mut::<Self>() else { return };
        for (k, x) in self {
            of.get_mut(k).into_iter().for_each(|of| x.keep_skipped(of));
        }
    }
}

macro_rules! tuples {
    ($($n:literal: $($T:ident $i:tt)*;)*) => { $(
        impl<$($T: Tree),*> Tree for ($($T,)*) {
            #[allow(unused_variables, reason = "the empty tuple has no fields")]
            fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
                f(Leaf::Open("tuple", $n));
                $(f(Leaf::Name(Name::Index($i))); self.$i.visit(f);)*
                f(Leaf::Close);
            }
            #[allow(unused_variables, reason = "the empty tuple has no fields")]
            fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
                $(self.$i.visit_mut(f);)*
            }
            #[allow(unused_variables, reason = "the empty tuple has no fields")]
            fn keep_skipped(&mut self, of: &mut dyn Any) {
                let Some(of) = of.downcast_mut::<Self>() else { return };
                $(self.$i.keep_skipped(&mut of.$i);)*
            }
        }
    )* };
}

tuples! {
    0: ;
    1: A 0;
    2: A 0 B 1;
    3: A 0 B 1 C 2;
    4: A 0 B 1 C 2 D 3;
    5: A 0 B 1 C 2 D 3 E 4;
    6: A 0 B 1 C 2 D 3 E 4 F 5;
}
