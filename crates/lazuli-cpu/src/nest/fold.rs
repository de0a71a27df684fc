//! Combining typed numbers: the arithmetic of reductions, scans and scatters outside of generated code.
//!
//! The same bits as the kernel IR's operations. Loops are plain Rust over slices, compiled again for AVX2 and AVX-512, where rustc
//! vectorises them; Rust never contracts or reorders floating-point arithmetic, so all versions agree.

use lazuli_kernel::{Combine, DType};
use std::fmt::Debug;
use std::marker::PhantomData;

/// Elements of a block, and the partials that they are dealt to in turn (see [`Combine`]).
pub const BLOCK: usize = 4096;
pub const PARTIALS: usize = 64;

/// A number as it lies in memory; any bits are one. Bools are bytes of 0 or 1, whose minimum is `and`.
pub trait Element: Copy + PartialOrd + Debug + Send + Sync + 'static {
    fn from_bits(bits: u64) -> Self;
    fn bits(self) -> u64;
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn is_nan(self) -> bool;
}

macro_rules! integers {
    ($($t:ty as $bits:ty),*) => { $(
        impl Element for $t {
            fn from_bits(bits: u64) -> Self { bits as $t }
            fn bits(self) -> u64 { self as $bits as u64 }
            #[inline(always)]
            fn add(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline(always)]
            fn min(self, other: Self) -> Self { Ord::min(self, other) }
            #[inline(always)]
            fn max(self, other: Self) -> Self { Ord::max(self, other) }
            #[inline(always)]
            fn is_nan(self) -> bool { false }
        }
    )* };
}
integers!(u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64);

macro_rules! floats {
    ($($t:ty as $bits:ty),*) => { $(
        impl Element for $t {
            fn from_bits(bits: u64) -> Self { <$t>::from_bits(bits as $bits) }
            fn bits(self) -> u64 { <$t>::to_bits(self) as u64 }
            #[inline(always)]
            fn add(self, other: Self) -> Self { self + other }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { self * other }
            // Taken both ways round, `or` unites the signs of zeros and keeps a NaN, which one of the two orders returns.
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                let a = if self < other { self } else { other };
                let b = if other < self { other } else { self };
                <$t>::from_bits(a.to_bits() | b.to_bits())
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                let a = if self > other { self } else { other };
                let b = if other > self { other } else { self };
                let both = <$t>::from_bits(a.to_bits() & b.to_bits());
                if self.is_nan() | other.is_nan() { <$t>::NAN } else { both }
            }
            #[inline(always)]
            fn is_nan(self) -> bool { <$t>::is_nan(self) }
        }
    )* };
}
floats!(f32 as u32, f64 as u64);

/// Runs the expression with `$t` as the type that holds elements of the dtype.
macro_rules! with_type {
    ($dtype:expr, $t:ident => $e:expr) => {
        match $dtype {
            lazuli_kernel::DType::Bool | lazuli_kernel::DType::U8 => {
                type $t = u8;
                $e
            }
            lazuli_kernel::DType::U16 | lazuli_kernel::DType::F16 | lazuli_kernel::DType::BF16 => {
                type $t = u16;
                $e
            }
            lazuli_kernel::DType::U32 => {
                type $t = u32;
                $e
            }
            lazuli_kernel::DType::U64 | lazuli_kernel::DType::C64 => {
                type $t = u64;
                $e
            }
            lazuli_kernel::DType::I8 => {
                type $t = i8;
                $e
            }
            lazuli_kernel::DType::I16 => {
                type $t = i16;
                $e
            }
            lazuli_kernel::DType::I32 => {
                type $t = i32;
                $e
            }
            lazuli_kernel::DType::I64 => {
                type $t = i64;
                $e
            }
            lazuli_kernel::DType::F32 => {
                type $t = f32;
                $e
            }
            lazuli_kernel::DType::F64 => {
                type $t = f64;
                $e
            }
        }
    };
}
pub(crate) use with_type;

/// `a op b` as a type, so that loops over it are compiled for each.
pub trait Operator<T>: Send + Sync + 'static {
    fn apply(a: T, b: T) -> T;
}

