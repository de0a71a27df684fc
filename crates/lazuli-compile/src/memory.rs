//! Gives every buffer of a program its memory: the caller's inputs, outputs, or a place in the plan's arena.
//!
//! A buffer lives from the first step that touches it to the last. A step that writes a buffer at the very points where it reads another one for the last
//! time writes in place: the two share memory. Buffers that outlive the plan are outputs; all others are packed into the arena by best fit, at
//! multiples of 64 bytes. Last, inputs are found whose memory an output could take over.

use crate::lower::{BufferId, Operands, Place, Program, Work};
use crate::pipeline::{OutputInfo, OutputSource};
use lazuli_kernel::{Arg, DType, LibraryCall, Plan, Role, Slot, Step};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Arena offsets are multiples of this, a cache line.
const ALIGN: usize = 64;

/// Plans memory for a program with `inputs` inputs.
pub(crate) fn plan(program: Program, inputs: usize) -> (Plan, Vec<OutputInfo>) {
    let Program { buffers, work, outputs } = program;
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
    let lives = Lives::new(&work, buffers.len(), &outputs_of, inputs);
    let shared = lives.share(&work, &buffers, inputs);
    let (slots, arena) = lives.place(&buffers, &shared, &outputs_of, inputs);
    let returned = |i: usize| infos.iter().any(|o| o.source == OutputSource::Input(i));
    let donations = donations(&work, &slots, &buffers[..inputs], &output_sizes, returned);
    // An input that no step reads (its extents alone were asked for) needs no bytes.
    let mut needed: Vec<usize> = (0..inputs).map(|i| if returned(i) { buffers[i] } else { 0 }).collect();
    for touch in work.iter().flat_map(touches) {
        let b = touch.array.buffer.0 as usize;
        if b < inputs {
            needed[b] = buffers[b];
        }
    }
    let steps = work.into_iter().map(|w| step(w, &slots)).collect();
    let plan = Plan { inputs: needed, outputs: output_sizes, arena, steps, donations };
    (plan, infos)
}

/// One array of a step.
struct Touch<'a> {
    array: &'a Operands,
    writes: bool,
    itemsize: usize,
    /// Touched at the point of the loop, by strides: not at computed positions, nor by a library.
    pointwise: bool,
}

impl Touch<'_> {
    /// Whether at every point both touch the same bytes of their buffers.
    fn same_map(&self, other: &Touch) -> bool {
        let (a, b) = (self.array, other.array);
        self.pointwise
            && other.pointwise
            && self.itemsize == other.itemsize
            && a.offset == b.offset
            && a.strides == b.strides
    }
}

fn touches(work: &Work) -> SmallVec<[Touch<'_>; 4]> {
    let library = |array, writes, d: DType| Touch { array, writes, itemsize: d.itemsize(), pointwise: false };
    match work {
        Work::Launch(launch) => launch
            .args
            .iter()
            .zip(&launch.kernel.operands)
            .map(|(array, operand)| Touch {
                array,
                writes: operand.role != Role::In,
                itemsize: operand.dtype.itemsize(),
                pointwise: array.is_strided(),
            })
            .collect(),
        Work::Matmul { dtype, a, b, c, .. } => {
            [library(a, false, *dtype), library(b, false, *dtype), library(c, true, *dtype)].into_iter().collect()
        }
        Work::Sort { dtype, input, output, .. } => {
            [library(input, false, *dtype), library(output, true, *dtype)].into_iter().collect()
        }
    }
}

/// First and last step that touches each buffer; outputs live to the end, inputs all the time.
struct Lives(Vec<Option<(usize, usize)>>);

