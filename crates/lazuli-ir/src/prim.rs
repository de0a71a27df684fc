//! What a primitive is: the rules that each states, and the closed set of them.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::elementwise::{Binary, Ternary, Unary};
use crate::extents::{Place, Relations};
use crate::graph::{Atom, Effect, Graph, Var};
use crate::number::{Arithmetic, Extents, Number, Strided};
use crate::param::Params;
use crate::pointwise::{Index, Ix, Lane, Pointwise};
use crate::prims::*;
use crate::rebind::Remake;
use lazuli_kernel::{Combine, Error, HostCall, Result, ScanOp, ScatterOp, Shape};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

/// Tangents (or cotangents) of several values; `None` is zero.
pub type Tangents = SmallVec<[Option<Atom>; 2]>;
/// Outputs of a vmap rule, every one batched along its axis 0.
pub type VmapOut = SmallVec<[Atom; 1]>;

/// How a primitive becomes kernels and library calls.
#[derive(Debug, Clone, PartialEq)]
pub enum Lowering {
    /// Point by point, through [`Primitive::pointwise`].
    Pointwise,
    /// Combine input 0 along `axes`. f16 and bf16 accumulate in f32. `ArgMin`/`ArgMax` give the position as uint32.
    Reduce { combine: Combine, axes: SmallVec<[usize; 4]> },
    /// Running combination of input 0 along an axis.
    Scan { op: ScanOp, axis: usize, reverse: bool, exclusive: bool },
    /// Linear recurrence of factors (input 0) and terms (input 1) along an axis.
    Recurrence { axis: usize, reverse: bool },
    /// A copy of input 0, then updates at every point of `space`, through [`Primitive::scatter`]. So many points that follow one another along the last axis of the
    /// space do so in the result, too: 1 where each has a position of its own.
    Scatter { op: ScatterOp, space: Shape, run: usize },
    /// A copy of input 0, then input 1 written (combined by the op) into the part that [`Primitive::part_at`] names.
    Update { op: ScatterOp },
    /// The field's library routines.
    Library(Library),
    /// The equations of its body.
    Call,
    /// A call of the host with its inputs.
    Host,
    /// One of its two bodies, by the value of input 0.
    Branch,
}

/// Library routines that primitives ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Library {
    /// Inputs (…, m, k) and (…, k, n).
    Matmul,
    /// Sorted values, or (`indices`) the permutation as uint32.
    Sort { axis: usize, indices: bool },
}

/// How many inputs a primitive takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    Exactly(usize),
    AtLeast(usize),
}

impl fmt::Display for Arity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arity::Exactly(n) => write!(f, "{n}"),
            Arity::AtLeast(n) => write!(f, "at least {n}"),
        }
    }
}

/// One update of a scatter.
#[derive(Debug, Clone)]
pub struct ScatterPoint {
    /// Position in the target. Updates whose position lies outside are dropped.
    pub at: Index,
    pub value: Lane,
}

/// An equation being differentiated: its operands in the graph that is being built.
#[derive(Debug, Clone, Copy)]
pub struct Primals<'a> {
    pub inputs: &'a [Atom],
    pub shapes: &'a [Var],
    pub outputs: &'a [Atom],
}

/// A linear equation being transposed.
#[derive(Debug, Clone, Copy)]
pub struct TransposeCx<'a> {
    /// The operand, or `None` where it is one of the linear variables (which have no value).
    pub inputs: &'a [Option<Atom>],
    /// Of every operand, linear or not.
    pub avals: &'a [Aval],
    /// The operands themselves, in a graph that is built [for any shapes](Builder::for_any_shapes): what their extents are, [others](Builder::is_extent_of) may be said to be.
    pub operands: &'a [Atom],
    pub shapes: &'a [Var],
}

impl TransposeCx<'_> {
    pub fn is_linear(&self, k: usize) -> bool {
        self.inputs[k].is_none()
    }
}

/// An equation being vectorised, of which an input is batched. What is batched has the batch as its axis 0.
#[derive(Debug, Clone, Copy)]
pub struct VmapCx<'a> {
    pub inputs: &'a [Atom],
    pub batched: &'a [bool],
    pub shapes: &'a [Var],
    pub shapes_batched: &'a [bool],
    /// Extent of the batch.
    pub size: usize,
}

