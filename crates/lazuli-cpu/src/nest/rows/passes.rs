//! The body of rows as a sequence of maps: one pass over the points of a row for each stage, and before it one over the rows for what is the same along them.
//!
//! A value that a later pass needs again is computed again where that is cheap (most often a load, from what is in the cache by now, and a subtraction);
//! others are written to a buffer by the pass that computes them first. Which of the two changes no bit.
//!
//! Absent: memory and orders of combination; see [`super`].

use crate::kernels::Kernels;
use crate::known::MapKernel;
use crate::nest::cost_per_point;
use crate::nest::fold::How;
use lazuli_kernel::{Accumulator, DType, Inner, Inst, Kernel, Nest, Operand, Result, Role, Store, Value};
use smallvec::SmallVec;
use std::collections::BinaryHeap;
use std::sync::OnceLock;

/// Instructions that are run again rather than buffered: about what a store and a load cost.
const CHEAP: u32 = 4;
/// What a load from scattered places costs, in instructions.
const SCATTERED: u32 = 8;

/// Where an operand of a map lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The launch's own operand of this number.
    Launch(u32),
    /// A buffer of elements, one for each point.
    Buffer(u32),
    /// Results of an accumulator, one for each row.
    Result(u32),
    Position(u32),
    /// Computed once per row.
    Scalar(u32),
}

/// A map, and where its operands lie.
#[derive(Debug)]
pub struct Map {
    pub kernel: MapKernel,
    pub sources: Vec<Source>,
    /// For each operand the number of the array whose row in the numbers says how it lies: an argument of the launch, or behind those one of the [`Own`].
    pub arrays: Vec<u32>,
}

/// How memory of a task's own lies: an element of so many bytes for each point, or for each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    pub of_points: bool,
    pub itemsize: usize,
}

#[derive(Debug, Default)]
pub struct Pass {
    /// Over the rows, before the rest.
    pub scalars: Option<Map>,
    /// Over the points.
    pub points: Option<Map>,
    /// Numbers of the accumulators whose elements are there then: in an operand, and in a buffer.
    pub direct: Vec<usize>,
    pub buffered: Vec<usize>,
}

#[derive(Debug)]
pub struct State {
    pub dtype: DType,
    pub how: How,
    /// Where its elements are: in a buffer, or in an operand of the launch. And the number of that array, as for operands of maps.
    pub elements: Source,
    pub array: u32,
}

/// A piece of what a task works in: so many elements, of so many bytes.
#[derive(Debug)]
pub struct Piece {
    pub count: Count,
    pub itemsize: usize,
}

#[derive(Debug)]
pub enum Count {
    Nothing,
    /// One for each point of the rows that are taken together.
    Points,
    /// One for each of these rows.
    Rows,
    /// One for each block of these rows.
    Blocks,
    /// The partials of each of these rows.
    Partials,
}

#[derive(Debug)]
pub struct Passes {
    pub passes: Vec<Pass>,
    /// Over the rows, at the end.
    pub epilogue: Option<Map>,
    /// dtypes of the buffers and of the scalars.
    pub buffers: Vec<DType>,
    pub scalars: Vec<DType>,
    pub accumulators: Vec<State>,
    /// Rows of numbers behind those of the launch's arguments.
    pub own: SmallVec<[Own; 4]>,
    /// All that a task works in: for each buffer, for each scalar, values and positions for each accumulator, and partials where vectors run across.
    pub pieces: SmallVec<[Piece; 8]>,
    /// Bytes of a point, in all buffers and in the operands that move along a row.
    pub bytes: usize,
    /// Bytes that the last map stores for a point, if they may go past the caches. What is in a buffer may not: that is read again at once.
    pub streamable: Option<usize>,
    /// Number of axes, of the kept ones among them, and of parameters.
    pub rank: usize,
    pub kept: usize,
    pub params: usize,
    /// Operands of the launch.
    pub operands: usize,
    /// What all of this goes by.
    pub facts: Facts,
    /// Whether vectors run along the last kept axis.
    pub across: bool,
    /// Of all passes at one point, in picoseconds.
    pub cost: usize,
    /// Set when all functions are there.
    pub generated: OnceLock<()>,
}

