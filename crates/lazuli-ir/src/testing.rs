//! Samples of every primitive, for sweeps over the whole op table in this crate and in those above it.
//!
//! A sample is a line: the primitive as it prints, its operands, shape operands after a `|`, and what its shape rule gives. The numbers of an operand are
//! drawn from −2 to 2, or from the range in braces behind it.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::elementwise::{Binary, Ternary, Unary};
use crate::graph::{Atom, Graph, Var};
use crate::param::Params;
use crate::prim::Prim;
use crate::prims::{Call, Cond};
use lazuli_kernel::{DType, Error, Result};

/// An operand of a sample: its numbers are drawn evenly from `low..high` (of an integer dtype: rounded down).
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    pub aval: Aval,
    pub low: f64,
    pub high: f64,
}

/// One application of a primitive.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub prim: Prim,
    pub inputs: Vec<Operand>,
    pub shapes: Vec<Aval>,
    /// What the shape rule is expected to give, as written.
    pub outputs: Vec<Aval>,
}

impl Sample {
    /// The graph of this one equation. Its inputs are the operands, then the shape operands.
    pub fn graph(&self) -> Result<Graph> {
        let mut b = Builder::new();
        let inputs: Vec<Atom> = self.inputs.iter().map(|o| b.input(o.aval.clone()).into()).collect();
        let shapes: Vec<Var> = self.shapes.iter().map(|a| b.input(a.clone())).collect();
        let outputs = b.equation(self.prim.clone(), &inputs, &shapes)?;
        Ok(b.finish(outputs.into_iter().map(Atom::from).collect()))
    }
}

/// `reshape[shape=(3,-1),infer=1] f32[2,3] -> f32[3,2]`.
impl std::str::FromStr for Sample {
    type Err = Error;
    fn from_str(line: &str) -> Result<Sample> {
        let wrong = |what: &str| Error::value("sample", format!("{what} in '{line}'"));
        let (left, right) = line.split_once(" -> ").unwrap_or((line, ""));
        let (left, shapes) = left.split_once(" | ").unwrap_or((left, ""));
        let mut words = left.split_whitespace();
        let head = words.next().ok_or_else(|| wrong("no primitive"))?;
        let (name, params) = match head.split_once('[') {
            Some((name, rest)) => (name, rest.strip_suffix(']').ok_or_else(|| wrong("no ']'"))?),
            None => (head, ""),
        };
        let params = Params::split(params).ok_or_else(|| wrong("no parameters"))?;
        let avals = |text: &str| text.split_whitespace().map(|word| word.parse()).collect::<Result<Vec<Aval>>>();
        Ok(Sample {
            prim: Prim::parse(name, &params).ok_or_else(|| wrong("no such primitive"))?,
            inputs: words.map(|word| operand(word).ok_or_else(|| wrong("no operand"))).collect::<Result<_>>()?,
            shapes: avals(shapes)?,
            outputs: avals(right)?,
        })
    }
}

/// `f32[2,3]`, `i32[2]{-3..3}`.
fn operand(word: &str) -> Option<Operand> {
    let (aval, (low, high)) = match word.split_once('{') {
        None => (word, (-2.0, 2.0)),
        Some((aval, range)) => {
            let (low, high) = range.strip_suffix('}')?.split_once("..")?;
            (aval, (low.parse().ok()?, high.parse().ok()?))
        }
    };
    Some(Operand { aval: aval.parse().ok()?, low, high })
}

/// One or more samples of every primitive and of every elementwise op.
pub fn samples() -> Vec<Sample> {
    let mut out: Vec<Sample> = BLOCKS.iter().map(|line| line.parse().expect(line)).collect();
    let dtypes = [DType::F32, DType::F16, DType::C64, DType::I32, DType::U8, DType::Bool];
    let plain: &[&[usize]] = &[&[2, 3]];
    let stretched: &[&[usize]] = &[&[2, 3], &[3]];
    for dtype in dtypes {
        for &op in Unary::ALL {
            out.extend(elementwise(op.into(), dtype, plain));
        }
        for &op in Binary::ALL {
            out.extend(elementwise(op.into(), dtype, stretched));
        }
        for &op in Ternary::ALL {
            out.extend(elementwise(op.into(), dtype, &[&[2, 1], &[3], &[2, 3]]));
        }
    }
    out.push(call());
    out.push(cond());
    out
}

