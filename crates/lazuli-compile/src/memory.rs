//! Gives every buffer of a program its memory: the caller's inputs, outputs, or a place in the plan's arena.
//!
//! A buffer lives from the first step that touches it to the last. A step that writes a buffer at the very points where it reads another one for the last
//! time writes in place: the two share memory. Buffers that outlive the plan are outputs; all others are packed into the arena by best fit, at
//! multiples of 64 bytes. Last, inputs are found whose memory an output could take over.

use crate::lower::{Bound, BufferId, Fork, Launch, Operands, Place, Program, Scattered, Work};
use crate::pipeline::{OutputInfo, OutputSource};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{
    Arg, Binding, Branch, DType, HostArg, Inst, LibraryCall, Nest, Pass, Plan, Role, Scatter, Slot, Step, small,
};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// Arena offsets are multiples of this, a cache line.
const ALIGN: usize = 64;

/// Plans memory for a program with `inputs` inputs.
pub(crate) fn plan(program: Program, inputs: usize) -> (Plan, Vec<OutputInfo>) {
    let Program { buffers, work, outputs, .. } = program;
    let mut outputs_of: Vec<Option<u32>> = vec![None; buffers.len()];
    let mut output_sizes = Vec::new();
    let mut infos = Vec::with_capacity(outputs.len());
    for Place { buffer, layout } in outputs {
        let b = buffer.0 as usize;
        let source = if b < inputs {
            OutputSource::Input(b)
        } else {
            let n = *outputs_of[b].get_or_insert_with(|| {
                output_sizes.push(buffers[b]);
                output_sizes.len() as u32 - 1
            });
            OutputSource::Output(n as usize)
        };
        infos.push(OutputInfo { source, layout });
    }
    let touched: Vec<Touches> = work.iter().map(touches).collect();
    let lives = Lives::new(&touched, buffers.len(), &outputs_of, inputs);
    let shared = lives.share(&work, &touched, &buffers, inputs);
    let (slots, arena) = lives.place(&buffers, &shared, &outputs_of, inputs);
    let mut returned = vec![false; inputs];
    for info in &infos {
        if let OutputSource::Input(i) = info.source {
            returned[i] = true;
        }
    }
    // A call of the host may fail when part of the plan is done: nothing may be lost then.
    let donations = match work.iter().any(Work::has_effects) {
        true => Vec::new(),
        false => donations(&touched, &slots, &buffers[..inputs], &output_sizes, &returned),
    };
    // An input that no step reads (its extents alone were asked for) needs no bytes.
    let mut needed: Vec<usize> = (0..inputs).map(|i| if returned[i] { buffers[i] } else { 0 }).collect();
    for touch in touched.iter().flatten() {
        let b = touch.array.buffer.0 as usize;
        if b < inputs {
            needed[b] = buffers[b];
        }
    }
    drop(touched);
    let steps = work.into_iter().map(|w| step(w, &slots)).collect();
    let plan = Plan { inputs: needed, outputs: output_sizes, arena, steps, donations };
    (plan, infos)
}

/// One array of a step.
pub(crate) struct Touch<'a> {
    pub array: &'a Operands,
    pub writes: bool,
    itemsize: usize,
    /// Touched at the point of the loop, by strides: not at computed positions, nor by a library.
    pointwise: bool,
    /// Which binding of a launch it belongs to.
    binding: usize,
}

impl Touch<'_> {
    /// Whether at every point of one binding both touch the same bytes of their buffers.
    fn same_map(&self, other: &Touch) -> bool {
        let (a, b) = (self.array, other.array);
        self.pointwise
            && other.pointwise
            && self.binding == other.binding
            && self.itemsize == other.itemsize
            && a.offset == b.offset
            && a.strides == b.strides
    }
}

/// All arrays of a step, binding by binding.
type Touches<'a> = SmallVec<[Touch<'a>; 4]>;

