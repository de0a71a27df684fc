//! Trains a classifier of handwritten digits twice, op by op and compiled, and compares the two.
//!
//! Run by `cargo xtask demo`, or by itself: `cargo run --release -p lazuli-core --example digits`. Each run trains the same
//! network on the same batches from the same random numbers, so that the losses may be compared step by step; it writes them to
//! `out/`. Written on slices of arrays, without the trees and modules that the front ends put on top.

use lazuli_core::transform::value_and_grad;
use lazuli_core::{Array, DType, Options, Program, Result, eval, ops, random};
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

const EPOCHS: usize = 60;
const BATCH: usize = 64;
const LEARNING_RATE: f32 = 0.3;
const MOMENTUM: f32 = 0.9;
/// Weights and biases of two layers; as many velocities follow them in the state.
const PARAMETERS: usize = 4;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("the demo wants equal losses and 97 % of the held-out digits");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> std::result::Result<bool, Box<dyn std::error::Error>> {
    let [training, held_out] = load()?;
    let runs = [("eager", train(false, &training)?), ("compiled", train(true, &training)?)];
    println!("Rust      {:>12} {:>12} {:>10}", "first step", "later steps", "held out");
    let mut lines = String::new();
    let mut good = true;
    for (name, run) in &runs {
        let correct = accuracy(&run.state, &held_out)?;
        good &= correct >= 0.97;
        let mut later = run.seconds[1..].to_vec();
        later.sort_by(f64::total_cmp);
        let (first, median) = (1e3 * run.seconds[0], 1e3 * later[later.len() / 2]);
        println!("{name:<9} {first:>9.2} ms {median:>9.3} ms {:>8.1} %", 100.0 * correct);
        let per_epoch = run.losses.len() / EPOCHS;
        for (step, loss) in run.losses.iter().enumerate() {
            lines += &format!("{name}\t{}\t{loss}\n", step / per_epoch);
        }
    }
    let bits = |run: &Run| run.losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
    let same = bits(&runs[0].1) == bits(&runs[1].1);
    let verdict = if same { "equal, bit for bit" } else { "NOT EQUAL" };
    println!("The losses of all {} steps are {verdict}.", runs[0].1.losses.len());
    let out = repository().join("out");
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("digits-rust.tsv"), lines)?;
    Ok(good && same)
}

struct Run {
    state: Vec<Array>,
    losses: Vec<f32>,
    seconds: Vec<f64>,
}

/// Trains a new network.
fn train(compiled: bool, (x, y): &(Array, Array)) -> Result<Run> {
    let mut key = random::key(0);
    let mut next_key = || -> Result<Array> {
        let keys = random::split(&key, 2)?;
        key = keys.slice_axis(0, 0, 1).squeeze();
        Ok(keys.slice_axis(0, 1, 2).squeeze())
    };
    let mut state = Vec::new();
    for (inputs, outputs) in [(64, 128), (128, 10)] {
        let bound = (1.0 / inputs as f32).sqrt();
        state.push(random::uniform(-bound, bound, &[inputs, outputs], DType::F32, &next_key()?)?);
        state.push(random::uniform(-bound, bound, &[outputs], DType::F32, &next_key()?)?);
    }
    for index in 0..PARAMETERS {
        state.push(ops::zeros(state[index].shape(), DType::F32)?);
    }
    eval(&state)?;
    let mut program = None;
    let mut run = Run { state, losses: Vec::new(), seconds: Vec::new() };
    let batches = y.size() / BATCH;
    for _ in 0..EPOCHS {
        let order = random::permutation(y.size(), &next_key()?)?;
        for batch in 0..batches {
            let rows = order.slice_axis(0, (batch * BATCH) as isize, ((batch + 1) * BATCH) as isize);
            let mut inputs = run.state.clone();
            inputs.extend([x.take(&rows, 0), y.take(&rows, 0)]);
            eval(&inputs)?;
            let began = Instant::now();
            let mut outputs = if compiled {
                let program = match &program {
                    Some(program) => program,
                    None => {
                        let avals: Vec<_> = inputs.iter().map(|array| array.aval().clone()).collect();
                        program.insert(Arc::new(Program::trace("step", &avals, Options::COMPILE, step)?))
                    }
                };
                program.call(&inputs)?
            } else {
                step(&inputs)?
            };
            eval(&outputs)?;
            run.seconds.push(began.elapsed().as_secs_f64());
            run.losses.push(outputs.remove(0).item());
            run.state = outputs;
            show_progress(compiled, run.losses.len(), EPOCHS * batches, run.losses[run.losses.len() - 1]);
        }
    }
    Ok(run)
}

