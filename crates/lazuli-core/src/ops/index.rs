//! Indexing as NumPy defines it: integers, slices, new axes, an ellipsis, and integer arrays that broadcast together.

use super::by_shape::ByShape;
use super::shape::{axis, broadcast_to, common_extents, expand_dims, moveaxis, reshape, squeeze};
use super::{apply, astype, create, record};
use crate::array::Array;
use crate::dim::{Extent, Extents as _};
use crate::shapeless::is_symbolic;
use lazuli_ir::param::Param;
use lazuli_ir::prims::{Bound, Gather, GatherAxis, Scatter, ScatterAxis, SliceUpdate};
use lazuli_ir::{DType, Dim, Error, Result, Shape, shape};
use lazuli_kernel::ScatterOp;

/// One entry of an index.
#[derive(Debug, Clone)]
pub enum Item<A = Array> {
    /// One position, which may count from the end; the axis is dropped.
    Int(isize),
    /// `start:stop:step`.
    Slice(Bound),
    /// A new axis of extent 1.
    NewAxis,
    /// As many full slices as are missing.
    Ellipsis,
    /// Integer positions; several arrays broadcast together.
    Array(A),
}

/// `1`, `0:3`, `new`, `...`, `array`.
impl Param for Item<()> {
    fn show(&self) -> String {
        match self {
            Item::Int(i) => i.show(),
            Item::Slice(bound) => bound.show(),
            Item::NewAxis => "new".to_owned(),
            Item::Ellipsis => "...".to_owned(),
            Item::Array(()) => "array".to_owned(),
        }
    }
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "new" => Item::NewAxis,
            "..." => Item::Ellipsis,
            "array" => Item::Array(()),
            _ if text.contains(':') => Item::Slice(Bound::read(text)?),
            _ => Item::Int(isize::read(text)?),
        })
    }
}

impl<A> Item<A> {
    /// The same with what `f` says in place of an array.
    fn map<'a, B>(&'a self, f: impl FnOnce(&'a A) -> B) -> Item<B> {
        match self {
            Item::Int(i) => Item::Int(*i),
            Item::Slice(bound) => Item::Slice(*bound),
            Item::NewAxis => Item::NewAxis,
            Item::Ellipsis => Item::Ellipsis,
            Item::Array(a) => Item::Array(f(a)),
        }
    }
}

/// Items with these arrays in order.
pub(crate) fn filled(items: &[Item<()>], arrays: &[Array]) -> Vec<Item> {
    let mut arrays = arrays.iter();
    let mut next = |_: &()| arrays.next().cloned();
    items.iter().map(|item| item.map(|none| next(none).expect("one per index array"))).collect()
}

/// An index brought into one form: per axis of the array, what is taken of it.
struct Plan {
    /// For every axis of the array.
    axes: Vec<Taken>,
    /// Where in the result (before new axes) the broadcast positions go, if there are index arrays.
    at: usize,
    /// Positions of new axes in the result.
    new: Vec<isize>,
}

enum Taken {
    Bound(Bound),
    /// An integer, where no array stands beside it: a slice of extent 1, then dropped.
    One(isize),
    Array(Array),
}

const FULL: Bound = Bound { start: None, stop: None, step: 1 };

