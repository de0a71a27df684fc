//! Selection of loads, stores, loop counters and run-time scalars, and of whole lines.

use super::block::{self, Layout};
use super::line::{At, Class, GatherFrom, Lanes, MOp, Op, Place, UniformSource, V, Widen, Width};
use super::ops::X;
use super::select::{Cmp, Lower, Run, Val};
use super::skip::Entry;
use lazuli_kernel::{BinaryOp, DType, Inner, Inst, Nest, Scalar, Store, Value};

/// How elements of a dtype become lanes (bf16 needs a shift after that).
fn widen(d: DType) -> Widen {
    match d {
        DType::Bool | DType::U8 => Widen::ZeroByte,
        DType::I8 => Widen::SignByte,
        DType::U16 | DType::BF16 => Widen::ZeroWord,
        DType::I16 => Widen::SignWord,
        DType::F16 => Widen::Half,
        _ => Widen::Move,
    }
}

impl Lower<'_> {
    /// Builds the uniform line and says which values it defines.
    pub fn uniform_values(&mut self, layout: &Layout) -> Vec<Option<Val>> {
        let kernel = self.kernel;
        let mut values: Vec<Option<Val>> = vec![None; kernel.body.len()];
        for (i, inst) in kernel.body.iter().enumerate() {
            let d = self.types[i];
            let value = match *inst {
                Inst::Const(s) => self.constant(s),
                Inst::Param(p) => self.uniform(UniformSource::Block(layout.param(p)), d),
                Inst::Extent(axis) => self.uniform(UniformSource::Block(layout.extent(axis)), d),
                Inst::Index(axis) if axis != kernel.vector_axis || kernel.rank == 0 => {
                    self.uniform(UniformSource::Block(layout.index(axis)), d)
                }
                Inst::Load(o) if kernel.operands[o as usize].inner == Inner::Broadcast => {
                    self.uniform(UniformSource::Operand(o), d)
                }
                Inst::Load(_) | Inst::LoadAt { .. } | Inst::Index(_) => continue,
                Inst::Reduced(_) | Inst::ReducedIndex(_) => unreachable!("a map has no reduced values"),
                _ if inst.uses().iter().all(|v| values[v.0 as usize].is_some()) => {
                    self.in_uniform = true;
                    let value = self.compute(i, d, &values);
                    self.in_uniform = false;
                    self.make_global(value)
                }
                _ => continue,
            };
            values[i] = Some(value);
        }
        self.runs = vec![None; kernel.body.len()];
        for (i, inst) in kernel.body.iter().enumerate() {
            if let Inst::LoadAt { operand, index, mask: None } = *inst {
                self.runs[i] = self.run(operand, index, &values, layout);
            }
        }
        values
    }

    /// Whether positions are consecutive along the vector axis: the sum of uniforms and of the loop counter.
    fn run(&mut self, operand: u32, index: Value, uniform: &[Option<Val>], layout: &Layout) -> Option<Run> {
        let kernel = self.kernel;
        let dtype = kernel.operands[operand as usize].dtype;
        if dtype == DType::Bool || dtype.itemsize() < 4 && !self.wide() || self.is_loaded(operand) {
            return None;
        }
        let (mut rest, mut parts) = (index, Vec::new());
        loop {
            let of = |v: Value| uniform[v.0 as usize].map(|Val(v, _)| v);
            match kernel.body[rest.0 as usize] {
                Inst::Index(axis) if axis == kernel.vector_axis && kernel.rank > 0 => break,
                Inst::Binary(BinaryOp::Add, a, b) => {
                    let (part, other) = of(a).map(|v| (v, b)).or_else(|| of(b).map(|v| (v, a)))?;
                    parts.push(part);
                    rest = other;
                }
                _ => return None,
            }
        }
        if parts.is_empty() {
            return None;
        }
        let number = |s: &mut Self, offset| s.uniform(UniformSource::Block(offset), DType::I64).0;
        let first = number(self, layout.index(kernel.vector_axis));
        let (n, len) = (number(self, 8 * block::N as i32), number(self, layout.len(operand)));
        self.in_uniform = true;
        let start = parts.into_iter().fold(first, |sum, part| self.x(X::AddQ, &[sum, part]));
        let (zero, last) = (self.c64(0), self.x(X::SubQ, &[len, n]));
        let after = self.compare_int(Cmp::Ge, true, true, start, zero);
        let before = self.compare_int(Cmp::Le, true, true, start, last);
        let both = self.mask_and(after, before);
        let inside = self.join_masks(both, both);
        self.in_uniform = false;
        self.make_global(Val(start, None));
        self.make_global(Val(inside, None));
        Some(Run { start, inside })
    }

    /// Elements at consecutive positions: loaded as they are if all of the row's lie within the array, else looked up one by one, by `look_up`.
    fn load_run(&mut self, operand: u32, run: Run, look_up: impl FnOnce(&mut Self) -> Val) -> Val {
        let dtype = self.kernel.operands[operand as usize].dtype;
        let (double, first) = (dtype.itemsize() == 8, (self.copy * self.isa.lanes() * dtype.itemsize()) as i32);
        if self.masked && !self.wide() {
            // Other loads share these masks, which must not be computed behind a jump.
            (0..3).for_each(|part| _ = self.tail_mask(part));
        }
        self.push(Op::Skip { when: false }, None, &[run.inside], None);
        let loaded = self.load_from(At::Run { operand, start: run.start }, dtype, first);
        self.push(Op::Land, None, &[], None);
        self.push(Op::Skip { when: true }, None, &[run.inside], None);
        let found = look_up(self);
        self.push(Op::Land, None, &[], None);
        match (loaded.1, found.1) {
            (Some(high), Some(found_high)) if double => {
                let masks = [0, 1].map(|h| self.mask_half(run.inside, h));
                let low = self.blend(true, masks[0], loaded.0, found.0);
                Val(low, Some(self.blend(true, masks[1], high, found_high)))
            }
            _ => Val(self.blend(false, run.inside, loaded.0, found.0), None),
        }
    }

    fn is_loaded(&self, operand: u32) -> bool {
        self.kernel.body.contains(&Inst::Load(operand))
    }

    /// The main line (several vectors, interleaved instruction by instruction) or the masked tail (one vector), of a body in this order.
    pub fn body_line(
        &mut self,
        uniform: &[Option<Val>],
        order: &[Entry],
        copies: usize,
        masked: bool,
        stream: bool,
    ) -> Vec<MOp> {
        let kernel = self.kernel;
        self.line.clear();
        self.line.reserve(2 * copies * order.len());
        self.masked = masked;
        self.tail_masks = [None; 3];
        let mut values: Vec<Vec<Option<Val>>> = vec![uniform.to_vec(); copies];
        for &entry in order {
            match entry {
                Entry::Inst(i) => {
                    for (copy, values) in values.iter_mut().enumerate() {
                        self.copy = copy;
                        let value = self.compute(i, self.types[i], values);
                        values[i] = Some(value);
                    }
                }
                Entry::Skip { condition, when } => {
                    let of_copy = |values: &Vec<Option<Val>>| values[condition.0 as usize].expect("defined before").0;
                    let conditions: Vec<V> = values.iter().map(of_copy).collect();
                    self.push(Op::Skip { when }, None, &conditions, None);
                }
                Entry::Land => self.push(Op::Land, None, &[], None),
            }
        }
        let Nest::Map { stores } = &kernel.nest else { unreachable!("only maps are generated") };
        for store in stores {
            for (copy, values) in values.iter().enumerate() {
                self.copy = copy;
                self.store(store, values[store.value.0 as usize].expect("a stored value is defined"), stream);
            }
        }
        std::mem::take(&mut self.line)
    }

    fn compute(&mut self, i: usize, d: DType, values: &[Option<Val>]) -> Val {
        let at = |v: Value| values[v.0 as usize].expect("a value is defined before it is used");
        let of = |s: &Self, v: Value| s.types[v.0 as usize];
        match self.kernel.body[i] {
            Inst::Const(s) => self.constant(s),
            Inst::Load(o) => self.load(o),
            Inst::LoadAt { operand, index, mask } => {
                let (index, mask) = (at(index), mask.map(|m| at(m).0));
                match self.runs[i] {
                    Some(run) => self.load_run(operand, run, |s| s.load_at(operand, index, mask)),
                    None => self.load_at(operand, index, mask),
                }
            }
            Inst::Index(axis) => self.counter(axis),
            Inst::Unary(op, a) => self.unary(op, d, at(a)),
            Inst::Binary(op, a, b) => self.binary(op, of(self, a), at(a), at(b)),
            Inst::Fma(a, b, c) => self.fma(at(a), at(b), at(c)),
            Inst::Select(c, a, b) => self.select(d, at(c).0, at(a), at(b)),
            Inst::Cast(to, a) => self.cast(to, of(self, a), at(a)),
            Inst::Bitcast(to, a) => self.bitcast(to, of(self, a), at(a)),
            Inst::Param(_) | Inst::Extent(_) | Inst::Reduced(_) | Inst::ReducedIndex(_) => {
                unreachable!("uniform values are not computed per vector")
            }
        }
    }

    fn constant(&mut self, s: Scalar) -> Val {
        match s.dtype {
            DType::Bool if self.wide() => {
                let on = s.bits != 0;
                self.in_uniform = true;
                let v = self.op(Op::MaskConst(on), Class::Mask, &[], None);
                self.in_uniform = false;
                self.make_global(Val(v, None))
            }
            DType::Bool => Val(self.c32(if s.bits != 0 { u32::MAX } else { 0 }), None),
            DType::F16 => Val(self.f32(s.to_f64() as f32), None),
            DType::BF16 => Val(self.c32((s.bits as u32) << 16), None),
            d if d.itemsize() == 8 => {
                let v = self.c64(s.bits);
                Val(v, Some(v))
            }
            d if d.is_integer() => Val(self.c32(s.to_i64() as u32), None),
            _ => Val(self.c32(s.bits as u32), None),
        }
    }

    /// Gives locals of the uniform line a place that outlives it.
    fn make_global(&mut self, value: Val) -> Val {
        for v in [Some(value.0), value.1].into_iter().flatten() {
            let info = &mut self.info[v.0 as usize];
            if info.global.is_none() {
                info.global = Some(Place::Slot(self.uniform_slots));
                self.uniform_slots += 1;
            }
        }
        value
    }

    /// One element for all lanes, in the uniform line.
    fn uniform(&mut self, from: UniformSource, d: DType) -> Val {
        if let Some(&(_, _, value)) = self.uniforms.iter().find(|u| (u.0, u.1) == (from, d)) {
            return value;
        }
        self.in_uniform = true;
        let double = d.itemsize() == 8;
        let raw = self.op(Op::Uniform { from, widen: widen(d), double }, Class::Vector, &[], None);
        let value = match d {
            DType::Bool => self.bytes_to_bool(raw),
            DType::BF16 => self.xi(X::SllD, &[raw], 16),
            _ => raw,
        };
        self.in_uniform = false;
        let value = self.make_global(Val(value, double.then_some(value)));
        self.uniforms.push((from, d, value));
        value
    }

    fn bytes_to_bool(&mut self, v: V) -> V {
        if self.wide() {
            self.x(X::TestDK, &[v, v])
        } else {
            let zero = self.c32(0);
            self.x(X::GtD, &[v, zero])
        }
    }

    /// Position along the vector axis.
    fn counter(&mut self, axis: u32) -> Val {
        let half = self.isa.lanes() / 2;
        let first = (self.copy * self.isa.lanes()) as i32;
        self.halves(|s, h| {
            let plus = first + (h * half) as i32;
            let base = s.op(Op::Counter { plus, axis }, Class::Vector, &[], None);
            let mut iota = [0; 64];
            for (lane, bytes) in iota.chunks_exact_mut(8).enumerate() {
                bytes.copy_from_slice(&(lane as u64).to_le_bytes());
            }
            let iota = s.pool(iota);
            s.x(X::AddQ, &[base, iota])
        })
    }

    fn tail_mask(&mut self, part: u8) -> V {
        if let Some(v) = self.tail_masks[part as usize] {
            return v;
        }
        let v = self.op(Op::TailMask { part }, Class::Vector, &[], None);
        self.tail_masks[part as usize] = Some(v);
        v
    }

    // ---- Loads.

    fn load(&mut self, operand: u32) -> Val {
        let o = self.kernel.operands[operand as usize];
        let size = o.dtype.itemsize();
        let first = (self.copy * self.isa.lanes()) as i32;
        // AVX2 has masked loads of 32 and 64 bits only.
        let by_lanes = o.inner != Inner::Unit || (self.masked && !self.wide() && size < 4);
        if self.wide() && o.inner == Inner::Strided && size >= 4 {
            let distances = self.distances(operand);
            return self.gather(operand, GatherFrom::Lane(first), distances);
        }
        if by_lanes {
            let strided = o.inner != Inner::Unit;
            self.push(Op::Lanes(Lanes::Gather { operand, size: size as u32, strided, first }), None, &[], None);
            return self.load_from(At::Stage(0), o.dtype, 0);
        }
        self.load_from(At::Operand(operand), o.dtype, first * size as i32)
    }

    /// A vector of consecutive elements.
    fn load_from(&mut self, at: At, d: DType, disp: i32) -> Val {
        let masks = self.masked && !self.wide() && !matches!(at, At::Stage(_));
        if d.itemsize() == 8 {
            let half_bytes = 4 * self.isa.lanes() as i32;
            return self.halves(|s, h| {
                let mask = masks.then(|| s.tail_mask(1 + h as u8));
                let load = Op::Load {
                    at,
                    widen: Widen::Move,
                    disp: disp + h as i32 * half_bytes,
                    half: h as u8,
                    double: true,
                };
                s.op(load, Class::Vector, mask.as_slice(), None)
            });
        }
        let mask = masks.then(|| self.tail_mask(0));
        let load = Op::Load { at, widen: widen(d), disp, half: 0, double: false };
        let v = self.op(load, Class::Vector, mask.as_slice(), None);
        match d {
            DType::Bool => Val(self.bytes_to_bool(v), None),
            DType::BF16 => Val(self.xi(X::SllD, &[v], 16), None),
            _ => Val(v, None),
        }
    }

    /// Elements of 32 or 64 bits at these distances.
    fn gather(&mut self, operand: u32, from: GatherFrom, distances: Val) -> Val {
        let size = self.kernel.operands[operand as usize].dtype.itemsize() as u32;
        let double = size == 8;
        let all = self.halves(|s, h| {
            let distance = if h == 0 { distances.0 } else { distances.1.unwrap_or(distances.0) };
            let op = Op::Gather { operand, from, half: h as u8, double, scale: size };
            s.op(op, Class::Vector, &[distance], None)
        });
        match all.1 {
            Some(high) if !double => Val(self.xi(X::Join, &[all.0, high], 1), None),
            _ => all,
        }
    }

    /// Bytes from the first lane of a strided operand to each, in the uniform line.
    fn distances(&mut self, operand: u32) -> Val {
        if let Some(&(_, v)) = self.distances.iter().find(|&&(o, _)| o == operand) {
            return v;
        }
        let stride = self.uniform(UniformSource::Block(Layout::of(self.kernel).stride(operand)), DType::I64);
        self.in_uniform = true;
        let lanes = self.isa.lanes() / 2;
        let distances = self.halves(|s, h| {
            let mut lane = [0; 64];
            for (i, bytes) in lane.chunks_exact_mut(8).enumerate() {
                bytes.copy_from_slice(&((h * lanes + i) as u64).to_le_bytes());
            }
            let lane = s.pool(lane);
            s.x(X::MulQ, &[stride.0, lane])
        });
        self.in_uniform = false;
        let distances = self.make_global(distances);
        self.distances.push((operand, distances));
        distances
    }

    fn load_at(&mut self, operand: u32, index: Val, mask: Option<V>) -> Val {
        let d = self.kernel.operands[operand as usize].dtype;
        let layout = Layout::of(self.kernel);
        let last = self.last_position(operand);
        let clamped = self.halves(|s, h| {
            let v = if h == 0 { index.0 } else { index.1.unwrap_or(index.0) };
            let low = s.at_least_zero(v);
            if s.wide() {
                s.x(X::MinSQ, &[low, last])
            } else {
                let above = s.x(X::GtQ, &[low, last]);
                s.blend(true, above, last, low)
            }
        });
        let mask = if self.is_loaded(operand) {
            let len = self.uniform(UniformSource::Block(layout.len(operand)), DType::I64);
            let any = self.truth(DType::I64, len).0;
            Some(mask.map_or(any, |m| self.mask_and(m, any)))
        } else {
            mask
        };
        let value = if self.wide() && d.itemsize() >= 4 {
            self.gather(operand, GatherFrom::Operand, clamped)
        } else {
            self.stage_out(0, clamped);
            self.push(Op::Lanes(Lanes::Lookup { operand, size: d.itemsize() as u32 }), None, &[], None);
            self.load_from(At::Stage(1), d, 0)
        };
        match mask {
            None => value,
            Some(m) if d == DType::Bool => Val(self.mask_and(m, value.0), None),
            Some(m) if d.itemsize() == 8 => self.halves(|s, h| {
                let part = s.mask_half(m, h);
                s.keep(true, part, if h == 0 { value.0 } else { value.1.unwrap_or(value.0) })
            }),
            Some(m) => Val(self.keep(false, m, value.0), None),
        }
    }

    /// The last position that `LoadAt` may touch, or 0 if there is none. Reading position 0 is then still allowed: an operand
    /// that is only looked up gets one zero to read, and any other is loaded there as well.
    fn last_position(&mut self, operand: u32) -> V {
        if let Some(&(_, v)) = self.last_positions.iter().find(|&&(o, _)| o == operand) {
            return v;
        }
        let len = self.uniform(UniformSource::Block(Layout::of(self.kernel).len(operand)), DType::I64);
        self.in_uniform = true;
        let minus_one = self.c64(u64::MAX);
        let last = self.x(X::AddQ, &[len.0, minus_one]);
        let last = self.at_least_zero(last);
        self.in_uniform = false;
        self.make_global(Val(last, None));
        self.last_positions.push((operand, last));
        last
    }

    fn at_least_zero(&mut self, v: V) -> V {
        let zero = self.c32(0);
        if self.wide() {
            return self.x(X::MaxSQ, &[v, zero]);
        }
        let negative = self.x(X::GtQ, &[zero, v]);
        self.x(X::AndNot, &[negative, v])
    }

    // ---- Staging areas.

    pub fn stage_out(&mut self, stage: u32, value: Val) {
        for (h, v) in [Some(value.0), value.1].into_iter().flatten().enumerate() {
            let disp = (h * 4 * self.isa.lanes()) as i32;
            let store =
                Op::Store { at: At::Stage(stage), width: Width::Full, itemsize: 4, disp, half: h as u8, stream: false };
            self.push(store, None, &[v], None);
        }
    }
    pub fn stage_in_wide(&mut self, stage: u32) -> Val {
        self.load_from(At::Stage(stage), DType::I64, 0)
    }
    /// Lanes of 32 bits.
    pub fn stage_in(&mut self, stage: u32) -> V {
        self.load_from(At::Stage(stage), DType::I32, 0).0
    }

    // ---- Stores.

    fn store(&mut self, store: &Store, value: Val, stream: bool) {
        let o = self.kernel.operands[store.operand as usize];
        let size = o.dtype.itemsize();
        let first = (self.copy * self.isa.lanes()) as i32;
        let by_lanes = o.inner != Inner::Unit || (self.masked && !self.wide() && size < 4);
        let (at, disp) = if by_lanes { (At::Stage(0), 0) } else { (At::Operand(store.operand), first * size as i32) };
        let stream = stream && !by_lanes && !self.masked;
        self.store_to(at, o.dtype, disp, value, stream);
        if by_lanes {
            let strided = o.inner != Inner::Unit;
            let lanes = Lanes::Scatter { operand: store.operand, size: size as u32, strided, first };
            self.push(Op::Lanes(lanes), None, &[], None);
        }
    }

    fn store_to(&mut self, at: At, d: DType, disp: i32, value: Val, stream: bool) {
        let (width, v) = match d {
            DType::Bool => (Width::Quarter, self.bool_bytes(value.0)),
            DType::U8 | DType::I8 => (Width::Quarter, self.pack_bytes(value.0)),
            DType::U16 | DType::I16 => (Width::Half, self.pack_words(value.0)),
            DType::F16 => (Width::Half, self.xi(X::CvtPsPh, &[value.0], 0)),
            DType::BF16 => {
                let bits = self.xi(X::SrlD, &[value.0], 16);
                (Width::Half, self.pack_words(bits))
            }
            _ => (Width::Full, value.0),
        };
        let masks = self.masked && !self.wide() && matches!(at, At::Operand(_));
        let itemsize = d.itemsize() as u32;
        for (h, v) in [Some(v), value.1].into_iter().flatten().enumerate() {
            let part = if itemsize == 8 { 1 + h as u8 } else { 0 };
            let mut src = vec![v];
            if masks {
                src.push(self.tail_mask(part));
            }
            let disp = disp + (h * 4 * self.isa.lanes()) as i32;
            self.push(Op::Store { at, width, itemsize, disp, half: h as u8, stream }, None, &src, None);
        }
    }

    fn bool_bytes(&mut self, mask: V) -> V {
        if self.wide() {
            let ones = self.pool([1; 64]);
            return self.op(Op::MaskBytes, Class::Vector, &[mask, ones], None);
        }
        let one = self.c32(1);
        let bits = self.x(X::And, &[mask, one]);
        self.pack_bytes(bits)
    }

    /// The low bytes of 32-bit lanes, packed into a quarter of a register.
    fn pack_bytes(&mut self, v: V) -> V {
        if self.wide() {
            return self.x(X::NarrowB, &[v]);
        }
        let mut pattern = [0x80; 64];
        for (lane, p) in pattern[..32].iter_mut().enumerate() {
            if lane % 16 < 4 {
                *p = 4 * (lane as u8 % 16);
            }
        }
        let (pattern, lanes) = (self.pool(pattern), self.lane_picks([0, 4]));
        let packed = self.x(X::ShufB, &[v, pattern]);
        self.x(X::PermD, &[lanes, packed])
    }

    /// The low words of 32-bit lanes, packed into half a register.
    pub fn pack_words(&mut self, v: V) -> V {
        if self.wide() {
            return self.x(X::NarrowW, &[v]);
        }
        let mut pattern = [0x80; 64];
        for (lane, p) in pattern[..32].iter_mut().enumerate() {
            if lane % 16 < 8 {
                *p = 4 * (lane as u8 % 16 / 2) + lane as u8 % 2;
            }
        }
        let pattern = self.pool(pattern);
        let packed = self.x(X::ShufB, &[v, pattern]);
        self.xi(X::PermQ, &[packed], 0x08)
    }

    /// Words in half a register, zero-extended to 32-bit lanes.
    pub fn widen_half_register(&mut self, v: V) -> V {
        self.x(X::WidenWord, &[v])
    }

    fn lane_picks(&mut self, picks: [u32; 2]) -> V {
        let mut bytes = [0; 64];
        for (chunk, lane) in bytes.chunks_exact_mut(4).zip(picks) {
            chunk.copy_from_slice(&lane.to_le_bytes());
        }
        self.pool(bytes)
    }
}