macro_rules! operators {
    ($($name:ident = $method:ident),*) => { $(
        pub struct $name;
        impl<T: Element> Operator<T> for $name {
            #[inline(always)]
            fn apply(a: T, b: T) -> T { a.$method(b) }
        }
    )* };
}
operators!(Add = add, Mul = mul, Min = min, Max = max);

/// Runs the expression with `$o` as the operator.
macro_rules! with_operator {
    ($op:expr, $o:ident => $e:expr) => {
        match $op {
            lazuli_kernel::BinaryOp::Add => {
                type $o = $crate::nest::fold::Add;
                $e
            }
            lazuli_kernel::BinaryOp::Mul => {
                type $o = $crate::nest::fold::Mul;
                $e
            }
            lazuli_kernel::BinaryOp::Min | lazuli_kernel::BinaryOp::And => {
                type $o = $crate::nest::fold::Min;
                $e
            }
            lazuli_kernel::BinaryOp::Max | lazuli_kernel::BinaryOp::Or => {
                type $o = $crate::nest::fold::Max;
                $e
            }
            op => unreachable!("nothing is combined by {op:?}"),
        }
    };
}
pub(crate) use with_operator;

/// How an accumulator combines, on untyped memory.
pub trait Fold: Send + Sync {
    /// Totals of rows of `count` elements each, which are at most a block.
    fn rows(&self, totals: &mut Bytes, elements: &Bytes, count: usize);
    /// `into[i] = into[i] op from[i]`.
    fn zip(&self, into: &mut Bytes, from: &Bytes);
    /// The same with one after another of these. The addresses are of what comes next.
    fn zip_four(&self, into: &mut Bytes, from: [&Bytes; 4], next: [usize; 4]);
    fn fill_identity(&self, into: &mut Bytes);
}

/// Elements of some type, as aligned bytes.
#[repr(transparent)]
pub struct Bytes([u8]);

impl Bytes {
    pub fn new(bytes: &[u8]) -> &Self {
        // SAFETY: a transparent wrapper.
        unsafe { &*(std::ptr::from_ref(bytes) as *const Self) }
    }
    pub fn new_mut(bytes: &mut [u8]) -> &mut Self {
        // SAFETY: a transparent wrapper.
        unsafe { &mut *(std::ptr::from_mut(bytes) as *mut Self) }
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn first(&mut self, n: usize) -> &mut Self {
        Self::new_mut(&mut self.0[..n])
    }
    pub fn split(&mut self, at: usize) -> (&mut Self, &Self) {
        let (low, high) = self.0.split_at_mut(at);
        (Self::new_mut(low), Self::new(high))
    }
    pub fn copy_from(&mut self, from: &Self) {
        self.0.copy_from_slice(&from.0);
    }
    pub fn range(&self, from: usize, n: usize) -> &Self {
        Self::new(&self.0[from..from + n])
    }
    pub fn range_mut(&mut self, from: usize, n: usize) -> &mut Self {
        Self::new_mut(&mut self.0[from..from + n])
    }
    pub fn of<T: Element>(&self) -> &[T] {
        // SAFETY: elements are plain numbers, for which any bits are valid; misaligned ends are refused below.
        let (before, elements, after) = unsafe { self.0.align_to() };
        assert!(before.is_empty() && after.is_empty(), "elements are aligned");
        elements
    }
    pub fn of_mut<T: Element>(&mut self) -> &mut [T] {
        // SAFETY: as above.
        let (before, elements, after) = unsafe { self.0.align_to_mut() };
        assert!(before.is_empty() && after.is_empty(), "elements are aligned");
        elements
    }
}

struct Folder<T, O> {
    identity: T,
    operator: PhantomData<O>,
}

/// The fold of a combination that is a binary operation; none for those that track a position.
pub fn fold_of(combine: Combine, dtype: DType) -> Option<Box<dyn Fold>> {
    let op = combine.binary()?;
    let identity = combine.identity(dtype).bits;
    Some(with_type!(dtype, T => with_operator!(op, O => {
        Box::new(Folder::<T, O> { identity: <T as Element>::from_bits(identity), operator: PhantomData }) as Box<dyn Fold>
    })))
}

impl<T: Element, O: Operator<T>> Fold for Folder<T, O> {
    fn rows(&self, totals: &mut Bytes, elements: &Bytes, count: usize) {
        let (totals, elements) = (totals.of_mut(), elements.of());
        wide(Rows::<T, O> { totals, elements, count, identity: self.identity, operator: PhantomData });
    }
    fn zip(&self, into: &mut Bytes, from: &Bytes) {
        wide(Zip::<T, O>(into.of_mut(), from.of(), PhantomData));
    }
    fn zip_four(&self, into: &mut Bytes, from: [&Bytes; 4], next: [usize; 4]) {
        wide(ZipFour::<T, O>(into.of_mut(), from.map(|from| from.of()), next, PhantomData));
    }
    fn fill_identity(&self, into: &mut Bytes) {
        into.of_mut::<T>().fill(self.identity);
    }
}

/// A computation that is worth compiling for wider vectors.
trait Wide {
    type Output;
    fn compute(self) -> Self::Output;
}

fn wide<W: Wide>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
        // SAFETY: the features are there.
        return unsafe { with_avx512(work) };
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature is there.
        return unsafe { with_avx2(work) };
    }
    work.compute()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn with_avx512<W: Wide>(work: W) -> W::Output {
    work.compute()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Wide>(work: W) -> W::Output {
    work.compute()
}

struct Rows<'a, T, O> {
    totals: &'a mut [T],
    elements: &'a [T],
    count: usize,
    identity: T,
    operator: PhantomData<O>,
}

