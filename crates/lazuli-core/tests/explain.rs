//! What explanations say, and that their page is whole.

use lazuli_core::explain::{Call, explain, to_dot};
use lazuli_core::{
    Array, Aval, CompileMode, DType, Options, Program, Result, array, backend, compile, compile_mode, compile_stats,
    ops, transform,
};

const F: DType = DType::F32;

fn aval(shape: &[usize]) -> Aval {
    Aval::new(F, shape)
}

/// Two layers and a constant.
fn layers(x: &[Array]) -> Result<Vec<Array>> {
    let scale = Array::from_slice(&[0.5f32; 3], &[3]);
    let h = ops::matmul(&x[0], &x[1])?.maximum(0.0f32);
    Ok(vec![ops::matmul(&h, &x[2])? * scale])
}

fn explained(inputs: &[Aval], f: impl FnOnce(&[Array]) -> Result<Vec<Array>>) -> lazuli_explain::Explanation {
    let program = Program::trace("step", inputs, Options::COMPILE, f).unwrap();
    let arguments = (0..inputs.len()).map(|i| format!("args[{i}]")).collect();
    explain(&program, inputs, Call { cause: "the first call".into(), traces: 1, arguments, ..Call::default() }).unwrap()
}

#[test]
fn text_names_kernels_constants_and_what_separates_them() {
    let e = explained(&[aval(&[2, 4]), aval(&[4, 5]), aval(&[5, 3])], layers);
    assert_eq!(e.summary(), "2 kernels, 4 ops fused, 1 trace, 1 constant");
    let text = e.to_string();
    for part in [
        "step: 2 kernels",
        "traced  the first call",
        "graph   4 ops as traced, 4 ops simplified",
        "kernel 0: matmul maximum",
        "kernel 1: matmul multiply",
        "tests/explain.rs:18",
        "in memory between kernels",
        "(maximum): ",
        "constant 0",
        "f32[3], 12 B",
        "moved ",
        "at the peak",
        "time    trace ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn arrays_of_one_number_are_no_constants() {
    // The derivative of a gather adds to zeros, that of a sum begins with ones.
    let table = |x: &[Array]| {
        let rows = |w: &[Array]| Ok(vec![ops::take(&w[0], &x[1], Some(0))?.sum(())]);
        Ok(transform::value_and_grad("rows", rows, &x[..1])?.cotangents)
    };
    let e = explained(&[aval(&[50, 4]), Aval::new(DType::I32, [3].as_slice())], table);
    assert!(e.summary().ends_with("0 constants"), "{e}");
    // What was made before the call is one.
    let zeros = ops::zeros([2, 4], F).unwrap();
    let e = explained(&[aval(&[2, 4])], |x| Ok(vec![x[0].exp() + &zeros]));
    assert!(e.summary().ends_with("1 constant"), "{e}");
}

#[test]
fn the_page_holds_its_data_and_nothing_from_elsewhere() {
    let e = explained(&[aval(&[2, 4]), aval(&[4, 5]), aval(&[5, 3])], layers);
    let page = e.to_html().unwrap();
    for part in ["\"name\":\"step\"", "As traced", "Compiled", "machine code", "args[1]", "constant 0"] {
        assert!(page.contains(part), "{part:?}");
    }
    for absent in ["/*DATA*/", "http:", "https:", "src="] {
        assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(absent), "{absent:?}");
    }
}

#[test]
fn a_long_training_step_is_explained() {
    let depth = 12;
    let mut inputs = vec![aval(&[32, 64])];
    inputs.extend((0..depth).flat_map(|_| [aval(&[64, 64]), aval(&[64]), aval(&[64, 64]), aval(&[64])]));
    let e = explained(&inputs, |x| {
        let weights: Vec<Array> = x[1..].chunks(4).flat_map(|c| [c[0].clone(), c[1].clone()]).collect();
        let pulled = transform::value_and_grad(
            "loss",
            |w| {
                let mut h = x[0].clone();
                for layer in w.chunks(2) {
                    h = (ops::matmul(&h, &layer[0])? + &layer[1]).tanh();
                }
                Ok(vec![ops::mean(&(&h * &h), None, false)?])
            },
            &weights,
        )?;
        let moments = x[1..].chunks(4).flat_map(|c| [c[2].clone(), c[3].clone()]);
        let mut out = pulled.outputs.clone();
        for ((w, g), m) in weights.iter().zip(&pulled.cotangents).zip(moments) {
            let m = &m * 0.9f32 + g;
            out.extend([w - &m * 0.1f32, m]);
        }
        Ok(out)
    });
    assert!(e.traced.equations.len() >= 200, "{}", e.traced.equations.len());
    if let Some(folder) = std::env::var_os("LAZULI_EXPLAIN_PAGES") {
        std::fs::write(std::path::Path::new(&folder).join("step.html"), e.to_html().unwrap()).unwrap();
    }
    assert!(e.to_html().unwrap().len() > 100_000);
}