/// A sample of an elementwise op on operands of these shapes, if it is defined on the dtype.
fn elementwise(prim: Prim, dtype: DType, shapes: &[&[usize]]) -> Option<Sample> {
    let (low, high) = domain(&prim, dtype);
    let mut inputs: Vec<Operand> = shapes.iter().map(|&s| Operand { aval: Aval::new(dtype, s), low, high }).collect();
    if let Prim::Ternary(Ternary::Select) = prim {
        inputs[0] = Operand { aval: Aval::new(DType::Bool, shapes[0]), low: 0.0, high: 2.0 };
    }
    let avals: Vec<&Aval> = inputs.iter().map(|o| &o.aval).collect();
    let outputs = prim.infer(&avals, &[]).ok()?.into_vec();
    Some(Sample { prim, inputs, shapes: Vec::new(), outputs })
}

/// Where an elementwise op is defined and has moderate derivatives.
fn domain(prim: &Prim, dtype: DType) -> (f64, f64) {
    if dtype == DType::Bool {
        return (0.0, 2.0);
    }
    if matches!(prim, Prim::Binary(Binary::LeftShift | Binary::RightShift)) {
        return (0.0, 8.0);
    }
    if dtype.is_integer() {
        return if dtype.kind() == lazuli_kernel::Kind::Unsigned { (1.0, 9.0) } else { (-9.0, 9.0) };
    }
    match prim {
        Prim::Unary(
            Unary::Sqrt
            | Unary::Rsqrt
            | Unary::Reciprocal
            | Unary::Log
            | Unary::Log2
            | Unary::Log10
            | Unary::Log1p
            | Unary::Cbrt,
        ) => (0.5, 3.0),
        Prim::Unary(Unary::Arccosh) => (1.5, 3.0),
        Prim::Unary(Unary::Arcsin | Unary::Arccos | Unary::Arctanh | Unary::Erfinv) => (-0.8, 0.8),
        Prim::Unary(Unary::Tan) => (-1.0, 1.0),
        Prim::Binary(Binary::Div | Binary::FloorDivide | Binary::Remainder | Binary::Power | Binary::Arctan2) => {
            (0.5, 3.0)
        }
        _ => (-2.0, 2.0),
    }
}

/// `call[name=square_of_sum] f32[2,3] f32[3] -> f32[2,3]`.
fn call() -> Sample {
    let body = "graph v1 (a: f32[2,3], b: f32[3]) {\n  c: f32[2,3] = add a b\n  d: f32[2,3] = square c\n  return d\n}";
    let graph: Graph = body.parse().expect("it is well formed");
    Sample {
        inputs: graph.input_avals().into_iter().map(|aval| Operand { aval, low: -2.0, high: 2.0 }).collect(),
        outputs: graph.output_avals(),
        prim: Call::new("square_of_sum", graph).into(),
        shapes: Vec::new(),
    }
}

/// `cond bool[] f32[2,3] f32[3] -> f32[2,3] f32[]`, both branches of which are differentiable.
fn cond() -> Sample {
    let on_true = "graph v1 (a: f32[2,3], b: f32[3]) {\n  c: f32[2,3] = multiply a b\n  d: f32[2,3] = sin c\n  return d 1.5:f32\n}";
    let on_false = "graph v1 (a: f32[2,3], b: f32[3]) {\n  c: f32[3] = exp b\n  d: f32[] = sum[axes=(0),keepdims=false] c\n  return a d\n}";
    let [on_true, on_false] = [on_true, on_false].map(|text| text.parse::<Graph>().expect("it is well formed"));
    let predicate = Operand { aval: Aval::scalar(DType::Bool), low: 0.0, high: 2.0 };
    let operands = on_true.input_avals().into_iter().map(|aval| Operand { aval, low: -2.0, high: 2.0 });
    Sample {
        inputs: std::iter::once(predicate).chain(operands).collect(),
        outputs: on_true.output_avals(),
        prim: Cond::new(on_true, on_false).into(),
        shapes: Vec::new(),
    }
}

