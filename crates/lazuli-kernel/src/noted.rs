//! Arithmetic on the numbers of a plan, or noted besides, so that what followed from them can be gone through for other plans.
//!
//! Code that looks at numbers through [`Arithmetic`] alone takes a road that depends on what it computes of them, and on what it found when it compared them: for other
//! numbers of which the same holds it would take the same road, to the same end. So a proof about a plan is one about others, and so steps are made ready for others. Numbers that are the same for all plans
//! that it is to be about ([`Varying`](crate::Varying)) are fixed: nothing is noted of what is computed of them alone.

mod proof;

pub use proof::{Proof, Roads};

use crate::hash::{Map, Set};
use crate::varying::Origin;
use proof::Comparison;
use std::cmp::Ordering;

/// What makes a number of two others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Sum,
    Product,
    Least,
    Greatest,
    /// The greatest number that divides both; 0 of two zeros.
    Divisor,
    /// Not negative.
    Remainder,
    /// Of a number that is not negative by one that is positive, rounded down, and rounded up.
    Quotient,
    QuotientUp,
    /// The least multiple of the second number, which is positive, that is no less than the first, which is not negative.
    Multiple,
}

impl Operation {
    fn commutes(self) -> bool {
        match self {
            Operation::Sum | Operation::Product => true,
            Operation::Least | Operation::Greatest | Operation::Divisor => true,
            Operation::Remainder | Operation::Quotient | Operation::QuotientUp | Operation::Multiple => false,
        }
    }
    /// None beyond 64 bits: no memory has so much. And none where it is not defined.
    #[inline]
    pub fn apply(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Operation::Sum => a.checked_add(b),
            Operation::Product => a.checked_mul(b),
            Operation::Least => Some(a.min(b)),
            Operation::Greatest => Some(a.max(b)),
            Operation::Divisor => {
                let (mut a, mut b) = (a, b);
                while b != 0 {
                    (a, b) = (b, a.checked_rem(b)?);
                }
                a.checked_abs()
            }
            Operation::Remainder => a.checked_rem_euclid(b),
            Operation::Quotient | Operation::QuotientUp | Operation::Multiple if a < 0 || b <= 0 => None,
            Operation::Quotient => Some(a / b),
            Operation::QuotientUp => Some((a as u64).div_ceil(b as u64) as i64),
            Operation::Multiple => (a as u64).checked_next_multiple_of(b as u64)?.try_into().ok(),
        }
    }
}

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    Equal,
    Less,
}

impl Relation {
    #[inline]
    pub fn holds(self, a: i64, b: i64) -> bool {
        match self {
            Relation::Equal => a == b,
            Relation::Less => a < b,
        }
    }
}

/// Arithmetic on the numbers of a plan, and comparisons of them.
pub trait Arithmetic {
    type N: Copy;
    /// That of this place among the numbers.
    fn number(&mut self, at: usize) -> Self::N;
    /// One that is always the same.
    fn fixed(value: i64) -> Self::N;
    /// None beyond 64 bits.
    fn compute(&mut self, operation: Operation, a: Self::N, b: Self::N) -> Option<Self::N>;
    fn holds(&mut self, relation: Relation, a: Self::N, b: Self::N) -> bool;
    /// For people: nothing is decided by it.
    fn shown(n: Self::N) -> i64;

    #[inline]
    fn sum(&mut self, a: Self::N, b: Self::N) -> Option<Self::N> {
        self.compute(Operation::Sum, a, b)
    }
    #[inline]
    fn product(&mut self, a: Self::N, b: Self::N) -> Option<Self::N> {
        self.compute(Operation::Product, a, b)
    }
    #[inline]
    fn times(&mut self, a: Self::N, times: i64) -> Option<Self::N> {
        self.product(a, Self::fixed(times))
    }
    #[inline]
    fn least(&mut self, a: Self::N, b: Self::N) -> Option<Self::N> {
        self.compute(Operation::Least, a, b)
    }
    #[inline]
    fn greatest(&mut self, a: Self::N, b: Self::N) -> Option<Self::N> {
        self.compute(Operation::Greatest, a, b)
    }
    #[inline]
    fn less(&mut self, a: Self::N, b: Self::N) -> bool {
        self.holds(Relation::Less, a, b)
    }
    #[inline]
    fn equal(&mut self, a: Self::N, b: Self::N) -> bool {
        self.holds(Relation::Equal, a, b)
    }
    #[inline]
    fn is(&mut self, a: Self::N, value: i64) -> bool {
        self.equal(a, Self::fixed(value))
    }
    fn compare(&mut self, a: Self::N, b: Self::N) -> Ordering {
        match self.less(a, b) {
            true => Ordering::Less,
            false if self.equal(a, b) => Ordering::Equal,
            false => Ordering::Greater,
        }
    }
    /// Whether it is more than 1.
    #[inline]
    fn is_many(&mut self, a: Self::N) -> bool {
        self.less(Self::fixed(1), a)
    }
    #[inline]
    fn magnitude(&mut self, a: Self::N) -> Option<Self::N> {
        if self.less(a, Self::fixed(0)) { self.times(a, -1) } else { Some(a) }
    }
}

