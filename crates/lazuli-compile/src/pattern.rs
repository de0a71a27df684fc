//! What the extents of a graph have in common with those of the same graph for other inputs.

use lazuli_ir::Graph;
use lazuli_kernel::hash::Map;

/// Which of a graph's extents and sizes are one number, which of them are 0 or 1, and of which order of magnitude the others are.
///
/// A schedule is right for all extents of one pattern, as it asks of them only whether they are equal, or 1, and of what it splits whether they are
/// [multiples](crate::fuse::Schedule::can_split); and as good for each, as none is twice another.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// Of each variable: how many axes it has, and the classes of its extents and of its size.
    variables: Vec<u32>,
    /// What each class was.
    numbers: Vec<usize>,
}

impl Pattern {
    pub fn of(graph: &Graph) -> Pattern {
        let mut pattern = Pattern { variables: Vec::with_capacity(4 * graph.avals.len()), numbers: Vec::new() };
        let mut known: Map<usize, u32> = Map::default();
        for aval in &graph.avals {
            pattern.variables.push(aval.rank() as u32);
            for n in aval.shape.iter().copied().chain([aval.size()]) {
                let class = *known.entry(n).or_insert_with(|| {
                    pattern.numbers.push(n);
                    pattern.numbers.len() as u32 - 1
                });
                pattern.variables.push(class);
            }
        }
        pattern
    }

    /// Whether the extents of a graph have this pattern.
    pub fn fits(&self, graph: &Graph) -> bool {
        let mut now: Vec<Option<usize>> = vec![None; self.numbers.len()];
        let mut variables = self.variables.iter();
        let mut next = || variables.next().map(|n| *n as usize);
        for aval in &graph.avals {
            if next() != Some(aval.rank()) {
                return false;
            }
            for n in aval.shape.iter().copied().chain([aval.size()]) {
                let Some(class) = next() else { return false };
                if *now[class].get_or_insert(n) != n {
                    return false;
                }
            }
        }
        let magnitude = |n: usize| if n < 2 { n as u32 } else { 2 + n.ilog2() };
        let alike = |(old, now): (&usize, &Option<usize>)| now.is_some_and(|n| magnitude(n) == magnitude(*old));
        if next().is_some() || !self.numbers.iter().zip(&now).all(alike) {
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
    use lazuli_ir::{Aval, DType};

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
    }
}
