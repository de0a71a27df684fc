//! Gives every buffer of a program its memory: the caller's inputs, outputs, or a place in the plan's arena.
//!
//! A buffer lives from the first step that touches it to the last. A step that writes a buffer at the very points where it reads another one for the last
//! time writes in place: the two share memory. Buffers that outlive the plan are outputs; all others are packed into the arena by best fit, at
//! multiples of 64 bytes. Last, inputs are found whose memory an output could take over. For the same steps with other extents all of this is taken over
//! ([`again`]), as far as it holds.

mod again;
mod arena;
mod donations;
mod lives;

use crate::lower::{BufferId, Fork, Launch, Program, Scattered, Work};
use crate::pipeline::{OutputInfo, OutputSource};
pub(crate) use again::Arrangement;
use donations::donations;
use lazuli_ir::Aval;
use lazuli_kernel::{
    Arg, Binding, Branch, DType, HostArg, Inst, LibraryCall, Nest, Pass, Plan, Role, Scatter, Slot, Step, small,
};
use lives::{Lives, Piece};
use smallvec::SmallVec;
use std::sync::Arc;

/// Where the buffers of a program are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Assignment {
    /// Of each buffer.
    slots: Vec<Slot>,
    /// Size of the arena in bytes.
    arena: usize,
    /// The buffers that are outputs of the plan.
    outputs: Vec<BufferId>,
    /// Of each output of the graph.
    sources: Vec<OutputSource>,
    /// Of each input, whether its bytes are of any use.
    needed: Vec<bool>,
    /// Outputs and inputs whose memory they may take over.
    donations: Arc<[(u32, u32)]>,
}

/// What an assignment takes for granted besides which steps touch which buffers.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// Buffers of equal size.
    equal: Vec<(BufferId, BufferId)>,
    alike: Vec<Term>,
    /// What is in the arena, in the order of birth.
    pieces: Vec<Piece>,
}

/// Two arrays of launches of a step that are walked alike.
pub(crate) type Term = ([ArrayId; 2], Alike);

/// An array of a launch: the step, which of its launches, the binding, the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ArrayId {
    pub step: u32,
    pub launch: u32,
    pub binding: u32,
    pub operand: u32,
}

impl ArrayId {
    fn of(self, program: &Program) -> &Arg {
        let launch = &launches(&program.work[self.step as usize])[self.launch as usize];
        &launch.bindings[self.binding as usize].args[self.operand as usize]
    }
}

/// How two arrays are walked alike: by equal strides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alike {
    /// At every point both are the same element.
    Same,
    /// They are the parts of one array of complex numbers.
    Parts,
}

impl Alike {
    /// How these are, if they are.
    fn of(a: &Arg, b: &Arg) -> Option<Alike> {
        // What has a length is read at computed positions.
        if a.len != 0 || b.len != 0 || a.strides != b.strides {
            return None;
        }
        match a.offset.abs_diff(b.offset) {
            0 => Some(Alike::Same),
            1 if a.strides.iter().all(|s| s % 2 == 0) => Some(Alike::Parts),
            _ => None,
        }
    }
}

/// Assigns memory to a program with `inputs` inputs.
pub(crate) fn assign(program: &Program, inputs: usize) -> (Assignment, Terms) {
    let Program { buffers, work, outputs, .. } = program;
    let mut outputs_of: Vec<Option<u32>> = vec![None; buffers.len()];
    let mut written = Vec::new();
    let mut returned = vec![false; inputs];
    let mut sources = Vec::with_capacity(outputs.len());
    for place in outputs {
        let b = place.buffer.0 as usize;
        sources.push(if b < inputs {
            returned[b] = true;
            OutputSource::Input(b)
        } else {
            let n = *outputs_of[b].get_or_insert_with(|| {
                written.push(place.buffer);
                written.len() as u32 - 1
            });
            OutputSource::Output(n as usize)
        });
    }
    let touched: Vec<Touches> = work.iter().map(touches).collect();
    let mut terms = Terms::default();
    let lives = Lives::new(&touched, buffers.len(), &outputs_of, inputs);
    let shared = lives.share(work, &touched, buffers, inputs, &mut terms);
    let (slots, arena) = lives.place(buffers, &shared, &outputs_of, inputs, &mut terms);
    // A call of the host may fail when part of the plan is done: nothing may be lost then.
    let donations = match work.iter().any(Work::has_effects) {
        true => Arc::default(),
        false => donations(&touched, &slots, buffers, &written, &returned, &mut terms).into(),
    };
    // An input that no step reads (its extents alone were asked for) needs no bytes.
    let mut needed = returned;
    for touch in touched.iter().flatten() {
        if let Some(needed) = needed.get_mut(touch.buffer.0 as usize) {
            *needed = true;
        }
    }
    (Assignment { slots, arena, outputs: written, sources, needed, donations }, terms)
}

