//! Random valid plans with their inputs, and the comparison of two backends on them; for the tests of backends.
//!
//! A case is one launch (with copies around it where the memory needs them) of a random straight line in one kind of nest, over
//! random extents (0, 1, tails) and layouts (contiguous, broadcast, permuted, strided, flipped). Cases are a function of
//! their seed, so that a failure is reproduced by a number.
//!
//! Absent: shrinking of failures.

pub mod accuracy;
mod blame;
mod calls;
mod generate;
mod scatters;
mod variants;

use crate::backend::{Backend, Mode, Stream};
use crate::dtype::{DType, Kind};
use crate::plan::{LibraryCall, Pass, Plan, Slot, Step};
use crate::scalar::Scalar;
use crate::scalar_ops::INTERESTING;
pub use calls::random_call;
use generate::Generator;
pub use scatters::random_scatter;
pub use variants::{PlainVariant, variants};

/// A small deterministic generator of random numbers (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Uniform in `0..n`; 0 if n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.bits() as u128 * n as u128) >> 64) as usize
    }
    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
    /// Uniform in `-scale..scale`.
    pub fn real(&mut self, scale: f64) -> f64 {
        ((self.bits() >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0) * scale
    }

    /// A number of any dtype: a tame one is moderate and never NaN, a wild one is any bits or an edge of the dtype.
    pub fn scalar(&mut self, dtype: DType, tame: bool) -> Scalar {
        match (tame, self.below(4)) {
            (true, _) if dtype == DType::C64 => {
                let [re, im] = [(); 2].map(|()| (self.real(4.0) as f32).to_le_bytes());
                Scalar::from_bytes(dtype, &[re, im].concat())
            }
            (true, _) if dtype.is_inexact() => {
                let v = self.real(4.0);
                Scalar::from_f64(dtype, v)
            }
            (true, _) => {
                Scalar::from_i64(dtype, self.below(20) as i64 - if dtype.kind() == Kind::Signed { 10 } else { 0 })
            }
            (false, 0) if dtype != DType::Bool => {
                let any = Scalar::from_bytes(dtype, &self.bits().to_le_bytes());
                // One NaN: text keeps no payloads.
                if any.to_f64().is_nan() { Scalar::from_f64(dtype, f64::NAN) } else { any }
            }
            (false, 1) => {
                let v = self.real(100.0);
                Scalar::from_f64(dtype, v)
            }
            (false, 2) if dtype.is_integer() => {
                // Near the ends of the range.
                let near = Scalar::from_f64(dtype, self.pick(&[f64::INFINITY, f64::NEG_INFINITY])).to_i64();
                Scalar::from_i64(dtype, near.wrapping_add(self.below(5) as i64 - 2))
            }
            _ => Scalar::from_f64(dtype, self.pick(&INTERESTING)),
        }
    }
}

/// Which nest a random kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NestKind {
    Map,
    Reduce,
    Rows,
    Scan,
    Recurrence,
    Scatter,
}

impl NestKind {
    pub const ALL: [NestKind; 6] =
        [NestKind::Map, NestKind::Reduce, NestKind::Rows, NestKind::Scan, NestKind::Recurrence, NestKind::Scatter];
}

/// The dtypes that values of a kernel can have: all but the last, complex64.
pub const DTYPES: [DType; 13] = *DType::ALL.first_chunk().expect("there are 14");

/// A verified plan and the bytes of its inputs.
#[derive(Debug, Clone)]
pub struct Case {
    pub plan: Plan,
    pub inputs: Vec<Vec<u8>>,
}

/// The case of this seed. Operands, parameters and casts have one of `dtypes`; bool and int64 come from comparisons and counters.
pub fn random_case(seed: u64, kind: NestKind, dtypes: &[DType]) -> Case {
    let mut g = Generator::new(seed, kind, dtypes);
    let nest = g.kernel();
    g.finish(nest)
}