const BLOCKS: &[&str] = &[
    "astype[dtype=f16] f32[2,3] -> f16[2,3]",
    "astype[dtype=i32] f32[2,3]{-9..9} -> i32[2,3]",
    "astype[dtype=c64] f32[2,3] -> c64[2,3]",
    "astype[dtype=f32] c64[2,3] -> f32[2,3]",
    "astype[dtype=bool] c64[2,3] -> bool[2,3]",
    "view[dtype=i32] f32[2,3] -> i32[2,3]",
    "view[dtype=u8] f32[2,3] -> u8[2,12]",
    "view[dtype=u32] u8[2,8]{0..256} -> u32[2,2]",
    "view[dtype=f32] c64[2,3] -> f32[2,6]",
    "view[dtype=c64] f32[2,6] -> c64[2,3]",
    "view[dtype=bool] u8[4]{0..3} -> bool[4]",
    "broadcast_to[shape=(2,4,3)] f32[4,1] -> f32[2,4,3]",
    "broadcast_to[shape=(#0.1,#0.0)] f32[] | f32[4,3] -> f32[3,4]",
    "broadcast_to[shape=(#0.0,3)] c64[3] | f32[4,3] -> c64[4,3]",
    "expand_dims[axes=(0,2)] f32[3] -> f32[1,3,1]",
    "squeeze[axes=(0,2)] f32[1,3,1] -> f32[3]",
    "transpose[axes=(2,0,1)] f32[2,3,4] -> f32[4,2,3]",
    "transpose[axes=()] f32[] -> f32[]",
    "reshape[shape=(3,2),infer=none] f32[2,3] -> f32[3,2]",
    "reshape[shape=(4,1),infer=1] f32[2,2,3] -> f32[4,3]",
    "reshape[shape=(),infer=none] f32[1,1] -> f32[]",
    "reshape[shape=(1,#0.0),infer=0] f32[12] | f32[3,5] -> f32[4,3]",
    "reshape[shape=(0,7),infer=none] f32[0,3] -> f32[0,7]",
    "flatten[start=0,end=1] f32[2,3,4] -> f32[6,4]",
    "flatten[start=1,end=1] f32[2,3] -> f32[2,3]",
    "flatten[start=0,end=0] f32[] -> f32[1]",
    "unflatten[axis=1,shape=(2,1),infer=1] f32[2,6] -> f32[2,2,3]",
    "unflatten[axis=0,shape=(#0.0,2),infer=none] f32[6,3] | f32[3] -> f32[3,2,3]",
    "slice[bounds=(1:,:-1)] f32[3,4] -> f32[2,3]",
    "slice[bounds=(::-1,3:0:-2)] f32[3,4] -> f32[3,2]",
    "slice[bounds=(5:,:)] f32[3,4] -> f32[0,4]",
    "slice[bounds=(-2:,::2)] c64[3,4] -> c64[2,2]",
    "unslice[bounds=(1:,:2),shape=(3,4)] f32[2,2] -> f32[3,4]",
    "unslice[bounds=(-2:,:,::-2),shape=(#0.0,2,#0.1)] c64[2,2,2] | f32[5,3] -> c64[5,2,3]",
    "slice_update[bounds=(1:,:2),op=assign] f32[3,4] f32[2,2] -> f32[3,4]",
    "slice_update[bounds=(::-2,:,1::3),op=assign] f32[5,2,6] f32[3,2,2] -> f32[5,2,6]",
    "slice_update[bounds=(::-1,2:2),op=assign] c64[3,4] c64[3,0] -> c64[3,4]",
    "slice_update[bounds=(::-2,1:),op=add] f32[3,4] f32[2,3] -> f32[3,4]",
    "slice_update[bounds=(1:,:2),op=mul] f32[3,4] f32[2,2] -> f32[3,4]",
    "slice_update[bounds=(1:,:2),op=min] f32[3,4] f32[2,2] -> f32[3,4]",
    "slice_update[bounds=(1:,:2),op=max] f32[3,4] f32[2,2] -> f32[3,4]",
    "slice_update[bounds=(:),op=assign] i32[3] i32[3] -> i32[3]",
    "diagonal[offset=0] f32[3,4] -> f32[3]",
    "diagonal[offset=-2] f32[2,5,4] -> f32[2,3]",
    "diagonal[offset=1] c64[3,3] -> c64[2]",
    "diagonal[offset=5] f32[3,4] -> f32[0]",
    "undiagonal[offset=0,shape=(3,4)] f32[3] -> f32[3,4]",
    "undiagonal[offset=-2,shape=(#0.0,#1.1)] f32[2,3] | f32[5,2] f32[1,4] -> f32[2,5,4]",
    "undiagonal[offset=1,shape=(3,3)] c64[2] -> c64[3,3]",
    "undiagonal[offset=5,shape=(3,4)] f32[0] -> f32[3,4]",
    "pad[low=(1,0),high=(2,1)] f32[2,3] f32[] -> f32[5,4]",
    "pad[low=(0),high=(3)] bool[2]{0..2} bool[]{0..2} -> bool[5]",
    "pad[low=(),high=()] f32[] f32[] -> f32[]",
    "concatenate[axis=1] f32[2,3] f32[2,0] f32[2,2] -> f32[2,5]",
    "concatenate[axis=0] c64[2] c64[1] -> c64[3]",
    "concatenate[axis=0] i32[3] -> i32[3]",
    "part[axis=0,index=1,count=3,extents=()] f32[6,2] -> f32[2,2]",
    "part[axis=1,index=1,count=3,extents=(#0.0,#1.1,2)] f32[2,9] | f32[4,1] f32[1,3] -> f32[2,3]",
    "part[axis=0,index=0,count=2,extents=(0,3)] c64[3] -> c64[0]",
    "gather[axes=(0),slice_sizes=(1,3)] f32[4,3] i32[2]{-4..4} -> f32[2,1,3]",
    "gather[axes=(1,0),slice_sizes=(2,1,5)] f32[4,3,5] u32[2,1]{0..3} i64[3]{0..3} -> f32[2,3,2,1,5]",
    "gather[axes=(1),slice_sizes=(#0.0,1)] f32[4,3] i32[]{-3..3} | f32[4,3] -> f32[4,1]",
    "scatter[axes=(0),op=assign] f32[4,3] i32[3]{-4..4} f32[3,1,3] -> f32[4,3]",
    "scatter[axes=(0),op=add] f32[4,3] i32[5]{-4..4} f32[5,1,3] -> f32[4,3]",
    "scatter[axes=(1,0),op=add] f32[4,3] u8[2,1]{0..3} i32[2]{0..3} f32[2,2,2,1] -> f32[4,3]",
    "scatter[axes=(0),op=mul] f32[4] i32[3]{0..4} f32[3,1]{0.5..2} -> f32[4]",
    "scatter[axes=(0),op=min] f32[4] i32[3]{0..4} f32[3,1] -> f32[4]",
    "scatter[axes=(0),op=max] f32[4] i32[3]{0..4} f32[3,1] -> f32[4]",
    "scatter[axes=(0),op=assign] i32[4] i64[3]{-9..9} i32[3,1] -> i32[4]",
    "take_along_axis[axis=1] f32[2,4] i32[2,3]{-4..4} -> f32[2,3]",
    "take_along_axis[axis=0] f32[4,1] u32[2,3]{0..4} -> f32[2,3]",
    "put_along_axis[axis=1,op=assign] f32[2,4] i32[2,3]{-4..4} f32[2,3] -> f32[2,4]",
    "put_along_axis[axis=0,op=add] f32[4,3] i32[5,1]{-4..4} f32[1,3] -> f32[4,3]",
    "put_along_axis[axis=1,op=add] f32[3,4] i32[3,1]{-5..5} f32[1,1] -> f32[3,4]",
    "put_along_axis[axis=1,op=assign] f32[3,4] i32[3,1]{-4..4} f32[3,1] -> f32[3,4]",
    "put_along_axis[axis=0,op=max] f32[4,2] i32[1,2]{0..4} f32[1,2] -> f32[4,2]",
    "put_along_axis[axis=0,op=mul] f32[4] i32[3]{0..4} f32[3] -> f32[4]",
    "put_along_axis[axis=0,op=max] f32[4] i32[3]{0..4} f32[3] -> f32[4]",
    "put_along_axis[axis=0,op=min] i32[4] i32[3]{0..4} i32[3] -> i32[4]",
    "sum[axes=(0,2),keepdims=false] f32[2,3,4] -> f32[3]",
    "sum[axes=(1),keepdims=true] c64[2,3] -> c64[2,1]",
    "sum[axes=(0),keepdims=false] bool[4]{0..2} -> i32[]",
    "sum[axes=(0),keepdims=false] u8[0]{0..9} -> u32[]",
    "sum[axes=(),keepdims=false] f16[2,3] -> f16[2,3]",
    "prod[axes=(0,1),keepdims=false] f32[2,3] -> f32[]",
    "prod[axes=(1),keepdims=true] f32[2,3] -> f32[2,1]",
    "prod[axes=(0),keepdims=false] i8[3]{-9..9} -> i32[]",
    "min[axes=(1),keepdims=false] f32[2,3] -> f32[2]",
    "max[axes=(0,1),keepdims=true] f32[2,3] -> f32[1,1]",
    "max[axes=(0),keepdims=false] i32[4]{-9..9} -> i32[]",
    "all[axes=(0),keepdims=false] bool[2,3]{0..2} -> bool[3]",
    "any[axes=(0,1),keepdims=false] bool[2,3]{0..2} -> bool[]",
    "argmin[axis=1,keepdims=false] f32[2,3] -> u32[2]",
    "argmax[axis=0,keepdims=true] i32[4,2]{-3..3} -> u32[1,2]",
    "cumsum[axis=1,reverse=false,exclusive=false] f32[2,4] -> f32[2,4]",
    "cumsum[axis=0,reverse=true,exclusive=true] c64[3,2] -> c64[3,2]",
    "cumsum[axis=0,reverse=false,exclusive=false] bool[4]{0..2} -> i32[4]",
    "cumprod[axis=1,reverse=false,exclusive=false] f32[2,5] -> f32[2,5]",
    "cumprod[axis=0,reverse=true,exclusive=true] f32[4] -> f32[4]",
    "cummin[axis=1,reverse=true,exclusive=false] f32[2,4] -> f32[2,4]",
    "cummax[axis=1,reverse=false,exclusive=false] f32[2,4] -> f32[2,4]",
    "cummax[axis=1,reverse=false,exclusive=true] i32[2,4]{-9..9} -> i32[2,4]",
    "logcumsumexp[axis=1,reverse=false,exclusive=false] f32[2,5] -> f32[2,5]",
    "logcumsumexp[axis=0,reverse=true,exclusive=false] f32[4,2] -> f32[4,2]",
    "linear_recurrence[axis=1,reverse=false] f32[2,5] f32[2,5] -> f32[2,5]",
    "linear_recurrence[axis=0,reverse=true] f32[4,2] f32[4,2] -> f32[4,2]",
    "linear_recurrence[axis=0,reverse=false] f16[4] f16[4] -> f16[4]",
    "sort[axis=1] f32[2,4] -> f32[2,4]",
    "sort[axis=0] i32[4]{-9..9} -> i32[4]",
    "argsort[axis=1] f32[2,4] -> u32[2,4]",
    "sort[axis=0] c64[5,2] -> c64[5,2]",
    "argsort[axis=0] c64[5] -> u32[5]",
    "matmul f32[3,4] f32[4,2] -> f32[3,2]",
    "matmul f32[5,3,4] f32[4,2] -> f32[5,3,2]",
    "matmul f32[4,3] f32[2,3,5] -> f32[2,4,5]",
    "matmul f32[2,1,3,4] f32[5,4,2] -> f32[2,5,3,2]",
    "matmul f16[3,4] f16[4,2] -> f16[3,2]",
    "debug_print[format=\"{0},_[{1:.2f}]_\\\"{{}}\",batch=0] f32[2,3] f32[]",
    "debug_print[format=\"{0!r}\",batch=1] i32[2]{-3..3}",
    "iota[dtype=f32,shape=(3,2),axis=0] -> f32[3,2]",
    "iota[dtype=i64,shape=(#0.1),axis=0] | f32[4,3] -> i64[3]",
    "number_of_elements[axes=(0,2),dtype=i32,literal=false] | f32[4,3,5] -> i32[]",
    "number_of_elements[axes=(1),dtype=f32,literal=true] | f32[4,3] -> f32[]",
    "random_bits[shape=(5),width=4] u32[2]{0..4294967295} -> u32[5]",
    "random_bits[shape=(3,3),width=2] u32[2]{0..4294967295} -> u16[3,3]",
    "random_bits[shape=(#0.0),width=1] u32[4,2]{0..4294967295} | f32[3] -> u8[4,3]",
    "random_bits[shape=(),width=4] u32[2]{0..4294967295} -> u32[]",
];