fn past_batch(dim: Dim, batched: &[bool]) -> Dim {
    match dim {
        Dim::Of { operand, axis } if batched[operand as usize] => Dim::Of { operand, axis: axis + 1 },
        dim => dim,
    }
}

impl VmapCx<'_> {
    /// A parameter's extents, with references to batched shape operands moved past the batch axis.
    pub fn dims(&self, dims: &[Dim]) -> SmallVec<[Dim; 4]> {
        dims.iter().map(|&dim| past_batch(dim, self.shapes_batched)).collect()
    }
    /// These with the batch in front.
    pub fn batched_dims(&self, b: &Builder, dims: &[Dim]) -> SmallVec<[Dim; 4]> {
        let mut dims = self.dims(dims);
        dims.insert(0, b.extent(self.size));
        dims
    }

    /// Operand `k` with the batch in front: broadcast if it has none.
    pub fn batch(&self, b: &mut Builder, k: usize) -> Result<Atom> {
        let input = self.inputs[k];
        if self.batched[k] {
            return Ok(input);
        }
        let batched = stretch(b, input, self.size)?;
        let with = self.batched.iter().position(|&batched| batched).expect("an input is batched");
        b.same_extent((batched, 0), (self.inputs[with], 0));
        Ok(batched)
    }

    /// All operands with the batch in front.
    pub fn batch_all(&self, b: &mut Builder) -> Result<SmallVec<[Atom; 3]>> {
        (0..self.inputs.len()).map(|k| self.batch(b, k)).collect()
    }

    /// The operands with axes of extent 1 put in, so that they have one rank, their batches (or an extent of 1) in front, and broadcast as each
    /// point of the batch did.
    pub fn align(&self, b: &mut Builder) -> Result<SmallVec<[Atom; 3]>> {
        let rank = |b: &Builder, k: usize| b.rank(self.inputs[k]) - self.batched[k] as usize;
        let most = (0..self.inputs.len()).map(|k| rank(b, k)).max().unwrap_or(0);
        let mut out = SmallVec::new();
        for (k, &input) in self.inputs.iter().enumerate() {
            let front = self.batched[k] as usize;
            let missing: Vec<usize> = (front..most + 1 - rank(b, k)).collect();
            out.push(expand_dims(b, input, &missing)?);
        }
        Ok(out)
    }
}

/// A value repeated along a new axis in front.
pub fn stretch(b: &mut Builder, a: Atom, size: usize) -> Result<Atom> {
    let shape: Shape = std::iter::once(size).chain(b.shape(a).iter().copied()).collect();
    broadcast_to(b, a, &shape)
}

/// The rules of one primitive. Every method is a pure function of the parameters and what it is given.
pub trait Primitive: Clone + fmt::Debug + Eq + std::hash::Hash {
    /// As printed in graphs: `transpose`.
    fn name(&self) -> &'static str;

    /// Parameters as printed in brackets: `axes=(1,0)`; empty if there are none.
    fn params(&self) -> String {
        String::new()
    }

    /// Number of inputs.
    fn arity(&self) -> Arity;

    /// The parameters that may refer to shape operands.
    fn dims(&self) -> &[Dim] {
        &[]
    }

    /// Inverse of `name` and `params`: the primitive that prints so, if it is one of this block.
    fn parse(name: &str, params: &Params) -> Option<Self>
    where
        Self: Sized;

    /// Shape and dtype of every output, or an error that names the op, the shapes and dtypes at fault, and the remedy.
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>>;

    /// Tangents of the outputs, linear in `tangents` (those of the inputs). Not called if all of them are zero. What it builds may go by ranks, and by which extents are 0
    /// and 1, and by no more of extents; what it states of them as a parameter of an equation goes through [`Builder::extent`]. So also [`transpose`](Self::transpose).
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents>;

    /// Cotangents of the inputs from those of the outputs, for an equation that is linear in its linear inputs taken together; `None` for the
    /// others. With the inner product ⟨a, b⟩ = Re(ā·b): factors come back conjugated. Not called if all of `cotangents` are zero.
    fn transpose(&self, _b: &mut Builder, _cx: TransposeCx, _cotangents: &[Option<Atom>]) -> Result<Tangents> {
        Err(Error::internal(self.name(), "this primitive is not linear: its jvp rule emitted it on a tangent"))
    }