impl<T: Element, O: Operator<T>> Wide for Rows<'_, T, O> {
    type Output = ();
    #[inline(always)]
    fn compute(self) {
        for (total, row) in self.totals.iter_mut().zip(self.elements.chunks_exact(self.count)) {
            // A partial that no element falls to stays the identity, which changes no bit of another: short rows need fewer.
            *total = match self.count {
                0..=8 => total_of::<T, O, 8>(row, self.identity),
                9..=32 => total_of::<T, O, 32>(row, self.identity),
                _ => total_of::<T, O, PARTIALS>(row, self.identity),
            };
        }
    }
}

/// Elements dealt to `P` partials in turn, which fold by halving.
#[inline(always)]
fn total_of<T: Element, O: Operator<T>, const P: usize>(row: &[T], identity: T) -> T {
    let mut partials = [identity; P];
    let mut rounds = row.chunks_exact(P);
    for round in &mut rounds {
        // The processor's own look-ahead ends with the page.
        (0..size_of_val(round)).step_by(64).for_each(|byte| fetch(round.as_ptr().addr() + 2048 + byte));
        for (p, &x) in partials.iter_mut().zip(round) {
            *p = O::apply(*p, x);
        }
    }
    for (p, &x) in partials.iter_mut().zip(rounds.remainder()) {
        *p = O::apply(*p, x);
    }
    let mut half = P / 2;
    while half > 0 {
        let (low, high) = partials.split_at_mut(half);
        for (l, &h) in low.iter_mut().zip(&*high) {
            *l = O::apply(*l, h);
        }
        half /= 2;
    }
    partials[0]
}

/// Asks for a line of memory that will be needed.
#[inline(always)]
fn fetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: this accesses nothing, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address as *const i8)
    };
}

struct Zip<'a, T, O>(&'a mut [T], &'a [T], PhantomData<O>);

impl<T: Element, O: Operator<T>> Wide for Zip<'_, T, O> {
    type Output = ();
    #[inline(always)]
    fn compute(self) {
        for (a, &b) in self.0.iter_mut().zip(self.1) {
            *a = O::apply(*a, b);
        }
    }
}

struct ZipFour<'a, T, O>(&'a mut [T], [&'a [T]; 4], [usize; 4], PhantomData<O>);

/// Elements that stay in registers from one operand to the next. Their number is a constant, so that they do, and nothing is checked per vector.
const HELD: usize = 64;

impl<T: Element, O: Operator<T>> Wide for ZipFour<'_, T, O> {
    type Output = ();
    #[inline(always)]
    fn compute(self) {
        let ZipFour(into, from, next, _) = self;
        let n = into.len();
        let from = from.map(|from| &from[..n]);
        let (chunks, rest) = into.as_chunks_mut::<HELD>();
        let whole = chunks.len() * HELD;
        for (chunk, into) in chunks.iter_mut().enumerate() {
            let bytes = chunk * size_of::<[T; HELD]>();
            for next in next {
                (0..size_of::<[T; HELD]>()).step_by(64).for_each(|byte| fetch(next + bytes + byte));
            }
            let mut held = *into;
            for from in from {
                let (from, _) = from[chunk * HELD..].as_chunks::<HELD>();
                held.iter_mut().zip(&from[0]).for_each(|(a, &b)| *a = O::apply(*a, b));
            }
            *into = held;
        }
        for from in from {
            rest.iter_mut().zip(&from[whole..]).for_each(|(a, &b)| *a = O::apply(*a, b));
        }
    }
}

