//! Says what well-formed means, once: for a kernel by itself, and for the launches and library calls of a plan.
//!
//! [`Kernel::verify`] checks the invariants stated in [`crate::ir`]. [`Plan::verify`] proves, with every shape known, that no step
//! touches a byte outside its slots, that no store hits a place that another point of the same step reads or writes, and
//! that donated inputs are not read after they are overwritten. A backend that has verified a plan, and at each run the sizes
//! of the buffers it is given ([`Plan::verify_inputs`]), may run its kernels without a check of its own.
//!
//! The proofs are sufficient conditions on affine index maps, in integer arithmetic wide enough not to overflow. They accept
//! every layout that views of a row-contiguous array can have. A broken invariant is a fault of Lazuli, hence
//! [`ErrorKind::Internal`](crate::ErrorKind::Internal); the message shows the kernel, with the offending line marked.

use crate::backend::Buffer;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{Inner, Inst, Kernel, Nest, Role, Store, Value};
use crate::plan::{Arg, LibraryCall, Plan, Slot, Step};
use crate::print::{Place, annotated};
use crate::scalar::Scalar;
use crate::shape;

impl Kernel {
    /// Checks every invariant that does not depend on a launch.
    pub fn verify(&self) -> Result<()> {
        match self.fault() {
            None => Ok(()),
            Some((place, why)) => {
                Err(Error::internal("verify", format!("malformed kernel: {why}{}", annotated(self, place, &why))))
            }
        }
    }

    /// The first broken invariant, and the line that breaks it.
    fn fault(&self) -> Option<(Place, String)> {
        let mut checker = Checker { kernel: self, types: Vec::with_capacity(self.body.len()) };
        checker.kernel().err()
    }
}

type Check = Result<(), (Place, String)>;

struct Checker<'a> {
    kernel: &'a Kernel,
    /// dtypes of the values checked so far.
    types: Vec<DType>,
}

/// `Err((place, message))` unless the condition holds.
macro_rules! require {
    ($condition:expr, $place:expr, $($message:tt)*) => {
        if !$condition {
            return Err(($place, format!($($message)*)));
        }
    };
}

