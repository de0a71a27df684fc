//! Time to compile functions of a thousand, ten thousand and a hundred thousand operations, stage by stage, and whether it grows linearly:
//! `cargo run --profile fast -p lazuli-core --example compile_time [graph] [operations]`.
//!
//! Prints the best of several runs in milliseconds (of the thread's processor time where that is long enough to be told, of the clock otherwise): tracing, cutting out the graph, the stages of the compiler, verifying the plan and generating code (the
//! first time, and once the kernels are known).

use lazuli_compile::{Options, compile_watched, simplify};
use lazuli_core::trace::{self, Trace};
use lazuli_core::{Array, Aval, DType, backend, transform};
use lazuli_kernel::{Layout, Step};
use std::time::Instant;

/// A function of about `n` operations: shapes of its inputs, and itself.
struct Case {
    name: &'static str,
    inputs: fn(usize) -> Vec<Vec<usize>>,
    function: fn(usize, &[Array]) -> Vec<Array>,
}

const CASES: &[Case] = &[
    Case {
        name: "chain",
        inputs: |_| vec![vec![64, 64]],
        function: |n, x| {
            let step = |y: Array, i: usize| if i.is_multiple_of(2) { &y + &x[0] } else { y.sin() };
            vec![(0..n).fold(x[0].clone(), step)]
        },
    },
    Case {
        name: "wide",
        inputs: |_| vec![vec![64, 64]],
        function: |n, x| (0..n / 3).map(|i| ((&x[0] * (i as f32 + 0.5)).exp() + 1.0).abs()).collect(),
    },
    Case {
        name: "tree",
        inputs: |_| vec![vec![64, 64]],
        function: |n, x| {
            let mut level: Vec<Array> = (0..n / 2).map(|i| &x[0] * (i as f32 + 0.5)).collect();
            while level.len() > 1 {
                level = level.chunks(2).map(|p| if p.len() == 2 { &p[0] + &p[1] } else { p[0].clone() }).collect();
            }
            level
        },
    },
    Case {
        name: "updates",
        inputs: |n| (0..n / 5).flat_map(|i| vec![vec![8 + i % 7, 4]; 3]).collect(),
        function: |_, x| {
            let update = |p: &[Array]| {
                let v = &p[1] * 0.9 + &p[2];
                [&p[0] - &v * 0.1, v]
            };
            x.chunks_exact(3).flat_map(update).collect()
        },
    },
    Case {
        name: "views",
        inputs: |_| vec![vec![8, 16]],
        function: |n, x| {
            let step = |y: Array, i: usize| match i % 4 {
                0 => y.t(),
                1 => y.reshape([128]),
                2 => &y + 1.0,
                _ => y.reshape([8, 16]),
            };
            vec![(0..n).fold(x[0].clone(), step)]
        },
    },
    Case {
        name: "softmaxes",
        inputs: |_| vec![vec![32, 32]],
        function: |n, x| vec![(0..n / 6).fold(x[0].clone(), |y, _| y.softmax(1) * 3.0)],
    },
    Case {
        name: "training",
        inputs: |n| {
            let layer = || vec![vec![16, 16], vec![16], vec![16, 16], vec![16]];
            std::iter::once(vec![8, 16]).chain((0..n / 32).flat_map(|_| layer())).collect()
        },
        function: |_, x| {
            let (batch, state) = (&x[0], &x[1..]);
            let parameters: Vec<Array> = state.chunks_exact(4).flat_map(|l| l[..2].to_vec()).collect();
            let loss = |p: &[Array]| {
                let y = p.chunks_exact(2).fold(batch.clone(), |y, l| (y.matmul(&l[0]) + &l[1]).tanh());
                Ok(vec![y.square().mean(())])
            };
            let pulled = transform::value_and_grad("loss", loss, &parameters).expect("a scalar loss");
            let mut out = pulled.outputs;
            for (k, g) in pulled.cotangents.iter().enumerate() {
                let (p, v) = (&state[k / 2 * 4 + k % 2], &state[k / 2 * 4 + 2 + k % 2]);
                let v = v * 0.9 + g;
                out.push(p - &v * 0.1);
                out.push(v);
            }
            out
        },
    },
];