    /// Pairs of extents that are equal for whatever shapes the equation is well formed, if the extents that are 1 here are 1, and no others.
    fn same_extents(&self, _inputs: &[&Aval], _output: &Aval, _same: &mut dyn FnMut(Place, Place)) {}

    /// How else extents are related where the equation is well formed, beside [those that are equal](Self::same_extents). Of operands of the same ranks, of which the same extents are 0 and 1, for
    /// which both hold, [`infer`](Self::infer) gives such outputs.
    fn relate(&self, _extents: &mut dyn Relations, _inputs: &[&Aval]) {}

    /// The extents that one of the output follows from, which is none of those that are [the same](Self::same_extents); `None` if that is not known.
    fn extent_follows_from(&self, _inputs: &[&Aval], _axis: usize) -> Option<SmallVec<[Place; 2]>> {
        None
    }

    /// The equation over a whole batch. Not called if no input is batched. It goes by extents, and states them, as [`jvp`](Self::jvp) does.
    fn vmap(&self, _b: &mut Builder, _cx: VmapCx) -> Result<VmapOut> {
        Err(Error::internal(self.name(), "has no input that could be batched"))
    }

    fn lowering(&self, inputs: &[&Aval], outputs: &[&Aval]) -> Lowering;

    /// The value of the output at an index of it; for [`Lowering::Pointwise`].
    fn pointwise(&self, _cx: &mut dyn Pointwise, _at: &[Ix]) -> Lane {
        unreachable!("{} is not lowered point by point", self.name())
    }

    /// One update of a scatter, at a point of its space.
    fn scatter(&self, _cx: &mut dyn Pointwise, _at: &[Ix]) -> ScatterPoint {
        unreachable!("{} is not lowered to a scatter", self.name())
    }

    /// For views: where the output's elements lie in memory if the input's lie as `input` says, given the extents of the output and of the shape operands; `None` if that can't be said
    /// by strides (a copy is needed).
    fn strided(&self, _: &mut dyn Arithmetic, _input: &Strided, _output: &[Number], _: &[Extents]) -> Option<Strided> {
        None
    }

    /// For [`Lowering::Update`]: where in the target a point of the updated part is.
    fn part_at(&self, _cx: &mut dyn Pointwise, _at: &[Ix]) -> Index {
        unreachable!("{} is no update of a part", self.name())
    }

    /// The call, for [`Lowering::Host`].
    fn host_call(&self) -> Arc<dyn HostCall> {
        unreachable!("{} is no call of the host", self.name())
    }

    /// What it does besides computing its outputs.
    fn effect(&self) -> Effect {
        Effect::None
    }

    /// Whether the output is input 0 seen through another index map, and nothing else.
    fn is_view(&self) -> bool {
        false
    }
}

