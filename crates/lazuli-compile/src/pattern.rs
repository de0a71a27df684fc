//! What the extents of a graph have in common with those of the same graph for other inputs.

use lazuli_kernel::hash::Map;
use lazuli_kernel::{shape::is_same, small};
use smallvec::SmallVec;

/// Which of the extents and sizes of some shapes, as those of a graph's variables, are one number, which of the extents are 0 or 1, and of which order of magnitude the others are that inputs have.
///
/// A schedule is right for all extents of one pattern, as it asks of them only whether they are equal, or 1, and of what it splits whether they are
/// [multiples](crate::fuse::Schedule::can_split); and as good for each, as no extent of an input is twice another, or the schedule for one would be the same. What is computed from these may be small or large: n - 16 has other orders of magnitude
/// than n, and a program with many such numbers would have a pattern for few n each.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// Of each shape which it is of those that differ.
    shapes: Vec<u32>,
    /// Of each shape that differs from those before, where it is first, how many axes there are, and the classes of the extents and of the size.
    different: Vec<u32>,
    /// Where that of each begins.
    starts: Vec<u32>,
    /// What each class was.
    numbers: Vec<usize>,
    /// Of each class how much of its number has to be as it was.
    likeness: Vec<Likeness>,
    /// The orders of magnitude that numbers may have, of the classes of which they count.
    magnitudes: Vec<Magnitudes>,
}

/// How well something that was made for extents of a pattern has to be for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It gives the right results for them, and may be slower than what would be made for them: they have the pattern, or would have it if they were of other orders of magnitude, and if numbers of two classes
    /// did not happen to be equal. Nothing relies on numbers that differ, but for what says so where it decides by them.
    Right,
    /// It may be slower for their orders of magnitude alone.
    Alike,
    /// It is as good for them: they have the pattern.
    Good,
}

/// Orders of magnitude, by [`magnitude`].
type Magnitudes = SmallVec<[u8; 16]>;

fn magnitude(n: usize) -> u8 {
    n.checked_ilog2().map_or(0, |log| 1 + log as u8)
}

/// How alike two numbers of a class are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// A size that no extent is: not at all.
    Any,
    /// Both are 0, 1, or neither.
    Few,
    /// The same, and their orders of magnitude count.
    Magnitude,
}

/// Which extents and sizes of a pattern may be others, if no others are.
#[derive(Debug)]
pub(crate) struct MovingClasses {
    /// The shapes that have such, and how many of these next ones are theirs.
    shapes: Vec<(u32, u32)>,
    /// Which axis it is, and its class; the size comes behind the last axis.
    extents: Vec<(u32, u32)>,
    /// Of each class whether there are only such in it.
    pub classes: Vec<bool>,
}

/// The numbers of the classes of a pattern.
pub(crate) type ClassNumbers = SmallVec<[usize; 32]>;