impl Lives {
    fn new(work: &[Work], buffers: usize, outputs: &[Option<u32>], inputs: usize) -> Self {
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers];
        lives[..inputs].fill(Some((0, usize::MAX)));
        for (step, w) in work.iter().enumerate() {
            for t in touches(w) {
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
    fn share(&self, work: &[Work], sizes: &[usize], inputs: usize) -> Vec<Option<BufferId>> {
        let mut parent: Vec<Option<BufferId>> = vec![None; sizes.len()];
        let mut taken = vec![false; sizes.len()];
        for (step, w) in work.iter().enumerate() {
            let Work::Launch(_) = w else { continue };
            let touches = touches(w);
            for born in touches.iter().filter(|t| t.writes) {
                let b = born.array.buffer.0 as usize;
                if parent[b].is_some() || self.0[b].is_none_or(|(first, _)| first != step) {
                    continue;
                }
                let dies = |r: usize| {
                    r >= inputs && r != b && self.0[r].is_some_and(|(first, last)| first < step && last == step)
                };
                let heir = touches.iter().find(|t| {
                    let r = t.array.buffer.0 as usize;
                    !t.writes && dies(r) && !taken[r] && sizes[r] == sizes[b] && in_place(&touches, b, r)
                });
                if let Some(t) = heir {
                    taken[t.array.buffer.0 as usize] = true;
                    parent[b] = Some(t.array.buffer);
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

/// Pairs (output, input) of equal size where no step reads the input at or after a write of the output, but for reads of the very points written.
fn donations(
    work: &[Work],
    slots: &[Slot],
    inputs: &[usize],
    outputs: &[usize],
    returned: impl Fn(usize) -> bool,
) -> Vec<(u32, u32)> {
    let candidates = outputs.iter().any(|n| inputs.contains(n));
    if !candidates {
        return Vec::new();
    }
    let mut first_write = vec![usize::MAX; outputs.len()];
    let mut last_read = vec![None; inputs.len()];
    for (step, w) in work.iter().enumerate() {
        for t in touches(w) {
            match slots[t.array.buffer.0 as usize] {
                Slot::Output(n) if t.writes => first_write[n as usize] = first_write[n as usize].min(step),
                Slot::Input(n) => last_read[n as usize] = Some(step),
                _ => {}
            }
        }
    }
    let mut donations: Vec<(u32, u32)> = Vec::new();
    for (output, &nbytes) in outputs.iter().enumerate() {
        let write = first_write[output];
        if write == usize::MAX {
            continue;
        }
        let fits = |&input: &usize| {
            let Some(read) = last_read[input] else { return false };
            let free = !donations.iter().any(|&(_, i)| i as usize == input) && !returned(input);
            let early =
                || read < write || read == write && overwrites(&work[write], slots, output as u32, input as u32);
            inputs[input] == nbytes && free && early()
        };
        if let Some(input) = (0..inputs.len()).find(fits) {
            donations.push((output as u32, input as u32));
        }
    }
    donations
}

/// Whether a step reads an input only at the points where it writes an output.
fn overwrites(work: &Work, slots: &[Slot], output: u32, input: u32) -> bool {
    let touches = touches(work);
    let of = |slot: Slot| touches.iter().filter(move |t| slots[t.array.buffer.0 as usize] == slot);
    let pairs = |x: &Touch| of(Slot::Input(input)).all(|y| x.same_map(y));
    // The parts of complex numbers would be two maps of one buffer each: those are left to the arena's rule.
    of(Slot::Output(output)).filter(|t| t.writes).all(pairs)
}

fn step(work: Work, slots: &[Slot]) -> Step {
    let arg = |o: Operands| Arg { slot: slots[o.buffer.0 as usize], offset: o.offset, strides: o.strides, len: o.len };
    match work {
        Work::Launch(launch) => Step::Launch {
            kernel: Arc::new(launch.kernel),
            extents: launch.extents,
            args: launch.args.into_iter().map(arg).collect(),
            params: launch.params,
        },
        Work::Matmul { dtype, batch, m, n, k, a, b, c } => {
            Step::Call(Box::new(LibraryCall::Matmul { dtype, batch, m, n, k, a: arg(a), b: arg(b), c: arg(c) }))
        }
        Work::Sort { dtype, rows, n, indices, input, output } => {
            Step::Call(Box::new(LibraryCall::Sort { dtype, rows, n, indices, input: arg(input), output: arg(output) }))
        }
    }
}
