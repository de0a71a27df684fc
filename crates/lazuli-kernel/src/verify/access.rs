//! The bytes that a step touches through one argument, and whether two such sets meet.
//!
//! Bytes are counted in 64 bits: a slot has no more, so that what does not fit is out of bounds.

use crate::noted::{Arithmetic, Operation};
use smallvec::SmallVec;

/// The memory behind a slot: two slots overlap only within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Space {
    Input(u32),
    Output(u32),
    Arena,
}

/// Where a slot lies: its space, its first byte there, and the one behind its last.
pub(super) type Place<N> = (Space, N, N);

/// How the bytes that are touched follow from the indices, up to where they begin.
#[derive(Debug, Clone)]
pub(super) struct IndexMap<N> {
    /// Extent of each loop axis, and its stride in elements.
    pub axes: SmallVec<[(N, N); 4]>,
    pub itemsize: i64,
    /// Each point of a kernel touches the one element that its indices give. Not so computed positions and library calls.
    pub pointwise: bool,
}

/// A range of bytes: the first, and the one behind the last.
type Span<N> = (N, N);

/// Whether two ranges have a byte in common. Which of two that have none is the first one does not matter, so that it is not asked.
#[inline]
fn overlap<A: Arithmetic>(cx: &mut A, a: Span<A::N>, b: Span<A::N>) -> bool {
    match (cx.greatest(a.0, b.0), cx.least(a.1, b.1)) {
        (Some(first), Some(end)) => cx.less(first, end),
        _ => true,
    }
}

impl<N: Copy> IndexMap<N> {
    /// The bytes that are touched as a whole, if there is a point, counted from the byte where all indices are 0; None if they are more than memory has.
    #[inline]
    fn span<A: Arithmetic<N = N>>(&self, cx: &mut A) -> Option<Span<N>> {
        let (mut low, mut high) = (A::fixed(0), A::fixed(self.itemsize));
        for &(extent, stride) in &self.axes {
            let step = cx.times(stride, self.itemsize)?;
            let last = cx.sum(extent, A::fixed(-1))?;
            let reach = cx.product(last, step)?;
            match cx.less(reach, A::fixed(0)) {
                true => low = cx.sum(low, reach)?,
                false => high = cx.sum(high, reach)?,
            }
        }
        Some((low, high))
    }

    /// Whether two points never share an element: sorted by stride, each axis steps over all that the ones below it span.
    #[inline]
    fn is_injective<A: Arithmetic<N = N>>(&self, cx: &mut A) -> Option<bool> {
        // Most often they are sorted, the innermost last.
        let mut long: SmallVec<[(N, N); 4]> = SmallVec::new();
        for &(extent, stride) in self.axes.iter().rev() {
            if cx.is_many(extent) {
                long.push((extent, cx.magnitude(stride)?));
            }
        }
        if steps_over(cx, &long)? {
            return Some(true);
        }
        long.sort_by(|(_, a), (_, b)| cx.compare(*a, *b));
        steps_over(cx, &long)
    }

    /// Extent and stride of an axis that it moves along; None for any other.
    fn moves_along<A: Arithmetic<N = N>>(&self, cx: &mut A, axis: usize) -> Option<(N, N)> {
        let &(extent, stride) = self.axes.get(axis)?;
        (!cx.is(stride, 0) && cx.is_many(extent)).then_some((extent, stride))
    }

    /// Whether both lead to the same bytes from the same beginning, at every point of a binding that they are of.
    fn agrees<A: Arithmetic<N = N>>(&self, cx: &mut A, other: &Self) -> bool {
        let rank = self.axes.len().max(other.axes.len());
        self.pointwise
            && other.pointwise
            && self.itemsize == other.itemsize
            && (0..rank).all(|axis| match (self.moves_along(cx, axis), other.moves_along(cx, axis)) {
                (Some((n, s)), Some((m, t))) => cx.equal(n, m) && cx.equal(s, t),
                (None, None) => true,
                _ => false,
            })
    }

    /// The same with each axis along which it moves by multiples of `step` left at its beginning.
    fn within<A: Arithmetic<N = N>>(&self, cx: &mut A, step: N) -> Option<Self> {
        let mut axes = SmallVec::new();
        for &(extent, stride) in &self.axes {
            let bytes = cx.times(stride, self.itemsize)?;
            let rest = cx.compute(Operation::Remainder, bytes, step)?;
            if !cx.is(rest, 0) {
                axes.push((extent, stride));
            }
        }
        Some(Self { axes, ..*self })
    }

