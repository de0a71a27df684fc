//! A straight line of vector instructions over virtual registers, and its register allocation.
//!
//! A generated function has three lines: `uniform` (values that are the same along the vector axis, once per row), `main` (several
//! vectors at a time) and `tail` (one masked vector). Globals are registers that outlive a line: constants, which lie in the
//! image's pool, and uniforms, which the first line leaves in the frame; those used most are pinned to machine registers. All others
//! are local to their line and are allocated by linear scan; where registers run out, the interval that ends last lives in the frame.

use super::ops::X;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// A virtual register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct V(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Vector,
    /// AVX-512 mask register.
    Mask,
}

/// Where a virtual register lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Machine register by number within its class.
    Reg(u8),
    /// Bytes from the start of the image.
    Pool(u32),
    /// 64-byte slot of the frame's spill area.
    Slot(u32),
}

#[derive(Debug, Clone, Copy)]
pub struct VInfo {
    pub class: Class,
    /// Place of a global; locals get theirs per line.
    pub global: Option<Place>,
}

/// How elements in memory become lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Widen {
    /// 32-bit or 64-bit elements, as they are.
    Move,
    ZeroByte,
    SignByte,
    ZeroWord,
    SignWord,
    /// f16 to f32.
    Half,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Full,
    Half,
    Quarter,
}

/// Memory that a line reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Of an operand: from the element of the loop counter on.
    Operand(u32),
    /// Of an operand: from the element on that a uniform says, which lies in the frame, and further by the loop counter.
    Run { operand: u32, start: V },
    /// One of the frame's staging areas of 128 bytes.
    Stage(u32),
}

/// What a uniform is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UniformSource {
    /// Byte offset in the argument block.
    Block(i32),
    /// First element of an operand's row.
    Operand(u32),
}

/// What a gather counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatherFrom {
    /// The operand's first element that may be looked up. Any position may be read.
    Operand,
    /// The operand's element at this lane of the row; live lanes are read.
    Lane(i32),
}

/// Work done lane by lane in general registers, on elements in staging areas; as many lanes as are live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// Elements of a row with a run-time stride (or consecutive ones, if not `strided`) into stage 0. `first` is the lane of the row that lane 0 reads.
    Gather { operand: u32, size: u32, strided: bool, first: i32 },
    /// The other way, from stage 0.
    Scatter { operand: u32, size: u32, strided: bool, first: i32 },
    /// Elements at the positions in stage 0 (i64) into stage 1.
    Lookup { operand: u32, size: u32 },
    /// 64-bit quotient or remainder of stages 0 and 1 into stage 0.
    Divide { signed: bool, remainder: bool },
    /// 64-bit integers in stage 0 to f32 (4 bytes a lane) or f64, in stage 1.
    IntToFloat { signed: bool, double: bool },
    /// f64 in stage 0 to 64-bit integers in stage 1: truncated, saturated, NaN is 0.
    FloatToInt { signed: bool },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    X(X),
    /// src0 · src1 + src2.
    Fma {
        double: bool,
    },
    /// src0 (mask) ? src1 : src2.
    Blend {
        double: bool,
    },
    /// AVX-512: src0 (mask) ? src1 : 0.
    Keep {
        double: bool,
    },
    /// AVX-512: bytes of 0 or 1 from a mask.
    MaskBytes,
    /// AVX-512: all lanes of a mask on or off.
    MaskConst(bool),
    /// AVX2: lanes of ones where the tail is live; `part` 0 of 32 bits, 1 and 2 the halves of 64 bits.
    TailMask {
        part: u8,
    },
    /// A full vector; `half` says which half of a 64-bit vector, `double` that it is one. In a masked line on AVX2 src0 is the mask.
    Load {
        at: At,
        widen: Widen,
        disp: i32,
        half: u8,
        double: bool,
    },
    Store {
        at: At,
        width: Width,
        itemsize: u32,
        disp: i32,
        half: u8,
        stream: bool,
    },
    /// One element for all lanes, as wide as the source's dtype.
    Uniform {
        from: UniformSource,
        widen: Widen,
        double: bool,
    },
    /// Loop counter of the vector axis for all lanes, `plus` a number; 64 bits.
    Counter {
        plus: i32,
        axis: u32,
    },
    Lanes(Lanes),
    /// AVX-512: 8 elements of 32 or (`double`) 64 bits, at the distances in src0 (64 bits, in units of `scale` bytes) from where `from` says.
    Gather {
        operand: u32,
        from: GatherFrom,
        half: u8,
        double: bool,
        scale: u32,
    },
    /// Jumps to the next `Land` if all lanes of all sources, which are bools, are `when`.
    Skip {
        when: bool,
    },
    Land,
}

#[derive(Debug, Clone)]
pub struct MOp {
    pub op: Op,
    pub dst: Option<V>,
    pub src: SmallVec<[V; 4]>,
    pub imm: Option<u8>,
}