#[test]
fn compiled_functions_explain_their_calls_without_computing() {
    let scale = array(3.0);
    let f = compile(move |x: &Array| (x * &scale).exp());
    let e = f.explain(&array([1.0, 2.0])).unwrap();
    assert_eq!(e.summary(), "1 kernel, 2 ops fused, 1 trace, 1 constant");
    assert_eq!(e.cause, "for the first call");
    let [constant] = &e.constants[..] else { panic!("{:?}", e.constants) };
    assert_eq!((constant.name.as_str(), constant.aval.to_string().as_str()), ("constant 0", "f32[]"));
    assert!(e.to_string().contains("constant 0: f32[], 4 B"), "{e}");
    let e = f.explain(&array([1.0, 2.0, 3.0])).unwrap();
    assert_eq!(e.traces, 2);
    assert!(e.cause.contains("shape") && e.cause.contains('2') && e.cause.contains('3'), "{}", e.cause);
    assert!(e.times.trace.as_nanos() > 0);

    let push = compile(|seen: &mut Vec<Array>, x: &Array| seen.push(-x));
    let seen = vec![];
    assert_eq!(push.explain(&seen, &array(1.0)).unwrap().kernels().len(), 1);
    assert!(seen.is_empty());
    let before = compile_stats().traces;
    push(&mut vec![], &array(1.0));
    assert_eq!(compile_stats().traces, before, "the trace that was explained is the one that runs");
}

#[test]
fn shapes_and_dtypes_suffice() {
    let f = compile(|x: &Array, y: &Array| x.matmul(y).softmax(-1).sum(()));
    let large = (Array::zeros([1 << 17, 1 << 16], DType::F16), Array::zeros([1 << 16, 1 << 17], DType::F16));
    let before = (compile_stats().plans, backend::default().memory().active);
    for mode in CompileMode::ALL {
        let _scope = compile_mode(mode);
        assert!(f.explain(&large.0, &large.1).unwrap().bytes_moved() > 1 << 35);
    }
    assert_eq!((compile_stats().plans, backend::default().memory().active), before);
}

#[test]
fn costs_are_counted() {
    const N: usize = 1 << 20;
    let check =
        |inputs: &[Aval], f: fn(&[Array]) -> Result<Vec<Array>>, moved: usize, operations: usize, peak: usize| {
            let e = explained(inputs, f);
            assert_eq!((e.bytes_moved(), e.operations(), e.peak_memory()), (moved, operations, peak), "{e}");
            assert!(e.times.lower.as_nanos() > 0 && e.times.generate.as_nanos() > 0);
        };
    check(&[aval(&[N])], |x| Ok(vec![-&x[0] * 2.0]), 8 * N, 2 * N, 4 * N);
    check(&[aval(&[N]), aval(&[N])], |x| Ok(vec![&x[0] * &x[1] + &x[0]]), 12 * N, 2 * N, 4 * N);
    check(&[aval(&[1024, 1024]), aval(&[1024])], |x| Ok(vec![&x[0] + &x[1]]), 8 * N + 4096, N, 4 * N);
}

#[test]
fn every_stage_is_there() {
    let e = explained(&[aval(&[3])], |x| Ok(vec![(-(-&x[0])).exp() + &x[0] * 1.0]));
    let [(_, traced), (_, simplified), (_, compiled)] = e.stages();
    assert!(traced.matches("negative").count() == 2 && traced.contains("multiply"), "{traced}");
    assert!(!simplified.contains("negative") && !simplified.contains("multiply"), "{simplified}");
    assert_eq!(compiled.matches("launch").count(), 1, "{compiled}");
    assert!(e.code.concat().iter().any(|code| code.contains("kernel") && code.lines().count() > 3), "{:?}", e.code);
}

#[test]
fn compiled_functions_are_shown_as_their_kernels() {
    let (x, y) = (array([1.0, 2.0, 3.0]), Array::ones([4, 3], F));
    let f = compile(|x: &Array, y: &Array| x.exp().sum(()).broadcast_to([4, 3]) * y + 1.0);
    let labels = |dot: String| -> Vec<String> {
        dot.split("label=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let e = f.explain(&x, &y).unwrap();
    assert_eq!(labels(e.to_dot(true).unwrap()), ["CompiledExpSum", "CompiledBroadcastMultiplyAdd"]);
    assert_eq!(labels(e.to_dot(false).unwrap()), ["Exp", "Sum", "Broadcast", "Multiply", "Add"]);
    y.eval();
    let dot = to_dot(&[-f(&x, &y)], &[("weights", &x)]).unwrap();
    assert!(dot.contains("{ rank=source; \"weights\"; }"), "{dot}");
    assert_eq!(labels(dot), ["CompiledExpSum", "CompiledBroadcastMultiplyAdd", "Negative"]);
}

#[test]
fn what_keeps_neighbours_apart_is_said() {
    let check = |f: fn(&[Array]) -> Result<Vec<Array>>, expected: &[(&str, &str)]| {
        let e = explained(&[aval(&[64, 64])], f);
        let found = e.boundaries();
        let found: Vec<_> = found.iter().map(|(name, why, _)| (name.split(['(', ')']).nth(1).unwrap(), *why)).collect();
        assert_eq!(found, expected, "{e}");
        assert!(e.boundaries().iter().all(|(_, _, at)| at.to_string().contains("tests/explain.rs:")), "{e}");
    };
    check(|x| Ok(vec![x[0].exp() * 2.0]), &[]);
    check(
        |x| Ok(vec![ops::sort(&x[0].exp(), Some(1))? * 2.0]),
        &[("exp", "a library routine reads it"), ("sort", "a library routine stores it")],
    );
    let put = |x: &[Array]| {
        let (at, values) = (Array::from_slice(&[1i32, 1], &[2, 1]), Array::from_slice(&[1f32, 2.0], &[2, 1]));
        Ok(vec![ops::put_along_axis(&x[0], &at, &values, Some(0), ops::ScatterOp::Add)? * 2.0])
    };
    check(put, &[("put_along_axis", "it is updated in memory: it is small")]);
    let apart = "it is needed at other points than the reduction gives";
    check(|x| Ok(vec![x[0].t() - x[0].sum(1)]), &[("sum", apart)]);
}