impl Plan {
    fn new(a: &Array, items: &[Item]) -> Result<Plan> {
        let used = items.iter().filter(|i| !matches!(i, Item::NewAxis | Item::Ellipsis)).count();
        let ellipses = items.iter().filter(|i| matches!(i, Item::Ellipsis)).count();
        if ellipses > 1 {
            return Err(Error::index("index", "an index can have only one ellipsis (...)"));
        }
        if used > a.ndim() {
            let of = shape::show(&a.aval().shape);
            return Err(Error::index(
                "index",
                format!("too many indices: {used} for an array of shape {of}, which has {} dimensions", a.ndim()),
            ));
        }
        let advanced = items.iter().any(|i| matches!(i, Item::Array(_)));
        let mut axes: Vec<Taken> = Vec::new();
        let (mut new, mut first, mut last, mut gap) = (Vec::new(), None, None, false);
        // Axes of the result so far: one per slice or new axis, none per integer or array.
        let mut out = 0;
        let mut place_new = Vec::new();
        for item in items.iter().chain((ellipses == 0).then_some(&Item::Ellipsis)) {
            let joins = advanced && matches!(item, Item::Int(_) | Item::Array(_));
            match item {
                Item::NewAxis => place_new.push((out, first.is_some())),
                Item::Ellipsis => {
                    for _ in used..a.ndim() {
                        axes.push(Taken::Bound(FULL));
                        out += 1;
                    }
                }
                Item::Slice(bound) => {
                    axes.push(Taken::Bound(*bound));
                    out += 1;
                }
                Item::Int(i) => {
                    // For other extents the slice, clamped, has none: squeezing it is an error.
                    let n = a.aval().shape[axes.len()];
                    if !(-(n as isize)..n as isize).contains(i) {
                        let k = axes.len();
                        return Err(Error::index(
                            "index",
                            format!("index {i} is out of bounds for axis {k} with extent {n}"),
                        ));
                    }
                    axes.push(if joins {
                        Taken::Array(create::full([0usize; 0], lazuli_ir::Scalar::i64(*i as i64))?)
                    } else {
                        Taken::One(*i)
                    });
                }
                Item::Array(index) => {
                    if !index.dtype().is_integer() {
                        return Err(Error::index(
                            "index",
                            format!("an index array must have an integer dtype, not {}", index.dtype()),
                        ));
                    }
                    axes.push(Taken::Array(index.clone()));
                }
            }
            if joins {
                first.get_or_insert(out);
                gap |= last.is_some_and(|l| l != out + place_new.len());
                last = Some(out + place_new.len());
            }
        }
        // As in NumPy: index arrays that stand side by side are replaced in place, others go to the front.
        let at = if gap { 0 } else { first.unwrap_or(0) };
        let positions: usize =
            axes.iter().filter_map(|t| if let Taken::Array(i) = t { Some(i.ndim()) } else { None }).max().unwrap_or(0);
        // A new axis stands behind the positions if the arrays come before it, or if they went to the front.
        for (k, (p, behind)) in place_new.into_iter().enumerate() {
            new.push((if behind || gap { p + positions } else { p } + k) as isize);
        }
        Ok(Plan { axes, at, new })
    }

    fn arrays(&self) -> Vec<(usize, &Array)> {
        let taken = self.axes.iter().enumerate();
        taken.filter_map(|(i, t)| if let Taken::Array(a) = t { Some((i, a)) } else { None }).collect()
    }
    /// The slices of the axes; full where arrays index.
    fn bounds(&self) -> Vec<Bound> {
        let bound = |t: &Taken| match t {
            Taken::Bound(b) => *b,
            // The stop of −1 would be 0, which is before it: the end instead.
            Taken::One(i) => Bound { start: Some(*i), stop: if *i == -1 { None } else { Some(i + 1) }, step: 1 },
            Taken::Array(_) => FULL,
        };
        self.axes.iter().map(bound).collect()
    }
    /// Axes that integers drop.
    fn dropped(&self) -> Vec<isize> {
        let one = |(i, t): (usize, &Taken)| matches!(t, Taken::One(_)).then_some(i as isize);
        self.axes.iter().enumerate().filter_map(|(i, t)| one((i, t))).collect()
    }
    /// Axis numbers of the arrays once the integers' axes are gone.
    fn gathered(&self) -> Vec<usize> {
        let dropped = self.dropped();
        self.arrays().iter().map(|&(i, _)| i - dropped.iter().filter(|&&d| (d as usize) < i).count()).collect()
    }
}