    /// All that it touches lies such a multiple of bytes from its beginning; 0 if it is one element.
    fn step<A: Arithmetic<N = N>>(&self, cx: &mut A) -> Option<N> {
        let mut step = A::fixed(0);
        for &(extent, stride) in self.axes.iter().rev() {
            if cx.is_many(extent) {
                let stride = cx.times(stride, self.itemsize)?;
                step = cx.compute(Operation::Divisor, step, stride)?;
            }
        }
        Some(step)
    }
}

/// Whether each axis steps over all elements that the ones before it span. None beyond memory.
#[inline]
fn steps_over<A: Arithmetic>(cx: &mut A, axes: &[(A::N, A::N)]) -> Option<bool> {
    let mut reach = A::fixed(1);
    for &(extent, stride) in axes {
        if cx.less(stride, reach) {
            return Some(false);
        }
        let last = cx.sum(extent, A::fixed(-1))?;
        let over = cx.product(last, stride)?;
        reach = cx.sum(reach, over)?;
    }
    Some(true)
}

/// The bytes that one argument of a step touches, one element per point of the step's loop space.
#[derive(Debug)]
struct Access<N> {
    space: Space,
    /// Byte of the space where all indices are 0.
    base: N,
    span: Span<N>,
    map: IndexMap<N>,
    /// Which binding of a launch it belongs to.
    binding: u32,
    /// The one before it in its chain.
    before: u32,
    writes: bool,
}

impl<N: Copy> Access<N> {
    /// Whether every point of one binding of a step touches the same bytes through both, if their spaces are one.
    fn is_at_same_points<A: Arithmetic<N = N>>(&self, cx: &mut A, other: &Self) -> bool {
        self.binding == other.binding && cx.equal(self.base, other.base) && self.map.agrees(cx, &other.map)
    }

    /// Whether a point may touch through one what another point touches through the other, were their spaces one: they are not a read and a write of each point's own element, and do
    /// not lie apart, nor interleave as the parts of complex numbers do, or columns of one array.
    #[inline]
    fn meets<A: Arithmetic<N = N>>(&self, cx: &mut A, other: &Self) -> bool {
        overlap(cx, self.span, other.span)
            && !(self.writes != other.writes && self.is_at_same_points(cx, other))
            && !self.interleaves(cx, other).unwrap_or(false)
    }

