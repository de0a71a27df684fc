//! What a new shape costs a shapeless function more than one that it was called with before: medians over many shapes; of the second shape of all; of a second one of another order
//! of magnitude, and of one with as many rows as columns, in microseconds.
//!
//! `cargo run --profile fast -p lazuli --example shapeless_time [part of a name]`

use lazuli::nn::layers::{TransformerEncoder, TransformerEncoderLayer};
use lazuli::nn::optimizers::{Adam, Optimizer};
use lazuli::nn::{Linear, Module, losses::cross_entropy};
use lazuli::ops::{self, Item, ScanOp, ScatterOp};
use lazuli::{Array, DType, Result, Tree, compile, cond, eval, grad, value_and_grad, vmap};
use std::time::Instant;

type Function = fn(&Array) -> Result<Array>;

const FUNCTIONS: &[(&str, Function)] = &[
    ("gelu", |x| Ok(x * (1.0 + (x / std::f32::consts::SQRT_2).erf()) / 2.0f32)),
    ("softmax", |x| Ok(x.softmax(-1))),
    ("layer_norm", |x| ops::layer_norm(x, None, None, 1e-5)),
    ("random bits", |x| Ok(x + ops::random::uniform(0.0f32, 1.0f32, x.dims(), DType::F32, &ops::random::key(1))?)),
    ("slices", |x| Ok(x.slice_axis(0, 1, isize::MAX) - x.slice_axis(0, 0, -1))),
    ("gather", |x| ops::get(x, &[Item::Array(ops::argmax(x, Some(0), false)?)])),
    ("concatenate", |x| ops::concatenate(&[x.clone(), x * 2.0f32, x.exp()], 0)),
    ("matmul", |x| Ok(x.matmul(&x.t()))),
    ("network of 3 layers", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        Ok((0..3).fold(x.clone(), |y, _| (y.matmul(&w) + w.slice_axis(0, 0, 1)).tanh()))
    }),
    ("attention", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        let (q, k, v) = (x.matmul(&w), x.matmul(&w.t()), x.matmul(&(&w + 1.0f32)));
        Ok((q.matmul(&k.t()) / 8.0f32).softmax(-1).matmul(&v))
    }),
    ("roll", |x| ops::roll(x, 1, 0)),
    ("grad of mean", |x| Ok(grad(|x: &Array| (x.sin() * x).mean(()))(x))),
    ("grad of a network of 3 layers", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        let loss = |w: &Array| {
            let y = (0..3).fold(x.clone(), |y, _| (y.matmul(w) + w.slice_axis(0, 0, 1)).tanh());
            y.square().mean(())
        };
        Ok(grad(loss)(&w))
    }),
    ("training step of 3 layers", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        let classes = ops::argmax(x, Some(1), true)?;
        let loss = |w: &Array| {
            let y = (0..3).fold(x.clone(), |y, _| (y.matmul(w) + w.slice_axis(0, 0, 1)).maximum(0.0f32));
            let chosen = y.take_along_axis(&classes, 1).sum(1);
            (y.logsumexp(1) - chosen).mean(())
        };
        Ok(&w - grad(loss)(&w) * 0.1f32)
    }),
    ("vmap of attention", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        let row = |x: &Array| (x.matmul(&w) / 8.0f32).softmax(-1).matmul(&w.t());
        Ok(vmap(row)(x))
    }),
    ("gradients of each example", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        let loss = |w: &Array, x: &Array| {
            let y = (0..3).fold(x.clone(), |y, _| y.matmul(w).tanh());
            y.logsumexp(-1) - y.square().mean(())
        };
        Ok(vmap(|x: &Array| grad(|w: &Array| loss(w, x))(&w))(x))
    }),
    ("embedding, and its gradient", |x| {
        let table = Array::from_slice(&[0.1f32; 256], &[32, 8]);
        let at = ops::argmax(x, Some(1), false)?;
        let loss = |table: &Array| ops::get(table, &[Item::Array(at.clone())]).expect("rows").square().mean(());
        Ok(grad(loss)(&table))
    }),
    ("gradient of updated rows", |x| {
        let at = ops::argmax(x, Some(0), false)?;
        let loss = |x: &Array| {
            let fresh = x.slice_axis(0, 0, 1) * 2.0f32;
            ops::update(x, &[Item::Array(at.clone())], &fresh, ScatterOp::Add).expect("rows").square().mean(())
        };
        Ok(grad(loss)(x))
    }),
    ("gradient of a running product", |x| {
        let loss = |x: &Array| ops::cumulative(ScanOp::Prod, x, Some(0), false, true).expect("an axis").mean(());
        Ok(grad(loss)(x))
    }),
    ("gradient of running log sums", |x| {
        let loss = |x: &Array| ops::cumulative(ScanOp::LogAddExp, x, Some(0), false, true).expect("an axis").mean(());
        Ok(grad(loss)(x))
    }),
    ("sorted rows, and their gradient", |x| {
        Ok(grad(|x: &Array| (ops::sort(x, Some(1)).expect("an axis") * x).mean(()))(x))
    }),
    ("a choice", |x| {
        let both = |x: &Array| ops::concatenate(&[x.clone(), x.exp()], 0).expect("rows").mean(());
        Ok(cond(&ops::greater(x.mean(()), Array::from(0.0f32))?, both, |x: &Array| x.square().mean(()), x))
    }),
    ("gradient of a choice", |x| {
        let loss = |x: &Array| {
            let is_high = ops::greater(x.mean(()), Array::from(0.0f32)).expect("numbers");
            cond(&is_high, |x: &Array| x.softmax(-1).max(()), |x: &Array| x.square().mean(()), x)
        };
        Ok(grad(loss)(x))
    }),
    ("gradient of a choice of sizes", |x| {
        let loss = |x: &Array| {
            let both = |x: &Array| ops::concatenate(&[x.clone(), x.exp()], 0).expect("rows").mean(());
            cond(
                &ops::greater(x.mean(()), Array::from(0.0f32)).expect("numbers"),
                both,
                |x: &Array| x.square().mean(()),
                x,
            )
        };
        Ok(grad(loss)(x))
    }),
    ("grad of a vmap", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        let rows = |w: &Array| vmap(|x: &Array| (x.matmul(w).tanh()).softmax(-1).max(()))(x);
        Ok(grad(|w: &Array| rows(w).mean(()))(&w))
    }),
];

