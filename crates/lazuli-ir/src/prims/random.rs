//! Random bits.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::extents::{Place, Relations, kept, stated};
use crate::graph::Atom;
use crate::number::{Extents, Number, Operation};
use crate::param::fields;
use crate::pointwise::{Index, Ix, Lane, Pointwise};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use lazuli_kernel::{BinaryOp, DType, Emit, Error, Result, Scalar, Shape, Value, small};
use smallvec::{SmallVec, smallvec};

/// Bits that are a function of a key and their position: for keys (input 0) of shape (…, 2) and dtype uint32 an array of shape (…) ++ `shape`
/// of unsigned integers of `width` bytes (1, 2 or 4), by Threefry-2x32.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RandomBits {
    pub shape: SmallVec<[Dim; 4]>,
    pub width: usize,
}

impl Primitive for RandomBits {
    fields!("random_bits" shape, width);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn dims(&self) -> &[Dim] {
        &self.shape
    }
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let key = inputs[0];
        let dtype = match self.width {
            1 => DType::U8,
            2 => DType::U16,
            4 => DType::U32,
            width => {
                return Err(Error::value("random_bits", format!("a width of {width} bytes: it must be 1, 2 or 4")));
            }
        };
        if key.dtype != DType::U32 || key.shape.last() != Some(&2) {
            return Err(Error::value("random_bits", format!("a key is a uint32 array of shape (…, 2), not {key}")));
        }
        let mut out: Shape = key.shape[..key.rank() - 1].into();
        out.extend(self.shape.iter().map(|d| d.resolve(shapes)));
        Ok(smallvec![Aval::new(dtype, out)])
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![None])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let keys = inputs[0].rank() - 1;
        kept(0, 0..keys, same);
        stated(&self.shape, keys, same);
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let keys = inputs[0].rank() - 1;
        let words = extents.extent(Place::Input(0, keys));
        extents.equal(words, Number::fixed(2));
        extents.stated(&self.shape, keys);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let batched = RandomBits { shape: cx.dims(&self.shape), width: self.width };
        Ok(smallvec![b.equation(batched, cx.inputs, cx.shapes)?[0].into()])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    /// A key's bits are 32-bit words, little-endian; with W of them, word w and word w + ⌈W/2⌉ are the two numbers of the block with counters
    /// (w, w + ⌈W/2⌉). The word in the middle of an odd W is the first number of the block (⌊W/2⌋, 0). That is MLX's layout.
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let (keys, position) = at.split_at(at.len() - self.shape.len());
        let shape: Extents = small((keys.len()..at.len()).map(|axis| cx.extent(Place::Output(axis))));
        let bytes = shape.iter().fold(Number::fixed(self.width as isize), |bytes, &n| cx.product(bytes, n));
        let quotient_up = |cx: &mut dyn Pointwise, a: Number, by: isize| {
            let above = cx.sum(a, Number::fixed(by - 1));
            cx.compute(Operation::Quotient, above, Number::fixed(by))
        };
        let words = quotient_up(cx, bytes, 4);
        let half = cx.compute(Operation::Quotient, words, Number::fixed(2));
        let upper = quotient_up(cx, words, 2);
        let mut key = [Value(0); 2];
        for (i, k) in key.iter_mut().enumerate() {
            let mut index: Index = keys.into();
            index.push(Ix::constant(i as isize));
            *k = cx.input(0, &index).real();
        }
        let position = cx.join(position, &shape);
        let position = cx.position(&position);
        let (half, upper) = (cx.number(DType::U32, half), cx.number(DType::U32, upper));
        let e = cx.emit();
        let position = e.cast(DType::U32, position);
        let per_word = (4 / self.width) as u32;
        let (shift, mask) = (e.constant(Scalar::u32(per_word.ilog2())), e.constant(Scalar::u32(per_word - 1)));
        let word = e.binary(BinaryOp::Shr, position, shift);

        let (first, second) = (e.lt(word, half), e.binary(BinaryOp::Ge, word, upper));
        let (forth, back) = (e.add(word, upper), e.sub(word, upper));
        let zero = e.constant(Scalar::u32(0));
        let low = e.select(second, back, word);
        let high = e.select(first, forth, zero);
        let high = e.select(second, word, high);
        let (a, b) = threefry(e, key, [low, high]);
        let bits = e.select(second, b, a);

        if self.width == 4 {
            return Lane::Real(bits);
        }
        let part = e.and(position, mask);
        let by = e.constant(Scalar::u32(8 * self.width as u32));
        let by = e.mul(part, by);
        let bits = e.binary(BinaryOp::Shr, bits, by);
        Lane::Real(e.cast(if self.width == 1 { DType::U8 } else { DType::U16 }, bits))
    }
}

/// Threefry-2x32 with 20 rounds (J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11).
pub fn threefry(e: &mut Emit, key: [Value; 2], counter: [Value; 2]) -> (Value, Value) {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    const PARITY: u32 = 0x1BD1_1BDA;
    let parity = e.constant(Scalar::u32(PARITY));
    let both = e.binary(BinaryOp::Xor, key[0], key[1]);
    let schedule = [key[0], key[1], e.binary(BinaryOp::Xor, both, parity)];
    let (mut x, mut y) = (e.add(counter[0], schedule[0]), e.add(counter[1], schedule[1]));
    for group in 0..5 {
        for rotation in ROTATIONS[group % 2] {
            x = e.add(x, y);
            let (left, right) = (e.constant(Scalar::u32(rotation)), e.constant(Scalar::u32(32 - rotation)));
            let (high, low) = (e.binary(BinaryOp::Shl, y, left), e.binary(BinaryOp::Shr, y, right));
            let rotated = e.or(high, low);
            y = e.binary(BinaryOp::Xor, rotated, x);
        }
        x = e.add(x, schedule[(group + 1) % 3]);
        let number = e.constant(Scalar::u32(group as u32 + 1));
        let keyed = e.add(schedule[(group + 2) % 3], number);
        y = e.add(y, keyed);
    }
    (x, y)
}