    fn interleaves<A: Arithmetic<N = N>>(&self, cx: &mut A, other: &Self) -> Option<bool> {
        let (own, others) = (self.map.step(cx)?, other.map.step(cx)?);
        let step = cx.compute(Operation::Divisor, own, others)?;
        if self.is_apart_in(cx, other, step)? {
            return Some(true);
        }
        for &(extent, stride) in self.map.axes.iter().rev() {
            let row = cx.magnitude(stride)?;
            let row = cx.times(row, self.map.itemsize)?;
            if cx.is_many(extent) && self.is_apart_in(cx, other, row)? {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Whether all that is touched through one lies beside what is touched through the other, in each stretch of `step` bytes.
    fn is_apart_in<A: Arithmetic<N = N>>(&self, cx: &mut A, other: &Self, step: N) -> Option<bool> {
        if cx.is(step, 0) {
            return Some(false);
        }
        let (begin, length) = self.stretch(cx, step)?;
        let (gap, end) = other.stretch_from(cx, begin, step)?;
        Some(!cx.less(gap, length) && !cx.less(step, end))
    }

    /// Of all that is touched, moved by multiples of `step` bytes into one stretch: the first byte, and how many there are.
    fn stretch<A: Arithmetic<N = N>>(&self, cx: &mut A, step: N) -> Option<(N, N)> {
        let (low, high) = self.map.within(cx, step)?.span(cx)?;
        let back = cx.times(low, -1)?;
        Some((cx.sum(self.base, low)?, cx.sum(high, back)?))
    }

    /// That from another first byte on, in stretches that begin there: where it begins, and where it ends.
    fn stretch_from<A: Arithmetic<N = N>>(&self, cx: &mut A, first: N, step: N) -> Option<Span<N>> {
        let (begin, length) = self.stretch(cx, step)?;
        let back = cx.times(first, -1)?;
        let apart = cx.sum(begin, back)?;
        let gap = cx.compute(Operation::Remainder, apart, step)?;
        Some((gap, cx.sum(gap, length)?))
    }
}

/// Why an access is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It leaves its slot.
    Beyond,
    /// Two points write one element.
    Twice,
}

/// The number of no step and of no access.
const NONE: u32 = u32::MAX;

/// Accesses of one step to a slot that donations speak of, as a chain.
#[derive(Debug, Clone, Copy)]
struct Chain {
    step: u32,
    /// The one that was added last.
    last: u32,
}

impl Chain {
    const EMPTY: Chain = Chain { step: NONE, last: NONE };

    /// Adds an access of a step, which begins the chain anew if it is of another one. The one before it.
    #[inline]
    fn add(&mut self, step: u32, number: u32) -> u32 {
        let before = if self.step == step { self.last } else { NONE };
        *self = Chain { step, last: number };
        before
    }
}

/// Of the accesses to an output.
#[derive(Debug, Clone, Copy)]
struct Output {
    is_donated: bool,
    /// Those of the first step that writes it.
    writes: Chain,
    /// The last step that touches it, and its first access; none if there are more.
    alone: (u32, u32),
}

/// What steps touch: one binding after another, step by step. Kept is what may be in another's way: accesses of the step but to inputs, which nothing writes, and those to slots that
/// donations speak of.
#[derive(Debug)]
pub(super) struct Accesses<N> {
    list: Vec<Access<N>>,
    /// Where those of the step begin.
    first: usize,
    /// Whether those of the step are kept behind it.
    is_kept: bool,
    /// The numbers of those of the step that may meet others: to the arena, and to outputs that are touched more than once. How many of them write.
    crowd: Vec<u32>,
    crowd_writes: usize,
    /// Of each input, whether it may be donated, and accesses of the last step that reads it.
    reads: Vec<(bool, Chain)>,
    outputs: Vec<Output>,
    step: u32,
    binding: u32,
    /// Whether what is added now is read and written in an order that is not that of points.
    pub as_wholes: bool,
}

impl<N: Copy> Accesses<N> {
    /// Of a plan of so many inputs and outputs, with these donations. Slots that there are not are left out.
    pub fn new(inputs: usize, outputs: usize, donations: &[(u32, u32)]) -> Self {
        let mut reads = vec![(false, Chain::EMPTY); inputs];
        let mut of = vec![Output { is_donated: false, writes: Chain::EMPTY, alone: (NONE, NONE) }; outputs];
        for &(output, input) in donations {
            if let (Some(to), Some((is_donated, _))) = (of.get_mut(output as usize), reads.get_mut(input as usize)) {
                (to.is_donated, *is_donated) = (true, true);
            }
        }
        Self {
            list: Vec::with_capacity(32),
            first: 0,
            is_kept: false,
            crowd: Vec::with_capacity(16),
            crowd_writes: 0,
            reads,
            outputs: of,
            step: NONE,
            binding: 0,
            as_wholes: false,
        }
    }

    /// Goes on to the step of this number.
    pub fn begin_step(&mut self, number: usize) {
        if !self.is_kept {
            self.list.truncate(self.first);
        }
        (self.first, self.is_kept) = (self.list.len(), false);
        self.crowd.clear();
        (self.step, self.binding, self.crowd_writes, self.as_wholes) = (number as u32, 0, 0, false);
    }

    /// Goes on to the binding of this number.
    pub fn begin_binding(&mut self, number: usize) {
        self.binding = number as u32;
    }

    /// Adds the access by a map that has points, from this element of a slot on, if it is well-formed.
    #[inline]
    pub fn add<A: Arithmetic<N = N>>(
        &mut self,
        cx: &mut A,
        mut map: IndexMap<N>,
        (space, start, end): Place<N>,
        offset: N,
        writes: bool,
    ) -> Result<(), Fault> {
        let mut reach = || {
            let (low, high) = map.span(cx)?;
            let first = cx.times(offset, map.itemsize)?;
            let base = cx.sum(first, start)?;
            Some((base, (cx.sum(base, low)?, cx.sum(base, high)?)))
        };
        let Some((base, span)) = reach() else { return Err(Fault::Beyond) };
        if cx.less(span.0, start) || cx.less(end, span.1) {
            return Err(Fault::Beyond);
        }
        if writes && !map.is_injective(cx).ok_or(Fault::Beyond)? {
            return Err(Fault::Twice);
        }
        let number = self.list.len() as u32;
        let mut before = NONE;
        match space {
            Space::Input(n) => {
                let (is_donated, reads) = &mut self.reads[n as usize];
                if !*is_donated {
                    return Ok(());
                }
                self.is_kept = true;
                before = reads.add(self.step, number);
            }
            Space::Output(n) => {
                let output = &mut self.outputs[n as usize];
                if writes && output.is_donated && [self.step, NONE].contains(&output.writes.step) {
                    self.is_kept = true;
                    before = output.writes.add(self.step, number);
                }
                if output.alone.0 != self.step {
                    output.alone = (self.step, number);
                } else {
                    let first = std::mem::replace(&mut output.alone.1, NONE);
                    if first != NONE {
                        self.crowd_writes += usize::from(self.list[first as usize].writes);
                        self.crowd.push(first);
                    }
                    self.crowd_writes += usize::from(writes);
                    self.crowd.push(number);
                }
            }
            Space::Arena => {
                self.crowd_writes += usize::from(writes);
                self.crowd.push(number);
            }
        }
        map.pointwise &= !self.as_wholes;
        self.list.push(Access { space, base, span, map, binding: self.binding, before, writes });
        Ok(())
    }

    /// Whether a write of the step meets any other access, but a read of each point's own element within a binding.
    pub fn conflict<A: Arithmetic<N = N>>(&self, cx: &mut A) -> bool {
        if self.crowd_writes == 0 {
            return false;
        }
        let at = |number: u32| &self.list[number as usize];
        if self.crowd_writes * self.crowd.len() <= FEW {
            for &write in &self.crowd {
                let to = at(write);
                if !to.writes {
                    continue;
                }
                for &number in &self.crowd {
                    let a = at(number);
                    if a.space == to.space && number != write && a.meets(cx, to) {
                        return true;
                    }
                }
            }
            return false;
        }
        // By first byte, with the end of all that begins no later: what may meet an access is a short run of them.
        let mut writes: Vec<u32> = self.crowd.iter().copied().filter(|&number| at(number).writes).collect();
        writes.sort_by(|&a, &b| {
            let (a, b) = (at(a), at(b));
            a.space.cmp(&b.space).then_with(|| cx.compare(a.span.0, b.span.0))
        });
        let is_one_space = |a: &u32, b: &u32| at(*a).space == at(*b).space;
        let apart: Vec<Space> = writes
            .chunk_by(is_one_space)
            .filter(|all| all.len() > MANY && self.are_columns(cx, all).unwrap_or(false))
            .map(|all| at(all[0]).space)
            .collect();
        let mut ends: Vec<N> = Vec::with_capacity(writes.len());
        for (n, &write) in writes.iter().enumerate() {
            let end = at(write).span.1;
            let before = (n > 0 && at(writes[n - 1]).space == at(write).space).then(|| ends[n - 1]);
            ends.push(before.filter(|&before| cx.less(end, before)).unwrap_or(end));
        }
        self.crowd.iter().any(|&number| {
            let a = at(number);
            if a.writes && apart.contains(&a.space) {
                // The reads are compared with it.
                return false;
            }
            let (low, high) = a.span;
            let first = writes.partition_point(|&w| at(w).space < a.space);
            let last =
                first + writes[first..].partition_point(|&w| at(w).space == a.space && cx.less(at(w).span.0, high));
            let first = first + ends[first..last].partition_point(|&end| !cx.less(low, end));
            writes[first..last].iter().any(|&write| number != write && a.meets(cx, at(write)))
        })
    }

    /// Whether these writes of one space are columns of one array, of which none meets another.
    fn are_columns<A: Arithmetic<N = N>>(&self, cx: &mut A, writes: &[u32]) -> Option<bool> {
        let first = &self.list[writes[0] as usize];
        for &(extent, stride) in first.map.axes.iter().rev() {
            let row = cx.magnitude(stride)?;
            let row = cx.times(row, first.map.itemsize)?;
            if !cx.is_many(extent) || cx.is(row, 0) {
                continue;
            }
            let (begin, _) = first.stretch(cx, row)?;
            let mut columns = Vec::with_capacity(writes.len());
            for &write in writes {
                columns.push(self.list[write as usize].stretch_from(cx, begin, row)?);
            }
            columns.sort_by(|(a, _), (b, _)| cx.compare(*a, *b));
            let (_, end) = columns[columns.len() - 1];
            if !cx.less(row, end) && columns.windows(2).all(|w| !cx.less(w[1].0, w[0].1)) {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Why an output cannot take over an input, both of which there are.
    pub fn hindrance<A: Arithmetic<N = N>>(&self, cx: &mut A, output: usize, input: usize) -> Option<&'static str> {
        let (writes, (_, reads)) = (self.outputs[output].writes, self.reads[input]);
        if writes.step == NONE || reads.step == NONE || reads.step < writes.step {
            return None;
        }
        if reads.step > writes.step {
            return Some("a later step reads the input");
        }
        let mut write = writes.last;
        while let Some(to) = self.list.get(write as usize) {
            let mut read = reads.last;
            while let Some(from) = self.list.get(read as usize) {
                if from.meets(cx, to) {
                    return Some("a step reads the input at other points than it writes");
                }
                read = from.before;
            }
            write = to.before;
        }
        None
    }
}

/// So many pairs of accesses are all compared.
const FEW: usize = 256;
/// More writes of one space are looked at as columns first.
const MANY: usize = 16;