/// Runs a plan on both backends; an error says which element of which output differs, at which instruction the two part, and shows
/// the plan. All NaNs are equal. Inputs are given up, so that donations take place.
pub fn check_backends(judge: &dyn Backend, other: &dyn Backend, plan: &Plan, inputs: &[Vec<u8>]) -> Result<(), String> {
    let want = run(judge, plan, inputs)?;
    let got = run(other, plan, inputs)?;
    for (o, (want, got)) in want.iter().zip(&got).enumerate() {
        let dtype = dtype_of(plan, Slot::Output(o as u32));
        let (w, g) = (want.chunks_exact(dtype.itemsize()), got.chunks_exact(dtype.itemsize()));
        let differs = |&(_, (w, g)): &(usize, (&[u8], &[u8]))| !same(dtype, w, g);
        let mut wrong = w.zip(g).enumerate().filter(differs);
        if let Some((i, (w, g))) = wrong.next() {
            let names = [judge.features().name, other.features().name];
            let (w, g) = (Scalar::from_bytes(dtype, w), Scalar::from_bytes(dtype, g));
            let more = wrong.count();
            let blamed = blame::blame(judge, other, plan, inputs);
            let blamed = blamed.unwrap_or_else(|| "each instruction by itself agrees".into());
            return Err(format!(
                "output {o}, element {i}: {} has {w} ({:#x}), {} has {g} ({:#x}); {more} more differ\n{blamed}\n{plan}",
                names[0], w.bits, names[1], g.bits
            ));
        }
    }
    Ok(())
}

/// The outputs of a plan, as bytes.
pub fn run(backend: &dyn Backend, plan: &Plan, inputs: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, String> {
    let name = backend.features().name;
    let failed = |e| format!("{name}: {e}\n{plan}");
    let executable = backend.prepare(&mut plan.clone()).map_err(failed)?;
    let buffers = inputs.iter().map(|bytes| backend.upload(bytes)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let donate = vec![true; inputs.len()];
    let run = backend
        .enqueue(Stream(0), &executable, &buffers.iter().collect::<Vec<_>>(), &donate, &[], Mode::Wait)
        .map_err(failed)?;
    run.event.wait().map_err(failed)?;
    let download = |(buffer, &nbytes)| {
        let mut bytes = vec![0; nbytes];
        backend.download(buffer, 0, &mut bytes).map_err(failed)?;
        Ok(bytes)
    };
    run.outputs.iter().zip(&plan.outputs).map(download).collect()
}

fn same(dtype: DType, a: &[u8], b: &[u8]) -> bool {
    let is_nan = |bytes| dtype.is_float() && Scalar::from_bytes(dtype, bytes).to_f64().is_nan();
    a == b || is_nan(a) && is_nan(b)
}

/// dtype of what the steps of a plan store in a slot; u8 if they do not say.
fn dtype_of(plan: &Plan, slot: Slot) -> DType {
    let found = plan.steps.iter().find_map(|step| match step {
        Step::Launch { kernel, bindings } => {
            let mut operands = bindings.iter().flat_map(|b| b.args.iter().zip(&kernel.operands));
            operands.find(|(arg, _)| arg.slot == slot).map(|(_, operand)| operand.dtype)
        }
        Step::Product { kernel, binding, .. } => {
            let mut operands = binding.args.iter().zip(&kernel.operands);
            operands.find(|(arg, _)| arg.slot == slot).map(|(_, operand)| operand.dtype)
        }
        Step::Scatter(scatter) => {
            let Pass { kernel, binding } = &scatter.epilogue;
            let mut operands = binding.args.iter().zip(&kernel.operands);
            operands.find(|(arg, _)| arg.slot == slot).map(|(_, operand)| operand.dtype)
        }
        Step::Call(call) => {
            let (LibraryCall::Matmul { c: result, .. } | LibraryCall::Sort { output: result, .. }) = &**call;
            (result.slot == slot).then(|| call.result_dtype())
        }
        Step::Copy { .. } | Step::Host { .. } | Step::Branch(_) => None,
    });
    let copied = || {
        plan.steps.iter().find_map(|step| match *step {
            Step::Copy { from: from @ Slot::Temp { .. }, to, .. } if to == slot => Some(dtype_of(plan, from)),
            _ => None,
        })
    };
    found.or_else(copied).unwrap_or(DType::U8)
}

#[cfg(test)]
mod tests;
