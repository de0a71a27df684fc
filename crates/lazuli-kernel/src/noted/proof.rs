//! What was noted, so that it can be gone through.

use super::{Node, Operation, Relation};

/// How a comparison of two numbers came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Comparison {
    pub relation: Relation,
    pub holds: bool,
    pub a: u32,
    pub b: u32,
}

/// A proof about one plan, which is one about each plan of other values ([`Varying`](crate::varying::Varying)) that compare alike.
#[derive(Debug)]
pub struct Proof {
    constants: Box<[i64]>,
    steps: AnySteps,
}

/// In as few bytes as will do: a proof is gone through once in a while, when it is in no cache.
#[derive(Debug)]
enum AnySteps {
    Few(Steps<u16>),
    Many(Steps<u32>),
}

#[derive(Debug)]
struct Steps<P> {
    /// What is computed by one operation, run by run. None in a run is made of another in it.
    runs: Box<[Run<P>]>,
    comparisons: Box<[Compared<P>]>,
}

type Run<P> = (Operation, Box<[Pair<P>]>);

/// Two numbers, by where they stand among all: first the values, then constants, then what is computed of those before.
type Pair<P> = [P; 2];

/// What is compared by one relation, and came out alike.
#[derive(Debug)]
struct Compared<P> {
    relation: Relation,
    holds: bool,
    pairs: Box<[Pair<P>]>,
}

/// Where a number stands.
trait Place: Copy {
    fn new(place: usize) -> Self;
    fn get(self) -> usize;
}

impl Place for u16 {
    fn new(place: usize) -> Self {
        place as u16
    }
    fn get(self) -> usize {
        self.into()
    }
}

impl Place for u32 {
    fn new(place: usize) -> Self {
        place as u32
    }
    fn get(self) -> usize {
        self as usize
    }
}

impl Proof {
    /// With so many values; and where these, and then the nodes, stand among all.
    pub(super) fn new(
        given: usize,
        nodes: &[Node],
        comparisons: impl IntoIterator<Item = Comparison>,
    ) -> (Self, Vec<usize>) {
        let constants = |node: &Node| match *node {
            Node::Fixed(value) => Some(value),
            Node::Computed(..) => None,
        };
        let order = Order::of(given, nodes);
        let steps = match given + nodes.len() <= 1 << 16 {
            true => AnySteps::Few(Steps::new(nodes, &order, comparisons)),
            false => AnySteps::Many(Steps::new(nodes, &order, comparisons)),
        };
        let proof =
            Proof { constants: order.nodes.iter().filter_map(|&node| constants(&nodes[node])).collect(), steps };
        (proof, order.places)
    }

    /// Whether it is one about the plan of these values. What is computed goes behind them.
    pub fn holds(&self, values: &mut Vec<i64>) -> bool {
        self.compute(values) && self.compare(values)
    }
    /// Computes all numbers behind these values; whether none is beyond 64 bits.
    pub fn compute(&self, values: &mut Vec<i64>) -> bool {
        values.extend_from_slice(&self.constants);
        match &self.steps {
            AnySteps::Few(steps) => steps.compute(values),
            AnySteps::Many(steps) => steps.compute(values),
        }
    }
    /// Whether everything that is compared comes out alike, given what was computed.
    pub fn compare(&self, values: &[i64]) -> bool {
        match &self.steps {
            AnySteps::Few(steps) => steps.compare(values),
            AnySteps::Many(steps) => steps.compare(values),
        }
    }
}

/// What is compared on each of several roads.
#[derive(Debug)]
pub struct Roads {
    comparisons: Box<[(Relation, bool, Pair<u32>)]>,
    /// Where those of each end.
    ends: Box<[u32]>,
}

impl Roads {
    pub(super) fn new(roads: &[Vec<Comparison>], place: &dyn Fn(u32) -> usize) -> Self {
        let (mut comparisons, mut ends) = (vec![], vec![]);
        for road in roads {
            let first = comparisons.len();
            for c in road {
                let compared = (c.relation, c.holds, [c.a, c.b].map(|n| place(n) as u32));
                if !comparisons[first..].contains(&compared) {
                    comparisons.push(compared);
                }
            }
            ends.push(comparisons.len() as u32);
        }
        Roads { comparisons: comparisons.into(), ends: ends.into() }
    }

    /// Whether what is compared on this road comes out alike, given what the [proof](Proof::compute) computed.
    pub fn is_alike(&self, road: usize, values: &[i64]) -> bool {
        let first = road.checked_sub(1).map_or(0, |before| self.ends[before]);
        let own = &self.comparisons[first as usize..self.ends[road] as usize];
        own.iter().all(|&(relation, holds, pair)| {
            let [a, b] = pair.map(|place| values[place as usize]);
            relation.holds(a, b) == holds
        })
    }
}