impl Pattern {
    /// Of these shapes, where inputs have those.
    pub fn of<'a>(all: impl Iterator<Item = &'a [usize]>, inputs: impl Iterator<Item = &'a [usize]>) -> Pattern {
        let mut pattern = Pattern {
            shapes: Vec::with_capacity(all.size_hint().0),
            different: Vec::new(),
            starts: Vec::new(),
            numbers: Vec::new(),
            likeness: Vec::new(),
            magnitudes: Vec::new(),
        };
        let mut known: Map<&[usize], u32> = Map::default();
        let mut firsts = Vec::new();
        for (n, shape) in all.enumerate() {
            let number = *known.entry(shape).or_insert_with(|| {
                firsts.push((n as u32, shape));
                firsts.len() as u32 - 1
            });
            pattern.shapes.push(number);
        }
        let mut classes: Map<usize, u32> = Map::default();
        let mut class = |n: usize, likeness: Likeness| {
            let class = *classes.entry(n).or_insert_with(|| {
                pattern.numbers.push(n);
                pattern.likeness.push(likeness);
                pattern.numbers.len() as u32 - 1
            });
            let own = &mut pattern.likeness[class as usize];
            *own = likeness.max(*own);
            class
        };
        for &n in firsts.iter().flat_map(|(_, shape)| *shape) {
            class(n, Likeness::Few);
        }
        for &n in inputs.flatten() {
            class(n, Likeness::Magnitude);
        }
        for (first, shape) in firsts {
            pattern.starts.push(pattern.different.len() as u32);
            pattern.different.extend([first, shape.len() as u32]);
            pattern
                .different
                .extend(shape.iter().copied().chain([shape.iter().product()]).map(|n| class(n, Likeness::Any)));
        }
        pattern.magnitudes = vec![pattern.magnitudes_of(&pattern.numbers)];
        pattern
    }

    /// The numbers of the classes, if so many shapes have this pattern.
    pub fn fits<'a>(&self, all: impl ExactSizeIterator<Item = &'a [usize]> + Clone, fit: Fit) -> Option<ClassNumbers> {
        let numbers = self.numbers_of(all, fit)?;
        self.has_magnitudes(&numbers, fit).then_some(numbers)
    }
    /// Numbers may have the magnitudes of these shapes too from now on. Whether these have the pattern otherwise.
    pub fn widen<'a>(&mut self, all: impl ExactSizeIterator<Item = &'a [usize]> + Clone) -> bool {
        let Some(numbers) = self.numbers_of(all, Fit::Alike) else { return false };
        let magnitudes = self.magnitudes_of(&numbers);
        if !self.magnitudes.contains(&magnitudes) {
            self.magnitudes.push(magnitudes);
        }
        true
    }

    /// What may move, if of each shape these extents may be others.
    pub fn moving<'a>(&self, moving: impl Iterator<Item = &'a [bool]>) -> MovingClasses {
        let mut of = MovingClasses { shapes: vec![], extents: vec![], classes: vec![false; self.numbers.len()] };
        let mut stays = vec![false; self.numbers.len()];
        for (shape, axes) in moving.enumerate() {
            let (classes, size) = self.classes(shape);
            let before = of.extents.len();
            for (axis, (&class, &moves)) in (0..).zip(classes.iter().zip(axes)) {
                match moves {
                    true => of.extents.push((axis, class)),
                    false => stays[class as usize] = true,
                }
            }
            match of.extents.len() - before {
                0 => stays[size as usize] = true,
                n => {
                    of.extents.push((classes.len() as u32, size));
                    of.shapes.push((shape as u32, n as u32 + 1));
                }
            }
        }
        of.extents.iter().for_each(|&(_, class)| of.classes[class as usize] = !stays[class as usize]);
        of
    }
    /// Sets the numbers of the classes that move to those of other shapes; whether these have the pattern. The others are as they are.
    pub fn follow<'a>(
        &self,
        MovingClasses { shapes, extents, classes }: &MovingClasses,
        shape: impl Fn(usize) -> &'a [usize],
        fit: Fit,
        numbers: &mut ClassNumbers,
    ) -> bool {
        let mut is_set: SmallVec<[bool; 32]> = small(classes.iter().map(|moves| !moves));
        let mut rest = &extents[..];
        for &(of, count) in shapes {
            let shape = shape(of as usize);
            for &(axis, class) in rest.split_off(..count as usize).expect("each has its own") {
                let n = shape.get(axis as usize).copied().unwrap_or_else(|| shape.iter().product());
                let number = &mut numbers[class as usize];
                match std::mem::replace(&mut is_set[class as usize], true) {
                    false if self.is_alike(class as usize, n, fit) => *number = n,
                    true if *number == n => {}
                    _ => return false,
                }
            }
        }
        self.has_magnitudes(numbers, fit) && (fit < Fit::Alike || are_different(numbers))
    }

    /// Whether a class may have this number.
    fn is_alike(&self, class: usize, n: usize, fit: Fit) -> bool {
        let was = self.numbers[class];
        // Most shapes that do not fit are told by their magnitudes.
        let may_be = fit < Fit::Good || self.likeness[class] < Likeness::Magnitude || self.magnitudes.len() > 1;
        (self.likeness[class] == Likeness::Any || n.min(2) == was.min(2)) && (may_be || magnitude(n) == magnitude(was))
    }
    fn has_magnitudes(&self, numbers: &[usize], fit: Fit) -> bool {
        fit < Fit::Good || self.magnitudes.contains(&self.magnitudes_of(numbers))
    }
    fn magnitudes_of(&self, numbers: &[usize]) -> Magnitudes {
        let counts = numbers.iter().zip(&self.likeness).filter(|(_, likeness)| **likeness == Likeness::Magnitude);
        counts.map(|(&n, _)| magnitude(n)).collect()
    }
    /// The numbers of the classes. Of several orders of magnitude that they may have together none is looked for yet.
    fn numbers_of<'a>(
        &self,
        all: impl ExactSizeIterator<Item = &'a [usize]> + Clone,
        fit: Fit,
    ) -> Option<ClassNumbers> {
        if all.len() != self.shapes.len() {
            return None;
        }
        const NONE: usize = usize::MAX;
        let mut now = ClassNumbers::from_elem(NONE, self.numbers.len());
        let mut firsts: SmallVec<[&[usize]; 32]> = SmallVec::new();
        let (mut rest, mut at) = (all.clone(), 0);
        let mut different = self.different.iter().map(|n| *n as usize);
        while let (Some(first), Some(rank)) = (different.next(), different.next()) {
            let shape = rest.nth(first - at).filter(|shape| shape.len() == rank)?;
            at = first + 1;
            for n in shape.iter().copied().chain([shape.iter().product()]) {
                let class = different.next()?;
                match &mut now[class] {
                    known if *known == NONE && self.is_alike(class, n, fit) => *known = n,
                    known if *known == n => {}
                    _ => return None,
                }
            }
            firsts.push(shape);
        }
        if !all.zip(&self.shapes).all(|(shape, number)| is_same(shape, firsts[*number as usize])) {
            return None;
        }
        (fit < Fit::Alike || are_different(&now)).then_some(now)
    }

    /// What each class was.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }
    /// The classes of the extents of a shape, by its place among all, and that of its size.
    pub fn classes(&self, shape: usize) -> (&[u32], u32) {
        let start = self.starts[self.shapes[shape] as usize] as usize + 2;
        let rank = self.different[start - 1] as usize;
        (&self.different[start..start + rank], self.different[start + rank])
    }
}

