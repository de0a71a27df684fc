//! Time to compile graphs: one elementwise op as `eval` does it, and long chains. Run with `cargo run --release -p lazuli-compile --example lowering_time`.
//! Prints the median and the range of the middle half, in microseconds a graph.

use lazuli_compile::{Options, compile, simplify};
use lazuli_ir::{Atom, Aval, Binary, Builder, DType, Graph, Unary};
use lazuli_kernel::Layout;
use std::time::Instant;

fn chain(n: usize) -> Graph {
    let mut b = Builder::new();
    let x: Atom = b.input(Aval::new(DType::F32, [64, 64].as_slice())).into();
    let mut y = x;
    for i in 0..n {
        y = if i % 2 == 0 { b.binary(Binary::Add, y, x) } else { b.unary(Unary::Neg, y) }.expect("both are float32");
    }
    b.finish(vec![y])
}

fn report(name: &str, runs: usize, mut work: impl FnMut()) {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<34} {:>12.2} µs  ({:.2} to {:.2})", times[runs / 2], times[runs / 4], times[3 * runs / 4]);
}

fn main() {
    let layouts = [Layout::row([64, 64].as_slice())];
    let one = chain(1);
    report("one op, as eval", 20_000, || drop(compile(&one, &layouts, &Options::EVAL)));
    report("one op, all stages", 20_000, || drop(compile(&one, &layouts, &Options::COMPILE)));
    for n in [100, 10_000] {
        let graph = chain(n);
        let runs = 200_000 / n;
        report(&format!("{n} ops, simplify"), runs, || drop(simplify(&graph)));
        report(&format!("{n} ops, as eval"), runs, || drop(compile(&graph, &layouts, &Options::EVAL)));
        report(&format!("{n} ops, fused"), runs, || {
            drop(compile(&graph, &layouts, &Options { simplify: false, fuse: true }))
        });
    }
}