/// Layers with rectifiers between them.
#[derive(Debug, Clone, Tree)]
struct Mlp(Vec<Linear>);

impl Module for Mlp {
    fn forward(&self, x: &Array) -> Array {
        let (last, hidden) = self.0.split_last().expect("it has a layer");
        last.forward(&hidden.iter().fold(x.clone(), |x, layer| layer.forward(&x).maximum(0.0f32)))
    }
}

/// One step of training, as a user writes it.
fn train<M: Tree + Clone>(loss: fn(&M, &Array) -> Array, (model, optimizer): &mut (M, Adam), x: &Array) -> Array {
    let (loss, gradients) = value_and_grad(|m: &M| loss(m, x))(&*model);
    optimizer.update(model, &gradients);
    loss
}

fn mlp_step(state: &mut (Mlp, Adam), x: &Array) -> Array {
    train(|m, x| cross_entropy(&m.forward(x), &ops::argmax(x, Some(1), false).expect("an axis")), state, x)
}

fn transformer_step(state: &mut (TransformerEncoder, Adam), x: &Array) -> Array {
    let batch = ops::stack(&[x.clone(), x * 0.5f32], 0).expect("equal shapes");
    train(|m, x| m.forward(x).square().mean(()), state, &batch)
}

/// What is called with an array of some shape.
type Call = Box<dyn FnMut(&Array)>;

/// Measures a function of an array of rows of eight features. `make` compiles it anew.
fn measure(name: &str, make: &dyn Fn() -> Call) {
    let rows = |n: usize| Array::from_slice(&vec![0.5f32; n * 8], &[n, 8]);
    let time = |call: &mut Call, x: &Array| {
        let begin = Instant::now();
        call(x);
        begin.elapsed().as_secs_f64() * 1e6
    };
    let inputs: Vec<Array> = (4..60).map(rows).collect();
    let mut call = make();
    // The first shapes generate the code that the others use.
    const FIRST: usize = 8;
    for x in &inputs[..FIRST] {
        time(&mut call, x);
    }
    // Each again a few shapes later: the speed of a machine changes with time.
    const LATER: usize = 4;
    let mut new = Vec::new();
    let mut pairs: Vec<[f64; 2]> = Vec::new();
    for n in FIRST..inputs.len() {
        new.push(time(&mut call, &inputs[n]));
        if let Some(before) = n.checked_sub(FIRST + LATER) {
            pairs.push([new[before], time(&mut call, &inputs[FIRST + before])]);
        }
    }
    // Of a function that was called with one shape before.
    let after_one = |rows: [Array; 2]| {
        let (mut call, [x, other]) = (make(), rows);
        (0..5).for_each(|_| _ = time(&mut call, &x));
        let new = time(&mut call, &other);
        new - (0..5).map(|_| time(&mut call, &other)).fold(f64::INFINITY, f64::min)
    };
    let of = |rows: [Array; 2]| middle((0..SECONDS).map(|_| after_one(rows.clone())).collect());
    let [second, magnitude, square] = [21, 45, 8].map(|n| of([rows(20), rows(n)]));
    let median = |of: &dyn Fn(&[f64; 2]) -> f64| middle(pairs.iter().map(of).collect());
    let [new, repeated, extra] =
        [median(&|pair| pair[0]), median(&|pair| pair[1]), median(&|[new, known]| new - known)];
    println!("{name:>30} {new:>10.1} {repeated:>10.1} {extra:>10.1} {second:>10.1} {magnitude:>10.1} {square:>10.1}");
}

/// How often a function is compiled anew, to call it with a second shape.
const SECONDS: usize = 9;

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let is_wanted = |name: &str| name.contains(&wanted);
    let columns = ["new", "repeated", "extra", "second", "magnitude", "square"];
    println!("{:>30} {}", "", columns.map(|column| format!("{column:>10}")).join(" "));
    for &(name, f) in FUNCTIONS.iter().filter(|(name, _)| is_wanted(name)) {
        measure(name, &|| {
            let compiled = compile(move |x: &Array| f(x)).shapeless();
            Box::new(move |x| {
                compiled(x).expect("shapes that fit").eval();
                assert_eq!(compiled.traces(), 1);
            })
        });
    }
    if is_wanted("MLP of 3 layers, Adam") {
        measure("MLP of 3 layers, Adam", &|| {
            let model = Mlp(vec![Linear::new(8, 64), Linear::new(64, 64), Linear::new(64, 8)]);
            let (mut state, step) = ((model, Adam::new(1e-3)), compile(mlp_step).shapeless());
            Box::new(move |x| eval(&step(&mut state, x)))
        });
    }
    if is_wanted("transformer of 2 layers, Adam") {
        measure("transformer of 2 layers, Adam", &|| {
            let layers = (0..2).map(|_| TransformerEncoderLayer::new(8, 2)).collect();
            let mut state = (TransformerEncoder::new(layers, 8), Adam::new(1e-3));
            let step = compile(transformer_step).shapeless();
            Box::new(move |x| eval(&step(&mut state, x)))
        });
    }
}