/// Keeps the best elements seen and their positions.
pub trait Best: Send + Sync {
    /// Takes the elements from position `first` of a row on into its best.
    fn update(&self, value: &mut Bytes, position: &mut i64, elements: &Bytes, first: i64);
    /// Takes the elements at one position of many rows into their bests.
    fn update_each(&self, values: &mut Bytes, positions: &mut [i64], elements: &Bytes, position: i64);
    /// Takes bests from later positions.
    fn merge(&self, values: &mut Bytes, positions: &mut [i64], later: &Bytes, later_positions: &[i64]);
    fn fill_identity(&self, values: &mut Bytes, positions: &mut [i64]);
}

struct BestOf<T> {
    largest: bool,
    identity: T,
}

/// The tracker of a combination that tracks a position.
fn best_of(combine: Combine, dtype: DType) -> Box<dyn Best> {
    let largest = combine == Combine::ArgMax;
    let identity = combine.identity(dtype).bits;
    with_type!(dtype, T => Box::new(BestOf::<T> { largest, identity: <T as Element>::from_bits(identity) }))
}

/// How the elements of an accumulator are combined.
pub enum How {
    Fold(Box<dyn Fold>),
    Best(Box<dyn Best>),
}

impl How {
    pub fn of(combine: Combine, dtype: DType) -> Self {
        fold_of(combine, dtype).map_or_else(|| How::Best(best_of(combine, dtype)), How::Fold)
    }
}

impl Debug for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, How::Fold(_)) { "Fold" } else { "Best" })
    }
}

/// Position of a best that has seen nothing.
pub const NOTHING: i64 = -1;

impl<T: Element> BestOf<T> {
    #[inline(always)]
    fn better(&self, element: T, best: T) -> bool {
        let beats = if self.largest { element > best } else { element < best };
        !best.is_nan() & (element.is_nan() | beats)
    }

    /// The better of each two numbers, none of which is a NaN.
    #[inline(always)]
    fn keep(&self, bests: &mut [T], others: &[T]) {
        for (b, &x) in bests.iter_mut().zip(others) {
            *b = if if self.largest { x > *b } else { x < *b } { x } else { *b };
        }
    }
}

/// Takes each element, all at this position, into the best of its own.
struct UpdateEach<'a, T> {
    best: &'a BestOf<T>,
    values: &'a mut [T],
    positions: &'a mut [i64],
    elements: &'a [T],
    position: i64,
}

impl<T: Element> Wide for UpdateEach<'_, T> {
    type Output = ();
    #[inline(always)]
    fn compute(self) {
        for ((value, position), &x) in self.values.iter_mut().zip(self.positions).zip(self.elements) {
            let takes = (*position == NOTHING) | self.best.better(x, *value);
            *value = if takes { x } else { *value };
            *position = if takes { self.position } else { *position };
        }
    }
}

/// Where the best of these elements is, the first of several; none of no elements.
struct BestAt<'a, T> {
    best: &'a BestOf<T>,
    elements: &'a [T],
}

impl<T: Element> Wide for BestAt<'_, T> {
    type Output = Option<usize>;
    #[inline(always)]
    fn compute(self) -> Option<usize> {
        match self.elements.len() {
            0 => None,
            1..16 => Some(self.one_by_one()),
            16..256 => Some(self.by_lanes::<16>()),
            256.. => Some(self.by_lanes::<64>()),
        }
    }
}

