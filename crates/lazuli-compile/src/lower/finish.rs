//! From a straight line over loop axes to a launch: dead code goes, neighbouring axes that every operand walks as one are merged, the axis that vectors run along is
//! chosen, and what depends on shapes is told apart from what decides the code.

use super::body::{Access, Body};
use lazuli_kernel::{Accumulator, Arg, Binding, Inner, Inst, Kernel, Nest, Operand, Shape, Store, Value, small};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// A kernel with all that its launch needs, its buffers not yet placed.
#[derive(Debug)]
pub(crate) struct Launch {
    pub kernel: Arc<Kernel>,
    pub bindings: SmallVec<[Binding; 1]>,
}

/// Ends a body. `nest` speaks of the values, operands and loop axes of the body; those stay as they are if `keeps_axes`.
pub(super) fn finish(body: &Body, nest: Nest, keeps_axes: bool) -> (Launch, Ending) {
    let kept = body.loops.len() - nest.reduced() as usize;
    let mut live = Live::of(body, &nest);
    if keeps_axes {
        live.axes = (0..body.loops.len() as u32).collect();
    }
    let ordered = match nest {
        Nest::Map { .. } | Nest::Reduce { .. } | Nest::Rows { .. } => keeps_axes,
        // The last axis is the one scanned; the order of a scatter's points is that of its axes.
        Nest::Scan { .. } | Nest::Recurrence { .. } | Nest::Scatter { .. } => true,
    };
    let keep_last = matches!(nest, Nest::Scan { .. } | Nest::Recurrence { .. });
    let used = live.used(&body.args);
    let axes = Axes::new(&body.loops, kept, &used, &live.axes, ordered, keep_last);
    let launch = finish_along(body, nest, &live, &used, &axes);
    let counted = live.axes.clone();
    (launch, Ending { live, counted, kept, ordered, keep_last, axes })
}

/// How a body was ended: what decides over the loop axes of the kernel, and what became of them.
pub(super) struct Ending {
    pub live: Live,
    /// Axes whose counter is read, by this body or one that it has them in common with.
    pub counted: SmallVec<[u32; 4]>,
    pub kept: usize,
    pub ordered: bool,
    /// Whether the last axis stays by itself.
    pub keep_last: bool,
    pub axes: Axes,
}

/// Ends the bodies of two maps over one loop space, which stays one for both, its points in their order.
pub(super) fn finish_together(maps: [(&Body, Nest); 2]) -> [(Launch, Ending); 2] {
    let lives = maps.each_ref().map(|(body, nest)| Live::of(body, nest));
    let (mut all, mut counted) = (SmallVec::<[&Access; 8]>::new(), SmallVec::<[u32; 4]>::new());
    for ((body, _), live) in maps.iter().zip(&lives) {
        all.extend(live.used(&body.args));
        counted.extend(live.axes.iter().copied());
    }
    let loops = &maps[0].0.loops;
    debug_assert_eq!(*loops, maps[1].0.loops);
    let (kept, ordered, keep_last) = (loops.len(), true, false);
    let axes = || Axes::new(loops, kept, &all, &counted, ordered, keep_last);
    let mut lives = lives.into_iter();
    maps.map(|(body, nest)| {
        let (live, axes) = (lives.next().expect("one for each"), axes());
        let launch = finish_along(body, nest, &live, &live.used(&body.args), &axes);
        (launch, Ending { live, counted: counted.clone(), kept, ordered, keep_last, axes })
    })
}

