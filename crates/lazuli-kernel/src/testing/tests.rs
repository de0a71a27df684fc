//! The generator covers the IR, and the comparison finds a wrong backend.

use super::*;
use crate::backend::{Buffer, Event, Executable, Features, MemoryStats, Run};
use crate::interp::Interpreter;
use crate::ir::{BinaryOp, Combine, Inst, Kernel, UnaryOp};
use std::collections::HashSet;
use std::sync::Arc;

/// Random kernels verify, survive the round trip through text, run, and reach every op on every dtype it accepts.
#[test]
fn random_cases_are_valid_and_cover_the_ir() {
    let judge = Interpreter::default();
    let mut seen = HashSet::new();
    for (seed, kind) in (0..400).flat_map(|seed| NestKind::ALL.map(|kind| (seed, kind))) {
        let case = random_case(seed, kind, &DTYPES);
        for step in &case.plan.steps {
            if let Step::Launch { kernel, .. } = step {
                assert_eq!(kernel.to_string().parse::<Kernel>().unwrap(), **kernel);
                note(kernel, &mut seen);
            }
        }
        if let Err(report) = check_backends(&judge, &judge, &case.plan, &case.inputs) {
            panic!("seed {seed}, {kind:?}: {report}");
        }
    }
    let mut missing = Vec::new();
    for d in DTYPES {
        let unary = UnaryOp::ALL.iter().filter(|op| op.accepts(d)).map(|op| format!("{op:?}"));
        let binary = BinaryOp::ALL.iter().filter(|op| op.accepts(d)).map(|op| format!("{op:?}"));
        let combine = Combine::ALL.iter().filter(|op| op.accepts(d)).map(|op| format!("{op:?}"));
        let all = unary.chain(binary).chain(combine).map(|op| format!("{op} {d}"));
        missing.extend(all.filter(|op| !seen.contains(op)));
    }
    assert!(missing.len() < 10, "no random kernel has {missing:?}");
}

fn note(kernel: &Kernel, seen: &mut HashSet<String>) {
    let types = kernel.dtypes();
    for inst in kernel.insts() {
        let d = inst.uses().first().map(|v| types[v.0 as usize]);
        match (inst, d) {
            (Inst::Unary(op, _), Some(d)) => seen.insert(format!("{op:?} {d}")),
            (Inst::Binary(op, ..), Some(d)) => seen.insert(format!("{op:?} {d}")),
            _ => false,
        };
    }
    seen.extend(kernel.accumulators().iter().map(|a| format!("{:?} {}", a.combine, types[a.value.0 as usize])));
}

#[test]
fn random_calls_and_scatters_are_valid() {
    let judge = Interpreter::default();
    let cases = (0..100).map(|seed| (seed, random_call(seed)));
    for (seed, case) in cases.chain((0..100).map(|seed| (seed, random_scatter(seed)))) {
        if let Err(report) = check_backends(&judge, &judge, &case.plan, &case.inputs) {
            panic!("seed {seed}: {report}");
        }
    }
}

/// An interpreter that mistakes one operation for another.
#[derive(Debug, Default)]
struct Crooked(Interpreter);

impl Backend for Crooked {
    fn prepare(&self, plan: &mut Plan) -> crate::Result<Arc<dyn Executable>> {
        for step in &mut plan.steps {
            if let Step::Launch { kernel, .. } = step {
                for inst in &mut Arc::make_mut(kernel).body {
                    if let Inst::Unary(op @ UnaryOp::Floor, _) = inst {
                        *op = UnaryOp::Trunc;
                    }
                }
            }
        }
        self.0.prepare(plan)
    }
    fn features(&self) -> Features {
        Features { name: "crooked".into(), ..self.0.features() }
    }
    fn enqueue(
        &self,
        stream: Stream,
        executable: &Arc<dyn Executable>,
        inputs: &[&Buffer],
        donate: &[bool],
        after: &[Event],
        mode: Mode,
    ) -> crate::Result<Run> {
        self.0.enqueue(stream, executable, inputs, donate, after, mode)
    }
    fn synchronize(&self, stream: Stream) -> Event {
        self.0.synchronize(stream)
    }
    fn upload(&self, bytes: &[u8]) -> crate::Result<Buffer> {
        self.0.upload(bytes)
    }
    fn download(&self, buffer: &Buffer, offset: usize, out: &mut [u8]) -> crate::Result<()> {
        self.0.download(buffer, offset, out)
    }
    fn host_pointer(&self, buffer: &Buffer) -> Option<*mut u8> {
        self.0.host_pointer(buffer)
    }
    fn memory(&self) -> MemoryStats {
        self.0.memory()
    }
    fn reset_peak_memory(&self) {
        self.0.reset_peak_memory();
    }
    fn clear_cache(&self) {
        self.0.clear_cache();
    }
    fn set_memory_limit(&self, nbytes: usize) -> usize {
        self.0.set_memory_limit(nbytes)
    }
    fn set_cache_limit(&self, nbytes: usize) -> usize {
        self.0.set_cache_limit(nbytes)
    }
    fn kernels_generated(&self) -> usize {
        self.0.kernels_generated()
    }
}

#[test]
fn a_wrong_backend_is_found_and_its_instruction_named() {
    let (judge, crooked) = (Interpreter::default(), Crooked::default());
    for kind in NestKind::ALL {
        let report = (0..300).find_map(|seed| {
            let case = random_case(seed, kind, &[DType::F32]);
            check_backends(&judge, &crooked, &case.plan, &case.inputs).err()
        });
        let report = report.unwrap_or_else(|| panic!("no random {kind:?} tells floor from trunc"));
        let blamed = report.lines().nth(1).unwrap();
        assert!(blamed.contains(" = floor %") && blamed.contains(" differs at point "), "{report}");
    }
}

#[test]
fn nans_are_equal_and_nothing_else() {
    let (one, nan, other_nan) = (1f32.to_le_bytes(), f32::NAN.to_le_bytes(), (-f32::NAN).to_le_bytes());
    assert!(same(DType::F32, &nan, &other_nan) && !same(DType::F32, &one, &nan) && !same(DType::U32, &nan, &other_nan));
}