/// In which order nodes are computed.
struct Order {
    /// None for constants, which come first; else how long the longest way to it is, and how it is computed.
    keys: Vec<Option<(u32, Operation)>>,
    nodes: Vec<usize>,
    /// Where the values, and then the nodes, stand among all.
    places: Vec<usize>,
}

impl Order {
    fn of(given: usize, nodes: &[Node]) -> Order {
        let mut keys: Vec<Option<(u32, Operation)>> = Vec::with_capacity(nodes.len());
        for node in nodes {
            let steps = |of: u32| match (of as usize).checked_sub(given) {
                Some(node) => keys[node].map_or(0, |(steps, _)| steps),
                None => 0,
            };
            keys.push(match *node {
                Node::Fixed(_) => None,
                Node::Computed(operation, a, b) => Some((1 + steps(a).max(steps(b)), operation)),
            });
        }
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.sort_by_key(|&node| keys[node]);
        let mut places: Vec<usize> = (0..given + nodes.len()).collect();
        (given..).zip(&order).for_each(|(place, &node)| places[given + node] = place);
        Order { keys, nodes: order, places }
    }
}

impl<P: Place> Steps<P> {
    fn new(
        nodes: &[Node],
        Order { keys, nodes: order, places }: &Order,
        comparisons: impl IntoIterator<Item = Comparison>,
    ) -> Self {
        let pair = |a: u32, b: u32| [a, b].map(|n| P::new(places[n as usize]));

        let mut runs = vec![];
        for run in order.chunk_by(|&a, &b| keys[a] == keys[b]) {
            let computed = run.iter().filter_map(|&node| match nodes[node] {
                Node::Fixed(_) => None,
                Node::Computed(_, a, b) => Some(pair(a, b)),
            });
            if let Some((_, operation)) = keys[run[0]] {
                runs.push((operation, computed.collect()));
            }
        }
        let mut comparisons: Vec<Comparison> = comparisons.into_iter().collect();
        comparisons.sort_unstable();
        let alike = comparisons.chunk_by(|c, d| (c.relation, c.holds) == (d.relation, d.holds));
        let compared = alike.map(|alike| {
            let Comparison { relation, holds, .. } = alike[0];
            Compared { relation, holds, pairs: alike.iter().map(|c| pair(c.a, c.b)).collect() }
        });
        Steps { runs: runs.into(), comparisons: compared.collect() }
    }

    /// What is computed goes behind these values and the constants.
    fn compute(&self, values: &mut Vec<i64>) -> bool {
        self.runs.iter().all(|(operation, pairs)| match operation {
            Operation::Sum => compute(pairs, values, i64::overflowing_add),
            Operation::Product => compute(pairs, values, i64::overflowing_mul),
            Operation::Least => compute(pairs, values, |a, b| (a.min(b), false)),
            Operation::Greatest => compute(pairs, values, |a, b| (a.max(b), false)),
            Operation::Quotient => compute(pairs, values, |a, b| or_beyond(Operation::Quotient.apply(a, b))),
            Operation::QuotientUp => compute(pairs, values, |a, b| or_beyond(Operation::QuotientUp.apply(a, b))),
            Operation::Multiple => compute(pairs, values, |a, b| or_beyond(Operation::Multiple.apply(a, b))),
            Operation::Divisor | Operation::Remainder => {
                compute(pairs, values, |a, b| or_beyond(operation.apply(a, b)))
            }
        })
    }
    fn compare(&self, values: &[i64]) -> bool {
        self.comparisons.iter().all(|Compared { relation, holds, pairs }| match (relation, holds) {
            (Relation::Less, true) => all(pairs, values, |a, b| a < b),
            (Relation::Less, false) => all(pairs, values, |a, b| a >= b),
            (Relation::Equal, true) => all(pairs, values, |a, b| a == b),
            (Relation::Equal, false) => all(pairs, values, |a, b| a != b),
        })
    }
}

/// A number, and whether it is none.
#[inline]
fn or_beyond(n: Option<i64>) -> (i64, bool) {
    n.map_or((0, true), |n| (n, false))
}

/// Adds what is made of pairs of values, where each comes with whether it is beyond 64 bits; whether none is. Without a branch for each.
#[inline]
fn compute<P: Place>(pairs: &[Pair<P>], values: &mut Vec<i64>, of: impl Fn(i64, i64) -> (i64, bool)) -> bool {
    let before = values.len();
    values.resize(before + pairs.len(), 0);
    let (before, new) = values.split_at_mut(before);
    let mut is_beyond = false;
    for (new, &[a, b]) in new.iter_mut().zip(pairs) {
        let (value, beyond) = of(before[a.get()], before[b.get()]);
        *new = value;
        is_beyond |= beyond;
    }
    !is_beyond
}

/// Whether this is true of all pairs of values. Without a branch for each.
#[inline]
fn all<P: Place>(pairs: &[Pair<P>], values: &[i64], is_true: impl Fn(i64, i64) -> bool) -> bool {
    pairs.iter().fold(true, |all, &[a, b]| all & is_true(values[a.get()], values[b.get()]))
}