/// Ends a body, of whose operands these are used, and whose loop axes become these.
fn finish_along(body: &Body, nest: Nest, live: &Live, used: &[&Access], axes: &Axes) -> Launch {
    let Body { emit, loops, args, params, .. } = body;
    let reduced = nest.reduced() as usize;
    let (body_len, split) = match &nest {
        Nest::Reduce { epilogue, .. } | Nest::Rows { epilogue, .. } => (emit.insts.len() - epilogue.len(), true),
        _ => (emit.insts.len(), false),
    };
    debug_assert!(split || body_len == emit.insts.len());

    let rank = axes.groups.len() as u32;
    let kept = axes.kept;
    debug_assert!(reduced == 0 || (kept as u32) < rank);

    let extents = axes.extents(loops);
    let vector_axis = axes.vector_axis(used, &live.strided());
    let mut operands = Vec::with_capacity(used.len());
    let mut out_args = Vec::with_capacity(used.len());
    for ((access, operand), _) in args.iter().zip(&emit.operands).zip(&live.operands).filter(|(_, n)| n.is_some()) {
        let array = axes.operands(access);
        operands.push(Operand { inner: inner(&array, vector_axis), ..*operand });
        out_args.push(array);
    }
    let axis_numbers = axes.numbers(loops.len());
    let mut insts = Vec::with_capacity(emit.insts.len());
    let mut first_of_epilogue = 0;
    for (i, inst) in emit.insts.iter().enumerate() {
        if i == body_len {
            first_of_epilogue = insts.len();
        }
        if live.values[i].is_some() {
            insts.push(live.renumber(*inst, &axis_numbers));
        }
    }
    let epilogue = if split && body_len < emit.insts.len() { insts.split_off(first_of_epilogue) } else { Vec::new() };
    let value = |v: Value| live.value(v);
    let stores = |s: Vec<Store>| -> Vec<Store> {
        s.into_iter().map(|s| Store { operand: live.operand(s.operand), value: value(s.value) }).collect()
    };
    let accumulated = |accumulators: Vec<Accumulator>| -> Vec<Accumulator> {
        accumulators.into_iter().map(|a| Accumulator { value: value(a.value), ..a }).collect()
    };
    let axes = rank - kept as u32;
    let nest = match nest {
        Nest::Map { stores: s } => Nest::Map { stores: stores(s) },
        Nest::Reduce { accumulators, stores: s, .. } => {
            Nest::Reduce { axes, accumulators: accumulated(accumulators), epilogue, stores: stores(s) }
        }
        Nest::Rows { accumulators, stores: s, row_stores, .. } => Nest::Rows {
            axes,
            accumulators: accumulated(accumulators),
            stores: stores(s),
            epilogue,
            row_stores: stores(row_stores),
        },
        Nest::Scan { op, reverse, exclusive, value: v, store } => {
            Nest::Scan { op, reverse, exclusive, value: value(v), store: live.operand(store) }
        }
        Nest::Recurrence { reverse, factor, term, store } => {
            Nest::Recurrence { reverse, factor: value(factor), term: value(term), store: live.operand(store) }
        }
        Nest::Scatter { op, target, index, mask, value: v } => Nest::Scatter {
            op,
            target: live.operand(target),
            index: value(index),
            mask: mask.map(value),
            value: value(v),
        },
    };
    let mut numbers = Vec::with_capacity(params.len());
    numbers.extend(params.iter().zip(&live.params).filter(|(_, n)| n.is_some()).map(|(s, _)| *s));
    let (types, params) = (numbers.iter().map(|s| s.dtype).collect(), numbers);
    let kernel = Arc::new(Kernel { rank, vector_axis, params: types, operands, body: insts, nest });
    Launch { kernel, bindings: smallvec![Binding { extents, args: out_args, params }] }
}

/// New numbers of what is used, `None` for the rest.
pub(super) struct Live {
    values: Vec<Option<u32>>,
    pub operands: SmallVec<[Option<u32>; 8]>,
    pub params: SmallVec<[Option<u32>; 8]>,
    /// Loop axes whose counter is read.
    pub axes: SmallVec<[u32; 4]>,
    /// Operands loaded or stored by strides (not only at computed positions).
    strided: SmallVec<[bool; 8]>,
}