impl<T: Element> BestAt<'_, T> {
    #[inline(always)]
    fn one_by_one(&self) -> usize {
        let (mut best, mut at) = (self.elements[0], 0);
        for (n, &x) in self.elements.iter().enumerate().skip(1) {
            let takes = self.best.better(x, best);
            best = if takes { x } else { best };
            at = if takes { n } else { at };
        }
        at
    }

    /// Looks for the value first, by vectors of no fewer elements than there are lanes, then for its place.
    #[inline(always)]
    fn by_lanes<const LANES: usize>(&self) -> usize {
        let &BestAt { best, elements } = self;
        let (chunks, rest) = elements.as_chunks::<LANES>();
        // What is left over is looked at with some of what comes before it.
        let last: Option<&[T; LANES]> = if rest.is_empty() { None } else { elements.last_chunk() };
        let mut bests = chunks[0];
        let mut has_nan = false;
        for chunk in chunks.iter().chain(last) {
            has_nan |= chunk.iter().fold(false, |nan, x| nan | x.is_nan());
            best.keep(&mut bests, chunk);
        }
        if has_nan {
            return first_of(elements, |x| x.is_nan());
        }
        let mut width = LANES / 2;
        while width > 0 {
            let (low, high) = bests.split_at_mut(width);
            best.keep(low, &high[..width]);
            width /= 2;
        }
        let all = bests[0];
        first_of(elements, |x| x == all)
    }
}

/// The first element of which this holds, which is among them: by blocks, of which all elements are looked at.
#[inline(always)]
fn first_of<T: Element>(elements: &[T], holds: impl Fn(T) -> bool) -> usize {
    let has = |block: &[T]| block.iter().fold(false, |found, &x| found | holds(x));
    let found = elements.chunks(64).enumerate().find(|(_, block)| has(block));
    let (block, within) = found.expect("it is among them");
    block * 64 + within.iter().position(|&x| holds(x)).expect("it is in this block")
}

impl<T: Element> Best for BestOf<T> {
    fn update(&self, value: &mut Bytes, position: &mut i64, elements: &Bytes, first: i64) {
        let (value, elements) = (&mut value.of_mut::<T>()[0], elements.of::<T>());
        let Some(at) = wide(BestAt { best: self, elements }) else { return };
        if *position == NOTHING || self.better(elements[at], *value) {
            (*value, *position) = (elements[at], first + at as i64);
        }
    }
    fn update_each(&self, values: &mut Bytes, positions: &mut [i64], elements: &Bytes, position: i64) {
        let (values, elements) = (values.of_mut::<T>(), elements.of::<T>());
        wide(UpdateEach { best: self, values, positions, elements, position });
    }
    fn merge(&self, values: &mut Bytes, positions: &mut [i64], later: &Bytes, later_positions: &[i64]) {
        let values = values.of_mut::<T>();
        for (i, (&x, &position)) in later.of::<T>().iter().zip(later_positions).enumerate() {
            if position != NOTHING && (positions[i] == NOTHING || self.better(x, values[i])) {
                values[i] = x;
                positions[i] = position;
            }
        }
    }
    fn fill_identity(&self, values: &mut Bytes, positions: &mut [i64]) {
        values.of_mut::<T>().fill(self.identity);
        positions.fill(NOTHING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_and_max_order_zeros_and_keep_nan() {
        let bits = |v: f32| v.to_bits();
        assert_eq!(bits(Element::min(0.0f32, -0.0)), bits(-0.0));
        assert_eq!(bits(Element::min(-0.0f32, 0.0)), bits(-0.0));
        assert_eq!(bits(Element::max(0.0f32, -0.0)), bits(0.0));
        assert_eq!(bits(Element::max(-0.0f32, 0.0)), bits(0.0));
        assert_eq!(Element::min(1.0f32, 2.0), 1.0);
        assert_eq!(Element::max(-1.0f32, -2.0), -1.0);
        for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::NAN, f32::INFINITY)] {
            assert!(Element::min(a, b).is_nan() && Element::max(a, b).is_nan());
        }
    }

    #[test]
    fn short_rows_need_fewer_partials() {
        for n in 0..=8 {
            let x: Vec<f32> = (0..n).map(|i| [0.1, 1e8, -0.0, -1e8, 3.5, -0.3, 1e-9, 7.0][i]).collect();
            let long = total_of::<f32, Add, PARTIALS>(&x, 0.0);
            assert_eq!(total_of::<f32, Add, 8>(&x, 0.0).to_bits(), long.to_bits());
        }
    }
}
