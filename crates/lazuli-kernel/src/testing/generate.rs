//! The generator of random launches.

use super::{Case, DTYPES, NestKind, Rng};
use crate::dtype::DType;
use crate::ir::{
    Accumulator, BinaryOp, Combine, Emit, Inner, Inst, Kernel, Nest, Operand, Role, ScanOp, ScatterOp, Store, UnaryOp,
    Value,
};
use crate::plan::{Arg, Binding, Plan, Slot, Step};
use crate::scalar::Scalar;
use crate::shape::{Shape, size};
use std::fmt::Debug;
use std::sync::Arc;

/// Where an operand's elements lie, and how many its slot holds.
struct Placed {
    arg: Arg,
    elements: usize,
}

pub(super) struct Generator<'a> {
    rng: Rng,
    kind: NestKind,
    dtypes: &'a [DType],
    tame: bool,
    extents: Shape,
    /// Axes that are not reduced.
    kept: usize,
    vector_axis: usize,
    emit: Emit,
    args: Vec<Arg>,
    params: Vec<Scalar>,
    /// Values that instructions may use.
    pool: Vec<Value>,
    plan: Plan,
    inputs: Vec<Vec<u8>>,
    /// Copies after the launch.
    after: Vec<Step>,
}

impl<'a> Generator<'a> {
    pub fn new(seed: u64, kind: NestKind, dtypes: &'a [DType]) -> Self {
        let mut rng = Rng(seed.wrapping_mul(8).wrapping_add(kind as u64));
        let tame = rng.once_in(2);
        let (extents, kept) = extents(&mut rng, kind);
        let last = extents.len().saturating_sub(1);
        let vector_axis = if kept > 0 && rng.once_in(2) { kept - 1 } else { last };
        Self {
            rng,
            kind,
            dtypes,
            tame,
            extents,
            kept,
            vector_axis,
            emit: Emit::new(),
            args: Vec::new(),
            params: Vec::new(),
            pool: Vec::new(),
            plan: Plan::default(),
            inputs: Vec::new(),
            after: Vec::new(),
        }
    }

    fn dtype(&mut self) -> DType {
        self.rng.pick(self.dtypes)
    }

    /// A layout over the first `axes` loop axes; the others, if any, have stride 0. Of a store, no two points share an element.
    fn layout(&mut self, axes: usize, stored: bool, slot: Slot) -> Placed {
        let rng = &mut self.rng;
        let plain = rng.once_in(2);
        let mut order: Vec<usize> = (0..axes).collect();
        if !plain && rng.once_in(2) {
            (1..axes).for_each(|i| order.swap(i, rng.below(i + 1)));
        }
        let mut arg = Arg { slot, offset: 0, strides: self.extents.iter().map(|_| 0).collect(), len: 0 };
        let mut elements = 1;
        for axis in order.into_iter().rev() {
            if !plain && !stored && rng.once_in(3) {
                continue;
            }
            let n = self.extents[axis].max(1);
            let stride = elements * if plain { 1 } else { rng.pick(&[1, 1, 1, 1, 2, 3]) };
            let flip = !plain && rng.once_in(7);
            arg.strides[axis] = if flip { -(stride as isize) } else { stride as isize };
            arg.offset += if flip { (n - 1) * stride } else { 0 };
            elements = stride * n;
        }
        let lead = if plain { 0 } else { rng.below(4) };
        arg.offset += lead;
        Placed { arg, elements: elements + lead }
    }

    fn inner(&self, arg: &Arg) -> Inner {
        match arg.strides.get(self.vector_axis) {
            Some(0) => Inner::Broadcast,
            None | Some(1) => Inner::Unit,
            _ => Inner::Strided,
        }
    }

    /// A new input slot with so many random elements.
    fn input(&mut self, dtype: DType, elements: usize) -> Slot {
        let mut bytes = Vec::with_capacity(elements * dtype.itemsize());
        for _ in 0..elements {
            bytes.extend(self.rng.scalar(dtype, self.tame).to_bytes());
        }
        self.plan.inputs.push(bytes.len());
        self.inputs.push(bytes);
        Slot::Input(self.inputs.len() as u32 - 1)
    }