/// Those of this one.
pub(crate) fn touches(work: &Work) -> Touches<'_> {
    let library =
        |array, writes, d: DType| Touch { array, writes, itemsize: d.itemsize(), pointwise: false, binding: 0 };
    match work {
        Work::Launch(launch) => small(launched(launch)),
        Work::Matmul { dtype, a, b, c, epilogue: None, .. } => {
            small([library(a, false, *dtype), library(b, false, *dtype), library(c, true, *dtype)])
        }
        Work::Matmul { dtype, a, b, c, epilogue: Some(launch), .. } => {
            let factors = [library(a, false, *dtype), library(b, false, *dtype)];
            let launched = launched(launch).filter(|t| t.array.buffer != c.buffer);
            small(factors.into_iter().chain(launched))
        }
        Work::Scatter(scattered) => {
            let [target, updates, epilogue] = &scattered.launches;
            // Updates are looked for by each part of the result.
            let updates = launched(updates).map(|t| Touch { pointwise: false, ..t });
            let all = launched(target).chain(updates).chain(launched(epilogue));
            small(all.filter(|t| t.array.buffer != scattered.result))
        }
        Work::Sort { dtype, input, output, .. } => {
            [library(input, false, *dtype), library(output, true, *dtype)].into_iter().collect()
        }
        Work::Branch(fork) => {
            let reads = std::iter::once((&fork.predicate, DType::Bool, false));
            let reads = reads.chain(fork.inputs.iter().map(|a| (a, DType::U8, false)));
            let all = reads.chain(fork.outputs.iter().map(|a| (a, DType::U8, true)));
            all.map(|(array, dtype, writes)| library(array, writes, dtype)).collect()
        }
        Work::Host { args, .. } => args.iter().map(|(aval, array)| library(array, false, aval.dtype)).collect(),
    }
}

/// The arrays of a launch.
fn launched(launch: &Launch) -> impl Iterator<Item = Touch<'_>> {
    let kernel = &launch.kernel;
    // What is touched once per row is so at another time than the row's points.
    let once: SmallVec<[bool; 8]> = match &kernel.nest {
        Nest::Rows { epilogue, row_stores, .. } => {
            let stored = |o: u32| row_stores.iter().any(|s| s.operand == o);
            let operands = 0..kernel.operands.len() as u32;
            operands.map(|o| stored(o) || epilogue.contains(&Inst::Load(o))).collect()
        }
        _ => SmallVec::from_elem(false, kernel.operands.len()),
    };
    launch.bindings.iter().enumerate().flat_map(move |(binding, b)| {
        let once = once.clone();
        b.args.iter().enumerate().map(move |(o, array)| Touch {
            array,
            writes: kernel.operands[o].role != Role::In,
            itemsize: kernel.operands[o].dtype.itemsize(),
            pointwise: array.is_strided() && !once[o],
            binding,
        })
    })
}

/// Of pieces of memory, by number: the last step that touched each, the first binding of it that did, and whether none else did.
struct Owners(Vec<(usize, usize, bool)>);

impl Owners {
    fn new(pieces: usize) -> Self {
        Self(vec![(usize::MAX, 0, false); pieces])
    }
    /// A step touches these; `number` is that of the piece that is touched, if it is one of those.
    fn note(&mut self, step: usize, touches: &[Touch], number: impl Fn(&Touch) -> Option<usize>) {
        for t in touches {
            let Some(owner) = number(t).map(|n| &mut self.0[n]) else { continue };
            *owner = match *owner {
                (s, binding, alone) if s == step => (s, binding, alone && binding == t.binding),
                _ => (step, t.binding, true),
            };
        }
    }
    fn is_alone(&self, number: usize) -> bool {
        self.0[number].2
    }
}

/// First and last step that touches each buffer; outputs live to the end, inputs all the time.
struct Lives(Vec<Option<(usize, usize)>>);