macro_rules! prims {
    ($($name:ident),* $(,)?) => {
        /// A primitive with its parameters: the closed set.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Prim { $($name($name)),* }

        $(impl From<$name> for Prim { fn from(p: $name) -> Self { Prim::$name(p) } })*

        impl Prim {
            /// Names of the families and blocks, for sweeps over the op table.
            pub const KINDS: &[&str] = &[$(stringify!($name)),*];
            /// Name of the family or block: one of [`KINDS`](Prim::KINDS).
            pub fn kind(&self) -> &'static str { match self { $(Prim::$name(_) => stringify!($name)),* } }
            pub fn name(&self) -> &'static str { match self { $(Prim::$name(p) => p.name()),* } }
            pub fn params(&self) -> String { match self { $(Prim::$name(p) => p.params()),* } }
            /// The primitive that prints as this name and these parameters. Those with bodies are not among them: the graph's parser reads these.
            pub fn parse(name: &str, params: &Params) -> Option<Prim> {
                $(if let Some(p) = $name::parse(name, params) { return Some(p.into()) })*
                None
            }
            pub fn arity(&self) -> Arity { match self { $(Prim::$name(p) => p.arity()),* } }
            pub fn dims(&self) -> &[Dim] { match self { $(Prim::$name(p) => p.dims()),* } }
            pub fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
                self.check_operands(inputs, shapes)?;
                let outputs = match self { $(Prim::$name(p) => p.infer(inputs, shapes)),* }?;
                match outputs.iter().find(|a| !a.is_addressable()) {
                    None => Ok(outputs),
                    Some(a) => Err(Error::value(self.name(), format!("the result {a} would not fit any memory"))),
                }
            }
            pub fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
                match self { $(Prim::$name(p) => p.jvp(b, primals, tangents)),* }
            }
            pub fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
                match self { $(Prim::$name(p) => p.transpose(b, cx, cotangents)),* }
            }
            pub fn same_extents(&self, inputs: &[&Aval], output: &Aval, same: &mut dyn FnMut(Place, Place)) {
                match self { $(Prim::$name(p) => p.same_extents(inputs, output, same)),* }
            }
            pub fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
                match self { $(Prim::$name(p) => p.relate(extents, inputs)),* }
            }
            pub fn extent_follows_from(&self, inputs: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
                match self { $(Prim::$name(p) => p.extent_follows_from(inputs, axis)),* }
            }
            pub fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
                match self { $(Prim::$name(p) => p.vmap(b, cx)),* }
            }
            pub fn lowering(&self, inputs: &[&Aval], outputs: &[&Aval]) -> Lowering {
                match self { $(Prim::$name(p) => p.lowering(inputs, outputs)),* }
            }
            pub fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
                match self { $(Prim::$name(p) => p.pointwise(cx, at)),* }
            }
            pub fn part_at(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Index {
                match self { $(Prim::$name(p) => p.part_at(cx, at)),* }
            }
            pub fn scatter(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> ScatterPoint {
                match self { $(Prim::$name(p) => p.scatter(cx, at)),* }
            }
            pub fn strided(
                &self,
                cx: &mut dyn Arithmetic,
                input: &Strided,
                output: &[Number],
                shapes: &[Extents],
            ) -> Option<Strided> {
                match self { $(Prim::$name(p) => p.strided(cx, input, output, shapes)),* }
            }
            pub fn host_call(&self) -> Arc<dyn HostCall> { match self { $(Prim::$name(p) => p.host_call()),* } }
            pub fn effect(&self) -> Effect { match self { $(Prim::$name(p) => p.effect()),* } }
            pub fn is_view(&self) -> bool { match self { $(Prim::$name(p) => p.is_view()),* } }
        }
    };
}

prims! {
    Unary, Binary, Ternary, Cast, Bitcast, Broadcast, ExpandDims, Squeeze, Transpose, Reshape, Flatten, Unflatten, Slice, Unslice, SliceUpdate,
    Diagonal, Undiagonal, Pad, Concatenate, Part, Gather, Scatter, GatherAxis, ScatterAxis, Reduce, ArgReduce, Cumulative, Recurrence, Sort, ArgSort, Matmul, Iota, NumberOfElements,
    RandomBits, DebugPrint, Call, Cond,
}

impl Prim {
    /// Whether each element of the result follows from those of the operands at its own index, which broadcast.
    pub fn is_elementwise(&self) -> bool {
        matches!(self, Prim::Unary(_) | Prim::Binary(_) | Prim::Ternary(_) | Prim::Cast(_))
    }

    /// The graphs that it runs.
    pub fn bodies(&self) -> &[Arc<Graph>] {
        match self {
            Prim::Call(call) => std::slice::from_ref(&call.graph),
            Prim::Cond(cond) => &cond.branches,
            _ => &[],
        }
    }

    /// The same with these graphs in place of those that it runs.
    pub(crate) fn with_bodies(&self, bodies: impl IntoIterator<Item = Graph>) -> Prim {
        let mut bodies = bodies.into_iter();
        let mut next = |own: &Arc<Graph>| bodies.next().map_or_else(|| own.clone(), Arc::new);
        match self {
            Prim::Call(call) => Call { graph: next(&call.graph), ..call.clone() }.into(),
            Prim::Cond(cond) => Cond { branches: cond.branches.each_ref().map(next) }.into(),
            other => other.clone(),
        }
    }

    /// Whether the inputs of its bodies, if it has some, are of the avals of these operands.
    pub(crate) fn fits(&self, inputs: &[&Aval]) -> bool {
        let operands = self.operands(inputs);
        match self {
            Prim::Call(call) => call.fits(operands),
            Prim::Cond(cond) => cond.fits(operands),
            _ => true,
        }
    }