/// Numbers of two classes are two numbers.
fn are_different(numbers: &ClassNumbers) -> bool {
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pattern of these, all of which inputs have.
    fn of(shapes: &[&[usize]]) -> Pattern {
        Pattern::of(shapes.iter().copied(), shapes.iter().copied())
    }
    fn is_of(shapes: &[&[usize]], pattern: &Pattern) -> bool {
        pattern.fits(shapes.iter().copied(), Fit::Good).is_some()
    }

    #[test]
    fn what_fits_a_pattern() {
        let own: &[&[usize]] = &[&[5, 8], &[8, 8], &[5, 1], &[]];
        let fits = |shapes: &[&[usize]]| is_of(shapes, &of(own));
        assert!(fits(own));
        assert!(fits(&[&[7, 8], &[8, 8], &[7, 1], &[]]));
        assert!(fits(&[&[6, 9], &[9, 9], &[6, 1], &[]]));
        let others: &[(&str, &[&[usize]])] = &[
            ("equal extents", &[&[8, 8], &[8, 8], &[8, 1], &[]]),
            ("extents that differ", &[&[7, 8], &[8, 8], &[6, 1], &[]]),
            ("another magnitude", &[&[9, 8], &[8, 8], &[9, 1], &[]]),
            ("a one", &[&[1, 8], &[8, 8], &[1, 1], &[]]),
            ("a zero", &[&[0, 8], &[8, 8], &[0, 1], &[]]),
            ("no one", &[&[5, 8], &[8, 8], &[5, 2], &[]]),
            ("another rank", &[&[5, 8], &[8, 8], &[5], &[]]),
            ("fewer", &[&[5, 8], &[8, 8], &[5, 1]]),
            ("more", &[&[5, 8], &[8, 8], &[5, 1], &[], &[]]),
        ];
        for (why, shapes) in others {
            assert!(!fits(shapes), "{why}");
        }
        // Sizes are numbers too: 3·10 and 5·6 are equal, 2·10 and 5·6 are not.
        let sizes = of(&[&[3, 10], &[5, 6]]);
        assert!(!is_of(&[&[2, 10], &[5, 6]], &sizes));
        // Their magnitude is no part of the pattern: 5·50 is under 256, 7·50 is not.
        assert!(is_of(&[&[7, 50]], &of(&[&[5, 50]])));
        // Nor is that of what no input has, but whether it is 0 or 1.
        let computed = Pattern::of([&[20][..], &[4]].into_iter(), [&[20][..]].into_iter());
        assert!(is_of(&[&[31], &[15]], &computed));
        for others in [[&[17][..], &[1]], [&[16], &[0]], [&[32], &[16]]] {
            assert!(!is_of(&others, &computed), "{others:?}");
        }
        // What numbers differ may be equal, where it need only be right.
        let fit =
            |n: usize, fit: Fit| of(&[&[20, 8], &[40, 8]]).fits([&[n, 8][..], &[2 * n, 8]].into_iter(), fit).is_some();
        for (n, most) in [(21, Some(Fit::Good)), (40, Some(Fit::Alike)), (8, Some(Fit::Right)), (1, None)] {
            let fits = [Fit::Right, Fit::Alike, Fit::Good].map(|of| fit(n, of));
            assert_eq!(fits, [Fit::Right, Fit::Alike, Fit::Good].map(|of| Some(of) <= most), "{n}");
        }
        // Other magnitudes may be let in.
        let mut wide = computed;
        assert!(wide.widen([&[40][..], &[24]].into_iter()));
        assert!(is_of(&[&[63], &[47]], &wide) && is_of(&[&[31], &[15]], &wide) && !is_of(&[&[64], &[48]], &wide));
        assert!(!wide.widen([&[17][..], &[1]].into_iter()));
    }
}
