//! What the extents of a graph have in common with those of the same graph for other inputs.

use lazuli_ir::{Aval, Graph};
use lazuli_kernel::hash::Map;
use smallvec::SmallVec;

/// Which of a graph's extents and sizes are one number, and which of its extents are 0 or 1, and of which order of magnitude the others are.
///
/// A schedule is right for all extents of one pattern, as it asks of them only whether they are equal, or 1, and of what it splits whether they are
/// [multiples](crate::fuse::Schedule::can_split); and as good for each, as no extent is twice another.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// Of each variable, which shape it has.
    shapes: Vec<u32>,
    /// Of each shape the first variable that has it, how many axes there are, and the classes of the extents and of the size.
    variables: Vec<u32>,
    /// What each class was, the classes that have extents first.
    numbers: Vec<usize>,
    extents: usize,
}

impl Pattern {
    pub fn of(graph: &Graph) -> Pattern {
        let mut pattern = Pattern {
            shapes: Vec::with_capacity(graph.avals.len()),
            variables: Vec::new(),
            numbers: Vec::new(),
            extents: 0,
        };
        let mut known: Map<&[usize], u32> = Map::default();
        let mut firsts = Vec::new();
        for (v, aval) in graph.avals.iter().enumerate() {
            let shape = *known.entry(&aval.shape).or_insert_with(|| {
                firsts.push(v);
                firsts.len() as u32 - 1
            });
            pattern.shapes.push(shape);
        }
        let mut classes: Map<usize, u32> = Map::default();
        let mut class = |n: usize| {
            *classes.entry(n).or_insert_with(|| {
                pattern.numbers.push(n);
                pattern.numbers.len() as u32 - 1
            })
        };
        let shape = |v: &usize| graph.avals[*v].shape.iter().copied();
        pattern.extents = firsts.iter().flat_map(shape).map(|n| class(n) as usize + 1).max().unwrap_or(0);
        for v in &firsts {
            pattern.variables.extend([*v as u32, graph.avals[*v].rank() as u32]);
            pattern.variables.extend(shape(v).chain([graph.avals[*v].size()]).map(&mut class));
        }
        pattern
    }

    /// Whether the extents of a graph have this pattern.
    pub fn fits(&self, graph: &Graph) -> bool {
        let mut now: SmallVec<[Option<usize>; 32]> = SmallVec::from_elem(None, self.numbers.len());
        let mut firsts: SmallVec<[&[usize]; 32]> = SmallVec::new();
        let mut variables = self.variables.iter().map(|n| *n as usize);
        while let Some(first) = variables.next() {
            let Some(aval) = graph.avals.get(first).filter(|aval| variables.next() == Some(aval.rank())) else {
                return false;
            };
            for n in aval.shape.iter().copied().chain([aval.size()]) {
                if variables.next().is_none_or(|class| *now[class].get_or_insert(n) != n) {
                    return false;
                }
            }
            firsts.push(&aval.shape);
        }
        // Extent by extent: shapes are too short for a call.
        let is_shape = |shape: &[usize], first: &[usize]| {
            shape.len() == first.len() && shape.iter().zip(first).all(|(a, b)| a == b)
        };
        let has_shape = |(aval, shape): (&Aval, &u32)| is_shape(&aval.shape, firsts[*shape as usize]);
        if graph.avals.len() != self.shapes.len() || !graph.avals.iter().zip(&self.shapes).all(has_shape) {
            return false;
        }
        let magnitude = |n: usize| if n < 2 { n as u32 } else { 2 + n.ilog2() };
        let alike = |(old, now): (&usize, &Option<usize>)| now.is_some_and(|n| magnitude(n) == magnitude(*old));
        if !self.numbers.iter().zip(&now).take(self.extents).all(alike) {
            return false;
        }
        // Numbers of two classes are two numbers.
        now.sort_unstable();
        now.windows(2).all(|pair| pair[0] != pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazuli_ir::DType;

    fn graph(shapes: &[&[usize]]) -> Graph {
        Graph { avals: shapes.iter().map(|&s| Aval::new(DType::F32, s)).collect(), ..Graph::default() }
    }

    #[test]
    fn what_fits_a_pattern() {
        let of: &[&[usize]] = &[&[5, 8], &[8, 8], &[5, 1], &[]];
        let fits = |shapes: &[&[usize]]| Pattern::of(&graph(of)).fits(&graph(shapes));
        assert!(fits(of));
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
        let sizes = Pattern::of(&graph(&[&[3, 10], &[5, 6]]));
        assert!(!sizes.fits(&graph(&[&[2, 10], &[5, 6]])));
        // Their magnitude is no part of the pattern: 5·50 is under 256, 7·50 is not.
        assert!(Pattern::of(&graph(&[&[5, 50]])).fits(&graph(&[&[7, 50]])));
    }
}
