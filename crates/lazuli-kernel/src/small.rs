//! Short lists.

use smallvec::{Array, SmallVec};

/// The items as a list that lies in place while it is short. It is what `collect` gives, without a call: for a few items that takes longer than they do.
///
/// ```
/// use lazuli_kernel::{Shape, small};
/// let shape: Shape = small([2, 3].into_iter().filter(|n| n % 2 == 1));
/// assert_eq!(shape.as_slice(), [3]);
/// ```
#[inline(always)]
pub fn small<A: Array>(items: impl IntoIterator<Item = A::Item>) -> SmallVec<A> {
    let items = items.into_iter();
    let mut list = SmallVec::new();
    let (least, _) = items.size_hint();
    if least > list.inline_size() {
        list.reserve_exact(least);
    }
    for item in items {
        list.push(item);
    }
    list
}