    /// Declares an input operand over the first `axes` axes and loads it.
    fn load(&mut self, axes: usize) {
        let dtype = self.dtype();
        let mut placed = self.layout(axes, false, Slot::Input(0));
        placed.arg.slot = self.input(dtype, placed.elements);
        let operand = Operand { dtype, role: Role::In, inner: self.inner(&placed.arg) };
        let number = self.declare(operand, placed.arg);
        let value = self.emit.push(Inst::Load(number));
        self.pool.push(value);
    }

    fn declare(&mut self, operand: Operand, arg: Arg) -> u32 {
        self.args.push(arg);
        self.emit.operand(operand)
    }

    /// Declares an operand that is written over the first `axes` axes. Its slot is an output, or a temporary that is copied to one;
    /// filled beforehand if the kernel reads it or leaves gaps.
    fn output(&mut self, dtype: DType, role: Role, axes: usize) -> u32 {
        let n = self.plan.outputs.len() as u32;
        if role == Role::Out
            && (self.kind == NestKind::Map || self.kind == NestKind::Rows && axes == self.extents.len())
            && self.rng.once_in(4)
            && let Some(number) = self.in_place(dtype)
        {
            return number;
        }
        let mut placed = self.layout(axes, true, Slot::Output(n));
        let nbytes = placed.elements * dtype.itemsize();
        self.plan.outputs.push(nbytes);
        if self.rng.once_in(4) {
            placed.arg.slot = Slot::Temp { offset: self.plan.arena, nbytes };
            self.plan.arena = (self.plan.arena + nbytes).next_multiple_of(64);
            self.after.push(Step::Copy { from: placed.arg.slot, to: Slot::Output(n), nbytes });
        }
        if role == Role::InOut || placed.elements != size(&self.extents[..axes]) {
            let from = self.input(dtype, placed.elements);
            self.plan.steps.push(Step::Copy { from, to: placed.arg.slot, nbytes });
        }
        let inner = if self.kind == NestKind::Scatter { Inner::Strided } else { self.inner(&placed.arg) };
        self.declare(Operand { dtype, role, inner }, placed.arg)
    }

    /// An output in the memory of an input with the same index map, if there is one fit for it.
    fn in_place(&mut self, dtype: DType) -> Option<u32> {
        let output = self.plan.outputs.len() as u32;
        let (i, input) = self.args.iter().enumerate().find_map(|(i, arg)| match arg.slot {
            Slot::Input(n) if self.emit.operands[i].dtype == dtype && arg.len == 0 => Some((i, n)),
            _ => None,
        })?;
        let arg = Arg { slot: Slot::Output(output), ..self.args[i].clone() };
        let dense = size(&self.extents) * dtype.itemsize() == self.plan.inputs[input as usize];
        let taken = self.plan.donations.iter().any(|&(_, n)| n == input);
        let broadcast = self.extents.iter().zip(&arg.strides).any(|(&n, &s)| n > 1 && s == 0);
        if taken || broadcast || !dense || self.extents.contains(&0) {
            return None;
        }
        self.plan.donations = self.plan.donations.iter().copied().chain([(output, input)]).collect();
        self.plan.outputs.push(self.plan.inputs[input as usize]);
        let operand = Operand { role: Role::Out, ..self.emit.operands[i] };
        Some(self.declare(operand, arg))
    }

    /// Parameters, constants and counters.
    fn leaves(&mut self, axes: usize) {
        for _ in 0..self.rng.below(3) {
            let dtype = self.dtype();
            self.params.push(self.rng.scalar(dtype, self.tame));
            let value = self.emit.param(dtype);
            self.pool.push(value);
        }
        for _ in 0..self.rng.below(3) {
            let dtype = self.dtype();
            let value = self.rng.scalar(dtype, self.tame);
            let value = self.emit.constant(value);
            self.pool.push(value);
        }
        if axes > 0 && self.rng.once_in(3) {
            let axis = self.rng.below(axes) as u32;
            let value = self.emit.push(Inst::Index(axis));
            self.pool.push(value);
        }
        if !self.extents.is_empty() && self.rng.once_in(8) {
            let axis = self.rng.below(self.extents.len()) as u32;
            let value = self.emit.push(Inst::Extent(axis));
            self.pool.push(value);
        }
    }