impl Passes {
    /// Generates the functions of all maps, if that is still to do.
    pub fn generate(&self, kernels: &Kernels) -> Result<()> {
        if self.generated.get().is_none() {
            for map in self.maps() {
                map.kernel.function(kernels, false)?;
            }
            self.generated.get_or_init(|| ());
        }
        Ok(())
    }

    /// The map that stores what the passes give for points.
    pub fn last_map(&self) -> Option<&Map> {
        self.passes.last()?.points.as_ref()
    }

    /// All maps, in the order of [`Launch::functions`](crate::nest::Launch::functions).
    pub fn maps(&self) -> impl Iterator<Item = &Map> {
        self.passes.iter().flat_map(|p| [&p.scalars, &p.points]).chain([&self.epilogue]).flatten()
    }
}

/// All that passes depend on besides the kernel, so that launches that agree in it share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Vectors run along this axis.
    pub vector_axis: usize,
    pub operands: SmallVec<[Fact; 8]>,
}

/// How an operand of the launch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// It has strides along a row that are not 0.
    pub moves: bool,
    /// It stands still along a row, as there is none along an axis of several elements.
    pub stands: bool,
    /// Rows of it may be combined as they lie in memory.
    pub contiguous: bool,
    /// Its steps along the axis of vectors, and from row to row; `Unit` where there is no such axis.
    pub along: Inner,
    pub across: Inner,
}

/// Plans the passes of a launch of rows.
pub fn plan(kernel: &Kernel, facts: &Facts) -> Passes {
    let Nest::Rows { accumulators, stores, epilogue, row_stores, .. } = &kernel.nest else {
        unreachable!("the caller has rows")
    };
    let mut planner = Planner::new(kernel, facts);
    let stage_of = |planner: &Planner, v: Value| planner.stages[v.0 as usize] as usize;
    let values = accumulators.iter().map(|a| a.value);
    let last_stage = values.chain(stores.iter().map(|s| s.value)).map(|v| stage_of(&planner, v)).max().unwrap_or(0);
    let mut elements = vec![Source::Buffer(0); accumulators.len()];
    let mut passes: Vec<Pass> = Vec::new();
    for stage in 0..=last_stage {
        let mut roots = Vec::new();
        let mut pass = Pass::default();
        for (a, accumulator) in accumulators.iter().enumerate() {
            let v = accumulator.value.0 as usize;
            if planner.stages[v] as usize != stage {
                continue;
            }
            match kernel.body[v] {
                Inst::Load(o) if !planner.uniform[v] && facts.operands[o as usize].contiguous => {
                    elements[a] = Source::Launch(o);
                    pass.direct.push(a);
                }
                _ => {
                    roots.push((v, a));
                    pass.buffered.push(a);
                }
            }
        }
        planner.drafts.push(Draft::default());
        let stored = stores.iter().filter(|_| stage == last_stage).map(|s| s.value.0 as usize);
        planner.walk(stage, roots.iter().map(|&(v, _)| v).chain(stored));
        for (v, a) in roots {
            elements[a] = Source::Buffer(planner.buffer(v, stage));
        }
        passes.push(pass);
    }
    let point_stores: Vec<&Store> = stores.iter().collect();
    for (stage, pass) in passes.iter_mut().enumerate() {
        let stores = if stage == last_stage { &point_stores[..] } else { &[] };
        pass.points = planner.points(stage, stores);
    }
    // Passes have asked for all the scalars there are by now.
    for (stage, pass) in passes.iter_mut().enumerate() {
        pass.scalars = planner.scalars(stage as u32);
    }
    let epilogue = planner.epilogue(epilogue, row_stores);
    let types = |values: &[usize]| values.iter().map(|&v| planner.types[v]).collect();
    let (buffers, scalars): (Vec<DType>, Vec<DType>) = (types(&planner.buffered), types(&planner.hoisted));
    let state = |(a, &elements): (&Accumulator, &Source)| {
        let dtype = planner.types[a.value.0 as usize];
        State { dtype, how: How::of(a.combine, dtype), elements, array: 0 }
    };
    let maps = passes.iter().filter_map(|p| p.points.as_ref()).map(|map| cost_per_point(&map.kernel.kernel));
    let moving = facts.operands.iter().zip(&kernel.operands).filter(|(fact, _)| fact.moves);
    let moving = moving.map(|(_, declared)| declared.dtype.itemsize());
    let accumulators: Vec<State> = accumulators.iter().zip(&elements).map(state).collect();
    let (cost, across) = (maps.sum::<usize>() + 200 * accumulators.len(), facts.vector_axis < planner.kept);
    let stored = stores.iter().map(|s| kernel.operands[s.operand as usize].dtype.itemsize()).sum();
    let mut all = Passes {
        cost,
        pieces: pieces(&buffers, &scalars, &accumulators, across),
        bytes: buffers.iter().map(|d| d.itemsize()).sum::<usize>() + moving.sum::<usize>(),
        streamable: passes.last().filter(|pass| pass.buffered.is_empty() && pass.points.is_some()).map(|_| stored),
        accumulators,
        passes,
        epilogue,
        buffers,
        scalars,
        own: SmallVec::new(),
        rank: kernel.rank as usize,
        kept: planner.kept,
        params: kernel.params.len(),
        operands: kernel.operands.len(),
        facts: facts.clone(),
        across,
        generated: OnceLock::new(),
    };
    all.number_arrays(kernel.operands.len());
    all
}

