//! The arithmetic of proofs: on the numbers of one plan, or noted besides, so that the proof can be gone through for other plans.
//!
//! A proof looks at a plan's numbers through [`Arithmetic`] alone. So what it computes of them, and what it found when it compared them, is all that its outcome depends on: for other
//! numbers of which the same holds it would take the same road, to the same end. Numbers that are the same for all plans that it is to be about ([`Varying`]) are fixed: nothing is noted of what is
//! computed of them alone.

use super::proof::{Comparison, Proof};
use crate::hash::{Map, Set};
use crate::varying::{Origin, Varying};
use std::cmp::Ordering;

/// What makes a number of two others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Operation {
    Sum,
    Product,
    Least,
    Greatest,
    /// The greatest number that divides both; 0 of two zeros.
    Divisor,
    /// Not negative.
    Remainder,
}

impl Operation {
    fn commutes(self) -> bool {
        self != Operation::Remainder
    }
    /// None beyond 64 bits: no memory has so much.
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
        }
    }
}

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Relation {
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

/// Arithmetic on the numbers of a plan.
pub(super) trait Arithmetic {
    type N: Copy;
    /// That of this place among the numbers of the plan.
    fn number(&mut self, at: usize) -> Self::N;
    /// One that is the same for all plans.
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

/// Arithmetic on values.
pub(super) struct Plain<'w>(pub &'w [i64]);

impl Arithmetic for Plain<'_> {
    type N = i64;
    #[inline]
    fn number(&mut self, at: usize) -> i64 {
        self.0[at]
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
pub(super) struct Noted {
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
pub(super) enum Node {
    Fixed(i64),
    Computed(Operation, u32, u32),
}

/// Arithmetic that is noted.
pub(super) struct Notes<'w> {
    numbers: &'w [i64],
    varying: &'w Varying,
    /// Numbered from behind the values.
    nodes: Vec<Node>,
    known: Map<Node, u32>,
    comparisons: Set<Comparison>,
    /// Whether a number was beyond 64 bits. Of what followed from that nothing is noted.
    was_beyond: bool,
}

impl<'w> Notes<'w> {
    /// On the numbers of a plan, which come from there.
    pub fn new(numbers: &'w [i64], varying: &'w Varying) -> Self {
        let (nodes, known, comparisons) = (vec![], Map::default(), Set::default());
        Notes { numbers, varying, nodes, known, comparisons, was_beyond: false }
    }

    fn node(&mut self, node: Node) -> u32 {
        *self.known.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            (self.varying.values() + self.nodes.len() - 1) as u32
        })
    }
    /// The node of a number that something is made of or compared with.
    fn node_of(&mut self, n: Noted) -> u32 {
        if n.is_fixed() { self.node(Node::Fixed(n.value)) } else { n.node }
    }

    /// The proof that was noted, if it is one about other plans too.
    pub fn finish(self) -> Option<Proof> {
        (!self.was_beyond).then(|| Proof::new(self.varying.values(), &self.nodes, self.comparisons))
    }
}

impl Arithmetic for Notes<'_> {
    type N = Noted;
    #[inline]
    fn number(&mut self, at: usize) -> Noted {
        let node = match self.varying.numbers()[at] {
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
                self.comparisons.insert(Comparison { relation, a, b, holds });
            }
        }
        holds
    }
    fn shown(n: Noted) -> i64 {
        n.value
    }
}