    /// A value of the pool, later ones more often.
    fn any(&mut self) -> Value {
        let n = self.pool.len();
        let at = self.rng.below(n).max(self.rng.below(n));
        self.pool[at]
    }

    /// A value of this dtype: of the pool where it has one, else a cast.
    fn of(&mut self, dtype: DType) -> Value {
        let fit: Vec<Value> = self.pool.iter().copied().filter(|&v| self.emit.dtype(v) == dtype).collect();
        if fit.is_empty() || self.rng.once_in(10) {
            let value = self.any();
            return self.emit.cast(dtype, value);
        }
        self.rng.pick(&fit)
    }

    /// A value whose dtype this accepts; f32 if none is at hand.
    fn accepted(&mut self, accepts: impl Fn(DType) -> bool) -> Value {
        for _ in 0..4 {
            let value = self.any();
            if accepts(self.emit.dtype(value)) {
                return value;
            }
        }
        let dtype = DTYPES.into_iter().rev().find(|&d| accepts(d) && self.dtypes.contains(&d));
        let dtype = dtype.or_else(|| DTYPES.into_iter().find(|&d| accepts(d))).expect("accepts some dtype");
        self.of(dtype)
    }

    fn instructions(&mut self, count: usize) {
        for _ in 0..count {
            let value = self.instruction();
            self.pool.push(value);
        }
    }

    fn instruction(&mut self) -> Value {
        match self.rng.below(16) {
            0..3 => {
                let op = self.op(&UnaryOp::ALL, |op, d| op.accepts(d));
                let a = self.accepted(|d| op.accepts(d));
                self.emit.unary(op, a)
            }
            3..10 => {
                let op = self.op(&BinaryOp::ALL, |op, d| op.accepts(d));
                let a = self.accepted(|d| op.accepts(d));
                let b = self.of(self.emit.dtype(a));
                self.emit.binary(op, a, b)
            }
            10 if self.dtypes.iter().any(|d| matches!(d, DType::F32 | DType::F64)) => {
                let a = self.accepted(|d| matches!(d, DType::F32 | DType::F64));
                let (b, c) = (self.of(self.emit.dtype(a)), self.of(self.emit.dtype(a)));
                self.emit.fma(a, b, c)
            }
            11 => {
                let a = self.any();
                let (c, b) = (self.of(DType::Bool), self.of(self.emit.dtype(a)));
                self.emit.select(c, a, b)
            }
            12 => {
                let a = self.any();
                let from = self.emit.dtype(a);
                let fits = |d: &DType| d.itemsize() == from.itemsize() && *d != DType::Bool;
                let to: Vec<DType> = self.dtypes.iter().copied().filter(fits).collect();
                if to.is_empty() {
                    return a;
                }
                let to = self.rng.pick(&to);
                let a = self.number(a);
                self.emit.bitcast(to, a)
            }
            13 if self.rng.once_in(2) => self.load_at(),
            _ => {
                let (to, a) = (self.dtype(), self.any());
                self.emit.cast(to, a)
            }
        }
    }

    /// The value with 1 in place of NaN, whose bits are not specified.
    fn number(&mut self, value: Value) -> Value {
        let dtype = self.emit.dtype(value);
        if !dtype.is_float() {
            return value;
        }
        let wide = if dtype == DType::F64 { value } else { self.emit.cast(DType::F32, value) };
        let (is_number, one) = (self.emit.eq(wide, wide), self.emit.like(value, 1.0));
        self.emit.select(is_number, value, one)
    }

    /// An op that accepts one of the dtypes in use, bool or int64.
    fn op<T: Copy + Debug>(&mut self, all: &[T], accepts: impl Fn(T, DType) -> bool) -> T {
        loop {
            let op = self.rng.pick(all);
            if self.dtypes.iter().chain(&[DType::Bool, DType::I64]).any(|&d| accepts(op, d)) {
                return op;
            }
        }
    }

    fn load_at(&mut self) -> Value {
        let dtype = self.dtype();
        let (offset, len) = (self.rng.below(3), self.rng.pick(&[0, 1, 5, 64, 1000]));
        let slot = self.input(dtype, offset + len);
        let strides = self.extents.iter().map(|_| 0).collect();
        let operand = Operand { dtype, role: Role::In, inner: Inner::Strided };
        let operand = self.declare(operand, Arg { slot, offset, strides, len });
        let index = self.index(len);
        let mask = self.rng.once_in(2).then(|| self.of(DType::Bool));
        self.emit.push(Inst::LoadAt { operand, index, mask })
    }