/// What a task works in.
fn pieces(buffers: &[DType], scalars: &[DType], accumulators: &[State], across: bool) -> SmallVec<[Piece; 8]> {
    let piece = |count, dtype: DType| Piece { count, itemsize: dtype.itemsize() };
    let results = accumulators.iter().flat_map(|a| {
        let positions = if matches!(a.how, How::Best(_)) { Count::Rows } else { Count::Nothing };
        [piece(Count::Blocks, a.dtype), piece(positions, DType::I64)]
    });
    // Those of one accumulator after the other.
    let largest = accumulators.iter().map(|a| a.dtype.itemsize()).max().unwrap_or(1);
    let partials = across.then_some(Piece { count: Count::Partials, itemsize: largest });
    let buffers = buffers.iter().map(|&d| piece(Count::Points, d));
    buffers.chain(scalars.iter().map(|&d| piece(Count::Rows, d))).chain(results).chain(partials).collect()
}

impl Passes {
    /// Numbers the arrays that maps and accumulators go by, behind the arguments of the launch. What lies in the same way has one number.
    fn number_arrays(&mut self, arguments: usize) {
        let Passes { passes, epilogue, buffers, scalars, accumulators, own, .. } = self;
        let results: Vec<DType> = accumulators.iter().map(|a| a.dtype).collect();
        let mut number = |source: Source| {
            let (of_points, dtype) = match source {
                Source::Launch(o) => return o,
                Source::Buffer(b) => (true, buffers[b as usize]),
                Source::Result(a) => (false, results[a as usize]),
                Source::Position(_) => (false, DType::I64),
                Source::Scalar(s) => (false, scalars[s as usize]),
            };
            let this = Own { of_points, itemsize: dtype.itemsize() };
            let known = own.iter().position(|own| *own == this);
            let place = known.unwrap_or_else(|| {
                own.push(this);
                own.len() - 1
            });
            (arguments + place) as u32
        };
        let maps = passes.iter_mut().flat_map(|p| [&mut p.scalars, &mut p.points]).chain([epilogue]).flatten();
        maps.for_each(|map| map.arrays = map.sources.iter().map(|&source| number(source)).collect());
        accumulators.iter_mut().for_each(|a| a.array = number(a.elements));
    }
}

/// What one pass over the points does.
#[derive(Default)]
struct Draft {
    /// The values that it has, the last of the body first, and where those come from that it does not compute: the
    /// buffer that an earlier pass wrote, or the scalars.
    values: Vec<(usize, Option<Source>)>,
    /// Values that are written to their buffers.
    kept: Vec<usize>,
}

