//! Runs graphs on the reference interpreter, with arrays on the host: for tests of this crate and of those above it.

use crate::pipeline::{Compiled, Options, OutputSource, compile};
use crate::template::Outlined;
use lazuli_ir::{Aval, DType, Graph, Outline, OutlineBuilder, Result, Scalar, Shape, ShapeId, Var};
use lazuli_kernel::testing::Rng;
use lazuli_kernel::{
    Backend, Interpreter, Layout, LibraryCall, Mode, Nest, Plan, PlanWords, Step, Stream, Strides, Variant,
};

/// An array on the host, row-contiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub aval: Aval,
    pub bytes: Vec<u8>,
}

impl Host {
    /// Of numbers in row-major order, converted to the dtype.
    pub fn new(aval: Aval, values: &[f64]) -> Self {
        assert_eq!(aval.size(), values.len());
        let bytes = values.iter().flat_map(|&v| Scalar::from_f64(aval.dtype, v).to_bytes()).collect();
        Self { aval, bytes }
    }
    /// Moderate numbers for a tame array; any bits and the edges of the dtype otherwise.
    pub fn random(aval: Aval, rng: &mut Rng, tame: bool) -> Self {
        let bytes = (0..aval.size()).flat_map(|_| rng.scalar(aval.dtype, tame).to_bytes()).collect();
        Self { aval, bytes }
    }
    pub fn scalars(&self) -> Vec<Scalar> {
        self.bytes.chunks(self.aval.dtype.itemsize()).map(|b| Scalar::from_bytes(self.aval.dtype, b)).collect()
    }
    /// The numbers (real parts of complex ones).
    pub fn values(&self) -> Vec<f64> {
        self.scalars().into_iter().map(Scalar::to_f64).collect()
    }
    /// Whether shapes, dtypes and bits agree; all NaNs count as equal.
    pub fn same(&self, other: &Host) -> bool {
        let canonical = |s: Scalar| {
            let one = |v: f32| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() };
            match s.dtype {
                DType::C64 => (one(f32::from_bits(s.bits as u32)) as u64, one(s.imag()) as u64),
                d if d.is_float() && s.to_f64().is_nan() => (u64::MAX, 1),
                _ => (s.bits, 0),
            }
        };
        self.aval == other.aval
            && self.scalars().into_iter().map(canonical).eq(other.scalars().into_iter().map(canonical))
    }
    /// The same array in another layout: axes in another order, some flipped, gaps between elements. Returns its bytes.
    pub fn scrambled(&self, rng: &mut Rng) -> (Host, Layout) {
        let shape = &self.aval.shape;
        let mut order: Vec<usize> = (0..shape.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i + 1));
        }
        let mut layout = Layout { shape: shape.clone(), strides: Strides::from_elem(0, shape.len()), offset: 0 };
        let mut step = 1 + rng.below(2) as isize;
        layout.offset = rng.below(3) as isize;
        for axis in order {
            layout.strides[axis] = step;
            step *= shape[axis].max(1) as isize;
            if rng.once_in(3) && shape[axis] > 0 {
                layout.offset += (shape[axis] as isize - 1) * layout.strides[axis];
                layout.strides[axis] *= -1;
            }
        }
        let size = self.aval.dtype.itemsize();
        let end = layout.span().map_or(0, |(_, high)| high + 1) as usize;
        let mut bytes = vec![0xA5; end * size];
        for (i, element) in self.bytes.chunks(size).enumerate() {
            let at = position(&layout, i) * size;
            bytes[at..at + size].copy_from_slice(element);
        }
        (Host { aval: self.aval.clone(), bytes }, layout)
    }
    /// The elements that a layout picks from these bytes.
    fn gather(dtype: DType, bytes: &[u8], layout: &Layout) -> Self {
        let size = dtype.itemsize();
        let mut out = Vec::with_capacity(layout.size() * size);
        for i in 0..layout.size() {
            let at = position(layout, i) * size;
            out.extend_from_slice(&bytes[at..at + size]);
        }
        Self { aval: Aval::new(dtype, layout.shape.clone()), bytes: out }
    }
}

/// Where element number `i`, in row-major order, lies.
fn position(layout: &Layout, i: usize) -> usize {
    let (mut rest, mut at) = (i, layout.offset);
    for (&n, &s) in layout.shape.iter().zip(&layout.strides).rev() {
        at += (rest % n) as isize * s;
        rest /= n;
    }
    at as usize
}

/// Inputs for a graph.
pub fn random_inputs(graph: &Graph, rng: &mut Rng, tame: bool) -> Vec<Host> {
    graph.input_avals().into_iter().map(|a| Host::random(a, rng, tame)).collect()
}

/// Compiles a graph for row-contiguous inputs and runs it.
pub fn run(graph: &Graph, inputs: &[Host], options: &Options) -> Result<Vec<Host>> {
    let layouts: Vec<Layout> = inputs.iter().map(|h| Layout::row(h.aval.shape.clone())).collect();
    run_with(graph, inputs, &layouts, options)
}