    /// An i64 that is mostly within `0..len`.
    fn index(&mut self, len: usize) -> Value {
        let any = self.of(DType::I64);
        if self.rng.once_in(4) {
            return any;
        }
        let n = self.emit.i64(len as i64 + 1);
        let within = self.emit.binary(BinaryOp::Rem, any, n);
        self.emit.abs(within)
    }

    /// Everything but the launch itself: operands, instructions, and the nest that is returned.
    pub fn kernel(&mut self) -> Nest {
        let rank = self.extents.len();
        let in_place =
            matches!(self.kind, NestKind::Map | NestKind::Scan | NestKind::Recurrence) && self.rng.once_in(4);
        for _ in 0..1 + self.rng.below(3) {
            self.load(rank);
        }
        self.leaves(rank);
        let updated = in_place.then(|| {
            let dtype = self.dtype();
            let number = self.output(dtype, Role::InOut, rank);
            let value = self.emit.push(Inst::Load(number));
            self.pool.push(value);
            (number, dtype)
        });
        let count = self.rng.pick(&[0, 1, 3, 10, 30, 30, 100]);
        self.instructions(count);
        match self.kind {
            NestKind::Map => {
                let mut stores = Vec::new();
                if let Some((operand, dtype)) = updated {
                    stores.push(Store { operand, value: self.of(dtype) });
                }
                stores.extend(self.stores(rank, updated.is_none() as usize));
                Nest::Map { stores }
            }
            NestKind::Reduce => self.reduce(),
            NestKind::Rows => self.rows(),
            NestKind::Scan => {
                // No f64 in logaddexp: the f32 scheme is the only one so far.
                let accepts = |op: ScanOp, d| op.accepts(d) && (op != ScanOp::LogAddExp || d == DType::F32);
                let (op, value, store) = match updated {
                    Some((store, dtype)) => {
                        let ops: Vec<ScanOp> = ScanOp::ALL.into_iter().filter(|&op| accepts(op, dtype)).collect();
                        if ops.is_empty() {
                            // A half: nothing is computed in it, so that nothing is scanned.
                            return Nest::Map { stores: vec![Store { operand: store, value: self.of(dtype) }] };
                        }
                        (self.rng.pick(&ops), self.of(dtype), store)
                    }
                    None => {
                        let op = self.op(&ScanOp::ALL, accepts);
                        let value = self.accepted(|d| accepts(op, d));
                        (op, value, self.output(self.emit.dtype(value), Role::Out, rank))
                    }
                };
                Nest::Scan { op, reverse: self.rng.once_in(2), exclusive: self.rng.once_in(2), value, store }
            }
            NestKind::Recurrence => {
                let accepts = |d| matches!(d, DType::F32 | DType::F64);
                let (term, store) = match updated {
                    Some((store, dtype)) if !accepts(dtype) => {
                        return Nest::Map { stores: vec![Store { operand: store, value: self.of(dtype) }] };
                    }
                    Some((store, dtype)) => (self.of(dtype), store),
                    None => {
                        let term = self.accepted(accepts);
                        (term, self.output(self.emit.dtype(term), Role::Out, rank))
                    }
                };
                Nest::Recurrence { reverse: self.rng.once_in(2), factor: self.of(self.emit.dtype(term)), term, store }
            }
            NestKind::Scatter => {
                let op = self.rng.pick(&ScatterOp::ALL);
                let value = self.accepted(|d| op.accepts(d));
                let target = self.output(self.emit.dtype(value), Role::InOut, rank);
                let elements = self.target_elements(target);
                let len = self.rng.below(elements + 1);
                let arg = &mut self.args[target as usize];
                (arg.offset, arg.len) = (elements - len, len);
                arg.strides.fill(0);
                let index = self.index(len);
                let mask = self.rng.once_in(2).then(|| self.of(DType::Bool));
                Nest::Scatter { op, target, index, mask, value }
            }
        }
    }