/// From parameters, velocities, images and digits to the loss, new parameters and new velocities: stochastic gradient descent with
/// momentum.
fn step(inputs: &[Array]) -> Result<Vec<Array>> {
    let (parameters, rest) = inputs.split_at(PARAMETERS);
    let (velocities, batch) = rest.split_at(PARAMETERS);
    let pulled = value_and_grad("loss", |parameters| Ok(vec![loss(parameters, &batch[0], &batch[1])?]), parameters)?;
    let velocities: Vec<Array> =
        velocities.iter().zip(&pulled.cotangents).map(|(velocity, gradient)| velocity * MOMENTUM + gradient).collect();
    let parameters =
        parameters.iter().zip(&velocities).map(|(parameter, velocity)| parameter - velocity * LEARNING_RATE);
    Ok(pulled.outputs.into_iter().chain(parameters).chain(velocities.iter().cloned()).collect())
}

/// The mean cross-entropy.
fn loss(parameters: &[Array], x: &Array, y: &Array) -> Result<Array> {
    let logits = forward(parameters, x);
    let right = ops::take_along_axis(&logits, &y.expand_dims([-1]), Some(-1))?.squeeze();
    Ok((logits.logsumexp(-1) - right).mean(()))
}

/// The logits of the ten digits.
fn forward(parameters: &[Array], x: &Array) -> Array {
    let [w1, b1, w2, b2] = parameters else { panic!("the network has {PARAMETERS} parameters") };
    gelu(&(x.matmul(w1) + b1)).matmul(w2) + b2
}

fn gelu(x: &Array) -> Array {
    x * (1.0 + (x / 2f32.sqrt()).erf()) / 2.0
}

fn accuracy(state: &[Array], (x, y): &(Array, Array)) -> Result<f32> {
    let digits = forward(&state[..PARAMETERS], x).argmax(1);
    Ok(ops::equal(&digits, y)?.astype(DType::F32).mean(()).item())
}

/// Images in [0, 1] and their digits: for training, and a fifth held out.
fn load() -> std::result::Result<[(Array, Array); 2], Box<dyn std::error::Error>> {
    let (pixels, shape) = read_idx(&repository().join("data/digits-images.idx"))?;
    let (digits, _) = read_idx(&repository().join("data/digits-labels.idx"))?;
    let size: usize = shape[1..].iter().product();
    let pick = |held_out: bool| {
        let rows: Vec<usize> = (0..digits.len()).filter(|row| (row % 5 == 0) == held_out).collect();
        let images: Vec<f32> =
            rows.iter().flat_map(|row| pixels[row * size..][..size].iter().map(|&ink| f32::from(ink) / 16.0)).collect();
        let labels: Vec<u32> = rows.iter().map(|&row| u32::from(digits[row])).collect();
        (Array::from_slice(&images, &[rows.len(), size]), Array::from_slice(&labels, &[rows.len()]))
    };
    Ok([pick(false), pick(true)])
}

/// The bytes and the shape in a file of the IDX format: four bytes, the last of which is the rank; the shape; the bytes.
fn read_idx(path: &Path) -> std::io::Result<(Vec<u8>, Vec<usize>)> {
    let data = std::fs::read(path)?;
    let (head, bytes) = data.split_at(4 + 4 * usize::from(data[3]));
    let shape = head[4..].chunks(4).map(|n| u32::from_be_bytes([n[0], n[1], n[2], n[3]]) as usize).collect();
    Ok((bytes.to_vec(), shape))
}

fn show_progress(compiled: bool, step: usize, steps: usize, loss: f32) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() && (step.is_multiple_of(10) || step == steps) {
        let done = 30 * step / steps;
        let (name, bar) = (if compiled { "compiled" } else { "eager" }, "█".repeat(done) + &"░".repeat(30 - done));
        let end = if step == steps { "\n" } else { "" };
        // A terminal that is gone is no reason to stop training.
        let _ = write!(terminal, "\r{name:<9}{bar} {:3} %  loss {loss:.4} {end}", 100 * step / steps);
        let _ = terminal.flush();
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