/// Values of the body that are still to be looked at, the last first: users before what they use.
#[derive(Default)]
struct Pending {
    values: BinaryHeap<usize>,
}

impl Pending {
    fn next(&mut self) -> Option<usize> {
        let v = self.values.pop()?;
        while self.values.peek() == Some(&v) {
            self.values.pop();
        }
        Some(v)
    }
}

impl Extend<usize> for Pending {
    fn extend<T: IntoIterator<Item = usize>>(&mut self, values: T) {
        self.values.extend(values);
    }
}

struct Planner<'a> {
    kernel: &'a Kernel,
    facts: &'a Facts,
    kept: usize,
    types: Vec<DType>,
    stages: Vec<u32>,
    /// Whether a value is the same at all points of a row.
    uniform: Vec<bool>,
    /// The first pass that computes a value.
    first: Vec<Option<usize>>,
    /// Values with a buffer, and with a scalar, by number of that; and the numbers by value.
    buffered: Vec<usize>,
    hoisted: Vec<usize>,
    buffers: Vec<Option<u32>>,
    scalars: Vec<Option<u32>>,
    drafts: Vec<Draft>,
}

impl<'a> Planner<'a> {
    fn new(kernel: &'a Kernel, facts: &'a Facts) -> Self {
        let kept = (kernel.rank - kernel.reduced()) as usize;
        let mut uniform: Vec<bool> = Vec::with_capacity(kernel.body.len());
        for inst in &kernel.body {
            uniform.push(match *inst {
                Inst::Load(o) => facts.operands[o as usize].stands,
                Inst::Index(axis) => (axis as usize) < kept,
                _ => inst.uses().iter().all(|v| uniform[v.0 as usize]),
            });
        }
        Self {
            kernel,
            facts,
            kept,
            types: kernel.dtypes(),
            stages: kernel.stages(),
            uniform,
            first: vec![None; kernel.body.len()],
            buffered: Vec::new(),
            hoisted: Vec::new(),
            buffers: vec![None; kernel.body.len()],
            scalars: vec![None; kernel.body.len()],
            drafts: Vec::new(),
        }
    }

    fn inst(&self, v: usize) -> Inst {
        self.kernel.body[v]
    }

    /// Whether a value needs no computation.
    fn is_leaf(&self, v: usize) -> bool {
        self.inst(v).uses().is_empty()
    }

    fn uses(&self, v: usize) -> impl Iterator<Item = usize> + use<> {
        self.inst(v).uses().into_iter().map(|u| u.0 as usize)
    }

    /// Whether it takes more than a few instructions to compute a value again, given the buffers that there are.
    fn is_dear(&self, v: usize) -> bool {
        // Each value looked at but the last costs something, so there are few.
        let (mut cost, mut pending) = (0, SmallVec::<[usize; 8]>::from_slice(&[v]));
        while let Some(v) = pending.pop() {
            cost += match self.inst(v) {
                _ if self.uniform[v] || self.buffers[v].is_some() => continue,
                Inst::Load(o) => match self.facts.operands[o as usize].along {
                    Inner::Broadcast | Inner::Unit => 0,
                    Inner::Strided => SCATTERED,
                },
                Inst::LoadAt { .. } => SCATTERED,
                _ => 1,
            };
            if cost > CHEAP {
                return true;
            }
            pending.extend(self.uses(v));
        }
        false
    }

    /// Decides how the pass of a stage comes by its roots.
    fn walk(&mut self, stage: usize, roots: impl Iterator<Item = usize>) {
        let mut pending = Pending::default();
        pending.extend(roots);
        while let Some(v) = pending.next() {
            let before = self.first[v].filter(|&before| before < stage);
            let source = if self.uniform[v] {
                (!self.is_leaf(v)).then(|| Source::Scalar(self.scalar(v)))
            } else {
                let again = before.filter(|_| self.buffers[v].is_some() || self.is_dear(v));
                again.map(|before| Source::Buffer(self.buffer(v, before)))
            };
            if source.is_none() {
                self.first[v].get_or_insert(stage);
                pending.extend(self.uses(v));
            }
            self.drafts[stage].values.push((v, source));
        }
    }

