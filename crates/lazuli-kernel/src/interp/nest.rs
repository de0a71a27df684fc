//! The loop nests: what is done with the values of a kernel's body.

use super::memory::Slots;
use super::tile::{Machine, Points, Results, TILE, Tile, gather, put};
use super::total::{Total, apply};
use crate::dtype::DType;
use crate::ir::{Accumulator, BinaryOp, Emit, Inst, Kernel, Nest, ScanOp, ScatterOp, Store, Value};
use crate::math;
use crate::plan::Arg;
use crate::scalar::Scalar;
use crate::scalar_ops;
use crate::shape::size;
use smallvec::SmallVec;

/// Runs a kernel over these extents. The launch is verified.
pub(super) fn launch(kernel: &Kernel, extents: &[usize], args: &[Arg], params: &[Scalar], slots: &mut Slots) {
    let machine = Machine::new(kernel, extents, args, params);
    match &kernel.nest {
        Nest::Map { stores } => map(machine, stores, slots),
        Nest::Reduce { axes, accumulators, stores, .. } => {
            reduce(machine, extents.len() - *axes as usize, accumulators, stores, slots)
        }
        Nest::Rows { axes, stores, row_stores, .. } => {
            rows(machine, kernel, extents.len() - *axes as usize, stores, row_stores, slots)
        }
        Nest::Scan { op, reverse, exclusive, value, store } => {
            let mut step = Combining::new(*op, *exclusive, machine.dtype(*value));
            running(machine, *reverse, *store, &[*value], &mut |elements, first| step.next(elements[0], first), slots)
        }
        Nest::Recurrence { reverse, factor, term, store } => {
            let mut step = Recurring { dtype: machine.dtype(*term), next: 0 };
            let mut next = |elements: &[u64], first: bool| step.next(elements[0], elements[1], first);
            running(machine, *reverse, *store, &[*factor, *term], &mut next, slots)
        }
        Nest::Scatter { op, target, index, mask, value } => {
            scatter(machine, *op, *target, *index, *mask, *value, slots)
        }
    }
}

/// First point and number of points of each tile of a loop space.
fn tiles(total: usize) -> impl DoubleEndedIterator<Item = (usize, usize)> {
    (0..total.div_ceil(TILE)).map(move |t| (t * TILE, TILE.min(total - t * TILE)))
}

fn store(machine: &Machine, s: Store, points: &Points, slots: &mut Slots) {
    let arg = &machine.args[s.operand as usize];
    put(slots.bytes_mut(arg.slot), arg, machine.dtype(s.value), points, machine.value(s.value));
}

fn map(mut machine: Machine, stores: &[Store], slots: &mut Slots) {
    for (start, count) in tiles(size(machine.extents)) {
        let points = Points::new(machine.extents, start, count);
        machine.body(&points, slots);
        stores.iter().for_each(|&s| store(&machine, s, &points, slots));
    }
}

/// Walks all points in row-major order, in which those of one result follow one another.
fn reduce(mut machine: Machine, kept: usize, accumulators: &[Accumulator], stores: &[Store], slots: &mut Slots) {
    let extents = machine.extents;
    let (results, n) = (size(&extents[..kept]), size(&extents[kept..]));
    let mut totals: Vec<Total> = accumulators.iter().map(|a| Total::new(a.combine, machine.dtype(a.value))).collect();
    let mut done = Done { kept: &extents[..kept], stores, first: 0, count: 0, results: Results::new(totals.len()) };
    for (start, count) in tiles(size(extents)) {
        machine.body(&Points::new(extents, start, count), slots);
        let mut at = 0;
        while at < count {
            let element = (start + at) % n;
            let run = (n - element).min(count - at);
            for (total, a) in totals.iter_mut().zip(accumulators) {
                total.add(element, &machine.value(a.value)[at..at + run]);
            }
            at += run;
            if element + run == n {
                done.push(&take(&mut totals), &mut machine, slots);
            }
        }
    }
    if n == 0 {
        (0..results).for_each(|_| done.push(&take(&mut totals), &mut machine, slots));
    }
    done.flush(&mut machine, slots);
}

/// The results of what was added, ready for the next ones.
fn take(totals: &mut [Total]) -> Vec<(u64, u64)> {
    totals.iter_mut().map(Total::take).collect()
}