/// Numbers as they are: arithmetic on them is that on values.
pub trait Values {
    /// That of this place.
    fn value(&self, at: usize) -> i64;
}

/// The numbers of one plan.
#[derive(Debug)]
pub struct Plain<'w>(pub &'w [i64]);

impl Values for Plain<'_> {
    #[inline]
    fn value(&self, at: usize) -> i64 {
        self.0[at]
    }
}

impl<V: Values> Arithmetic for V {
    type N = i64;
    #[inline]
    fn number(&mut self, at: usize) -> i64 {
        self.value(at)
    }
    #[inline]
    fn fixed(value: i64) -> i64 {
        value
    }
    #[inline]
    fn compute(&mut self, operation: Operation, a: i64, b: i64) -> Option<i64> {
        operation.apply(a, b)
    }
    #[inline]
    fn holds(&mut self, relation: Relation, a: i64, b: i64) -> bool {
        relation.holds(a, b)
    }
    fn shown(n: i64) -> i64 {
        n
    }
}

/// A number, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Noted {
    value: i64,
    /// [`FIXED`] if it is the same for all plans.
    node: u32,
}

/// The number of no node.
const FIXED: u32 = u32::MAX;

impl Noted {
    fn is_fixed(self) -> bool {
        self.node == FIXED
    }
    fn is_always(self, value: i64) -> bool {
        self.is_fixed() && self.value == value
    }
}

/// What a number is made of, besides the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Fixed(i64),
    Computed(Operation, u32, u32),
}

/// Arithmetic that is noted.
#[derive(Debug)]
pub struct Notes<'w> {
    numbers: &'w [i64],
    origins: &'w [Origin],
    /// How many there are.
    values: usize,
    /// Numbered from behind the values.
    nodes: Vec<Node>,
    known: Map<Node, u32>,
    comparisons: Set<Comparison>,
    /// What is compared on each [road](Self::next_road) by itself.
    roads: Vec<Vec<Comparison>>,
    /// Whether a number was beyond 64 bits. Of what followed from that nothing is noted.
    was_beyond: bool,
}

impl<'w> Notes<'w> {
    /// On numbers that come from there, made of so many values.
    pub fn new(numbers: &'w [i64], origins: &'w [Origin], values: usize) -> Self {
        let (nodes, known, comparisons) = (vec![], Map::default(), Set::default());
        Notes { numbers, origins, values, nodes, known, comparisons, roads: vec![], was_beyond: false }
    }
    /// What is compared from here on decides a road by itself.
    pub fn next_road(&mut self) {
        self.roads.push(vec![]);
    }

    fn node(&mut self, node: Node) -> u32 {
        *self.known.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            (self.values + self.nodes.len() - 1) as u32
        })
    }
    /// The node of a number that something is made of or compared with.
    fn node_of(&mut self, n: Noted) -> u32 {
        if n.is_fixed() { self.node(Node::Fixed(n.value)) } else { n.node }
    }

    /// The proof that was noted, if it is one about other plans too.
    pub fn finish(self) -> Option<Proof> {
        (!self.was_beyond).then(|| Proof::new(self.values, &self.nodes, self.comparisons).0)
    }
    /// The same, by the roads; and where among [what it computes](Proof::compute) these numbers stand.
    pub fn finish_roads(mut self, wanted: impl IntoIterator<Item = Noted>) -> Option<(Proof, Roads, Vec<usize>)> {
        let wanted: Vec<u32> = wanted.into_iter().map(|n| self.node_of(n)).collect();
        if self.was_beyond {
            return None;
        }
        let (proof, places) = Proof::new(self.values, &self.nodes, self.comparisons);
        let place = |n: u32| places[n as usize];
        let roads = Roads::new(&self.roads, &place);
        Some((proof, roads, wanted.into_iter().map(place).collect()))
    }
}