    /// The buffer of a value, which the pass of this stage writes if it is new.
    fn buffer(&mut self, v: usize, stage: usize) -> u32 {
        *self.buffers[v].get_or_insert_with(|| {
            self.buffered.push(v);
            self.drafts[stage].kept.push(v);
            self.buffered.len() as u32 - 1
        })
    }

    /// The scalar of a value.
    fn scalar(&mut self, v: usize) -> u32 {
        *self.scalars[v].get_or_insert_with(|| {
            self.hoisted.push(v);
            self.hoisted.len() as u32 - 1
        })
    }

    fn points(&self, stage: usize, stores: &[&Store]) -> Option<Map> {
        let draft = &self.drafts[stage];
        if draft.kept.is_empty() && stores.is_empty() {
            return None;
        }
        let mut writer = Writer::over_points(self);
        for &(v, source) in draft.values.iter().rev() {
            match source {
                Some(source) => writer.load(v, source),
                None => writer.compute(v, self.inst(v)),
            }
        }
        for &v in &draft.kept {
            writer.store(v, Source::Buffer(self.buffers[v].expect("it was just made")));
        }
        for s in stores {
            writer.store(s.value.0 as usize, Source::Launch(s.operand));
        }
        Some(writer.finish())
    }

    /// The scalars of a stage, from results and scalars of earlier ones.
    fn scalars(&self, stage: u32) -> Option<Map> {
        let own = |v: &usize| self.stages[*v] == stage;
        let roots: Vec<usize> = self.hoisted.iter().copied().filter(own).collect();
        let ready = |v: usize| self.scalars[v].filter(|_| self.stages[v] < stage).map(Source::Scalar);
        let (mut pending, mut needed) = (Pending::default(), Vec::new());
        pending.extend(roots.iter().copied());
        while let Some(v) = pending.next() {
            needed.push(v);
            if ready(v).is_none() {
                pending.extend(self.uses(v));
            }
        }
        let mut writer = Writer::over_rows(self);
        for &v in needed.iter().rev() {
            match ready(v) {
                Some(source) => writer.load(v, source),
                None => writer.compute(v, self.inst(v)),
            }
        }
        for &v in &roots {
            writer.store(v, Source::Scalar(self.scalars[v].expect("it is one of the scalars")));
        }
        (!roots.is_empty()).then(|| writer.finish())
    }

    fn epilogue(&self, insts: &[Inst], stores: &[Store]) -> Option<Map> {
        let first = self.kernel.body.len();
        let mut writer = Writer::over_rows(self);
        for (i, &inst) in insts.iter().enumerate() {
            writer.compute(first + i, inst);
        }
        for s in stores {
            writer.store(s.value.0 as usize, Source::Launch(s.operand));
        }
        (!stores.is_empty()).then(|| writer.finish())
    }
}

/// Writes a map of some values of the launch's kernel.
struct Writer<'a> {
    planner: &'a Planner<'a>,
    vector_axis: usize,
    over_rows: bool,
    sources: Vec<Source>,
    operands: Vec<Operand>,
    body: Vec<Inst>,
    /// The values that the instructions of the body compute, in ascending order.
    values: Vec<usize>,
    stores: Vec<Store>,
}

impl<'a> Writer<'a> {
    fn over_points(planner: &'a Planner<'a>) -> Self {
        Self::new(planner, planner.facts.vector_axis, false)
    }
    fn over_rows(planner: &'a Planner<'a>) -> Self {
        Self::new(planner, planner.kept.saturating_sub(1), true)
    }
    fn new(planner: &'a Planner<'a>, vector_axis: usize, over_rows: bool) -> Self {
        Self {
            planner,
            vector_axis,
            over_rows,
            sources: Vec::new(),
            operands: Vec::new(),
            body: Vec::new(),
            values: Vec::new(),
            stores: Vec::new(),
        }
    }