impl Live {
    /// What the nest uses of the body.
    fn of(body: &Body, nest: &Nest) -> Self {
        let mut live = Live::new(&body.emit.insts, body.args.len(), body.params.len());
        live.mark_nest(nest);
        live.sweep(&body.emit.insts);
        live
    }
    /// The operands among these that are used.
    fn used<'a>(&self, args: &'a [Access]) -> SmallVec<[&'a Access; 8]> {
        small(args.iter().zip(&self.operands).filter(|(_, n)| n.is_some()).map(|(a, _)| a))
    }
    /// Of the operands that are used, whether they are walked by strides.
    pub fn strided(&self) -> SmallVec<[bool; 8]> {
        small(self.strided.iter().zip(&self.operands).filter(|(_, n)| n.is_some()).map(|(s, _)| *s))
    }
    fn new(insts: &[Inst], operands: usize, params: usize) -> Self {
        Self {
            values: vec![None; insts.len()],
            operands: SmallVec::from_elem(None, operands),
            params: SmallVec::from_elem(None, params),
            axes: SmallVec::new(),
            strided: SmallVec::from_elem(false, operands),
        }
    }
    fn mark(&mut self, v: Value) {
        self.values[v.0 as usize] = Some(0);
    }
    fn mark_operand(&mut self, o: u32) {
        self.operands[o as usize] = Some(0);
    }
    fn mark_stores(&mut self, stores: &[Store]) {
        for s in stores {
            self.mark(s.value);
            self.mark_operand(s.operand);
            self.strided[s.operand as usize] = true;
        }
    }
    fn mark_nest(&mut self, nest: &Nest) {
        match nest {
            Nest::Map { stores } => self.mark_stores(stores),
            Nest::Reduce { accumulators, stores, .. } => {
                self.mark_stores(stores);
                accumulators.iter().for_each(|a| self.mark(a.value));
            }
            Nest::Rows { accumulators, stores, row_stores, .. } => {
                self.mark_stores(stores);
                self.mark_stores(row_stores);
                accumulators.iter().for_each(|a| self.mark(a.value));
            }
            Nest::Scan { value, store, .. } => {
                self.mark(*value);
                self.mark_operand(*store);
                self.strided[*store as usize] = true;
            }
            Nest::Recurrence { factor, term, store, .. } => {
                self.mark(*factor);
                self.mark(*term);
                self.mark_operand(*store);
                self.strided[*store as usize] = true;
            }
            Nest::Scatter { target, index, mask, value, .. } => {
                self.mark(*index);
                mask.iter().for_each(|&m| self.mark(m));
                self.mark(*value);
                self.mark_operand(*target);
            }
        }
    }
    /// Marks what the marked values use, then numbers all.
    fn sweep(&mut self, insts: &[Inst]) {
        for (i, inst) in insts.iter().enumerate().rev() {
            if self.values[i].is_none() {
                continue;
            }
            match *inst {
                Inst::Param(p) => self.params[p as usize] = Some(0),
                Inst::Load(o) => {
                    self.mark_operand(o);
                    self.strided[o as usize] = true;
                }
                Inst::LoadAt { operand, .. } => self.mark_operand(operand),
                Inst::Index(axis) | Inst::Extent(axis) if !self.axes.contains(&axis) => self.axes.push(axis),
                _ => {}
            }
            for &v in inst.uses().iter() {
                self.mark(v);
            }
        }
        number(&mut self.values);
        number(&mut self.operands);
        number(&mut self.params);
    }
    fn value(&self, v: Value) -> Value {
        Value(self.values[v.0 as usize].expect("what is used is live"))
    }
    fn operand(&self, o: u32) -> u32 {
        self.operands[o as usize].expect("what is used is live")
    }
    fn renumber(&self, inst: Inst, axes: &[u32]) -> Inst {
        let v = |v: Value| self.value(v);
        match inst {
            Inst::Param(p) => Inst::Param(self.params[p as usize].expect("what is used is live")),
            Inst::Index(axis) => Inst::Index(axes[axis as usize]),
            Inst::Extent(axis) => Inst::Extent(axes[axis as usize]),
            Inst::Load(o) => Inst::Load(self.operand(o)),
            Inst::LoadAt { operand, index, mask } => {
                Inst::LoadAt { operand: self.operand(operand), index: v(index), mask: mask.map(v) }
            }
            Inst::Unary(op, a) => Inst::Unary(op, v(a)),
            Inst::Binary(op, a, b) => Inst::Binary(op, v(a), v(b)),
            Inst::Fma(a, b, c) => Inst::Fma(v(a), v(b), v(c)),
            Inst::Select(a, b, c) => Inst::Select(v(a), v(b), v(c)),
            Inst::Cast(to, a) => Inst::Cast(to, v(a)),
            Inst::Bitcast(to, a) => Inst::Bitcast(to, v(a)),
            Inst::Const(_) | Inst::Reduced(_) | Inst::ReducedIndex(_) => inst,
        }
    }
}

fn number(marks: &mut [Option<u32>]) {
    for (n, mark) in marks.iter_mut().filter(|m| m.is_some()).enumerate() {
        *mark = Some(n as u32);
    }
}

/// The kernel's loop axes, each a run of neighbouring axes of the body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Axes {
    pub groups: SmallVec<[SmallVec<[u32; 2]>; 4]>,
    /// How many of them are not reduced.
    pub kept: usize,
}