/// The elements that an index names.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_core::ops::{self, Bound, Item};
/// let x = array([[1, 2, 3], [4, 5, 6]]);
/// let second_of_each = [Item::Slice(Bound::ALL), Item::Int(1)];
/// assert_eq!(ops::get(&x, &second_of_each)?.to_vec::<i32>(), [2, 5]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn get(a: &Array, items: &[Item]) -> Result<Array> {
    let plan = Plan::new(a, items)?;
    let mut out = super::slice(a, &plan.bounds())?;
    let dropped = plan.dropped();
    if !dropped.is_empty() {
        out = squeeze(&out, Some(&dropped))?;
    }
    let arrays = plan.arrays();
    if !arrays.is_empty() {
        let axes = plan.gathered();
        let indices: Vec<Array> = arrays.iter().map(|&(_, a)| a.clone()).collect();
        out = gather(&out, &indices, &axes)?;
        let positions = common(&indices)?.len();
        // Positions are in front; those that stand in place move back, one by one behind each other.
        for _ in 0..if plan.at > 0 { positions } else { 0 } {
            out = moveaxis(&out, 0, (plan.at + positions - 1) as isize)?;
        }
    }
    expand_dims(&out, &plan.new)
}

/// The shape that index arrays broadcast to. In a shapeless trace only its rank may be used.
fn common(indices: &[Array]) -> Result<Shape> {
    indices.iter().try_fold(Shape::new(), |s, i| shape::broadcast("index", &s, &i.aval().shape))
}

/// Elements at positions along several axes at once: the axes of the positions, then those of `a` that were not indexed.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([[1, 2], [3, 4], [5, 6]]);
/// let positions = [array([0, 2]), array([1, 0])];
/// assert_eq!(ops::gather(&x, &positions, &[0, 1])?.to_vec::<i32>(), [2, 5]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn gather(a: &Array, indices: &[Array], axes: &[usize]) -> Result<Array> {
    let whole = |axis: usize| Dim::Of { operand: 0, axis: axis as u32 };
    let sizes = (0..a.ndim()).map(|i| if axes.contains(&i) { Dim::Known(1) } else { whole(i) }).collect();
    let inputs: Vec<&Array> = std::iter::once(a).chain(indices).collect();
    let out = record(Gather { axes: axes.into(), slice_sizes: sizes }, &inputs, &[a])?.remove(0);
    let positions = common(indices)?.len();
    let ones: Vec<isize> = axes.iter().map(|&i| (positions + i) as isize).collect();
    squeeze(&out, Some(&ones))
}

/// `a` with `value` put in place of (or combined with) the elements that an index names. Where positions repeat, `Add` and its like combine all of
/// them, and the last one assigned stays.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_core::ops::{self, Item, ScatterOp};
/// let x = array([1, 2, 3]);
/// let twice = ops::update(&x, &[Item::Array(array([0, 0]))], &array([10]), ScatterOp::Add)?;
/// assert_eq!(twice.to_vec::<i32>(), [21, 2, 3]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn update(a: &Array, items: &[Item], value: &Array, op: ScatterOp) -> Result<Array> {
    let indices = items.iter().filter_map(|i| if let Item::Array(i) = i { Some(i) } else { None });
    let inputs: Vec<&Array> = [a, value].into_iter().chain(indices).collect();
    let items = items.iter().map(|item| item.map(|_| ())).collect();
    Ok(ByShape::IndexUpdate { items, op }.apply(&inputs)?.remove(0))
}

