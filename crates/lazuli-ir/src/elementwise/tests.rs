//! Rows of the table on numbers. Expected values were measured on MLX 0.32.4 and NumPy, but for what the docs of a row say is Lazuli's own.

use super::{Binary, Row, Ternary, Unary};
use crate::aval::Aval;
use crate::number::{Arithmetic, Number};
use crate::pointwise::{Ix, Lane, Pointwise};
use crate::prim::{Prim, Primitive};
use lazuli_kernel::scalar_ops::{INTERESTING, eval};
use lazuli_kernel::{BinaryOp, DType, Emit, Scalar, UnaryOp, Value};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;
const NEG_INFINITY: f64 = f64::NEG_INFINITY;

/// One point, whose operands are constants of the line.
struct Point<'a> {
    emit: Emit,
    inputs: &'a [Scalar],
}

impl Arithmetic for Point<'_> {}

impl Pointwise for Point<'_> {
    fn input(&mut self, k: usize, _: &[Ix]) -> Lane {
        let s = self.inputs[k];
        match s.dtype {
            DType::C64 => Lane::Complex(self.emit.f32(s.to_f64() as f32), self.emit.f32(s.imag())),
            _ => Lane::Real(self.emit.constant(s)),
        }
    }
    fn input_masked(&mut self, _: usize, _: &[Ix], _: Value) -> Lane {
        unreachable!("elementwise ops read every operand")
    }
    fn inputs(&self) -> usize {
        self.inputs.len()
    }
    fn input_shape(&self, _: usize) -> &[usize] {
        &[]
    }
    fn shape_operand(&self, _: usize) -> &[usize] {
        &[]
    }
    fn input_dtype(&self, k: usize) -> DType {
        self.inputs[k].dtype
    }
    fn output_shape(&self) -> &[usize] {
        &[]
    }
    fn emit(&mut self) -> &mut Emit {
        &mut self.emit
    }
    fn number(&mut self, dtype: DType, number: Number) -> Value {
        self.emit.constant(number.scalar(dtype))
    }
    fn position(&mut self, _: &Ix) -> Value {
        unreachable!("elementwise ops do not look at positions")
    }
}

/// The op on these numbers, through the kernel IR's scalar operations.
fn apply(op: Prim, inputs: &[Scalar]) -> Scalar {
    let mut point = Point { emit: Emit::new(), inputs };
    let lane = op.pointwise(&mut point, &[]);
    let e = point.emit;
    let mut values: Vec<Scalar> = Vec::new();
    for (k, inst) in e.insts.iter().enumerate() {
        let operands: Vec<Scalar> = inst.uses().iter().map(|v| values[v.0 as usize]).collect();
        let accepted = match *inst {
            lazuli_kernel::Inst::Unary(op, a) => UnaryOp::accepts(op, e.dtype(a)),
            lazuli_kernel::Inst::Binary(op, a, b) => BinaryOp::accepts(op, e.dtype(a)) && e.dtype(a) == e.dtype(b),
            _ => true,
        };
        assert!(accepted, "{op:?}: {inst:?} on {operands:?}");
        let v = eval(inst, &operands).expect("constants only");
        assert_eq!(v.dtype, e.types[k], "{op:?}: {inst:?}");
        values.push(v);
    }
    let of = |v: Value| values[v.0 as usize];
    match lane {
        Lane::Real(v) => of(v),
        Lane::Complex(re, im) => Scalar::c64(of(re).to_f64() as f32, of(im).to_f64() as f32),
    }
}

/// Bits, with all NaNs made one.
fn canonical(v: f64) -> u64 {
    if v.is_nan() { u64::MAX } else { v.to_bits() }
}

#[track_caller]
fn check1(op: Unary, dtype: DType, inputs: &[f64], want: &[f64]) {
    for (&x, &want) in inputs.iter().zip(want) {
        let got = apply(op.into(), &[Scalar::from_f64(dtype, x)]);
        assert_eq!(canonical(got.to_f64()), canonical(want), "{}({x}: {dtype}) = {got}, not {want}", op.name());
    }
}

