//! Totals of reductions: the order of combination documented at [`Combine`], and the rule of `ArgMin` and `ArgMax`.

use crate::dtype::DType;
use crate::ir::{BinaryOp, Combine};
use crate::scalar_ops;

/// Elements of a block, and the partials that they are dealt to in turn.
const BLOCK: usize = 4096;
const PARTIALS: usize = 64;

/// One accumulator on its way through the elements of one result.
pub(super) enum Total {
    Ordered(Ordered),
    Best(Best),
}

impl Total {
    pub fn new(combine: Combine, dtype: DType) -> Self {
        let identity = combine.identity(dtype).bits;
        match combine.binary() {
            Some(op) => {
                Total::Ordered(Ordered { op, dtype, identity, partials: vec![identity; PARTIALS], blocks: Vec::new() })
            }
            None => Total::Best(Best { largest: combine == Combine::ArgMax, dtype, identity, best: None }),
        }
    }

    /// Adds elements `first..`, which follow those added before.
    pub fn add(&mut self, first: usize, elements: &[u64]) {
        match self {
            Total::Ordered(total) => total.add(first, elements),
            Total::Best(total) => total.add(first, elements),
        }
    }

    /// Value and position (0 if none is tracked) of what was added; begins anew.
    pub fn take(&mut self) -> (u64, u64) {
        match self {
            Total::Ordered(total) => (total.take(), 0),
            Total::Best(total) => total.best.take().unwrap_or((total.identity, 0)),
        }
    }
}

/// For integers and the like the order makes no difference; they go the same way.
pub(super) struct Ordered {
    op: BinaryOp,
    dtype: DType,
    identity: u64,
    /// Of the block at hand.
    partials: Vec<u64>,
    /// Results of the blocks before it.
    blocks: Vec<u64>,
}

impl Ordered {
    fn add(&mut self, first: usize, mut elements: &[u64]) {
        let mut at = first;
        while !elements.is_empty() {
            if at > 0 && at.is_multiple_of(BLOCK) {
                self.end_block();
            }
            let partial = at % PARTIALS;
            let (now, later) = elements.split_at(elements.len().min(PARTIALS - partial));
            let partials = &mut self.partials[partial..partial + now.len()];
            let before = partials.to_vec();
            scalar_ops::binary(self.op, self.dtype, &before, now, partials);
            at += now.len();
            elements = later;
        }
    }

    /// Folds the partials by halving, and begins the next block.
    fn end_block(&mut self) {
        let mut half = PARTIALS / 2;
        while half > 0 {
            let (low, high) = self.partials.split_at_mut(half);
            let before = low.to_vec();
            scalar_ops::binary(self.op, self.dtype, &before, &high[..half], low);
            half /= 2;
        }
        self.blocks.push(self.partials[0]);
        self.partials.fill(self.identity);
    }

    /// Folds the blocks by pairs.
    fn take(&mut self) -> u64 {
        self.end_block();
        while self.blocks.len() > 1 {
            let pairs = self.blocks.chunks(2).map(|pair| match *pair {
                [a, b] => apply(self.op, self.dtype, a, b),
                _ => pair[0],
            });
            self.blocks = pairs.collect();
        }
        self.blocks.remove(0)
    }
}

/// The best element so far and its position.
pub(super) struct Best {
    largest: bool,
    dtype: DType,
    identity: u64,
    best: Option<(u64, u64)>,
}

impl Best {
    fn add(&mut self, first: usize, elements: &[u64]) {
        for (i, &element) in elements.iter().enumerate() {
            if self.best.is_none_or(|(best, _)| scalar_ops::arg_better(self.largest, self.dtype, element, best)) {
                self.best = Some((element, (first + i) as u64));
            }
        }
    }
}

/// `a op b`.
pub(super) fn apply(op: BinaryOp, dtype: DType, a: u64, b: u64) -> u64 {
    let mut out = [0];
    scalar_ops::binary(op, dtype, &[a], &[b], &mut out);
    out[0]
}