    /// Those inputs of an equation that are the inputs of its primitive's bodies.
    pub fn operands<'a, T>(&self, inputs: &'a [T]) -> &'a [T] {
        match self {
            Prim::Cond(_) => &inputs[1..],
            _ => inputs,
        }
    }

    /// The same with bodies for inputs of these avals; `None` if it has none, or has these.
    pub fn rebind(&self, inputs: &[&Aval]) -> Result<Option<Prim>> {
        self.bound(inputs, Remake::Once)
    }
    /// The same; `remake`: for which shapes rules make what they make anew.
    pub(crate) fn bound(&self, inputs: &[&Aval], remake: Remake) -> Result<Option<Prim>> {
        let operands = self.operands(inputs);
        match self {
            Prim::Call(call) if !call.fits(operands) => Ok(Some(call.bound(operands, remake)?.into())),
            Prim::Cond(cond) if !cond.fits(operands) => Ok(Some(cond.bound(operands, remake)?.into())),
            _ => Ok(None),
        }
    }

    /// The same with numbers for the extents that a program gives it, those of shape operands of these avals; `None` if it takes no such extents.
    pub(crate) fn with_known_extents(&self, shapes: &[&Aval]) -> Option<Prim> {
        if self.keeps_shapes() {
            return None;
        }
        self.map_dims(&mut |_, d| Dim::Known(d.resolve(shapes)))
    }

    /// Whether it speaks of shape operands even where their extents are known.
    pub(crate) fn keeps_shapes(&self) -> bool {
        match self {
            Prim::Gather(_) => true,
            Prim::NumberOfElements(count) => !count.literal,
            _ => false,
        }
    }

    /// The same with `f` of its parameters that may refer to shape operands, by their number; `None` if it takes none.
    pub(crate) fn map_dims(&self, f: &mut dyn FnMut(usize, Dim) -> Dim) -> Option<Prim> {
        let mut of = |dims: &[Dim]| dims.iter().enumerate().map(|(i, &d)| f(i, d)).collect();
        Some(match self {
            Prim::Broadcast(p) => Broadcast { shape: of(&p.shape) }.into(),
            Prim::Reshape(p) => Reshape { shape: of(&p.shape), ..p.clone() }.into(),
            Prim::Unflatten(p) => Unflatten { shape: of(&p.shape), ..p.clone() }.into(),
            Prim::Iota(p) => Iota { shape: of(&p.shape), ..p.clone() }.into(),
            Prim::RandomBits(p) => RandomBits { shape: of(&p.shape), ..p.clone() }.into(),
            Prim::Unslice(p) => Unslice { shape: of(&p.shape), ..p.clone() }.into(),
            Prim::Undiagonal(p) => Undiagonal { shape: of(&p.shape), ..p.clone() }.into(),
            Prim::Part(p) => Part { extents: of(&p.extents), ..p.clone() }.into(),
            Prim::Gather(p) => Gather { slice_sizes: of(&p.slice_sizes), ..p.clone() }.into(),
            _ => return None,
        })
    }

    /// The same where shape operands have the batch in front: what follows from shapes alone is one for all points.
    pub fn of_batched_shapes(&self, batched: &[bool]) -> Prim {
        match self {
            Prim::NumberOfElements(count) => {
                let axes = count.axes.iter().map(|axis| axis + batched[0] as usize).collect();
                NumberOfElements { axes, ..count.clone() }.into()
            }
            _ => self.map_dims(&mut |_, dim| past_batch(dim, batched)).unwrap_or_else(|| self.clone()),
        }
    }

    /// The same without effects in the graphs that it holds.
    pub fn without_effects(&self) -> Prim {
        match self {
            Prim::Call(call) => Call { graph: call.graph.without_effects().into(), ..call.clone() }.into(),
            Prim::Cond(cond) => Cond { branches: cond.branches.each_ref().map(|g| g.without_effects().into()) }.into(),
            other => other.clone(),
        }
    }

    /// What no shape rule needs to check again: the number of operands, and that extents refer to shape operands that are there.
    fn check_operands(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<()> {
        let fits = match self.arity() {
            Arity::Exactly(n) => inputs.len() == n,
            Arity::AtLeast(n) => inputs.len() >= n,
        };
        if !fits {
            let message = format!("takes {} operands, not {}", self.arity(), inputs.len());
            return Err(Error::internal(self.name(), message));
        }
        for dim in self.dims() {
            if let Dim::Of { operand, axis } = *dim
                && shapes.get(operand as usize).is_none_or(|a| axis as usize >= a.rank())
            {
                return Err(Error::internal(self.name(), format!("extent {dim} refers to no axis of a shape operand")));
            }
        }
        Ok(())
    }
}