#[track_caller]
fn check2(op: Binary, dtype: DType, cases: &[(f64, f64, f64)]) {
    for &(x, y, want) in cases {
        let got = apply(op.into(), &[Scalar::from_f64(dtype, x), Scalar::from_f64(dtype, y)]);
        assert_eq!(canonical(got.to_f64()), canonical(want), "{}({x}, {y}: {dtype}) = {got}, not {want}", op.name());
    }
}

#[test]
fn every_row_is_total_and_gives_the_dtype_that_it_says() {
    fn sweep<const N: usize>(op: Prim, row: &Row<N>, dtype: DType) {
        let aval = Aval::scalar(dtype);
        let condition = Aval::scalar(DType::Bool);
        let avals: Vec<&Aval> = (0..N).map(|k| if N == 3 && k == 0 { &condition } else { &aval }).collect();
        let Ok(want) = op.infer(&avals, &[]) else {
            assert!(!row.accepts.contains(dtype), "{} refuses {dtype}", row.name);
            return;
        };
        let number = |k: usize| match dtype {
            DType::C64 => Scalar::c64(INTERESTING[k] as f32, INTERESTING[(k * 7 + 3) % INTERESTING.len()] as f32),
            _ => Scalar::from_f64(dtype, INTERESTING[k]),
        };
        for i in 0..INTERESTING.len() {
            for j in if N == 1 { 0..1 } else { 0..INTERESTING.len() } {
                let inputs: Vec<Scalar> = match N {
                    1 => vec![number(i)],
                    2 => vec![number(i), number(j)],
                    _ => vec![Scalar::bool(i % 2 == 0), number(i), number(j)],
                };
                assert_eq!(apply(op.clone(), &inputs).dtype, want[0].dtype, "{} of {inputs:?}", row.name);
            }
        }
    }
    for dtype in DType::ALL {
        Unary::ALL.iter().for_each(|&op| sweep(op.into(), op.row(), dtype));
        Binary::ALL.iter().for_each(|&op| sweep(op.into(), op.row(), dtype));
        Ternary::ALL.iter().for_each(|&op| sweep(op.into(), op.row(), dtype));
    }
}

#[test]
fn rounding_and_signs() {
    let x = [0.0, -0.0, NAN, INF, NEG_INFINITY, 2.5, -2.5, 0.5, 1.5, -3.0];
    for d in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        check1(Unary::Sign, d, &x, &[0.0, 0.0, 0.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0]);
        check1(Unary::Round, d, &x, &[0.0, -0.0, NAN, INF, NEG_INFINITY, 2.0, -2.0, 0.0, 2.0, -3.0]);
        check1(Unary::Floor, d, &x, &[0.0, -0.0, NAN, INF, NEG_INFINITY, 2.0, -3.0, 0.0, 1.0, -3.0]);
        check1(Unary::Ceil, d, &x, &[0.0, -0.0, NAN, INF, NEG_INFINITY, 3.0, -2.0, 1.0, 2.0, -3.0]);
        check1(Unary::Abs, d, &x, &[0.0, 0.0, NAN, INF, INF, 2.5, 2.5, 0.5, 1.5, 3.0]);
        check1(Unary::Square, d, &x, &[0.0, 0.0, NAN, INF, INF, 6.25, 6.25, 0.25, 2.25, 9.0]);
        check1(Unary::Neg, d, &x, &[-0.0, 0.0, NAN, NEG_INFINITY, INF, -2.5, 2.5, -0.5, -1.5, 3.0]);
        check1(Unary::Reciprocal, d, &x[..5], &[INF, NEG_INFINITY, NAN, 0.0, -0.0]);
        check1(Unary::IsNan, d, &x[..5], &[0., 0., 1., 0., 0.]);
        check1(Unary::IsInf, d, &x[..5], &[0., 0., 0., 1., 1.]);
        check1(Unary::IsFinite, d, &x[..5], &[1., 1., 0., 0., 0.]);
        check1(Unary::IsPosInf, d, &x[..5], &[0., 0., 0., 1., 0.]);
        check1(Unary::IsNegInf, d, &x[..5], &[0., 0., 0., 0., 1.]);
        check1(Unary::LogicalNot, d, &x[..5], &[1., 1., 0., 0., 0.]);
        check1(Unary::Imag, d, &x[..5], &[0.; 5]);
    }
    check1(Unary::Sqrt, DType::F32, &[0.0, -0.0, NAN, INF, -1.0, 2.25], &[0.0, -0.0, NAN, INF, NAN, 1.5]);
    check1(Unary::Sign, DType::I8, &[-128., -7., 0., 127.], &[-1., -1., 0., 1.]);
    check1(Unary::Sign, DType::U8, &[0., 200.], &[0., 1.]);
    check1(Unary::Abs, DType::I8, &[-128., -7., 127.], &[-128., 7., 127.]);
    check1(Unary::Neg, DType::U8, &[0., 200.], &[0., 56.]);
    check1(Unary::BitwiseInvert, DType::U8, &[0., 200.], &[255., 55.]);
    for op in [Unary::Abs, Unary::Sign, Unary::Floor, Unary::Round, Unary::Square] {
        check1(op, DType::Bool, &[0., 1.], &[0., 1.]);
    }
    check1(Unary::BitwiseInvert, DType::Bool, &[0., 1.], &[1., 0.]);
    check1(Unary::IsFinite, DType::I32, &[3.], &[1.]);
    check1(Unary::IsNan, DType::Bool, &[1.], &[0.]);
}