/// A point in time, and the nanoseconds that this thread has run by then, counted in steps of some milliseconds.
fn now() -> (Instant, Option<f64>) {
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    (Instant::now(), ran.and_then(|s| s.split_whitespace().next()?.parse().ok()))
}

/// Milliseconds between two points: a thread that waited for a processor did not work.
fn between(start: (Instant, Option<f64>), end: (Instant, Option<f64>)) -> f64 {
    let clock = (end.0 - start.0).as_secs_f64() * 1e3;
    match (start.1, end.1) {
        (Some(from), Some(to)) if clock > 30.0 => (to - from) / 1e6,
        _ => clock,
    }
}

/// Milliseconds of each stage of one run, and what there was to do: equations, launches.
fn run(case: &Case, n: usize) -> (Vec<(&'static str, f64)>, String) {
    let mut times = Vec::new();
    let mut start = now();
    let mut lap = |times: &mut Vec<(&'static str, f64)>, stage| {
        let end = now();
        times.push((stage, between(start, end)));
        start = end;
    };
    let live = Trace::begin(case.name, "compile");
    let shapes = (case.inputs)(n);
    let holes: Vec<Array> = shapes.iter().map(|s| live.placeholder(Aval::new(DType::F32, s.as_slice()))).collect();
    let outputs = (case.function)(n, &holes);
    lap(&mut times, "trace");
    let cut = trace::cut(&holes, &outputs, &live.end()).expect("a graph");
    lap(&mut times, "cut");
    let graph = simplify(&cut.graph);
    lap(&mut times, "simplify");
    let layouts: Vec<Layout> = graph.input_avals().into_iter().map(|a| Layout::row(a.shape)).collect();
    let options = Options { simplify: false, fuse: true };
    let mut stages = Vec::new();
    let compiled = compile_watched(&graph, &layouts, &options, &mut |stage| lap(&mut stages, stage)).expect("a plan");
    times.extend(stages.into_iter().filter(|(stage, _)| !["simplify", "inline"].contains(stage)));
    let steps = &compiled.plan.steps;
    let kernels = steps.iter().map(|s| if let Step::Launch { bindings, .. } = s { bindings.len() } else { 1 });
    let what = format!(
        "{} equations, {} simplified, {} kernels and library calls in {} steps",
        cut.graph.equations.len(),
        graph.equations.len(),
        kernels.sum::<usize>(),
        steps.len()
    );
    let (mut plan, mut again) = (compiled.plan.clone(), compiled.plan);
    lap(&mut times, "");
    times.pop();
    backend::default().prepare(&mut plan).expect("code");
    lap(&mut times, "prepare");
    backend::default().prepare(&mut again).expect("code");
    lap(&mut times, "again");
    drop((holes, outputs));
    lap(&mut times, "drop");
    (times, what)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes = match arguments.get(1) {
        Some(n) => vec![n.parse().expect("a number of operations")],
        None => vec![1_000, 10_000, 100_000],
    };
    for case in CASES.iter().filter(|c| arguments.first().is_none_or(|name| c.name == name)) {
        println!("{}", case.name);
        for &n in &sizes {
            let runs = (40_000 / n).clamp(2, 20);
            let mut best: Vec<(&'static str, f64)> = Vec::new();
            let mut what = String::new();
            for _ in 0..runs {
                let (times, w) = run(case, n);
                what = w;
                if best.is_empty() {
                    best = times;
                } else {
                    // Code is generated in the first run only.
                    best.iter_mut().zip(times).filter(|(b, _)| b.0 != "prepare").for_each(|(b, t)| b.1 = b.1.min(t.1));
                }
            }
            let total: f64 = best.iter().filter(|b| b.0 != "again").map(|b| b.1).sum();
            let columns: Vec<String> = best.iter().map(|(stage, ms)| format!("{stage} {ms:.2}")).collect();
            println!("  {n:>6}: {total:>9.2} ms = {}\n          {what}", columns.join(", "));
        }
    }
}