impl Lives {
    fn new(touched: &[Touches], buffers: usize, outputs: &[Option<u32>], inputs: usize) -> Self {
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers];
        lives[..inputs].fill(Some((0, usize::MAX)));
        for (step, touches) in touched.iter().enumerate() {
            for t in touches {
                let life = lives[t.array.buffer.0 as usize].get_or_insert((step, step));
                life.1 = life.1.max(step);
            }
        }
        for (life, output) in lives.iter_mut().zip(outputs) {
            if let (Some(life), true) = (life, output.is_some()) {
                life.1 = usize::MAX;
            }
        }
        Self(lives)
    }

    /// For each buffer, the one whose memory it is born in: what the step that first writes it reads for the last time, at the same points.
    fn share(&self, work: &[Work], touched: &[Touches], sizes: &[usize], inputs: usize) -> Vec<Option<BufferId>> {
        let mut parent: Vec<Option<BufferId>> = vec![None; sizes.len()];
        let mut taken = vec![false; sizes.len()];
        let mut owners = Owners::new(sizes.len());
        let number = |t: &Touch| t.array.buffer.0 as usize;
        for (step, (w, touches)) in work.iter().zip(touched).enumerate() {
            let (Work::Launch(_) | Work::Scatter(_) | Work::Matmul { epilogue: Some(_), .. }) = w else { continue };
            owners.note(step, touches, |t| Some(number(t)));
            for own in touches.chunk_by(|a, b| a.binding == b.binding) {
                for born in own.iter().filter(|t| t.writes) {
                    let b = number(born);
                    let is_born = self.0[b].is_some_and(|(first, _)| first == step);
                    if parent[b].is_some() || !is_born || !owners.is_alone(b) {
                        continue;
                    }
                    let dies = |r: usize| {
                        r >= inputs && r != b && self.0[r].is_some_and(|(first, last)| first < step && last == step)
                    };
                    let heir = own.iter().find(|t| {
                        let r = number(t);
                        let fits = !t.writes && dies(r) && !taken[r] && sizes[r] == sizes[b];
                        fits && owners.is_alone(r) && in_place(own, b, r)
                    });
                    if let Some(t) = heir {
                        taken[number(t)] = true;
                        parent[b] = Some(t.array.buffer);
                    }
                }
            }
        }
        parent
    }

    /// The slot of every buffer, and the size of the arena.
    fn place(
        &self,
        sizes: &[usize],
        parents: &[Option<BufferId>],
        outputs: &[Option<u32>],
        inputs: usize,
    ) -> (Vec<Slot>, usize) {
        // Buffers are numbered in the order of their making, so a parent comes before its heirs.
        let n = sizes.len();
        let mut heads: Vec<usize> = (0..n).collect();
        let mut ends: Vec<usize> = self.0.iter().map(|life| life.map_or(0, |l| l.1)).collect();
        let mut output_of: Vec<Option<u32>> = outputs.to_vec();
        for b in 0..n {
            if let Some(parent) = parents[b] {
                let head = heads[parent.0 as usize];
                heads[b] = head;
                ends[head] = ends[b];
                output_of[head] = output_of[b];
            }
        }
        let mut slots: Vec<Slot> = (0..n as u32).map(Slot::Input).collect();
        let mut arena = Arena::default();
        let mut births: Vec<(usize, usize)> =
            (inputs..n).filter(|&b| heads[b] == b).map(|b| (self.0[b].map_or(0, |l| l.0), b)).collect();
        births.sort_unstable();
        let mut deaths: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (birth, b) in births {
            while let Some(&(end, dead)) = deaths.first().filter(|(end, _)| *end < birth) {
                deaths.remove(&(end, dead));
                if let Slot::Temp { offset, nbytes } = slots[dead] {
                    arena.release(offset, nbytes);
                }
            }
            slots[b] = match output_of[b] {
                Some(n) => Slot::Output(n),
                None if self.0[b].is_none() => Slot::Temp { offset: 0, nbytes: 0 },
                None => {
                    deaths.insert((ends[b], b));
                    Slot::Temp { offset: arena.allocate(sizes[b]), nbytes: sizes[b] }
                }
            };
        }
        for b in inputs..n {
            slots[b] = slots[heads[b]];
        }
        (slots, arena.size)
    }
}

/// Whether all that a step does with buffers `b` (written) and `r` (read) happens at equal points.
fn in_place(touches: &[Touch], b: usize, r: usize) -> bool {
    let of = |buffer: usize| touches.iter().filter(move |t| t.array.buffer.0 as usize == buffer);
    // Parts of complex numbers are two arrays of each buffer: a pair is the same map, or interleaves with it at the same strides.
    let apart = |x: &Touch, y: &Touch| {
        x.pointwise && y.pointwise && x.itemsize == y.itemsize && x.array.strides == y.array.strides && {
            let (a, b) = (x.array.offset, y.array.offset);
            a.abs_diff(b) == 1 && x.array.strides.iter().all(|s| s % 2 == 0)
        }
    };
    of(b).all(|x| of(r).all(|y| x.same_map(y) || apart(x, y)))
}