    fn operand(&mut self, source: Source, role: Role) -> u32 {
        let known = self.sources.iter().zip(&self.operands).position(|(s, o)| *s == source && o.role == role);
        known.unwrap_or_else(|| {
            let planner = self.planner;
            let kernel = planner.kernel;
            let across_rows = self.over_rows || self.vector_axis < planner.kept;
            let once = if across_rows { Inner::Unit } else { Inner::Broadcast };
            let result = |a: u32| planner.types[kernel.accumulators()[a as usize].value.0 as usize];
            let (dtype, inner) = match source {
                Source::Launch(o) => {
                    let operand = kernel.operands[o as usize];
                    let fact = planner.facts.operands[o as usize];
                    let steps = if self.over_rows { fact.across } else { fact.along };
                    let inner = match steps {
                        _ if !self.over_rows && self.vector_axis == kernel.vector_axis as usize => operand.inner,
                        // A single row.
                        _ if self.over_rows && planner.kept == 0 => Inner::Unit,
                        Inner::Unit => Inner::Unit,
                        Inner::Broadcast if role == Role::In => Inner::Broadcast,
                        _ => Inner::Strided,
                    };
                    (operand.dtype, inner)
                }
                Source::Buffer(b) => (planner.types[planner.buffered[b as usize]], Inner::Unit),
                Source::Result(a) => (result(a), once),
                Source::Position(_) => (DType::I64, once),
                Source::Scalar(s) => (planner.types[planner.hoisted[s as usize]], once),
            };
            self.sources.push(source);
            self.operands.push(Operand { dtype, role, inner });
            self.sources.len() - 1
        }) as u32
    }

    fn push(&mut self, v: usize, inst: Inst) {
        debug_assert!(self.values.last().is_none_or(|&last| last < v), "values come in order");
        self.values.push(v);
        self.body.push(inst);
    }

    /// The new number of a value.
    fn number(&self, v: usize) -> Value {
        Value(self.values.binary_search(&v).expect("it was computed before its use") as u32)
    }

    fn load(&mut self, v: usize, source: Source) {
        let operand = self.operand(source, Role::In);
        self.push(v, Inst::Load(operand));
    }

    fn compute(&mut self, v: usize, inst: Inst) {
        let number = |v: Value| self.number(v.0 as usize);
        let inst = match inst {
            Inst::Load(o) => return self.load(v, Source::Launch(o)),
            Inst::Reduced(a) => return self.load(v, Source::Result(a)),
            Inst::ReducedIndex(a) => return self.load(v, Source::Position(a)),
            Inst::LoadAt { operand, index, mask } => {
                let (index, mask) = (number(index), mask.map(number));
                Inst::LoadAt { operand: self.operand(Source::Launch(operand), Role::In), index, mask }
            }
            Inst::Unary(op, a) => Inst::Unary(op, number(a)),
            Inst::Binary(op, a, b) => Inst::Binary(op, number(a), number(b)),
            Inst::Fma(a, b, c) => Inst::Fma(number(a), number(b), number(c)),
            Inst::Select(a, b, c) => Inst::Select(number(a), number(b), number(c)),
            Inst::Cast(d, a) => Inst::Cast(d, number(a)),
            Inst::Bitcast(d, a) => Inst::Bitcast(d, number(a)),
            leaf @ (Inst::Param(_) | Inst::Const(_) | Inst::Index(_) | Inst::Extent(_)) => leaf,
        };
        self.push(v, inst);
    }

    fn store(&mut self, v: usize, to: Source) {
        let value = self.number(v);
        let operand = self.operand(to, Role::Out);
        self.stores.push(Store { operand, value });
    }

    fn finish(self) -> Map {
        let kernel = self.planner.kernel;
        let map = Kernel {
            rank: kernel.rank,
            vector_axis: self.vector_axis as u32,
            params: kernel.params.clone(),
            operands: self.operands,
            body: self.body,
            nest: Nest::Map { stores: self.stores },
        };
        Map { kernel: MapKernel::new(map), sources: self.sources, arrays: Vec::new() }
    }
}