impl Assignment {
    /// What each of the plan's inputs has to have, where buffers have these sizes.
    fn inputs(&self, sizes: &[usize]) -> impl Iterator<Item = usize> {
        self.needed.iter().zip(sizes).map(|(&needed, n)| if needed { *n } else { 0 })
    }
    /// What each of its outputs has.
    fn outputs(&self, sizes: &[usize]) -> impl Iterator<Item = usize> {
        self.outputs.iter().map(|b| sizes[b.0 as usize])
    }
    /// The plan of a program whose buffers are there.
    pub fn plan(self, program: Program) -> (Plan, Arc<[OutputInfo]>) {
        let Program { buffers, work, outputs, .. } = program;
        let infos = self.sources.iter().copied().zip(outputs);
        let infos = infos.map(|(source, place)| OutputInfo { source, layout: place.layout }).collect();
        // Not collected in place: plans are kept, and steps take much less room than what they are made of.
        let mut steps = Vec::with_capacity(work.len());
        steps.extend(work.into_iter().map(|w| step(w, &self.slots)));
        let plan = Plan {
            inputs: self.inputs(&buffers).collect(),
            outputs: self.outputs(&buffers).collect(),
            arena: self.arena,
            steps,
            donations: self.donations,
        };
        (plan, infos)
    }
}

/// The launches of a step.
fn launches(work: &Work) -> &[Launch] {
    match work {
        Work::Launch(launch) => std::slice::from_ref(launch),
        Work::Call { epilogue: Some(launch), .. } => std::slice::from_ref(&**launch),
        Work::Scatter(scattered) => &scattered.launches,
        Work::Call { epilogue: None, .. } | Work::Host { .. } | Work::Branch(_) => &[],
    }
}

/// The arrays of a step that no launch has.
fn outside_launches(work: &Work) -> SmallVec<[&Arg; 3]> {
    match work {
        Work::Launch(_) | Work::Scatter(_) => SmallVec::new(),
        Work::Call { call, .. } => match &**call {
            LibraryCall::Matmul { a, b, c, .. } => small([a, b, c]),
            LibraryCall::Sort { input, output, .. } => small([input, output]),
        },
        Work::Branch(fork) => [&fork.predicate].into_iter().chain(&fork.inputs).chain(&fork.outputs).collect(),
        Work::Host { args, .. } => args.iter().map(|(_, array)| array).collect(),
    }
}

/// Whether something holds for all arrays of a step.
fn all_arrays(work: &Work, mut holds: impl FnMut(&Arg) -> bool) -> bool {
    outside_launches(work).into_iter().all(&mut holds)
        && launches(work).iter().all(|launch| launch.bindings.iter().all(|bound| bound.args.iter().all(&mut holds)))
}

/// One array of a step.
pub(crate) struct Touch<'a> {
    pub array: &'a Arg,
    pub buffer: BufferId,
    pub writes: bool,
    /// Which launch of the step it belongs to, and as which operand.
    launch: u32,
    operand: u32,
    itemsize: usize,
    /// Touched at the point of the loop: not once per row of it, nor by a library.
    pointwise: bool,
    /// Which binding of the launch it belongs to.
    binding: usize,
}

impl Touch<'_> {
    /// How this array of a step and another are walked, if it is alike and at the same points of one binding.
    fn alike(&self, other: &Touch, step: usize) -> Option<Term> {
        if !(self.pointwise && other.pointwise && self.binding == other.binding && self.itemsize == other.itemsize) {
            return None;
        }
        let how = Alike::of(self.array, other.array)?;
        let (step, binding) = (step as u32, self.binding as u32);
        let id = |t: &Touch| ArrayId { step, launch: t.launch, binding, operand: t.operand };
        Some(([id(self), id(other)], how))
    }
}

/// All arrays of a step, binding by binding.
type Touches<'a> = SmallVec<[Touch<'a>; 4]>;