impl Checker<'_> {
    fn kernel(&mut self) -> Check {
        let k = self.kernel;
        self.header()?;
        for (i, inst) in k.body.iter().enumerate() {
            require!(
                !matches!(inst, Inst::Reduced(_) | Inst::ReducedIndex(_)),
                Place::Inst(i),
                "only an epilogue has results of a reduction"
            );
            self.inst(i, inst, 0)?;
        }
        match &k.nest {
            Nest::Map { stores } => self.stores(stores, 0),
            Nest::Reduce { accumulators, epilogue, stores, .. } => {
                require!(!accumulators.is_empty(), Place::Nest, "a reduction needs an accumulator");
                for a in accumulators {
                    let dtype = self.value(Place::Nest, a.value, 0)?;
                    require!(a.combine.accepts(dtype), Place::Nest, "{:?} does not accept {dtype}", a.combine);
                }
                for (i, inst) in epilogue.iter().enumerate() {
                    self.inst(k.body.len() + i, inst, k.body.len())?;
                }
                self.stores(stores, k.body.len())
            }
            Nest::Scan { op, value, store, .. } => {
                self.stores(&[Store { operand: *store, value: *value }], 0).map_err(|(_, why)| (Place::Nest, why))?;
                let dtype = self.types[value.0 as usize];
                require!(op.accepts(dtype), Place::Nest, "{op:?} does not accept {dtype}");
                require!(k.rank > 0, Place::Header, "a scan needs an axis");
                Ok(())
            }
            Nest::Scatter { op, target, index, mask, value } => {
                let dtype = self.value(Place::Nest, *value, 0)?;
                require!(self.value(Place::Nest, *index, 0)? == DType::I64, Place::Nest, "the index is not int64");
                if let Some(mask) = mask {
                    require!(self.value(Place::Nest, *mask, 0)? == DType::Bool, Place::Nest, "the mask is not bool");
                }
                require!(op.accepts(dtype), Place::Nest, "{op:?} does not accept {dtype}");
                let Some(operand) = k.operands.get(*target as usize) else {
                    return Err((Place::Nest, format!("there is no operand {target}")));
                };
                require!(operand.role == Role::InOut, Place::Nest, "the target of a scatter has role inout");
                require!(operand.dtype == dtype, Place::Nest, "the target is {}, the value {dtype}", operand.dtype);
                let outputs = k.operands.iter().filter(|o| o.role != Role::In).count();
                require!(outputs == 1, Place::Header, "a scatter writes its target and nothing else");
                let loads = |inst: &Inst| matches!(inst, Inst::Load(o) if o == target);
                let load = k.body.iter().position(loads);
                require!(load.is_none(), Place::Inst(load.unwrap_or(0)), "the target of a scatter is not loaded");
                Ok(())
            }
        }
    }

    fn header(&self) -> Check {
        let k = self.kernel;
        if let Nest::Reduce { axes, .. } = k.nest {
            require!((1..=k.rank).contains(&axes), Place::Nest, "cannot reduce {axes} of {} axes", k.rank);
        }
        let last = k.rank.saturating_sub(1);
        let last_kept = (k.rank - k.reduced()).checked_sub(1).unwrap_or(last);
        require!(
            k.vector_axis == last || k.vector_axis == last_kept,
            Place::Header,
            "the vector axis is neither the last nor the last kept one"
        );
        let complex = k.operands.iter().map(|o| o.dtype).chain(k.params.iter().copied()).any(DType::is_complex);
        require!(!complex, Place::Header, "complex operands and parameters are split before");
        Ok(())
    }

    /// dtype of a value that is defined, and not before number `from`.
    fn value(&self, place: Place, v: Value, from: usize) -> Result<DType, (Place, String)> {
        require!((v.0 as usize) < self.types.len(), place, "{v} is used before it is defined");
        require!(v.0 as usize >= from, place, "an epilogue does not use {v} of the body");
        Ok(self.types[v.0 as usize])
    }

    /// Checks an instruction whose operands are values from number `from` on, and notes its dtype.
    fn inst(&mut self, number: usize, inst: &Inst, from: usize) -> Check {
        let k = self.kernel;
        let place = Place::Inst(number);
        let in_epilogue = from > 0 || number >= k.body.len();
        let uses = inst.uses().iter().map(|&v| self.value(place, v, from)).collect::<Result<Vec<_>, _>>()?;
        let accumulators: &[_] = match &k.nest {
            Nest::Reduce { accumulators, .. } => accumulators,
            _ => &[],
        };
        let operand = |o: u32| match k.operands.get(o as usize) {
            Some(operand) => Ok(*operand),
            None => Err((place, format!("there is no operand {o}"))),
        };
        match *inst {
            Inst::Param(p) => require!((p as usize) < k.params.len(), place, "there is no parameter {p}"),
            Inst::Const(s) => {
                require!(!s.dtype.is_complex(), place, "no value is complex");
                let width = 8 * s.dtype.itemsize() as u32;
                require!(s.bits.checked_shr(width).unwrap_or(0) == 0, place, "bits beyond the dtype are set");
                require!(s.dtype != DType::Bool || s.bits <= 1, place, "a bool is 0 or 1");
            }
            Inst::Index(axis) => {
                let axes = if in_epilogue { k.rank - k.reduced() } else { k.rank };
                require!(axis < axes, place, "there is no loop axis {axis} here");
            }
            Inst::Extent(axis) => require!(axis < k.rank, place, "there is no loop axis {axis}"),
            Inst::Load(o) => match operand(o)?.role {
                Role::In => {}
                Role::Out => return Err((place, format!("operand {o} is not read"))),
                Role::InOut => {
                    require!(k.reduced() == 0 || in_epilogue, place, "a body does not read what its reduction writes")
                }
            },
            Inst::LoadAt { operand: o, .. } => {
                require!(operand(o)?.role == Role::In, place, "only an input is read at computed positions");
                require!(uses[0] == DType::I64, place, "the index is not int64");
                require!(uses.get(1).is_none_or(|&d| d == DType::Bool), place, "the mask is not bool");
            }
            Inst::Unary(op, _) => require!(op.accepts(uses[0]), place, "{op:?} does not accept {}", uses[0]),
            Inst::Binary(op, ..) => {
                require!(uses[0] == uses[1], place, "operands are {} and {}", uses[0], uses[1]);
                require!(op.accepts(uses[0]), place, "{op:?} does not accept {}", uses[0]);
            }
            Inst::Fma(..) => {
                require!(uses[0] == uses[1] && uses[1] == uses[2], place, "operands differ in dtype");
                require!(matches!(uses[0], DType::F32 | DType::F64), place, "Fma does not accept {}", uses[0]);
            }
            Inst::Select(..) => {
                require!(uses[0] == DType::Bool, place, "the condition is not bool");
                require!(uses[1] == uses[2], place, "alternatives are {} and {}", uses[1], uses[2]);
            }
            Inst::Cast(to, _) => require!(!to.is_complex(), place, "no value is complex"),
            Inst::Bitcast(to, _) => {
                require!(!to.is_complex() && to != DType::Bool, place, "no bits are cast to {to}");
                require!(to.itemsize() == uses[0].itemsize(), place, "{} and {to} differ in size", uses[0]);
            }
            Inst::Reduced(a) => require!((a as usize) < accumulators.len(), place, "there is no accumulator {a}"),
            Inst::ReducedIndex(a) => {
                let tracks = accumulators.get(a as usize).is_some_and(|a| a.combine.binary().is_none());
                require!(tracks, place, "accumulator {a} does not track a position");
            }
        }
        let dtype = inst.dtype(
            |v| self.types[v.0 as usize],
            |p| k.params[p as usize],
            |o| k.operands[o as usize].dtype,
            |a| self.types[accumulators[a as usize].value.0 as usize],
        );
        self.types.push(dtype);
        Ok(())
    }

    /// Every output is stored once, with a value of its dtype that is numbered `from` or later.
    fn stores(&self, stores: &[Store], from: usize) -> Check {
        let k = self.kernel;
        for (i, s) in stores.iter().enumerate() {
            let place = Place::Store(i);
            let Some(operand) = k.operands.get(s.operand as usize) else {
                return Err((place, format!("there is no operand {}", s.operand)));
            };
            require!(operand.role != Role::In, place, "operand {} is not written", s.operand);
            let dtype = self.value(place, s.value, from)?;
            require!(operand.dtype == dtype, place, "the operand is {}, the value {dtype}", operand.dtype);
            let again = stores[..i].iter().any(|t| t.operand == s.operand);
            require!(!again, place, "operand {} is stored twice", s.operand);
        }
        for (o, operand) in k.operands.iter().enumerate() {
            let stored = stores.iter().any(|s| s.operand as usize == o);
            require!(operand.role == Role::In || stored, Place::Header, "operand {o} is never stored");
        }
        Ok(())
    }
}

