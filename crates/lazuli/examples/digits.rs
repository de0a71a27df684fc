//! Trains a classifier of handwritten digits twice, op by op and compiled, and compares the two.
//!
//! Run by `cargo xtask demo`, or by itself: `cargo run --release --package lazuli --example digits`. Each run trains the same network
//! on the same batches from the same random numbers, so that the losses may be compared step by step. Writes them to `out/`.

use lazuli::nn::optimizers::{Optimizer, Sgd};
use lazuli::nn::{Linear, Module, activations::gelu, losses::cross_entropy};
use lazuli::{Array, DType, Tree, array, compile, eval, random, value_and_grad};
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const EPOCHS: usize = 60;
const BATCH: usize = 64;

#[derive(Debug, Clone, Tree)]
struct Classifier {
    hidden: Linear,
    out: Linear,
}

impl Module for Classifier {
    fn forward(&self, x: &Array) -> Array {
        self.out.forward(&gelu(&self.hidden.forward(x)))
    }
}

type State = (Classifier, Sgd);

fn step((model, optimizer): &mut State, x: &Array, y: &Array) -> Array {
    let (loss, gradients) = value_and_grad(|m: &Classifier| cross_entropy(&m.forward(x), y))(&*model);
    optimizer.update(model, &gradients);
    loss
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The array in a file of the IDX format: four bytes, the last of which is the rank; the shape; the bytes.
fn read_idx(name: &str) -> Result<Array, Box<dyn Error>> {
    let data = std::fs::read(root().join("data").join(name))?;
    let (sizes, elements) = data[4..].split_at(4 * data[3] as usize);
    let shape: Vec<usize> =
        sizes.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize).collect();
    Ok(Array::from_slice(elements, &shape))
}

/// Images in [0, 1] and their digits.
struct Digits {
    x: Array,
    y: Array,
}

impl Digits {
    fn rows(&self, indices: &Array) -> Digits {
        Digits { x: self.x.take(indices, 0), y: self.y.take(indices, 0) }
    }
}

struct Run {
    name: &'static str,
    losses: Vec<f32>,
    times: Vec<Duration>,
    /// Share of the held-out digits that are recognised.
    accuracy: f32,
}

fn train(name: &'static str, step: &dyn Fn(&mut State, &Array, &Array) -> Array, data: &Digits) -> Run {
    let n = data.y.size() as i32;
    // A fifth is held out, the rest is for training.
    let (held_out, training): (Vec<i32>, Vec<i32>) = (0..n).partition(|i| i % 5 == 0);
    let [held_out, training] = [held_out, training].map(|indices| data.rows(&array(&indices)));
    random::seed(0);
    let model = Classifier { hidden: Linear::new(64, 128), out: Linear::new(128, 10) };
    let mut state = (model, Sgd::new(0.3).momentum(0.9));
    eval(&state);
    let (mut losses, mut times) = (Vec::new(), Vec::new());
    let size = training.y.size();
    for _ in 0..EPOCHS {
        let order = random::permutation(size);
        for start in (0..=size - BATCH).step_by(BATCH) {
            let batch = training.rows(&order.index(start..start + BATCH));
            eval(&(batch.x.clone(), batch.y.clone()));
            let began = Instant::now();
            let loss = step(&mut state, &batch.x, &batch.y);
            eval(&(loss.clone(), state.clone()));
            times.push(began.elapsed());
            losses.push(loss.item::<f32>());
        }
    }
    let guesses = state.0.forward(&held_out.x).argmax(-1);
    let right = guesses.astype(DType::I32).equal(&held_out.y).astype(DType::F32);
    Run { name, losses, times, accuracy: right.mean(()).item() }
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

fn main() -> Result<(), Box<dyn Error>> {
    let x = read_idx("digits-images.idx")?.reshape([-1, 64]).astype(DType::F32) / 16.0f32;
    let data = Digits { x, y: read_idx("digits-labels.idx")?.astype(DType::I32) };
    let runs = [train("eager", &step, &data), train("compiled", &*compile(step), &data)];
    println!("Rust      {:>12} {:>12} {:>10}", "first step", "later steps", "held out");
    let mut lines = String::new();
    for run in &runs {
        let mut later = run.times[1..].to_vec();
        later.sort();
        let (first, median) = (milliseconds(run.times[0]), milliseconds(later[later.len() / 2]));
        println!("{:<9} {first:>9.2} ms {median:>9.3} ms {:>8.1} %", run.name, 100.0 * run.accuracy);
        let per_epoch = run.losses.len() / EPOCHS;
        for (step, loss) in run.losses.iter().enumerate() {
            writeln!(lines, "{}\t{}\t{loss}", run.name, step / per_epoch)?;
        }
    }
    let same = runs[0].losses == runs[1].losses;
    let verdict = if same { "equal, bit for bit" } else { "NOT EQUAL" };
    println!("The losses of all {} steps are {verdict}.", runs[0].losses.len());
    let out = root().join("out");
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("digits-rust.tsv"), lines)?;
    if !same || runs.iter().any(|run| run.accuracy < 0.97) {
        return Err("the demo wants equal losses and 97 % of the held-out digits".into());
    }
    Ok(())
}