#[test]
fn division_and_remainder() {
    for d in [DType::F32, DType::F64] {
        let cases = [
            (7., 3., 2.),
            (-7., 3., -3.),
            (7., -3., -3.),
            (-7., -3., 2.),
            (1., 0., INF),
            (0., 0., NAN),
            (-0.0, 3., -0.0),
        ];
        check2(Binary::FloorDivide, d, &cases);
        check2(
            Binary::Remainder,
            d,
            &[
                (7., 3., 1.),
                (-7., 3., 2.),
                (7., -3., -2.),
                (-7., -3., -1.),
                (1., 0., NAN),
                (INF, 3., NAN),
                (NAN, 1., NAN),
                (1., NAN, NAN),
                (5., INF, 5.),
                (5., NEG_INFINITY, NEG_INFINITY),
                (-5., INF, INF),
                (-0.5, NEG_INFINITY, -0.5),
                (-0.0, 3., 0.),
                (6., -3., -0.0),
                (-6., 3., 0.),
                (-1e-30, 3., 3.),
            ],
        );
    }
    check2(Binary::Remainder, DType::F32, &[(1e30, 1e-5, 6.137561285868287e-7), (3e38, 1e-45, 0.)]);
    check2(Binary::Remainder, DType::F16, &[(7., -3., -2.), (5.5, 2., 1.5)]);
    let (a, b) = ([7., -7., 7., -7., 5., -128., 5., 0.], [3., 3., -3., -3., 0., -1., 1., 5.]);
    let join = |want: [f64; 8]| (0..8).map(|i| (a[i], b[i], want[i])).collect::<Vec<_>>();
    check2(Binary::FloorDivide, DType::I8, &join([2., -3., -3., 2., 0., -128., 5., 0.]));
    check2(Binary::Remainder, DType::I8, &join([1., 2., -2., -1., 0., 0., 0., 0.]));
    check2(Binary::FloorDivide, DType::U8, &[(200., 7., 28.), (5., 0., 0.)]);
    check2(Binary::Remainder, DType::U8, &[(200., 7., 4.), (5., 0., 0.)]);
    check2(Binary::FloorDivide, DType::Bool, &[(0., 0., 0.), (0., 1., 0.), (1., 0., 0.), (1., 1., 1.)]);
    check2(Binary::Remainder, DType::Bool, &[(0., 1., 0.), (1., 0., 0.), (1., 1., 0.)]);
}

/// Against Rust's `%`, which is exact, over operands of every magnitude.
#[test]
fn remainder_is_exact_for_every_float32_quotient() {
    let mut state = 1u64;
    let mut random = || loop {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let v = f32::from_bits((state >> 32) as u32);
        if v.is_finite() && v != 0.0 {
            return v;
        }
    };
    for _ in 0..2000 {
        let (a, b) = (random(), random());
        let mut want = a % b;
        if want != 0.0 && (want < 0.0) != (b < 0.0) {
            want += b;
        }
        let got = apply(Binary::Remainder.into(), &[Scalar::f32(a), Scalar::f32(b)]).to_f64();
        assert_eq!(got, want as f64, "{a:e} % {b:e}");
    }
}