/// The memory behind a slot: two slots overlap only within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    Input(u32),
    Output(u32),
    Arena,
}

/// One loop axis of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    number: usize,
    extent: i128,
    /// In bytes.
    stride: i128,
}

/// The bytes that one argument of a step touches, one element per point of the step's loop space.
#[derive(Debug, Clone)]
struct Access {
    space: Space,
    /// Byte of the space where all indices are 0.
    base: i128,
    /// The loop axes that it moves along, or (if it writes) should.
    axes: Vec<Axis>,
    itemsize: i128,
    /// Each point of a kernel touches the one element that its indices give. Not so computed positions and library calls.
    pointwise: bool,
    writes: bool,
}

impl Access {
    /// First byte touched and the one behind the last.
    fn span(&self) -> (i128, i128) {
        let reach = |axis: &Axis| (axis.extent - 1) * axis.stride;
        let low: i128 = self.axes.iter().map(reach).filter(|&r| r < 0).sum();
        let high: i128 = self.axes.iter().map(reach).filter(|&r| r > 0).sum();
        (self.base + low, self.base + high + self.itemsize)
    }

    /// Whether two points never share an element: sorted by stride, each axis steps over all that the ones below it span.
    fn is_injective(&self) -> bool {
        let mut axes = self.axes.clone();
        axes.sort_by_key(|axis| axis.stride.abs());
        let mut reach = self.itemsize;
        axes.into_iter().all(|axis| {
            let clear = axis.stride.abs() >= reach;
            reach += (axis.extent - 1) * axis.stride.abs();
            clear
        })
    }

    /// Whether every point touches the same bytes through both.
    fn is_same_map(&self, other: &Access) -> bool {
        self.pointwise
            && other.pointwise
            && self.base == other.base
            && self.itemsize == other.itemsize
            && self.axes == other.axes
    }

    /// Whether the two are known to touch no common byte: they lie apart, or interleave as the parts of complex numbers do.
    fn is_disjoint(&self, other: &Access) -> bool {
        if self.space != other.space {
            return true;
        }
        let ((a, a_end), (b, b_end)) = (self.span(), other.span());
        if a_end <= b || b_end <= a {
            return true;
        }
        let step = self.axes.iter().chain(&other.axes).fold(0, |g, axis| gcd(g, axis.stride.abs()));
        if step == 0 {
            return false;
        }
        let gap = (other.base - self.base).rem_euclid(step);
        gap >= self.itemsize && gap + other.itemsize <= step
    }
}

/// More elements than any machine's memory has, and few enough that spans fit in 128 bits.
const FAR: u64 = 1 << 48;