/// Free pieces of the arena, by offset and by size.
#[derive(Default)]
struct Arena {
    size: usize,
    by_offset: BTreeMap<usize, usize>,
    by_size: BTreeSet<(usize, usize)>,
}

impl Arena {
    /// The offset of the smallest free piece that is large enough, or the end of the arena.
    fn allocate(&mut self, nbytes: usize) -> usize {
        let need = nbytes.next_multiple_of(ALIGN);
        if let Some(&(size, offset)) = self.by_size.range((need, 0)..).next() {
            self.remove(offset, size);
            self.insert(offset + need, size - need);
            return offset;
        }
        let offset = match self.by_offset.last_key_value() {
            Some((&offset, &size)) if offset + size == self.size => {
                self.remove(offset, size);
                offset
            }
            _ => self.size,
        };
        self.size = offset + need;
        offset
    }
    fn release(&mut self, offset: usize, nbytes: usize) {
        let (mut offset, mut size) = (offset, nbytes.next_multiple_of(ALIGN));
        if let Some((&before, &n)) = self.by_offset.range(..offset).next_back().filter(|(o, n)| **o + **n == offset) {
            self.remove(before, n);
            (offset, size) = (before, size + n);
        }
        if let Some(&n) = self.by_offset.get(&(offset + size)) {
            self.remove(offset + size, n);
            size += n;
        }
        self.insert(offset, size);
    }
    fn insert(&mut self, offset: usize, size: usize) {
        if size > 0 {
            self.by_offset.insert(offset, size);
            self.by_size.insert((size, offset));
        }
    }
    fn remove(&mut self, offset: usize, size: usize) {
        self.by_offset.remove(&offset);
        self.by_size.remove(&(size, offset));
    }
}

/// Pairs (output, input) of equal size where no step reads the input at or after a write of the output, but for reads of the very points written
/// in the same binding. Which inputs are given up is known at each run, so an output has all those to choose from that it overwrites point by point;
/// otherwise it has one that has been read before.
fn donations(
    touched: &[Touches],
    slots: &[Slot],
    inputs: &[usize],
    outputs: &[usize],
    returned: &[bool],
) -> Vec<(u32, u32)> {
    let mut by_size: Map<usize, Vec<usize>> = Map::default();
    inputs.iter().enumerate().filter(|(i, _)| !returned[*i]).for_each(|(i, &n)| by_size.entry(n).or_default().push(i));
    if !outputs.iter().any(|n| by_size.contains_key(n)) {
        return Vec::new();
    }
    let slot = |t: &Touch| slots[t.array.buffer.0 as usize];
    let mut first_write = vec![usize::MAX; outputs.len()];
    let mut last_read = vec![None; inputs.len()];
    for (step, touches) in touched.iter().enumerate() {
        for t in touches {
            match slot(t) {
                Slot::Output(n) if t.writes => first_write[n as usize] = first_write[n as usize].min(step),
                Slot::Input(n) => last_read[n as usize] = Some(step),
                _ => {}
            }
        }
    }
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let is_known =
        |pairs: &[(u32, u32)], output, input| pairs.iter().rev().take_while(|p| p.0 == output).any(|p| p.1 == input);
    let mut has_choice = vec![false; outputs.len()];
    let mut owners = Owners::new(inputs.len() + outputs.len());
    let number = |t: &Touch| match slot(t) {
        Slot::Input(n) => Some(n as usize),
        Slot::Output(n) => Some(inputs.len() + n as usize),
        _ => None,
    };
    for (step, touches) in touched.iter().enumerate() {
        owners.note(step, touches, number);
        for own in touches.chunk_by(|a, b| a.binding == b.binding) {
            for write in own.iter().filter(|t| t.writes) {
                let Slot::Output(output) = slot(write) else { continue };
                let o = output as usize;
                if first_write[o] != step || has_choice[o] || !owners.is_alone(inputs.len() + o) {
                    continue;
                }
                // The parts of complex numbers would be two maps of one buffer each: those are left to the arena's rule.
                let of = |s: Slot| own.iter().filter(move |t| slot(t) == s);
                let overwrites = |s: Slot| of(slot(write)).filter(|t| t.writes).all(|x| of(s).all(|y| x.same_map(y)));
                for t in own.iter().filter(|t| !t.writes) {
                    let Slot::Input(input) = slot(t) else { continue };
                    let i = input as usize;
                    let fits = !returned[i] && last_read[i] == Some(step) && inputs[i] == outputs[o];
                    if fits && owners.is_alone(i) && overwrites(slot(t)) && !is_known(&pairs, output, input) {
                        pairs.push((output, input));
                        has_choice[o] = true;
                    }
                }
            }
        }
    }
    // What has been read, of each size, by the time of each output.
    let read_at = |i: &usize| last_read[*i].map_or(usize::MAX, |read| read);
    by_size.values_mut().for_each(|inputs| inputs.sort_by_key(|i| std::cmp::Reverse(read_at(i))));
    let mut order: Vec<usize> =
        (0..outputs.len()).filter(|&o| !has_choice[o] && first_write[o] != usize::MAX).collect();
    order.sort_by_key(|&o| first_write[o]);
    for o in order {
        let Some(free) = by_size.get_mut(&outputs[o]) else { continue };
        if let Some(&i) = free.last().filter(|i| read_at(i) < first_write[o]) {
            free.pop();
            pairs.push((o as u32, i as u32));
        }
    }
    pairs
}