/// Finished results on their way to the epilogue, a tile at a time.
struct Done<'a> {
    kept: &'a [usize],
    stores: &'a [Store],
    /// Kept point of the first result held, and how many are held.
    first: usize,
    count: usize,
    results: Results,
}

impl Results {
    fn new(accumulators: usize) -> Self {
        Self { values: vec![[0; TILE]; accumulators], positions: vec![[0; TILE]; accumulators] }
    }
}

impl Done<'_> {
    /// Takes the value and position of each accumulator at the next kept point.
    fn push(&mut self, results: &[(u64, u64)], machine: &mut Machine, slots: &mut Slots) {
        for (i, &result) in results.iter().enumerate() {
            (self.results.values[i][self.count], self.results.positions[i][self.count]) = result;
        }
        self.count += 1;
        if self.count == TILE {
            self.flush(machine, slots);
        }
    }

    fn flush(&mut self, machine: &mut Machine, slots: &mut Slots) {
        let points = Points::new(self.kept, self.first, self.count);
        machine.epilogue(&points, slots, &self.results);
        self.stores.iter().for_each(|&s| store(machine, s, &points, slots));
        self.first += self.count;
        self.count = 0;
    }
}

/// Goes through the points of one or several rows again and again, each time with the results of one stage more; stores the last time.
fn rows(mut machine: Machine, kernel: &Kernel, kept: usize, stores: &[Store], row_stores: &[Store], slots: &mut Slots) {
    let extents = machine.extents;
    let (all, n) = (size(&extents[..kept]), size(&extents[kept..]));
    let (accumulators, stages) = (kernel.accumulators(), kernel.stages());
    let stage = |a: &Accumulator| stages[a.value.0 as usize];
    let last = accumulators.iter().map(stage).max().unwrap_or(0) + 1;
    let mut totals: Vec<Total> = accumulators.iter().map(|a| Total::new(a.combine, machine.dtype(a.value))).collect();
    let mut done =
        Done { kept: &extents[..kept], stores: row_stores, first: 0, count: 0, results: Results::new(totals.len()) };
    let together = (TILE / n.max(1)).clamp(1, TILE);
    for first in (0..all).step_by(together) {
        let count = together.min(all - first);
        // Value and position of each accumulator in each of these rows.
        let mut results = vec![vec![(0, 0); count]; accumulators.len()];
        for now in 0..=last {
            for (start, points) in tiles(count * n) {
                let at = Points::new(extents, first * n + start, points);
                let mut here = Results::new(accumulators.len());
                for (a, of_rows) in results.iter().enumerate() {
                    for i in 0..points {
                        (here.values[a][i], here.positions[a][i]) = of_rows[(start + i) / n];
                    }
                }
                machine.body_of_rows(&at, slots, &here);
                if now == last {
                    stores.iter().for_each(|&s| store(&machine, s, &at, slots));
                    continue;
                }
                let mut i = 0;
                while i < points {
                    let (row, element) = ((start + i) / n, (start + i) % n);
                    let run = (n - element).min(points - i);
                    for (a, accumulator) in accumulators.iter().enumerate().filter(|(_, a)| stage(a) == now) {
                        totals[a].add(element, &machine.value(accumulator.value)[i..i + run]);
                        if element + run == n {
                            results[a][row] = totals[a].take();
                        }
                    }
                    i += run;
                }
            }
        }
        for row in 0..count {
            let result = |a: usize, totals: &mut [Total]| if n == 0 { totals[a].take() } else { results[a][row] };
            let results = (0..accumulators.len()).map(|a| result(a, &mut totals)).collect::<Vec<_>>();
            done.push(&results, &mut machine, slots);
        }
    }
    done.flush(&mut machine, slots);
}

/// Walks all points in row-major order, or from the last to the first; rows follow one another. What is stored is what `next` gives of the values at a point, and of whether it is the first of
/// its row.
fn running(
    mut machine: Machine,
    reverse: bool,
    store: u32,
    values: &[Value],
    next: &mut dyn FnMut(&[u64], bool) -> u64,
    slots: &mut Slots,
) {
    let row = machine.extents.last().copied().unwrap_or(1);
    let (all, start_of_row) = (tiles(size(machine.extents)), if reverse { row.wrapping_sub(1) } else { 0 });
    let order: Box<dyn Iterator<Item = (usize, usize)>> = if reverse { Box::new(all.rev()) } else { Box::new(all) };
    let mut out: Tile = [0; TILE];
    for (start, count) in order {
        let points = Points::new(machine.extents, start, count);
        machine.body(&points, slots);
        for i in 0..count {
            let at = if reverse { count - 1 - i } else { i };
            let elements: SmallVec<[u64; 2]> = values.iter().map(|&v| machine.value(v)[at]).collect();
            out[at] = next(&elements, (start + at) % row == start_of_row);
        }
        let arg = &machine.args[store as usize];
        put(slots.bytes_mut(arg.slot), arg, machine.dtype(values[0]), &points, &out);
    }
}