/// Those of this one.
pub(crate) fn touches(work: &Work) -> Touches<'_> {
    let library = |array, writes, d: DType| Touch {
        array,
        buffer: BufferId::of(array),
        writes,
        launch: 0,
        operand: 0,
        itemsize: d.itemsize(),
        pointwise: false,
        binding: 0,
    };
    match work {
        Work::Launch(launch) => small(launched(launch, 0)),
        Work::Call { call, epilogue } => match (&**call, epilogue) {
            (LibraryCall::Matmul { dtype, a, b, c, .. }, None) => {
                small([library(a, false, *dtype), library(b, false, *dtype), library(c, true, *dtype)])
            }
            (LibraryCall::Matmul { dtype, a, b, c, .. }, Some(launch)) => {
                let result = BufferId::of(c);
                let factors = [library(a, false, *dtype), library(b, false, *dtype)].into_iter();
                small(factors.chain(launched(launch, 0).filter(|t| t.buffer != result)))
            }
            (LibraryCall::Sort { dtype, input, output, .. }, _) => {
                small([library(input, false, *dtype), library(output, true, *dtype)])
            }
        },
        Work::Scatter(scattered) => {
            let [target, updates, epilogue] = &scattered.launches;
            // Updates are looked for by each part of the result.
            let updates = launched(updates, 1).map(|t| Touch { pointwise: false, ..t });
            let all = launched(target, 0).chain(updates).chain(launched(epilogue, 2));
            small(all.filter(|t| t.buffer != scattered.result))
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

/// The arrays of a launch, which is this one of its step.
fn launched(launch: &Launch, number: u32) -> impl Iterator<Item = Touch<'_>> {
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
            buffer: BufferId::of(array),
            writes: kernel.operands[o].role != Role::In,
            launch: number,
            operand: o as u32,
            itemsize: kernel.operands[o].dtype.itemsize(),
            pointwise: !once[o],
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

/// Arrays of one binding by the number of what they touch.
struct Numbered<'t, 'a>(SmallVec<[(usize, &'t Touch<'a>); 8]>);

impl<'t, 'a> Numbered<'t, 'a> {
    fn new(touches: &'t [Touch<'a>], number: impl Fn(&Touch) -> Option<usize>) -> Self {
        let mut all: SmallVec<_> = touches.iter().filter_map(|t| Some((number(t)?, t))).collect();
        all.sort_by_key(|(n, _)| *n);
        Self(all)
    }
    fn of(&self, number: usize) -> impl Iterator<Item = &'t Touch<'a>> {
        let first = self.0.partition_point(|(n, _)| *n < number);
        self.0[first..].iter().take_while(move |(n, _)| *n == number).map(|(_, t)| *t)
    }
    /// How all arrays that touch one thing and another are walked alike, if they all are.
    fn alike(&self, step: usize, b: usize, r: usize) -> Option<SmallVec<[Term; 2]>> {
        let pairs = self.of(b).flat_map(|x| self.of(r).map(move |y| (x, y)));
        pairs.map(|(x, y)| x.alike(y, step)).collect()
    }
}

/// In one allocation, if there is one.
fn shared(bindings: SmallVec<[Binding; 1]>) -> Arc<[Binding]> {
    match bindings.into_inner() {
        Ok(one) => Arc::new(one),
        Err(more) => more.into_vec().into(),
    }
}

/// A step whose buffers are there.
fn step(work: Work, slots: &[Slot]) -> Step {
    let place = |arg: &mut Arg| arg.slot = slots[BufferId::of(arg).0 as usize];
    // The same where a buffer is the result that goes on to an epilogue.
    let place_or_result = |arg: &mut Arg, result: BufferId| match BufferId::of(arg) == result {
        true => arg.slot = Slot::Result,
        false => place(arg),
    };
    let pass = |Launch { kernel, bindings }: Launch, result: BufferId| {
        let mut binding = bindings.into_iter().next().expect("it has one binding");
        binding.args.iter_mut().for_each(|arg| place_or_result(arg, result));
        Pass { kernel, binding }
    };
    match work {
        Work::Launch(Launch { kernel, mut bindings }) => {
            bindings.iter_mut().flat_map(|binding| &mut binding.args).for_each(place);
            Step::Launch { kernel, bindings: shared(bindings) }
        }
        Work::Call { mut call, epilogue } => {
            let (inputs, output): (SmallVec<[&mut Arg; 2]>, _) = match &mut *call {
                LibraryCall::Matmul { a, b, c, .. } => (small([a, b]), c),
                LibraryCall::Sort { input, output, .. } => (small([input]), output),
            };
            inputs.into_iter().for_each(place);
            match epilogue {
                None => {
                    place(output);
                    Step::Call(call)
                }
                Some(launch) => {
                    let Pass { kernel, binding } = pass(*launch, BufferId::of(output));
                    output.slot = Slot::Result;
                    Step::Product { call, kernel, binding: Arc::new(binding) }
                }
            }
        }
        Work::Scatter(scattered) => {
            let Scattered { result, launches } = *scattered;
            let [target, updates, epilogue] = launches.map(|launch| pass(launch, result));
            Step::Scatter(Box::new(Scatter { target, updates, epilogue }))
        }
        Work::Branch(fork) => {
            let Fork { mut predicate, plans, inputs, outputs } = *fork;
            place(&mut predicate);
            let placed = |all: Vec<Arg>| all.iter().map(|arg| slots[BufferId::of(arg).0 as usize]).collect();
            Step::Branch(Box::new(Branch { predicate, plans, inputs: placed(inputs), outputs: placed(outputs) }))
        }
        Work::Host { call, args } => {
            let placed = |(aval, mut arg): (Aval, Arg)| {
                place(&mut arg);
                HostArg { slot: arg.slot, offset: arg.offset, dtype: aval.dtype, shape: aval.shape }
            };
            Step::Host { call, args: args.into_iter().map(placed).collect() }
        }
    }
}