    fn target_elements(&self, operand: u32) -> usize {
        let itemsize = self.emit.operands[operand as usize].dtype.itemsize();
        match self.args[operand as usize].slot {
            Slot::Input(n) => self.plan.inputs[n as usize] / itemsize,
            Slot::Output(n) => self.plan.outputs[n as usize] / itemsize,
            Slot::Temp { nbytes, .. } => nbytes / itemsize,
            Slot::Result => unreachable!("a case of a kernel has no product"),
        }
    }

    /// Stores of late values to new outputs, `least` or more.
    fn stores(&mut self, axes: usize, least: usize) -> Vec<Store> {
        let count = least + self.rng.pick(&[0, 0, 0, 1, 2]);
        let stores = (0..count).map(|_| {
            let value = self.any();
            Store { operand: self.output(self.emit.dtype(value), Role::Out, axes), value }
        });
        stores.collect()
    }

    fn accumulator(&mut self) -> Accumulator {
        let combine = self.rng.pick(&Combine::ALL);
        Accumulator { combine, value: self.accepted(|d| combine.accepts(d)) }
    }

    fn reduce(&mut self) -> Nest {
        let accumulators: Vec<Accumulator> = (0..self.rng.pick(&[1, 1, 1, 2, 3])).map(|_| self.accumulator()).collect();
        let (epilogue, stores) = self.epilogue(&accumulators);
        Nest::Reduce { axes: (self.extents.len() - self.kept) as u32, accumulators, epilogue, stores }
    }

    /// Accumulators, each followed by instructions that use its result, then stores at the points and in the epilogue.
    fn rows(&mut self) -> Nest {
        let mut accumulators = Vec::new();
        for _ in 0..self.rng.pick(&[1, 1, 2, 2, 3]) {
            let accumulator = self.accumulator();
            accumulators.push(accumulator);
            let a = self.emit.accumulate(accumulator.value);
            if self.rng.once_in(5) {
                continue;
            }
            let tracks = accumulator.combine.binary().is_none();
            let result = if tracks && self.rng.once_in(2) { Inst::ReducedIndex(a) } else { Inst::Reduced(a) };
            let result = self.emit.push(result);
            self.pool.push(result);
            if self.rng.once_in(4) {
                self.load(self.kept);
            }
            let count = self.rng.pick(&[0, 1, 3, 10]);
            self.instructions(count);
        }
        let rank = self.extents.len();
        let least = self.rng.pick(&[0, 1, 1, 1]);
        let stores = self.stores(rank, least);
        let row = stores.is_empty() || self.rng.once_in(2);
        let (epilogue, row_stores) = if row { self.epilogue(&accumulators) } else { (Vec::new(), Vec::new()) };
        Nest::Rows { axes: (rank - self.kept) as u32, accumulators, stores, epilogue, row_stores }
    }

    /// Instructions and stores at the kept points: of all results, and of what follows from them.
    fn epilogue(&mut self, accumulators: &[Accumulator]) -> (Vec<Inst>, Vec<Store>) {
        let begin = self.emit.begin_epilogue(accumulators);
        self.pool.clear();
        if self.rng.once_in(3) {
            self.load(self.kept);
        }
        self.leaves(self.kept);
        let updated = (self.kind == NestKind::Reduce && self.rng.once_in(5)).then(|| {
            let dtype = self.dtype();
            let number = self.output(dtype, Role::InOut, self.kept);
            let value = self.emit.push(Inst::Load(number));
            self.pool.push(value);
            (number, dtype)
        });
        let mut results = Vec::new();
        for (i, a) in accumulators.iter().enumerate() {
            results.push(self.emit.push(Inst::Reduced(i as u32)));
            if a.combine.binary().is_none() {
                results.push(self.emit.push(Inst::ReducedIndex(i as u32)));
            }
        }
        self.pool.extend(&results);
        let count = self.rng.pick(&[0, 0, 1, 5]);
        self.instructions(count);
        let mut stores = Vec::new();
        if let Some((operand, dtype)) = updated {
            stores.push(Store { operand, value: self.of(dtype) });
        }
        for value in results {
            stores.push(Store { operand: self.output(self.emit.dtype(value), Role::Out, self.kept), value });
        }
        stores.extend(self.stores(self.kept, 0));
        (self.emit.insts.split_off(begin), stores)
    }