fn step(work: Work, slots: &[Slot]) -> Step {
    let arg = |o: Operands| Arg { slot: slots[o.buffer.0 as usize], offset: o.offset, strides: o.strides, len: o.len };
    // The same where a buffer is the result that goes on to an epilogue.
    let or_result = |o: Operands, result: BufferId| match o.buffer == result {
        true => Arg { slot: Slot::Result, offset: o.offset, strides: o.strides, len: o.len },
        false => arg(o),
    };
    let binding = |bound: Bound, arg: &dyn Fn(Operands) -> Arg| Binding {
        extents: bound.extents,
        args: bound.args.into_iter().map(arg).collect(),
        params: bound.params,
    };
    let pass = |Launch { kernel, bindings }: Launch, arg: &dyn Fn(Operands) -> Arg| {
        let bound = bindings.into_iter().next().expect("it has one binding");
        Pass { kernel, binding: binding(bound, arg) }
    };
    match work {
        Work::Launch(launch) => Step::Launch {
            kernel: launch.kernel,
            bindings: launch.bindings.into_iter().map(|b| binding(b, &arg)).collect(),
        },
        Work::Matmul { dtype, batch, m, n, k, a, b, c, epilogue } => {
            let result = c.buffer;
            let of_product = |o: Operands| or_result(o, result);
            let c = if epilogue.is_some() { of_product(c) } else { arg(c) };
            let call = Box::new(LibraryCall::Matmul { dtype, batch, m, n, k, a: arg(a), b: arg(b), c });
            match epilogue {
                None => Step::Call(call),
                Some(launch) => {
                    let Pass { kernel, binding } = pass(*launch, &of_product);
                    Step::Product { call, kernel, binding: Box::new(binding) }
                }
            }
        }
        Work::Scatter(scattered) => {
            let Scattered { result, launches } = *scattered;
            let [target, updates, epilogue] = launches.map(|launch| pass(launch, &|o| or_result(o, result)));
            Step::Scatter(Box::new(Scatter { target, updates, epilogue }))
        }
        Work::Sort { dtype, rows, n, indices, input, output } => {
            Step::Call(Box::new(LibraryCall::Sort { dtype, rows, n, indices, input: arg(input), output: arg(output) }))
        }
        Work::Branch(fork) => {
            let Fork { predicate, plans, inputs, outputs } = *fork;
            let slots = |all: Vec<Operands>| all.into_iter().map(|a| slots[a.buffer.0 as usize]).collect();
            let (inputs, outputs) = (slots(inputs), slots(outputs));
            Step::Branch(Box::new(Branch { predicate: arg(predicate), plans, inputs, outputs }))
        }
        Work::Host { call, args } => Step::Host {
            call,
            args: args
                .into_iter()
                .map(|(aval, array)| {
                    let Arg { slot, offset, .. } = arg(array);
                    HostArg { slot, offset, dtype: aval.dtype, shape: aval.shape }
                })
                .collect(),
        },
    }
}