impl Arithmetic for Notes<'_> {
    type N = Noted;
    #[inline]
    fn number(&mut self, at: usize) -> Noted {
        let node = match self.origins[at] {
            Origin::Fixed(_) => FIXED,
            Origin::Value(n) => n,
        };
        Noted { value: self.numbers[at], node }
    }
    #[inline]
    fn fixed(value: i64) -> Noted {
        Noted { value, node: FIXED }
    }
    fn compute(&mut self, operation: Operation, a: Noted, b: Noted) -> Option<Noted> {
        let Some(value) = operation.apply(a.value, b.value) else {
            self.was_beyond = true;
            return None;
        };
        Some(match operation {
            _ if a.is_fixed() && b.is_fixed() => Self::fixed(value),
            Operation::Sum if a.is_always(0) => b,
            Operation::Sum if b.is_always(0) => a,
            Operation::Product if a.is_always(1) => b,
            Operation::Product if b.is_always(1) => a,
            Operation::Product if a.is_always(0) || b.is_always(0) => Self::fixed(0),
            Operation::Least | Operation::Greatest if a.node == b.node => a,
            _ => {
                let (mut a, mut b) = (self.node_of(a), self.node_of(b));
                if operation.commutes() && b < a {
                    (a, b) = (b, a);
                }
                Noted { value, node: self.node(Node::Computed(operation, a, b)) }
            }
        })
    }
    fn holds(&mut self, relation: Relation, a: Noted, b: Noted) -> bool {
        let holds = relation.holds(a.value, b.value);
        if !(a.is_fixed() && b.is_fixed()) {
            let (a, b) = (self.node_of(a), self.node_of(b));
            if a != b {
                let comparison = Comparison { relation, a, b, holds };
                self.comparisons.insert(comparison);
                self.roads.last_mut().into_iter().for_each(|road| road.push(comparison));
            }
        }
        holds
    }
    fn shown(n: Noted) -> i64 {
        n.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: [Operation; 9] = [
        Operation::Sum,
        Operation::Product,
        Operation::Least,
        Operation::Greatest,
        Operation::Divisor,
        Operation::Remainder,
        Operation::Quotient,
        Operation::QuotientUp,
        Operation::Multiple,
    ];

    /// Computes of three numbers what the operations make of all pairs, and of pairs of that, as long as it is defined, and compares two of them on each of two roads.
    fn all<A: Arithmetic>(cx: &mut A, next_road: &dyn Fn(&mut A)) -> Option<(Vec<A::N>, [bool; 2])> {
        let given = [0, 1, 2].map(|at| cx.number(at));
        let mut computed = vec![];
        for (n, operation) in OPERATIONS.into_iter().enumerate() {
            let first = cx.compute(operation, given[n % 2], given[2])?;
            computed.push(first);
            computed.push(cx.compute(operation, first, given[(n + 1) % 2])?);
            computed.push(cx.times(first, 3)?);
        }
        next_road(cx);
        let is_less = cx.less(given[0], computed[3]);
        next_road(cx);
        let is_equal = cx.equal(given[1], given[0]);
        Some((computed, [is_less, is_equal]))
    }

    #[test]
    fn what_was_noted_is_gone_through_for_other_values() {
        let origins = [Origin::Value(0), Origin::Value(1), Origin::Fixed(7)];
        let values = |a: i64, b: i64| [a, b, 7];
        let mut seen = [0; 2];
        for (a, b) in [(5, 12), (12, 12), (1, 1), (90, 4)] {
            let numbers = values(a, b);
            let mut notes = Notes::new(&numbers, &origins, 2);
            let (wanted, was) = all(&mut notes, &|notes| notes.next_road()).unwrap();
            let (proof, roads, places) = notes.finish_roads(wanted).unwrap();
            for (a, b) in (1..20).flat_map(|a| (1..20).map(move |b| (a, b))) {
                let (plain, now) = all(&mut Plain(&values(a, b)), &|_| {}).unwrap();
                let mut computed = vec![a, b];
                assert!(proof.compute(&mut computed), "{a} {b}");
                let found: Vec<i64> = places.iter().map(|&place| computed[place]).collect();
                assert_eq!(found, plain, "{a} {b}");
                assert_eq!(proof.compare(&computed), now == was, "{a} {b}");
                assert_eq!([0, 1].map(|road| roads.is_alike(road, &computed)), [0, 1].map(|k| now[k] == was[k]));
                seen[usize::from(now == was)] += 1;
            }
            // What is beyond 64 bits is told, and what is not defined.
            for (a, b) in [(i64::MAX, 2), (3, i64::MAX - 1), (-1, 5)] {
                assert!(!proof.compute(&mut vec![a, b]), "{a} {b}");
            }
        }
        assert!(seen.iter().all(|&n| n > 100), "{seen:?}");
        let mut notes = Notes::new(&[1, 2, 3], &origins, 2);
        let beyond = notes.number(0);
        assert!(notes.times(beyond, i64::MAX).is_some() && notes.sum(beyond, Notes::fixed(i64::MAX)).is_none());
        assert!(notes.finish().is_none());
    }
}