#[test]
fn powers() {
    let i32s = [
        (2., 31., -2147483648.),
        (3., 40., 689956897.),
        (-2., 3., -8.),
        (0., 0., 1.),
        (5., 0., 1.),
        (2., 100., 0.),
        (-3., 21., -1870418611.),
        (2., -1., 0.),
        (1., -5., 0.),
    ];
    check2(Binary::Power, DType::I32, &i32s);
    check2(Binary::Power, DType::U8, &[(3., 5., 243.), (7., 200., 193.), (255., 255., 255.)]);
    let wide = [(3i64, 39i64, 4052555153018976267i64), (-7, 63, -2898552624600762295), (2, 63, i64::MIN), (5, 0, 1)];
    for (a, b, want) in wide {
        assert_eq!(apply(Binary::Power.into(), &[Scalar::i64(a), Scalar::i64(b)]), Scalar::i64(want));
    }
    check2(Binary::Power, DType::Bool, &[(0., 0., 1.), (0., 1., 0.), (1., 0., 1.), (1., 1., 1.)]);
    let f32s = [
        (0., 0., 1.),
        (0., -1., INF),
        (-8., 3., -512.),
        (1., NAN, 1.),
        (NAN, 0., 1.),
        (-2., 0.5, NAN),
        (-2., -3., -0.125),
    ];
    check2(Binary::Power, DType::F32, &f32s);
}

#[test]
fn order_and_logic() {
    for d in [DType::F32, DType::F16] {
        check2(Binary::Maximum, d, &[(NAN, 1., NAN), (1., NAN, NAN), (0., -0., 0.), (-0., 0., 0.), (1., 2., 2.)]);
        check2(Binary::Minimum, d, &[(NAN, 1., NAN), (1., NAN, NAN), (0., -0., -0.), (-0., 0., -0.), (1., 2., 1.)]);
        check2(Binary::Less, d, &[(1., 2., 1.), (NAN, 1., 0.), (0., -0., 0.)]);
        check2(Binary::GreaterEqual, d, &[(1., 2., 0.), (NAN, NAN, 0.), (0., -0., 1.)]);
        check2(Binary::Ne, d, &[(NAN, NAN, 1.), (0., -0., 0.)]);
        check2(Binary::LogicalAnd, d, &[(NAN, 1., 1.), (0., 1., 0.), (1., 2., 1.)]);
        check2(Binary::LogicalOr, d, &[(0., -0., 0.), (0., 0.25, 1.)]);
    }
    check2(Binary::Add, DType::Bool, &[(0., 0., 0.), (0., 1., 1.), (1., 1., 1.)]);
    check2(Binary::Sub, DType::Bool, &[(0., 0., 0.), (0., 1., 1.), (1., 1., 0.)]);
    check2(Binary::Mul, DType::Bool, &[(0., 1., 0.), (1., 1., 1.)]);
    check2(Binary::Maximum, DType::Bool, &[(0., 1., 1.), (0., 0., 0.)]);
    check2(Binary::Less, DType::Bool, &[(0., 1., 1.), (1., 1., 0.)]);
    check2(Binary::LeftShift, DType::I32, &[(1., 31., -2147483648.), (1., 32., 0.), (1., -1., 0.), (-1., 3., -8.)]);
    check2(Binary::RightShift, DType::I32, &[(-8., 1., -4.), (-8., 40., -1.), (8., 40., 0.)]);
    check2(Binary::BitwiseXor, DType::U8, &[(5., 3., 6.)]);
}

#[track_caller]
fn check_complex(op: impl Into<Prim>, inputs: &[(f32, f32)], want: (f64, f64)) {
    let op = op.into();
    let inputs: Vec<Scalar> = inputs.iter().map(|&(re, im)| Scalar::c64(re, im)).collect();
    let got = apply(op.clone(), &inputs);
    let close = |got: f64, want: f64| {
        canonical(got) == canonical(want) && (got != 0.0 || got.is_sign_negative() == want.is_sign_negative())
            || (got - want).abs() <= want.abs() * 2f64.powi(-23)
    };
    let (re, im) = (got.to_f64(), got.imag() as f64);
    assert!(close(re, want.0) && close(im, want.1), "{}{inputs:?} = {got}, not {want:?}", op.name());
}