/// Result of allocating one line.
#[derive(Debug, Default)]
pub struct Allocation {
    /// Place of every local of the line.
    places: Vec<Option<Place>>,
    /// One past the last slot used.
    pub slots: u32,
}

impl Allocation {
    pub fn place(&self, v: V, info: &[VInfo]) -> Place {
        info[v.0 as usize].global.or(self.places[v.0 as usize]).expect("every register of a line is allocated")
    }
}

/// Index of the last instruction that uses each local, `None` where it is global or unused.
fn last_uses(line: &[MOp], info: &[VInfo]) -> Vec<Option<u32>> {
    let mut last = vec![None; info.len()];
    for (i, op) in line.iter().enumerate() {
        for v in op.src.iter().chain(&op.dst) {
            if info[v.0 as usize].global.is_none() {
                last[v.0 as usize] = Some(i as u32);
            }
        }
    }
    last
}

/// Most locals of one class alive at once.
pub fn pressure(line: &[MOp], info: &[VInfo], class: Class) -> usize {
    let last = last_uses(line, info);
    let (mut live, mut most) = (0usize, 0usize);
    for (i, op) in line.iter().enumerate() {
        let is_local = |v: &V| info[v.0 as usize].class == class && info[v.0 as usize].global.is_none();
        let mut seen: SmallVec<[V; 4]> = SmallVec::new();
        for v in &op.src {
            if is_local(v) && last[v.0 as usize] == Some(i as u32) && !seen.contains(v) {
                seen.push(*v);
                live -= 1;
            }
        }
        if let Some(v) = op.dst.filter(is_local) {
            live += 1;
            most = most.max(live);
            if last[v.0 as usize] == Some(i as u32) {
                live -= 1;
            }
        }
    }
    most
}

/// Slots of the frame: they are used again when what was in them is over.
struct Slots {
    /// One past the last.
    end: u32,
    /// Those that are free, with the instruction at which each became so, in this order.
    free: VecDeque<(u32, u32)>,
}

impl Slots {
    /// A slot for what lives from instruction `begin` on: the one that has been free for longest, if that is long enough.
    fn take(&mut self, begin: u32) -> Place {
        Place::Slot(match self.free.front() {
            Some(&(slot, since)) if since <= begin => {
                self.free.pop_front();
                slot
            }
            _ => {
                self.end += 1;
                self.end - 1
            }
        })
    }
}

/// Linear scan over one line with these free registers of each class; slots are taken from `first_slot` on.
pub fn allocate(line: &[MOp], info: &[VInfo], vectors: &[u8], masks: &[u8], first_slot: u32) -> Allocation {
    let last = last_uses(line, info);
    let mut places: Vec<Option<Place>> = vec![None; info.len()];
    let mut begins = vec![0; info.len()];
    let mut slots = Slots { end: first_slot, free: VecDeque::new() };
    let mut free = [vectors.to_vec(), masks.to_vec()];
    // Registers are handed out from the end: low numbers first, whose encodings are shorter.
    free.iter_mut().for_each(|f| f.reverse());
    let mut active: [Vec<V>; 2] = [Vec::new(), Vec::new()];
    for (i, op) in line.iter().enumerate() {
        let i = i as u32;
        for class in 0..2 {
            let free = &mut free[class];
            active[class].retain(|v| {
                let ends = last[v.0 as usize] == Some(i) && op.src.contains(v);
                if ends && let Some(Place::Reg(r)) = places[v.0 as usize] {
                    free.push(r);
                }
                !ends
            });
        }
        for (n, v) in op.src.iter().enumerate() {
            if last[v.0 as usize] == Some(i)
                && let Some(Place::Slot(slot)) = places[v.0 as usize]
                && !op.src[..n].contains(v)
            {
                slots.free.push_back((slot, i));
            }
        }
        let Some(dst) = op.dst else { continue };
        begins[dst.0 as usize] = i;
        let VInfo { class, global } = info[dst.0 as usize];
        if global.is_some() {
            continue;
        }
        let class = class as usize;
        if last[dst.0 as usize] == Some(i) {
            // Never used: any free register may take the result, and is free again at once.
            places[dst.0 as usize] = Some(match free[class].last() {
                Some(&r) => Place::Reg(r),
                None => slots.take(i),
            });
            continue;
        }
        let end = |v: &V| last[v.0 as usize];
        let place = match free[class].pop() {
            Some(r) => Place::Reg(r),
            None => match (0..active[class].len()).max_by_key(|&k| end(&active[class][k])) {
                Some(k) if end(&active[class][k]) > end(&dst) => {
                    let victim = active[class].swap_remove(k).0 as usize;
                    places[victim].replace(slots.take(begins[victim])).expect("an active register has a place")
                }
                _ => slots.take(i),
            },
        };
        places[dst.0 as usize] = Some(place);
        if matches!(place, Place::Reg(_)) {
            active[class].push(dst);
        }
    }
    Allocation { places, slots: slots.end }
}