/// A running combination, at some point of a row.
struct Combining {
    step: ScanStep,
    exclusive: bool,
    identity: u64,
    total: u64,
}

impl Combining {
    fn new(op: ScanOp, exclusive: bool, dtype: DType) -> Self {
        let identity = op.identity(dtype).bits;
        Self { step: ScanStep::new(op, dtype), exclusive, identity, total: identity }
    }

    fn next(&mut self, element: u64, first: bool) -> u64 {
        if self.exclusive {
            let before = if first { self.identity } else { self.total };
            self.total = self.step.apply(before, element);
            return before;
        }
        self.total = if first { element } else { self.step.apply(self.total, element) };
        self.total
    }
}

/// A linear recurrence, at some point of a row.
struct Recurring {
    dtype: DType,
    next: u64,
}

impl Recurring {
    fn next(&mut self, factor: u64, term: u64, first: bool) -> u64 {
        if first {
            self.next = term;
            return 0;
        }
        let now = self.next;
        let scaled = apply(BinaryOp::Mul, self.dtype, factor, now);
        self.next = apply(BinaryOp::Add, self.dtype, scaled, term);
        now
    }
}

/// `total op element`.
enum ScanStep {
    Binary(BinaryOp, DType),
    /// Instructions that take the two as parameters, and the value that is the result.
    Line(Vec<Inst>, Value, DType),
}

impl ScanStep {
    fn new(op: ScanOp, dtype: DType) -> Self {
        match op.binary() {
            Some(op) => ScanStep::Binary(op, dtype),
            None => {
                let mut line = Emit::new();
                let (total, element) = (line.param(dtype), line.param(dtype));
                let result = math::logaddexp(&mut line, total, element);
                ScanStep::Line(line.insts, result, dtype)
            }
        }
    }

    fn apply(&self, total: u64, element: u64) -> u64 {
        match self {
            ScanStep::Binary(op, dtype) => apply(*op, *dtype, total, element),
            ScanStep::Line(insts, result, dtype) => {
                let params = [total, element].map(|bits| Scalar { dtype: *dtype, bits });
                let mut values: Vec<Scalar> = Vec::with_capacity(insts.len());
                for inst in insts {
                    let operands: SmallVec<[Scalar; 3]> = inst.uses().iter().map(|v| values[v.0 as usize]).collect();
                    let value = match *inst {
                        Inst::Param(p) => Some(params[p as usize]),
                        _ => scalar_ops::eval(inst, &operands),
                    };
                    values.push(value.expect("arithmetic on two parameters"));
                }
                values[result.0 as usize].bits
            }
        }
    }
}

fn scatter(
    mut machine: Machine,
    op: ScatterOp,
    target: u32,
    index: Value,
    mask: Option<Value>,
    value: Value,
    slots: &mut Slots,
) {
    let arg = &machine.args[target as usize];
    let dtype = machine.dtype(value);
    for (start, count) in tiles(size(machine.extents)) {
        machine.body(&Points::new(machine.extents, start, count), slots);
        for i in 0..count {
            let position = usize::try_from(machine.value(index)[i] as i64).ok().filter(|&p| p < arg.len);
            let Some(position) = position.filter(|_| mask.is_none_or(|m| machine.value(m)[i] != 0)) else { continue };
            // The one element, as an argument of a loop space without axes.
            let element = Arg { offset: arg.offset + position, strides: Default::default(), ..*arg };
            let here = Points::all(&[]);
            let mut now = [machine.value(value)[i]];
            if let Some(op) = op.binary() {
                let mut before = [0];
                gather(slots.bytes(arg.slot), &element, dtype, &here, &mut before);
                now = [apply(op, dtype, before[0], now[0])];
            }
            put(slots.bytes_mut(arg.slot), &element, dtype, &here, &now);
        }
    }
}