/// Accesses of a step that reads and writes its arguments in an order of its own.
fn wholes<const N: usize>(accesses: [Option<Access>; N]) -> Vec<Access> {
    accesses.into_iter().flatten().map(|a| Access { pointwise: false, ..a }).collect()
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Plan {
    /// Checks the kernels of the plan, and proves that its steps stay within their slots and do not get in their own way.
    pub fn verify(&self) -> Result<()> {
        let mut accesses = Vec::with_capacity(self.steps.len());
        for (i, step) in self.steps.iter().enumerate() {
            let of_step = self.step_accesses(step).and_then(|accesses| {
                check_conflicts(&accesses)?;
                Ok(accesses)
            });
            match of_step {
                Ok(a) => accesses.push(a),
                Err(e) => {
                    return Err(Error::internal("verify", format!("step {i} of a plan: {}\n{step}", e.message())));
                }
            }
        }
        self.verify_donations(&accesses)
    }

    /// Checks buffers for a run: one for each input, each of the size that the plan was proved with.
    pub fn verify_inputs(&self, inputs: &[Buffer]) -> Result<()> {
        if inputs.len() != self.inputs.len() {
            let message = format!("the plan has {} inputs, {} were given", self.inputs.len(), inputs.len());
            return Err(Error::internal("enqueue", message));
        }
        match inputs.iter().zip(&self.inputs).position(|(buffer, &need)| buffer.nbytes() < need) {
            None => Ok(()),
            Some(i) => {
                let message =
                    format!("input {i} needs {} bytes, its buffer has {}", self.inputs[i], inputs[i].nbytes());
                Err(Error::internal("enqueue", message))
            }
        }
    }

    /// The memory of a slot, its first byte there, and its size.
    fn locate(&self, slot: Slot) -> Result<(Space, usize, usize)> {
        let none = || Error::internal("verify", format!("there is no slot {slot}"));
        match slot {
            Slot::Input(n) => {
                let nbytes = *self.inputs.get(n as usize).ok_or_else(none)?;
                Ok((Space::Input(n), 0, nbytes))
            }
            Slot::Output(n) => {
                let nbytes = *self.outputs.get(n as usize).ok_or_else(none)?;
                Ok((Space::Output(n), 0, nbytes))
            }
            Slot::Temp { offset, nbytes } => {
                if offset % 64 != 0 || offset.checked_add(nbytes).is_none_or(|end| end > self.arena) {
                    let message = format!("{slot} is not aligned to 64 bytes, or beyond the arena of {}", self.arena);
                    return Err(Error::internal("verify", message));
                }
                Ok((Space::Arena, offset, nbytes))
            }
        }
    }

    /// All that a step touches, each proved to be within its slot.
    fn step_accesses(&self, step: &Step) -> Result<Vec<Access>> {
        match step {
            Step::Launch { kernel, extents, args, params } => {
                kernel.verify()?;
                self.launch_accesses(kernel, extents, args, params)
            }
            Step::Call(call) => self.call_accesses(call),
            Step::Copy { from, to, nbytes } => {
                let bytes = |slot: &Slot| Arg { slot: *slot, offset: 0, strides: [1].into_iter().collect(), len: 0 };
                let from = self.strided(&bytes(from), DType::U8, &[*nbytes], false)?;
                let to = self.strided(&bytes(to), DType::U8, &[*nbytes], true)?;
                Ok(wholes([from, to]))
            }
        }
    }

    fn launch_accesses(
        &self,
        kernel: &Kernel,
        extents: &[usize],
        args: &[Arg],
        params: &[Scalar],
    ) -> Result<Vec<Access>> {
        let wrong = |message: String| Err(Error::internal("verify", message));
        let rank = kernel.rank as usize;
        if extents.len() != rank || args.len() != kernel.operands.len() {
            let (e, a) = (extents.len(), args.len());
            return wrong(format!("a launch with {e} extents and {a} arguments, for a kernel of other numbers"));
        }
        if !params.iter().map(|p| p.dtype).eq(kernel.params.iter().copied()) {
            return wrong(format!("parameters {params:?} for a kernel that declares {:?}", kernel.params));
        }
        let total = extents.iter().try_fold(1usize, |n, &e| n.checked_mul(e.max(1)));
        if total.is_none_or(|n| n > isize::MAX as usize) {
            return wrong(format!("extents {} overflow", shape::show(extents)));
        }
        let kept = rank - kernel.reduced() as usize;
        let mut out = Vec::new();
        for (i, (operand, arg)) in kernel.operands.iter().zip(args).enumerate() {
            if arg.strides.len() != rank {
                return wrong(format!("argument {i} has {} strides for {rank} axes", arg.strides.len()));
            }
            let stride = extents.get(kernel.vector_axis as usize).zip(arg.strides.get(kernel.vector_axis as usize));
            let fits = match (stride, operand.inner) {
                (None | Some((0 | 1, _)), _) | (_, Inner::Strided) => true,
                (Some((_, &s)), Inner::Unit) => s == 1,
                (Some((_, &s)), Inner::Broadcast) => s == 0,
            };
            let uses = Uses::of(kernel, i as u32);
            if !fits && (uses.body || uses.kept) {
                return wrong(format!("argument {i} is not {} along the vector axis", operand.inner));
            }
            if uses.body {
                out.extend(self.strided(arg, operand.dtype, extents, false)?);
            }
            if uses.kept {
                let moves = |(&n, &s): (&usize, &isize)| n > 1 && s != 0;
                if extents[kept..].iter().zip(&arg.strides[kept..]).any(moves) {
                    return wrong(format!("argument {i} moves along a reduced axis"));
                }
                out.extend(self.strided(arg, operand.dtype, &extents[..kept], uses.written)?);
            }
            if uses.computed {
                out.extend(self.computed(arg, operand.dtype, uses.written)?);
            }
        }
        Ok(out)
    }

    fn call_accesses(&self, call: &LibraryCall) -> Result<Vec<Access>> {
        let wrong = |message: &str| Err(Error::internal("verify", message));
        let axes = |outer: &[usize], inner: &[usize]| outer.iter().chain(inner).copied().collect::<Vec<usize>>();
        match call {
            LibraryCall::Matmul { dtype, batch, m, n, k, a, b, c } => {
                if !dtype.is_float() {
                    return wrong("matmul is for floats");
                }
                let inner = c.strides.get(batch.len()..).unwrap_or(&[]);
                if inner.len() != 2 || *n > 1 && inner[1] != 1 || *m > 1 && inner[0] != *n as isize {
                    return wrong("the matrices of c are not row-contiguous");
                }
                Ok(wholes([
                    self.strided(a, *dtype, &axes(batch, &[*m, *k]), false)?,
                    self.strided(b, *dtype, &axes(batch, &[*k, *n]), false)?,
                    self.strided(c, *dtype, &axes(batch, &[*m, *n]), true)?,
                ]))
            }
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                if *indices && u32::try_from(*n).is_err() {
                    return wrong("positions in a row do not fit in uint32");
                }
                let to = if *indices { DType::U32 } else { *dtype };
                let extents = axes(rows, &[*n]);
                Ok(wholes([self.strided(input, *dtype, &extents, false)?, self.strided(output, to, &extents, true)?]))
            }
        }
    }

    /// The access through `arg` at every point of `extents`, within its slot; `None` if there is no point. Strides beyond the extents are
    /// not looked at.
    fn strided(&self, arg: &Arg, dtype: DType, extents: &[usize], writes: bool) -> Result<Option<Access>> {
        let (space, start, nbytes) = self.writable(arg.slot, writes)?;
        if arg.strides.len() < extents.len() {
            return Err(Error::internal("verify", format!("{arg} has no stride for each of {} axes", extents.len())));
        }
        if extents.contains(&0) {
            return Ok(None);
        }
        let mut access = Access {
            space,
            base: start as i128 + arg.offset as i128 * dtype.itemsize() as i128,
            axes: Vec::with_capacity(extents.len()),
            itemsize: dtype.itemsize() as i128,
            pointwise: true,
            writes,
        };
        for (number, (&n, &s)) in extents.iter().zip(&arg.strides).enumerate() {
            if n as u64 > FAR || s.unsigned_abs() as u64 > FAR {
                return Err(Error::internal("verify", format!("{arg} over {}: too far", shape::show(extents))));
            }
            if n > 1 && (s != 0 || writes) {
                access.axes.push(Axis { number, extent: n as i128, stride: s as i128 * access.itemsize });
            }
        }
        let (low, high) = access.span();
        if low < start as i128 || high > (start + nbytes) as i128 {
            let (low, high) = (low - start as i128, high - start as i128);
            let extents = shape::show(extents);
            let message = format!("{arg} over {extents} touches bytes {low}..{high} of {nbytes}");
            return Err(Error::internal("verify", message));
        }
        if writes && !access.is_injective() {
            let message = format!("two points of {} store to one element of {arg}", shape::show(extents));
            return Err(Error::internal("verify", message));
        }
        Ok(Some(access))
    }

    /// The access at computed positions `0..arg.len`, within its slot; `None` if there is no position.
    fn computed(&self, arg: &Arg, dtype: DType, writes: bool) -> Result<Option<Access>> {
        let (space, start, nbytes) = self.writable(arg.slot, writes)?;
        let itemsize = dtype.itemsize() as i128;
        if arg.len == 0 {
            return Ok(None);
        }
        let end = (arg.offset as i128 + arg.len as i128) * itemsize;
        if end > nbytes as i128 {
            return Err(Error::internal("verify", format!("{arg} reaches byte {end} of {nbytes}")));
        }
        let base = start as i128 + arg.offset as i128 * itemsize;
        let axes = vec![Axis { number: 0, extent: arg.len as i128, stride: itemsize }];
        Ok(Some(Access { space, base, axes, itemsize, pointwise: false, writes }))
    }

    /// As [`locate`](Self::locate), of a slot that may be written if it is to be.
    fn writable(&self, slot: Slot, writes: bool) -> Result<(Space, usize, usize)> {
        match slot {
            Slot::Input(_) if writes => {
                Err(Error::internal("verify", format!("{slot} is the caller's: it is not written")))
            }
            _ => self.locate(slot),
        }
    }

    fn verify_donations(&self, steps: &[Vec<Access>]) -> Result<()> {
        for (i, &(output, input)) in self.donations.iter().enumerate() {
            let wrong = |why: &str| {
                let message = format!("output{output} cannot take the memory of input{input}: {why}\n{self}");
                Err(Error::internal("verify", message))
            };
            let ((_, _, a), (_, _, b)) = (self.locate(Slot::Output(output))?, self.locate(Slot::Input(input))?);
            if a != b {
                return wrong("their sizes differ");
            }
            if self.donations[..i].iter().any(|&(o, n)| o == output || n == input) {
                return wrong("one of them is donated already");
            }
            let mut written = false;
            for step in steps {
                let reads = || step.iter().filter(|a| a.space == Space::Input(input));
                if written && reads().next().is_some() {
                    return wrong("a later step reads the input");
                }
                for write in step.iter().filter(|a| a.writes && a.space == Space::Output(output)) {
                    written = true;
                    for read in reads() {
                        let moved = Access { space: write.space, ..read.clone() };
                        if !moved.is_disjoint(write) && !moved.is_same_map(write) {
                            return wrong("a step reads the input at other points than it writes");
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// A write and any other access of one step are disjoint, or a read of each point's own element.
fn check_conflicts(accesses: &[Access]) -> Result<()> {
    for (i, a) in accesses.iter().enumerate() {
        for b in &accesses[i + 1..] {
            let in_place = a.is_same_map(b) && a.writes != b.writes;
            if (a.writes || b.writes) && !in_place && !a.is_disjoint(b) {
                let why = "a store may hit what another point of the step reads or writes: index maps of overlapping arguments must be equal";
                return Err(Error::internal("verify", why));
            }
        }
    }
    Ok(())
}

/// How a kernel touches one of its operands.
#[derive(Debug, Default, Clone, Copy)]
struct Uses {
    /// At every point of the loop space.
    body: bool,
    /// At every point of the axes that are not reduced.
    kept: bool,
    /// At computed positions.
    computed: bool,
    /// Among the above is a store.
    written: bool,
}

impl Uses {
    fn of(kernel: &Kernel, operand: u32) -> Uses {
        let mut uses = Uses::default();
        let stored = |stores: &[Store]| stores.iter().any(|s| s.operand == operand);
        let loads = |insts: &[Inst]| insts.iter().any(|i| matches!(i, Inst::Load(o) if *o == operand));
        uses.body = loads(&kernel.body);
        uses.computed = kernel.insts().any(|i| matches!(i, Inst::LoadAt { operand: o, .. } if *o == operand));
        match &kernel.nest {
            Nest::Map { stores } => uses.written = stored(stores),
            Nest::Reduce { stores, epilogue, .. } => {
                uses.written = stored(stores);
                uses.kept = loads(epilogue);
            }
            Nest::Scan { store, .. } => uses.written = *store == operand,
            Nest::Scatter { target, .. } => {
                uses.written = *target == operand;
                uses.computed |= uses.written;
                return uses;
            }
        }
        uses.kept |= uses.written;
        uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn verdict(result: Result<()>) -> String {
        result.map_or_else(|e| e.message().to_string(), |()| "ok".into())
    }

    /// The verdict on a kernel begins with `want` behind "malformed kernel", or is "ok".
    #[track_caller]
    fn check(signature: &str, body: &str, want: &str) {
        let text = format!("kernel rank 2 vector 1 ({signature}) {{\n{body}\n}}");
        let got = verdict(text.parse::<Kernel>().unwrap().verify());
        let got = got.strip_prefix("malformed kernel: ").unwrap_or(&got);
        assert!(got.starts_with(want), "{want:?} was expected of\n{text}\nbut: {got}");
    }

    #[test]
    fn kernels_keep_the_invariants() {
        let one = "in f32 unit, out f32 unit";
        check(one, "%0 = load 0 map { store 1 <- %0 }", "ok");
        check(one, "%0 = load 0 %1 = add %0, %2 %2 = neg %0 map { store 1 <- %1 }", "%2 is used before it is defined");
        check(one, "%0 = load 7 map { store 1 <- %0 }", "there is no operand 7");
        check(one, "%0 = load 1 map { store 1 <- %0 }", "operand 1 is not read");
        check(one, "%0 = load 0 map { }", "operand 1 is never stored");
        check(one, "%0 = load 0 map { store 1 <- %0 store 1 <- %0 }", "operand 1 is stored twice");
        check(one, "%0 = load 0 map { store 0 <- %0 store 1 <- %0 }", "operand 0 is not written");
        check(one, "%0 = load 0 %1 = cast f64 %0 map { store 1 <- %1 }", "the operand is float32, the value float64");
        check(one, "%0 = load 0 %1 = not %0 map { store 1 <- %1 }", "Not does not accept float32");
        check(
            one,
            "%0 = load 0 %1 = cast i32 %0 %2 = add %0, %1 map { store 1 <- %0 }",
            "operands are float32 and int32",
        );
        check(one, "%0 = load 0 %1 = index 2 map { store 1 <- %0 }", "there is no loop axis 2 here");
        check(one, "%0 = load 0 %1 = param 0 map { store 1 <- %0 }", "there is no parameter 0");
        check(one, "%0 = load 0 %1 = select %0, %0, %0 map { store 1 <- %0 }", "the condition is not bool");
        check(one, "%0 = load 0 %1 = cast c64 %0 map { store 1 <- %0 }", "no value is complex");
        check(one, "%0 = load 0 %1 = bitcast f64 %0 map { store 1 <- %0 }", "float32 and float64 differ in size");
        check(one, "%0 = load 0[%0] map { store 1 <- %0 }", "%0 is used before it is defined");
        check(one, "%0 = load 0 %1 = load 0[%0] map { store 1 <- %1 }", "the index is not int64");
        check("in c64 unit", "map { }", "complex operands and parameters are split before");
        check("in f16 unit", "%0 = load 0 %1 = add %0, %0 map { }", "Add does not accept float16");
        check("in f16 unit, out f16 unit", "%0 = load 0 %1 = cast f32 %0 %2 = cast f16 %1 map { store 1 <- %2 }", "ok");

        let sum = "in f32 unit, out f32 broadcast";
        check(sum, "%0 = load 0 reduce axes 1 (sum %0) { %1 = reduced 0 store 1 <- %1 }", "ok");
        check(sum, "%0 = load 0 reduce axes 3 (sum %0) { %1 = reduced 0 store 1 <- %1 }", "cannot reduce 3 of 2 axes");
        check(sum, "%0 = load 0 reduce axes 0 (sum %0) { %1 = reduced 0 store 1 <- %1 }", "cannot reduce 0 of 2 axes");
        check(
            sum,
            "%0 = load 0 reduce axes 1 () { %1 = const 0.0:f32 store 1 <- %1 }",
            "a reduction needs an accumulator",
        );
        check(sum, "%0 = load 0 reduce axes 1 (sum %0) { store 1 <- %0 }", "an epilogue does not use %0 of the body");
        check(sum, "%0 = load 0 reduce axes 1 (sum %0) { %1 = index 1 store 1 <- %1 }", "there is no loop axis 1 here");
        check(
            sum,
            "%0 = load 0 reduce axes 1 (all %0) { %1 = reduced 0 store 1 <- %1 }",
            "All does not accept float32",
        );
        check(
            sum,
            "%0 = load 0 reduce axes 1 (sum %0) { %1 = reduced_index 0 store 1 <- %1 }",
            "accumulator 0 does not track",
        );
        check(sum, "%0 = load 0 %1 = reduced 0 map { store 1 <- %0 }", "only an epilogue has results of a reduction");

        check(one, "%0 = load 0 scan sum 1 <- %0", "ok");
        check("in bool unit, out bool unit", "%0 = load 0 scan sum 1 <- %0", "Sum does not accept bool");
        let scatter = "in f32 unit, inout f32 strided";
        check(scatter, "%0 = load 0 %1 = index 0 scatter add 1[%1] <- %0", "ok");
        check(
            scatter,
            "%0 = load 0 %1 = load 1 %2 = index 0 scatter add 1[%2] <- %0",
            "the target of a scatter is not",
        );
        check(one, "%0 = load 0 %1 = index 0 scatter add 1[%1] <- %0", "the target of a scatter has role inout");
    }

    #[test]
    fn a_report_marks_the_line() {
        let text =
            "kernel rank 1 vector 0 (in f32 unit, out f32 unit) {\n%0 = load 0 %1 = not %0 map { store 1 <- %1 }\n}";
        let report = text.parse::<Kernel>().unwrap().verify().unwrap_err().to_string();
        assert_eq!(
            report,
            "\
[verify] malformed kernel: Not does not accept float32
kernel rank 1 vector 0 (in f32 unit, out f32 unit) {
  %0: f32 = load 0
  %1: f32 = not %0    <-- Not does not accept float32
  map {
    store 1 <- %1
  }
}"
        );
    }

    fn arg(slot: Slot, offset: usize, strides: &[isize]) -> Arg {
        Arg { slot, offset, strides: strides.iter().copied().collect(), len: 0 }
    }

    /// Inputs and outputs of 64 bytes each, an arena of 128.
    fn plan(steps: Vec<Step>, donations: &[(u32, u32)]) -> Plan {
        Plan { inputs: vec![64; 2], outputs: vec![64; 2], arena: 128, steps, donations: donations.into() }
    }

    fn launch(text: &str, extents: &[usize], args: Vec<Arg>) -> Step {
        Step::Launch { kernel: Arc::new(text.parse().unwrap()), extents: extents.into(), args, params: Vec::new() }
    }

    /// out = in over an axis of `n` elements and one of 2, as strided operands.
    fn copying(n: usize, from: Arg, to: Arg) -> Step {
        let text = "kernel rank 2 vector 1 (in f32 strided, out f32 strided) { %0 = load 0 map { store 1 <- %0 } }";
        launch(text, &[n, 2], vec![from, to])
    }

    #[track_caller]
    fn check_plan(want: &str, steps: Vec<Step>, donations: &[(u32, u32)]) {
        let got = verdict(plan(steps, donations).verify());
        assert!(got == want || want != "ok" && got.contains(want), "{want:?} was expected, not {got}");
    }

    #[test]
    fn accesses_stay_in_bounds() {
        use Slot::*;
        let out = || arg(Output(0), 0, &[2, 1]);
        let temp = |offset, nbytes| Temp { offset, nbytes };
        check_plan("ok", vec![copying(8, arg(Input(0), 0, &[2, 1]), out())], &[]);
        check_plan("touches bytes 0..72 of 64", vec![copying(9, arg(Input(0), 0, &[0, 1]), out())], &[]);
        check_plan("touches bytes 4..68 of 64", vec![copying(8, arg(Input(0), 1, &[2, 1]), out())], &[]);
        check_plan("ok", vec![copying(8, arg(Input(0), 15, &[-2, -1]), out())], &[]);
        check_plan("touches bytes -4..60 of 64", vec![copying(8, arg(Input(0), 14, &[-2, -1]), out())], &[]);
        check_plan("ok", vec![copying(0, arg(Input(0), 999, &[-2, -1]), out())], &[]);
        check_plan("too far", vec![copying(8, arg(Input(0), 0, &[isize::MIN, 1]), out())], &[]);
        check_plan("overflow", vec![copying(usize::MAX, arg(Input(0), 0, &[0, 0]), out())], &[]);
        check_plan("there is no slot input5", vec![copying(8, arg(Input(5), 0, &[2, 1]), out())], &[]);
        check_plan("the caller's", vec![copying(8, out(), arg(Input(0), 0, &[2, 1]))], &[]);
        check_plan("ok", vec![copying(8, arg(Input(0), 0, &[2, 1]), arg(temp(64, 64), 0, &[2, 1]))], &[]);
        check_plan(
            "beyond the arena",
            vec![copying(8, arg(Input(0), 0, &[2, 1]), arg(temp(128, 64), 0, &[2, 1]))],
            &[],
        );
        check_plan("not aligned", vec![copying(8, arg(Input(0), 0, &[2, 1]), arg(temp(32, 64), 0, &[2, 1]))], &[]);
        check_plan("ok", vec![Step::Copy { from: Input(0), to: Output(0), nbytes: 64 }], &[]);
        check_plan("0..65 of 64", vec![Step::Copy { from: Input(0), to: Output(0), nbytes: 65 }], &[]);

        let unit = "kernel rank 2 vector 1 (in f32 unit, out f32 unit) { %0 = load 0 map { store 1 <- %0 } }";
        let step = |extents: &[usize]| vec![launch(unit, extents, vec![arg(Input(0), 0, &[1, 2]), out()])];
        check_plan("argument 0 is not unit along the vector axis", step(&[2, 2]), &[]);
        check_plan("ok", step(&[2, 1]), &[]);
        check_plan("a launch with 1 extents", step(&[2]), &[]);

        let sum = "kernel rank 2 vector 1 (in f32 unit, out f32 broadcast) { %0 = load 0 reduce axes 1 (sum %0) { %1 = reduced 0 store 1 <- %1 } }";
        let step = |inner, out| vec![launch(sum, &[2, 4], vec![arg(Input(0), 0, &[4, inner]), out])];
        check_plan("ok", step(1, arg(Output(0), 0, &[1, 0])), &[]);
        check_plan("not broadcast along the vector axis", step(1, arg(Output(0), 0, &[1, 1])), &[]);
        check_plan("two points", step(1, arg(Output(0), 0, &[0, 0])), &[]);

        let gather =
            "kernel rank 1 vector 0 (in f32 unit, out f32 unit) { %0 = index 0 %1 = load 0[%0] map { store 1 <- %1 } }";
        let step = |offset, len| {
            vec![launch(gather, &[4], vec![Arg { len, ..arg(Input(0), offset, &[0]) }, arg(Output(0), 0, &[1])])]
        };
        check_plan("ok", step(4, 12), &[]);
        check_plan("reaches byte 68 of 64", step(5, 12), &[]);
        check_plan("ok", step(99, 0), &[]);

        let matmul = |k| {
            Step::Call(Box::new(LibraryCall::Matmul {
                dtype: DType::F32,
                batch: [].into_iter().collect(),
                m: 2,
                n: 3,
                k,
                a: arg(Input(0), 0, &[k as isize, 1]),
                b: arg(Input(1), 0, &[1, k as isize]),
                c: arg(Output(0), 0, &[3, 1]),
            }))
        };
        check_plan("ok", vec![matmul(5)], &[]);
        check_plan("touches bytes 0..72 of 64", vec![matmul(6)], &[]);
    }

    #[test]
    fn stores_hit_no_other_point() {
        use Slot::*;
        let t = |offset, strides: &[isize]| arg(Temp { offset: 0, nbytes: 128 }, offset, strides);
        check_plan("two points", vec![copying(4, arg(Input(0), 0, &[2, 1]), t(0, &[0, 1]))], &[]);
        check_plan("two points", vec![copying(4, arg(Input(0), 0, &[2, 1]), t(0, &[1, 1]))], &[]);
        check_plan("ok", vec![copying(4, t(0, &[2, 1]), t(0, &[2, 1]))], &[]);
        check_plan(
            "index maps of overlapping arguments must be equal",
            vec![copying(4, t(1, &[2, 1]), t(0, &[2, 1]))],
            &[],
        );
        check_plan(
            "index maps of overlapping arguments must be equal",
            vec![copying(4, t(7, &[-2, 1]), t(0, &[2, 1]))],
            &[],
        );
        check_plan("ok", vec![copying(4, t(8, &[2, 1]), t(0, &[2, 1]))], &[]);
        // Real from imaginary parts: they interleave.
        check_plan("ok", vec![copying(4, t(1, &[4, 2]), t(0, &[4, 2]))], &[]);
        let same = Temp { offset: 0, nbytes: 64 };
        check_plan("index maps", vec![Step::Copy { from: same, to: same, nbytes: 64 }], &[]);

        // Equal lists of strides, along different axes.
        let sum = "kernel rank 2 vector 1 (in f32 strided, out f32 broadcast) { %0 = load 0 reduce axes 1 (sum %0) { %1 = reduced 0 store 1 <- %1 } }";
        let step = |strides: &[isize]| vec![launch(sum, &[4, 4], vec![t(0, strides), t(0, &[4, 0])])];
        check_plan("ok", step(&[4, 0]), &[]);
        check_plan("index maps", step(&[0, 4]), &[]);
    }

    #[test]
    fn donated_inputs_are_not_read_again() {
        use Slot::*;
        let copy = |input, strides: &[isize], output| {
            copying(4, arg(Input(input), 0, strides), arg(Output(output), 0, &[2, 1]))
        };
        check_plan("ok", vec![copy(0, &[2, 1], 0)], &[(0, 0)]);
        check_plan("at other points than it writes", vec![copy(0, &[1, 4], 0)], &[(0, 0)]);
        check_plan("ok", vec![copy(0, &[1, 4], 1), copy(0, &[2, 1], 0)], &[(0, 0)]);
        check_plan("a later step reads the input", vec![copy(0, &[2, 1], 0), copy(0, &[2, 1], 1)], &[(0, 0)]);
        check_plan("donated already", vec![copy(0, &[2, 1], 0)], &[(0, 0), (1, 0)]);
        check_plan("at other points", vec![Step::Copy { from: Input(0), to: Output(0), nbytes: 64 }], &[(0, 0)]);
        let mut small = plan(vec![copy(0, &[2, 1], 0)], &[(0, 0)]);
        small.outputs[0] = 32;
        assert!(verdict(small.verify()).contains("their sizes differ"));
    }
}