pub(crate) fn updated(a: &Array, items: &[Item], value: &Array, op: ScatterOp) -> Result<Array> {
    let plan = Plan::new(a, items)?;
    let value = astype(value, a.dtype())?;
    let target = result_extents(a, &plan)?;
    let shape_of = |value: &Array| value.aval().shape.clone();
    let mut value = match value.ndim() > target.len() {
        // Leading axes of extent 1 are dropped, as in NumPy's assignment.
        true if shape_of(&value)[..value.ndim() - target.len()].iter().all(|&n| n == 1) => {
            reshape(&value, value.dims()[value.ndim() - target.len()..].to_vec())?
        }
        _ => value,
    };
    value = broadcast_to(&value, &target).map_err(|_| {
        let want: Shape = target.iter().map(|extent| extent.get() as usize).collect();
        let (got, want) = (shape::show(&shape_of(&value)), shape::show(&want));
        Error::value(
            "index_update",
            format!("a value of shape {got} does not broadcast to the indexed part, which has shape {want}"),
        )
    })?;
    if !plan.new.is_empty() {
        value = squeeze(&value, Some(&plan.new))?;
    }
    let arrays = plan.arrays();
    if arrays.is_empty() {
        let value = expand_dims(&value, &plan.dropped())?;
        return apply(SliceUpdate { bounds: plan.bounds().into(), op }, &[a, &value]);
    }
    scatter(a, &plan, &value, op)
}

/// The extents of what an index names, new axes included.
fn result_extents(a: &Array, plan: &Plan) -> Result<Vec<Extent>> {
    let mut kept: Vec<Extent> = Vec::new();
    for (i, taken) in plan.axes.iter().enumerate() {
        match taken {
            Taken::Bound(FULL) => kept.push(a.dim(i as isize).into()),
            // For other shapes it is what a slice has there.
            Taken::Bound(b) if is_symbolic(a) => kept.push(slice_axis(a, i as isize, *b)?.dim(i as isize).into()),
            Taken::Bound(b) => kept.push(b.resolve(a.extent(i)).1.into()),
            Taken::One(_) | Taken::Array(_) => {}
        }
    }
    let indices: Vec<Array> = plan.arrays().iter().map(|&(_, a)| a.clone()).collect();
    kept.splice(plan.at..plan.at, common_extents("index", &indices)?);
    for &at in &plan.new {
        kept.insert(at as usize, 1.into());
    }
    Ok(kept)
}

/// An update through index arrays: slices beside them become positions too.
#[track_caller]
fn scatter(a: &Array, plan: &Plan, value: &Array, op: ScatterOp) -> Result<Array> {
    let arrays: Vec<Array> = plan.arrays().iter().map(|&(_, a)| a.clone()).collect();
    let positions = common(&arrays)?.len();
    // Positions first, then the kept axes: the order that Scatter takes.
    let mut value = value.clone();
    for k in 0..positions {
        value = moveaxis(&value, (plan.at + k) as isize, k as isize)?;
    }
    let is_whole = |b: &Bound, n: usize| b.step == 1 && b.resolve(n) == (0, n);
    // Every axis that is not taken whole is indexed by an array over (positions…, partial slices…).
    let is_partial = |&i: &usize| matches!(&plan.axes[i], Taken::Bound(b) if *b != FULL && !is_whole(b, a.extent(i)));
    let partial: Vec<usize> = (0..a.ndim()).filter(is_partial).collect();
    let (mut axes, mut indices) = (Vec::new(), Vec::new());
    for (i, taken) in plan.axes.iter().enumerate() {
        let index = match taken {
            Taken::Array(index) => {
                let mut to = index.dims().extents();
                to.extend(partial.iter().map(|_| Extent::Known(1)));
                reshape(index, &to)?
            }
            Taken::One(at) => create::full([0usize; 0], lazuli_ir::Scalar::i64(*at as i64))?,
            Taken::Bound(b) => {
                let Some(k) = partial.iter().position(|&p| p == i) else { continue };
                let ((start, n), step) = (b.resolve(a.extent(i)), b.step);
                let range =
                    create::arange(start as f64, (start as isize + step * n as isize) as f64, step as f64, DType::I64)?;
                let mut to = vec![1isize; partial.len() - k];
                to[0] = n as isize;
                reshape(&range, &to)?
            }
        };
        axes.push(i);
        indices.push(index);
    }
    // The value's axes: positions, partial slices (in order of axis), whole axes; then extents 1 at the indexed axes.
    let kept: Vec<usize> = (0..a.ndim()).filter(|&i| matches!(plan.axes[i], Taken::Bound(_))).collect();
    let order: Vec<isize> = (0..positions as isize)
        .chain(
            partial
                .iter()
                .chain(kept.iter().filter(|i| !partial.contains(i)))
                .map(|i| (positions + kept.iter().position(|k| k == i).expect("a kept axis")) as isize),
        )
        .collect();
    value = super::transpose(&value, Some(&order))?;
    let lead = positions + partial.len();
    value = expand_dims(&value, &axes.iter().map(|&i| (lead + i) as isize).collect::<Vec<_>>())?;
    let inputs: Vec<&Array> = std::iter::once(a).chain(&indices).chain(std::iter::once(&value)).collect();
    apply(Scatter { axes: axes.into_iter().collect(), op }, &inputs)
}

