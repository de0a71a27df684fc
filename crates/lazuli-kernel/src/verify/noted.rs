//! The arithmetic of proofs: on the numbers of one plan, or noted besides, so that the proof can be gone through for other plans.
//!
//! A proof looks at a plan's numbers through [`Arithmetic`] alone. So what it computes of them, and what it found when it compared them, is all that its outcome depends on: for other
//! numbers of which the same holds it would take the same road, to the same end.

use super::words::Words;
use crate::hash::{Map, Set};
use crate::ir::Kernel;
use std::cmp::Ordering;
use std::sync::Arc;

/// What makes a number of two others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Sum,
    Product,
    /// The greatest number that divides both; 0 of two zeros.
    Divisor,
    /// Not negative.
    Remainder,
}

impl Operation {
    /// None beyond 64 bits: no memory has so much.
    #[inline]
    fn apply(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Operation::Sum => a.checked_add(b),
            Operation::Product => a.checked_mul(b),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Relation {
    Equal,
    Less,
}

impl Relation {
    #[inline]
    fn holds(self, a: i64, b: i64) -> bool {
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
    from: From,
}

#[derive(Debug, Clone, Copy)]
enum From {
    Fixed,
    /// A number of the plan.
    Place(u32),
    Node(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Fixed(i64),
    /// The number of the plan at this place.
    Place(u32),
    Compute(Operation, u32, u32),
}

/// How a comparison came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Decision {
    relation: Relation,
    a: u32,
    b: u32,
    holds: bool,
}

/// The number of no node.
const NONE: u32 = u32::MAX;

/// Arithmetic that is noted.
pub(super) struct Notes<'w> {
    numbers: &'w [i64],
    /// The first place of the number at each: those that two plans have alike are taken for one.
    firsts: Vec<u32>,
    is_used: Vec<bool>,
    /// The node of the number at each place, if there is one yet.
    at_places: Vec<u32>,
    nodes: Vec<Node>,
    known: Map<Node, u32>,
    decisions: Set<Decision>,
}

impl<'w> Notes<'w> {
    /// On the numbers of a plan, beside those of another one of the same structure.
    pub fn new(now: &'w [i64], was: &[i64]) -> Self {
        let mut first_of: Map<(i64, i64), u32> = Map::default();
        let places = now.iter().zip(was).zip(0..);
        let firsts = places.map(|((&now, &was), place)| *first_of.entry((now, was)).or_insert(place)).collect();
        let (is_used, at_places) = (vec![false; now.len()], vec![NONE; now.len()]);
        let (nodes, known, decisions) = (vec![], Map::default(), Set::default());
        Notes { numbers: now, firsts, is_used, at_places, nodes, known, decisions }
    }

    fn node(&mut self, node: Node) -> u32 {
        *self.known.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        })
    }
    /// The node of a number that something is made of or decided by.
    fn node_of(&mut self, n: Noted) -> u32 {
        match n.from {
            From::Fixed => self.node(Node::Fixed(n.value)),
            From::Place(place) => {
                self.is_used[place as usize] = true;
                let first = self.firsts[place as usize];
                if self.at_places[first as usize] == NONE {
                    self.nodes.push(Node::Place(first));
                    self.at_places[first as usize] = self.nodes.len() as u32 - 1;
                }
                self.at_places[first as usize]
            }
            From::Node(node) => node,
        }
    }

    /// The proof that was noted, of plans of this structure.
    pub fn finish(self, structure: Vec<u64>, kernels: Vec<Arc<Kernel>>, donations: Arc<[(u32, u32)]>) -> Proof {
        let of = |(place, first): (usize, u32)| (place as u32, first);
        let used = self.firsts.into_iter().enumerate().filter(|&(place, _)| self.is_used[place]).map(of);
        Proof {
            structure: structure.into_boxed_slice(),
            _kernels: kernels,
            donations,
            same: used.filter(|(place, first)| place != first).collect(),
            nodes: self.nodes.into_boxed_slice(),
            decisions: self.decisions.into_iter().collect(),
        }
    }
}

impl Arithmetic for Notes<'_> {
    type N = Noted;
    fn number(&mut self, at: usize) -> Noted {
        Noted { value: self.numbers[at], from: From::Place(at as u32) }
    }
    fn fixed(value: i64) -> Noted {
        Noted { value, from: From::Fixed }
    }
    fn compute(&mut self, operation: Operation, a: Noted, b: Noted) -> Option<Noted> {
        let value = operation.apply(a.value, b.value)?;
        let is = |n: Noted, value: i64| matches!(n.from, From::Fixed) && n.value == value;
        Some(match operation {
            _ if matches!((a.from, b.from), (From::Fixed, From::Fixed)) => Self::fixed(value),
            Operation::Sum if is(a, 0) => b,
            Operation::Sum if is(b, 0) => a,
            Operation::Product if is(a, 1) => b,
            Operation::Product if is(b, 1) => a,
            Operation::Product if is(a, 0) || is(b, 0) => Self::fixed(0),
            _ => {
                let (a, b) = (self.node_of(a), self.node_of(b));
                Noted { value, from: From::Node(self.node(Node::Compute(operation, a, b))) }
            }
        })
    }
    fn holds(&mut self, relation: Relation, a: Noted, b: Noted) -> bool {
        let holds = relation.holds(a.value, b.value);
        let (a, b) = match (a.from, b.from) {
            (From::Fixed, From::Fixed) => return holds,
            _ => (self.node_of(a), self.node_of(b)),
        };
        if a != b {
            self.decisions.insert(Decision { relation, a, b, holds });
        }
        holds
    }
    fn shown(n: Noted) -> i64 {
        n.value
    }
}

/// A proof about one plan, which is one about each plan of the same structure whose numbers compare alike.
#[derive(Debug)]
pub(super) struct Proof {
    structure: Box<[u64]>,
    /// Those that the structure names by their addresses, so that no others take these.
    _kernels: Vec<Arc<Kernel>>,
    donations: Arc<[(u32, u32)]>,
    /// Places that have one number.
    same: Box<[(u32, u32)]>,
    nodes: Box<[Node]>,
    decisions: Box<[Decision]>,
}

impl Proof {
    /// Whether it is one about a plan of these words that may donate this. `values` is room for it to work in.
    pub fn holds(&self, words: &Words, donations: &Arc<[(u32, u32)]>, values: &mut Vec<i64>) -> bool {
        let Words { structure, numbers, .. } = words;
        let donates_alike = || Arc::ptr_eq(&self.donations, donations) || self.donations == *donations;
        if self.structure[..] != structure[..] || !donates_alike() {
            return false;
        }
        // All of them, without a branch for each.
        let differ = self.same.iter().fold(0, |d, &(a, b)| d | (numbers[a as usize] ^ numbers[b as usize]));
        if differ != 0 {
            return false;
        }
        values.clear();
        values.reserve(self.nodes.len());
        for node in &self.nodes {
            let value = match *node {
                Node::Fixed(value) => Some(value),
                Node::Place(place) => Some(numbers[place as usize]),
                Node::Compute(operation, a, b) => operation.apply(values[a as usize], values[b as usize]),
            };
            match value {
                Some(value) => values.push(value),
                None => return false,
            }
        }
        let came_out = |d: &Decision| d.relation.holds(values[d.a as usize], values[d.b as usize]) == d.holds;
        self.decisions.iter().all(came_out)
    }
}