impl Axes {
    /// Of the axes `0..kept` and the reduced ones behind them. Axes whose counter is read (`counted`) stay by themselves.
    pub fn new(
        loops: &[usize],
        kept: usize,
        used: &[&Access],
        counted: &[u32],
        ordered: bool,
        keep_last: bool,
    ) -> Self {
        let mut order: SmallVec<[u32; 4]> = small(0..kept as u32);
        if !ordered {
            sort_by_stride(&mut order, used);
        }
        order.extend(kept as u32..loops.len() as u32);
        let mut groups: SmallVec<[SmallVec<[u32; 2]>; 4]> = SmallVec::new();
        let mut kept_groups = 0;
        for (i, &axis) in order.iter().enumerate() {
            let alone = |a: u32| counted.contains(&a);
            let joins = i != kept && !(keep_last && i + 1 == order.len()) && !alone(axis);
            match groups.last_mut() {
                Some(group)
                    if joins
                        && group
                            .last()
                            .is_some_and(|&outer| !alone(outer) && walked_as_one(outer, axis, loops, used)) =>
                {
                    group.push(axis);
                }
                _ => {
                    groups.push(SmallVec::from_slice(&[axis]));
                    kept_groups += (i < kept) as usize;
                }
            }
        }
        Self { groups, kept: kept_groups }
    }
    /// Their extents.
    fn extents(&self, loops: &[usize]) -> Shape {
        small(self.groups.iter().map(|g| g.iter().map(|&a| loops[a as usize]).product()))
    }
    /// The steps of an operand along them, of those along the axes of the body.
    pub fn steps<'s, T: Copy>(&self, strides: &'s [T]) -> impl Iterator<Item = T> + use<'_, 's, T> {
        self.groups.iter().map(|group| strides[*group.last().expect("no group is empty") as usize])
    }
    /// An operand over them.
    fn operands(&self, access: &Access) -> Arg {
        Access { strides: small(self.steps(&access.strides)), ..*access }.operands()
    }
    /// New number of each old axis.
    fn numbers(&self, n: usize) -> SmallVec<[u32; 4]> {
        let mut numbers = SmallVec::from_elem(0, n);
        for (new, group) in self.groups.iter().enumerate() {
            group.iter().for_each(|&old| numbers[old as usize] = new as u32);
        }
        numbers
    }
    /// The last axis; for a reduction the last kept one, where fewer operands are walked in larger steps along that, or as few and more are walked in steps of one.
    fn vector_axis(&self, used: &[&Access], strided: &[bool]) -> u32 {
        let last = self.groups.len().saturating_sub(1);
        if self.kept == self.groups.len() || self.kept == 0 {
            return last as u32;
        }
        let along = |group: usize| {
            let axis = *self.groups[group].last().expect("no group is empty") as usize;
            let steps = used.iter().zip(strided).filter(|(_, strided)| **strided).map(|(a, _)| a.strides[axis]);
            steps.fold((0, 0), |(far, near), s| (far + !matches!(s, 0 | 1) as usize, near + (s == 1) as usize))
        };
        let ((far_kept, kept), (far, reduced)) = (along(self.kept - 1), along(last));
        // The output, which stands still along reduced axes, has stride 1 along the last kept one and is left out of the count.
        let is_nearer = kept > reduced + 1 || reduced == 0 && kept > 1;
        if far_kept < far || far_kept == far && is_nearer { self.kept as u32 - 1 } else { last as u32 }
    }
}

/// Whether every operand walks the two axes as it would walk one.
fn walked_as_one(outer: u32, inner: u32, loops: &[usize], used: &[&Access]) -> bool {
    let n = loops[inner as usize] as isize;
    used.iter().all(|a| a.strides[outer as usize] == a.strides[inner as usize] * n)
}

/// Points of a map may run in any order: that of the memory of what is written (listed last), largest stride first.
fn sort_by_stride(order: &mut [u32], used: &[&Access]) {
    if let Some(output) = used.last() {
        order.sort_by_key(|&a| std::cmp::Reverse(output.strides[a as usize].unsigned_abs()));
    }
}

/// How an array is walked along this axis.
fn inner(array: &Arg, axis: u32) -> Inner {
    match array.strides.get(axis as usize) {
        Some(0) => Inner::Broadcast,
        Some(1) | None => Inner::Unit,
        Some(_) => Inner::Strided,
    }
}