    /// The plan that launches the kernel.
    pub fn finish(mut self, nest: Nest) -> Case {
        let kernel = Kernel {
            rank: self.extents.len() as u32,
            vector_axis: self.vector_axis as u32,
            params: self.emit.params,
            operands: self.emit.operands,
            body: self.emit.insts,
            nest,
        };
        let binding = Binding { extents: self.extents, args: self.args, params: self.params };
        self.plan.steps.push(Step::launch(Arc::new(kernel), binding));
        self.plan.steps.append(&mut self.after);
        Case { plan: self.plan, inputs: self.inputs }
    }
}

impl Case {
    /// The same so many times, on other slots, each launch one binding more of the first.
    pub fn side_by_side(self, times: usize) -> Case {
        let Plan { inputs, outputs, arena, steps, donations } = &self.plan;
        let (n, m, gap) = (inputs.len() as u32, outputs.len() as u32, arena.next_multiple_of(64));
        let mut plan = Plan { arena: gap * times, ..Plan::default() };
        plan.inputs = inputs.repeat(times);
        plan.outputs = outputs.repeat(times);
        let pairs = |k| donations.iter().map(move |&(o, i)| (o + k * m, i + k * n));
        plan.donations = (0..times as u32).flat_map(pairs).collect();
        let moved = |slot: Slot, k: u32| match slot {
            Slot::Input(i) => Slot::Input(i + k * n),
            Slot::Output(o) => Slot::Output(o + k * m),
            Slot::Temp { offset, nbytes } => Slot::Temp { offset: offset + k as usize * gap, nbytes },
            Slot::Result => Slot::Result,
        };
        for step in steps {
            match step {
                Step::Launch { kernel, bindings } => {
                    let again = |k: u32| {
                        bindings.iter().map(move |b| {
                            let args = b.args.iter().map(|a| Arg { slot: moved(a.slot, k), ..a.clone() });
                            Binding { args: args.collect(), ..b.clone() }
                        })
                    };
                    let bindings = (0..times as u32).flat_map(again).collect();
                    plan.steps.push(Step::Launch { kernel: kernel.clone(), bindings });
                }
                Step::Copy { from, to, nbytes } => plan.steps.extend((0..times as u32).map(|k| Step::Copy {
                    from: moved(*from, k),
                    to: moved(*to, k),
                    nbytes: *nbytes,
                })),
                Step::Call(_) | Step::Product { .. } | Step::Scatter(_) | Step::Host { .. } | Step::Branch(_) => {
                    unreachable!("a case of a kernel has no other steps")
                }
            }
        }
        let inputs = std::iter::repeat_n(self.inputs, times).flatten().collect();
        Case { plan, inputs }
    }
}

/// Extents of the loop axes, and how many of them are not reduced.
fn extents(rng: &mut Rng, kind: NestKind) -> (Shape, usize) {
    const LENGTHS: [usize; 20] = [1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 257, 1000];
    /// Around the blocks of a reduction.
    const LONG: [usize; 6] = [4095, 4096, 4097, 8192, 12_300, 20_500];
    let reduces = matches!(kind, NestKind::Reduce | NestKind::Rows);
    let least = (reduces || matches!(kind, NestKind::Scan | NestKind::Recurrence)) as usize;
    let rank = rng.pick(&[0, 1, 1, 1, 2, 2, 2, 3, 3, 4]).max(least);
    let mut extents: Shape = (0..rank).map(|_| rng.pick(&LENGTHS)).collect();
    let kept = if reduces { rng.below(rank) } else { rank };
    if reduces && rng.once_in(4) {
        extents[rank - 1] = rng.pick(&LONG);
    }
    // Mostly small, for speed; the rest large enough to be worth several threads.
    let most = if rng.once_in(100) { 300_000 } else { 30_000 };
    if most > 30_000 && !reduces && rank > 0 {
        extents[rng.below(rank)] = most;
    }
    while size(&extents) > most {
        let axis = rng.below(rank);
        extents[axis] = extents[axis].div_ceil(3);
    }
    if rank > 0 && rng.once_in(25) {
        extents[rng.below(rank)] = 0;
    }
    (extents, kept)
}