/// As [`run`], with inputs that lie in their bytes as these layouts say.
pub fn run_with(graph: &Graph, inputs: &[Host], layouts: &[Layout], options: &Options) -> Result<Vec<Host>> {
    run_compiled(graph, inputs, compile(graph, layouts, options)?)
}

/// Runs what a graph was compiled to. Where an output could take over an input's memory, both ways are tried.
pub fn run_compiled(graph: &Graph, inputs: &[Host], compiled: Compiled) -> Result<Vec<Host>> {
    let donates = !compiled.plan.donations.is_empty();
    let results = run_once(graph, inputs, compiled.clone(), false)?;
    if donates {
        let again = run_once(graph, inputs, compiled, true)?;
        assert!(results.iter().zip(&again).all(|(a, b)| a.same(b)), "giving up inputs changes a result\n{graph}");
    }
    Ok(results)
}

fn run_once(graph: &Graph, inputs: &[Host], mut compiled: Compiled, donate: bool) -> Result<Vec<Host>> {
    let backend = Interpreter::default();
    let executable = backend.prepare(&mut compiled.plan)?;
    let buffers = inputs.iter().map(|h| backend.upload(&h.bytes)).collect::<Result<Vec<_>>>()?;
    let donate = vec![donate; buffers.len()];
    let run = backend.enqueue(Stream(0), &executable, &buffers.iter().collect::<Vec<_>>(), &donate, &[], Mode::Wait)?;
    run.event.wait()?;
    let mut results = Vec::new();
    for (info, aval) in compiled.outputs.iter().zip(graph.output_avals()) {
        let buffer = match info.source {
            OutputSource::Input(i) => &buffers[i],
            OutputSource::Output(i) => &run.outputs[i],
        };
        let mut bytes = vec![0; buffer.nbytes()];
        backend.download(buffer, 0, &mut bytes)?;
        results.push(Host::gather(aval.dtype, &bytes, &info.layout));
    }
    Ok(results)
}

/// A graph without calls in outline, and which of the shapes its variables have, and those of its choices.
#[derive(Debug)]
pub struct InOutline {
    outline: Outline,
    ids: Vec<ShapeId>,
}

impl InOutline {
    /// None if some shapes can't be told.
    pub fn new(graph: &Graph) -> Option<InOutline> {
        if !graph.has_no_calls() {
            return None;
        }
        let shape = |v: &Var| graph.shape_of(*v);
        let mut b = OutlineBuilder::new(graph.arguments().iter().map(shape));
        let constants = &graph.inputs[graph.arguments().len()..];
        let ids = b.graph(graph, constants.iter().map(shape)).ok()?;
        let (outline, now) = b.finish().ok()?;
        Some(InOutline { outline, ids: ids.into_iter().map(|id| id.now(&now)).collect() })
    }
    /// All shapes for the arguments of a graph.
    pub fn shapes(&self, graph: &Graph) -> Option<Vec<Shape>> {
        self.outline.shapes(arguments(graph), &mut |_| {})
    }
    /// A graph of these shapes, beside which there are those of the first.
    pub fn of<'a>(&'a self, graph: &Graph, shapes: &'a [Shape]) -> Outlined<'a> {
        let mut numbers = self.outline.leading(|_| false);
        self.outline.shapes(arguments(graph), &mut |number| numbers[number] = true);
        Outlined { ids: &self.ids, shapes, moving: self.outline.moving(numbers).into() }
    }
}

/// The shapes of the arguments of a graph.
fn arguments(graph: &Graph) -> impl Iterator<Item = &[usize]> {
    graph.arguments().iter().map(|&v| &graph.shape_of(v)[..])
}

/// What a step is, in a few words.
pub fn kind(step: &Step) -> &'static str {
    match step {
        Step::Launch { kernel, .. } => match kernel.nest {
            Nest::Scan { .. } => "scan",
            Nest::Recurrence { .. } => "recurrence",
            Nest::Scatter { .. } => "scatter",
            _ => "map or reduction",
        },
        Step::Call(call) => match **call {
            LibraryCall::Sort { .. } => "sort",
            LibraryCall::Matmul { .. } => "product",
        },
        Step::Product { .. } => "product and map",
        Step::Scatter(_) => "scatter and map",
        Step::Host { .. } => "host",
        Step::Branch(_) => "branch",
        Step::Copy { .. } => "copy",
    }
}

/// A variant written out: it has the numbers that its values say.
pub fn written(variant: &mut dyn Variant) -> Plan {
    let values = variant.values().map(|(varying, values)| (varying.clone(), values.to_vec()));
    let plan = variant.plan().clone();
    let Some((varying, values)) = values else { return plan };
    assert!(varying.is_plan_of(&PlanWords::of(&plan), &values), "{values:?} {varying:?}\n{plan}");
    plan
}