/// Elements at integer positions along an axis: the axis is replaced by the axes of `indices`. Of the flattened array if no axis is given.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([[1, 2], [3, 4], [5, 6]]);
/// assert_eq!(ops::take(&x, &array([2, 0]), Some(0))?.to_vec::<i32>(), [5, 6, 1, 2]);
/// assert_eq!(ops::take(&x, &array([3]), None)?.to_vec::<i32>(), [4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn take(a: &Array, indices: &Array, at: Option<isize>) -> Result<Array> {
    let (a, at) = if let Some(at) = at { (a.clone(), at) } else { (reshape(a, [-1])?, 0) };
    let axis = axis("take", at, a.ndim())?;
    let mut items = vec![Item::Slice(FULL); axis];
    items.push(Item::Array(indices.clone()));
    get(&a, &items)
}

/// Elements at positions along one axis, where `indices` has as many axes as `a` and the others run along.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([[3, 1], [2, 4]]);
/// let order = ops::argsort(&x, Some(1))?;
/// assert_eq!(ops::take_along_axis(&x, &order, Some(1))?.to_vec::<i32>(), [1, 3, 2, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn take_along_axis(a: &Array, indices: &Array, at: Option<isize>) -> Result<Array> {
    let Some(at) = at else {
        return apply(GatherAxis { axis: 0 }, &[&reshape(a, [-1])?, &reshape(indices, [-1])?]);
    };
    apply(GatherAxis { axis: axis("take_along_axis", at, a.ndim())? }, &[a, indices])
}

/// `a` with `values` at positions along one axis.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_core::ops::{self, ScatterOp};
/// let (x, at) = (array([[1, 2], [3, 4]]), array([[1], [0]]));
/// let y = ops::put_along_axis(&x, &at, &array([[10]]), Some(1), ScatterOp::Add)?;
/// assert_eq!(y.to_vec::<i32>(), [1, 12, 13, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn put_along_axis(a: &Array, indices: &Array, values: &Array, at: Option<isize>, op: ScatterOp) -> Result<Array> {
    let values = astype(values, a.dtype())?;
    let Some(at) = at else {
        let flat = reshape(a, [-1])?;
        let indices = reshape(indices, [-1])?;
        let values = broadcast_to(&reshape(&values, [-1])?, indices.dims())?;
        let out = apply(ScatterAxis { axis: 0, op }, &[&flat, &indices, &values])?;
        return reshape(&out, a.dims());
    };
    let values = broadcast_to(&values, indices.dims())?;
    apply(ScatterAxis { axis: axis("put_along_axis", at, a.ndim())?, op }, &[a, indices, &values])
}

/// The part of one axis that `start:stop:step` names.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_core::ops::{self, Bound};
/// let x = array([[1, 2, 3], [4, 5, 6]]);
/// assert_eq!(ops::slice_axis(&x, -1, Bound::range(1, 3))?.to_vec::<i32>(), [2, 3, 5, 6]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn slice_axis(a: &Array, at: isize, bound: Bound) -> Result<Array> {
    let mut bounds = vec![FULL; a.ndim()];
    bounds[axis("slice", at, a.ndim())?] = bound;
    super::slice(a, &bounds)
}