#[test]
fn complex_order_and_parts() {
    let truth = |op: Binary, a, b, want: bool| check_complex(op, &[a, b], (want as u8 as f64, 0.0));
    for (a, b, less, equal) in
        [((1., 2.), (1., 3.), true, false), ((2., 0.), (1., 5.), false, false), ((1., 2.), (1., 2.), false, true)]
    {
        truth(Binary::Less, a, b, less);
        truth(Binary::LessEqual, a, b, less || equal);
        truth(Binary::Greater, a, b, !less && !equal);
        truth(Binary::GreaterEqual, a, b, !less);
        truth(Binary::Eq, a, b, equal);
        truth(Binary::Ne, a, b, !equal);
    }
    truth(Binary::Less, (f32::NAN, 0.), (1., 0.), false);
    check_complex(Binary::Maximum, &[(1., 2.), (1., 3.)], (1., 3.));
    check_complex(Binary::Minimum, &[(2., 0.), (1., 5.)], (1., 5.));
    check_complex(Binary::Maximum, &[(1., 0.), (f32::NAN, 0.)], (NAN, 0.));
    check_complex(Unary::Abs, &[(3., -4.)], (5., 0.));
    check_complex(Unary::Abs, &[(3e38, 3e38)], (INF, 0.));
    check_complex(Unary::Abs, &[(3e-42, 4e-42)], (5e-42f32 as f64, 0.));
    check_complex(Unary::Abs, &[(f32::INFINITY, f32::NAN)], (INF, 0.));
    check_complex(Unary::Sign, &[(3., 4.)], (0.6, 0.8));
    check_complex(Unary::Sign, &[(0., 0.)], (0., 0.));
    check_complex(Unary::Round, &[(1.5, 2.5)], (2., 2.));
    check_complex(Unary::Real, &[(1.5, 2.5)], (1.5, 0.));
    check_complex(Unary::Imag, &[(1.5, 2.5)], (2.5, 0.));
    check_complex(Unary::Conjugate, &[(1.5, 2.5)], (1.5, -2.5));
    check_complex(Unary::LogicalNot, &[(0., 0.)], (1., 0.));
    check_complex(Unary::Square, &[(1., 2.)], (-3., 4.));
    check_complex(Unary::Reciprocal, &[(1., 2.)], (0.2, -0.4));
    check_complex(Unary::Reciprocal, &[(3e38, 3e38)], (1. / 6e38, -1. / 6e38));
    check_complex(Binary::Div, &[(1., 2.), (3., 4.)], (0.44, 0.08));
    check_complex(Binary::Div, &[(3e38, 3e38), (3e38, 3e38)], (1., 0.));
    check_complex(Unary::IsInf, &[(1., f32::INFINITY)], (1., 0.));
    check_complex(Unary::IsNan, &[(1., f32::INFINITY)], (0., 0.));
    check_complex(Unary::IsFinite, &[(1., f32::INFINITY)], (0., 0.));
    let parts = apply(Binary::Complex.into(), &[Scalar::f32(1.0), Scalar::f32(-2.0)]);
    assert_eq!(parts, Scalar::c64(1.0, -2.0));
}

#[test]
fn complex_square_roots() {
    for (z, want) in [
        ((3., 4.), (2., 1.)),
        ((3., -4.), (2., -1.)),
        ((-4., 0.), (0., 2.)),
        ((-4., -0.0), (0., -2.)),
        ((0., 0.), (0., 0.)),
        ((-0.0, -0.0), (0., -0.0)),
        ((0., f32::INFINITY), (INF, INF)),
        ((f32::NAN, f32::NEG_INFINITY), (INF, NEG_INFINITY)),
        ((f32::NEG_INFINITY, -1.), (0., NEG_INFINITY)),
        ((f32::INFINITY, 1.), (INF, 0.)),
        ((2f32.powi(126), 0.), (2f64.powi(63), 0.)),
    ] {
        check_complex(Unary::Sqrt, &[z], want);
    }
}
