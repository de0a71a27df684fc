//! Activations, layers, losses, schedules and optimizers against the values that the Python package is tested with
//! (`python/tests/nn_values.json`, made with MLX). A case has the name of its Python expression, so both test the same.

use lazuli::nn::activations::{self, *};
use lazuli::nn::losses::each;
use lazuli::nn::optimizers::*;
use lazuli::nn::schedules::Schedule;
use lazuli::nn::*;
use lazuli::{Array, DType, Ellipsis, Tree, array, grad, paths, select, value_and_grad};
use std::collections::{BTreeMap, HashMap};

type Run<'a, O> = &'a dyn Fn(&mut (Net, O), &Array, &Array) -> Array;
type Function = fn(&Array) -> Array;
type Leaves = BTreeMap<String, Array>;
type Reference = HashMap<String, Vec<(String, String, Vec<usize>, Vec<f64>)>>;

/// An array of a bounded, aperiodic sequence.
fn wave(shape: &[usize], phase: f64) -> Array {
    let n: usize = shape.iter().product();
    let value = |i: usize| {
        let i = i as f64;
        ((1.7 * (1.3 * i + phase + 0.1 * i * i).sin() * 1e4).round() / 1e4) as f32
    };
    Array::from_slice(&(0..n).map(value).collect::<Vec<f32>>(), shape)
}

/// The tree, with parameters that depend on their paths and shapes only.
fn filled<T: Tree>(mut tree: T) -> T {
    let value = |path: &str, a: &Array| {
        let phase = path.chars().map(|c| c as u32).sum::<u32>() % 17;
        wave(a.shape(), phase as f64).astype(a.dtype()) * 0.5
    };
    let new: Vec<_> = tree.parameters().into_iter().map(|p| (p.path.clone(), value(&p.path, &p.array))).collect();
    tree.set_parameters(new).unwrap();
    tree
}

fn half<T: Tree>(mut tree: T) -> T {
    tree.set_dtype(DType::F16);
    tree
}

fn leaves(tree: impl Tree) -> Leaves {
    paths::entries(&tree).into_iter().map(|e| (e.path, e.array)).collect()
}

#[derive(Debug, Clone, Tree)]
struct Net {
    layers: (Linear, Out),
    scale: Param,
    kernel: Param,
}

#[derive(Debug, Clone, Tree)]
struct Out {
    out: Linear,
}

impl Net {
    fn new() -> Net {
        let layers = (Linear::new(6, 5), Out { out: Linear::new(5, 3) });
        Net { layers, scale: array(1.5).into(), kernel: Array::zeros([3, 2, 2, 3], DType::F32).into() }
    }
    fn forward(&self, x: &Array) -> Array {
        let y = self.layers.1.out.forward(&self.layers.0.forward(x).tanh());
        y * &self.scale + self.kernel.sum([1, 2, 3])
    }
}

/// Losses of some steps on a small problem; then parameters, and the learning rate.
fn trained_as<O: Optimizer + Clone>(optimizer: O, steps: usize, dtype: DType) -> Leaves {
    let step = |(model, optimizer): &mut (Net, O), x: &Array, y: &Array| {
        let (loss, gradient) = value_and_grad(|m: &Net| losses::cross_entropy(&m.forward(x), y))(&*model);
        optimizer.update(model, &gradient);
        loss
    };
    let compiled = lazuli::compile(step);
    let run = |step: Run<O>| {
        let mut state = (filled(Net::new()), optimizer.clone());
        state.0.set_dtype(dtype);
        let (x, y) = (wave(&[4, 6], 0.0).astype(dtype), array([0, 2, 1, 2]));
        let losses: Vec<Array> = (0..steps).map(|_| step(&mut state, &x, &y)).collect();
        let mut found = Leaves::new();
        found.extend(losses.into_iter().enumerate().map(|(i, loss)| (format!("losses.{i}"), loss)));
        found.extend(state.0.parameters().into_iter().map(|p| (format!("parameters.{}", p.path), p.array)));
        found.insert("rate".into(), state.1.learning_rate().clone());
        found
    };
    let (plain, fused) = (run(&step), run(&*compiled));
    for (path, a) in &plain {
        let bits = |a: &Array| a.try_to_bytes().unwrap();
        assert_eq!(bits(a), bits(&fused[path]), "{path} differs when compiled");
    }
    fused
}

fn trained<O: Optimizer + Clone>(optimizer: O) -> Leaves {
    trained_as(optimizer, 4, DType::F32)
}

fn scheduled(schedule: Schedule) -> Leaves {
    (0..12u64).map(|step| (step.to_string(), schedule.at(&step.into()))).collect()
}

/// What batch norm computes, and the statistics that it changes in training.
fn called(mut layer: BatchNorm, x: &Array) -> Leaves {
    let y = layer.forward(x);
    layer.observe(x);
    let (Some(mean), Some(variance)) = (layer.running_mean, layer.running_var) else { return leaves(y) };
    Leaves::from([("0".into(), y), ("1.running_mean".into(), mean), ("1.running_var".into(), variance)])
}

fn gradient(f: impl Fn(&Array) -> Array + Send + Sync, x: &Array) -> Array {
    grad(|x: &Array| (f(x) * wave(&[6], 0.0)).sum(()))(x)
}

/// Says if one leaf is not what it must be.
fn compare(case: &str, path: &str, got: &Array, dtype: &str, shape: &[usize], want: &[f64]) -> Option<String> {
    if got.dtype().to_string() != dtype || got.shape() != shape {
        return Some(format!("{case} {path}: {} {:?}, expected {dtype} {shape:?}", got.dtype(), got.shape()));
    }
    let relative = match dtype {
        "float32" => 2e-5,
        "float16" => 4e-3,
        "bfloat16" => 3e-2,
        _ => 0.0,
    };
    let size = want.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(0.0, f64::max).min(1.0);
    let got = got.astype(DType::F32).to_vec::<f32>();
    let far = |(u, v): (&f32, &f64)| {
        let u = *u as f64;
        (u != *v && (u - v).abs() > relative * (v.abs() + 0.1 * size)) || u.is_nan() != v.is_nan()
    };
    let at = got.iter().zip(want).position(far)?;
    Some(format!("{case} {path}[{at}]: {}, expected {}", got[at], want[at]))
}

fn check(cases: Vec<(&str, Leaves)>) {
    let text = include_str!("../../../python/tests/nn_values.json");
    let reference: Reference = serde_json::from_str(text).unwrap();
    let mut complaints = Vec::new();
    for (case, found) in cases {
        let Some(expected) = reference.get(case) else {
            complaints.push(format!("there is no case {case}"));
            continue;
        };
        for (path, dtype, shape, want) in expected {
            complaints.extend(match found.get(path) {
                Some(got) => compare(case, path, got, dtype, shape, want),
                None => Some(format!("{case} has no {path}, but {:?}", found.keys())),
            });
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn activations_have_the_values_of_the_python_package() {
    let x = (Array::arange(-12..12).astype(DType::F32) / 4).reshape([4, 6]);
    let name = |s: String| -> &'static str { s.leak() };
    let functions: &[(&str, Function)] = &[
        ("relu", relu),
        ("relu2", relu2),
        ("relu6", relu6),
        ("leaky_relu", |x| leaky_relu(x, 0.01)),
        ("elu", |x| elu(x, 1.0)),
        ("celu", |x| celu(x, 1.0)),
        ("selu", selu),
        ("sigmoid", sigmoid),
        ("tanh", tanh),
        ("softplus", softplus),
        ("softsign", softsign),
        ("log_sigmoid", log_sigmoid),
        ("silu", silu),
        ("mish", mish),
        ("gelu", gelu),
        ("gelu_approx", gelu_approx),
        ("gelu_fast_approx", gelu_fast_approx),
        ("softmax", softmax),
        ("softmin", softmin),
        ("log_softmax", log_softmax),
        ("hard_tanh", hard_tanh),
        ("hardswish", hardswish),
        ("hard_shrink", |x| hard_shrink(x, 0.5)),
        ("softshrink", |x| softshrink(x, 0.5)),
    ];
    let mut cases = Vec::new();
    for &(f, function) in functions {
        cases.push((name(format!("nn.{f}(x)")), leaves(function(&x))));
        cases.push((name(format!("nn.{f}(x.astype(mx.float16))")), leaves(function(&x.astype(DType::F16)))));
        let of = format!("mx.grad(lambda x: (nn.{f}(x) * wave(6)).sum())(x)");
        cases.push((name(of), leaves(gradient(function, &x))));
    }
    cases.extend([
        ("nn.step(x)", leaves(activations::step(&x, 0.0))),
        ("nn.glu(x)", leaves(glu(&x, -1))),
        ("nn.glu(x, axis=0)", leaves(glu(&x, 0))),
        ("nn.prelu(x, mx.array([0.3]))", leaves(prelu(&x, &array([0.3])))),
        ("nn.log_softmax(x * 1000)", leaves(log_softmax(&(&x * 1000)))),
        ("nn.softplus(x * 1000)", leaves(softplus(&(&x * 1000)))),
        ("nn.relu6(mx.arange(-2, 9))", leaves(relu6(&Array::arange(-2..9)))),
        ("nn.LeakyReLU(0.2)(x)", leaves(LeakyRelu { slope: 0.2 }.forward(&x))),
        ("nn.ELU(0.5)(x)", leaves(Elu { alpha: 0.5 }.forward(&x))),
        ("nn.CELU(0.5)(x)", leaves(Celu { alpha: 0.5 }.forward(&x))),
        ("nn.Step(1.0)(x)", leaves(Step { threshold: 1.0 }.forward(&x))),
        ("nn.HardShrink(1.0)(x)", leaves(HardShrink { lambda: 1.0 }.forward(&x))),
        ("nn.Softshrink(1.0)(x)", leaves(Softshrink { lambda: 1.0 }.forward(&x))),
        ("nn.GLU(0)(x)", leaves(Glu { axis: 0 }.forward(&x))),
        ("nn.PReLU(6, 0.1)(x)", leaves(PRelu::new(6, 0.1).forward(&x))),
    ]);
    check(cases);
}

#[test]
fn layers_have_the_values_of_the_python_package() {
    let (sequence, image) = (&wave(&[2, 3, 4], 0.0), &wave(&[2, 3, 2, 4], 0.0));
    let large = &(sequence * 300).astype(DType::F16);
    let part = &sequence.index((Ellipsis, ..2));
    let causal = &layers::causal_mask(3, DType::F32);
    let sparse_mask = &causal.equal(0);
    let ones = |shape: &[usize]| Array::ones(shape, DType::F32);
    let linear = |i, o| filled(Linear::new(i, o));
    let sinusoidal = SinusoidalPositionalEncoding::new(4).frequencies(0.1, 2.0).scale(1.0).cos_first().full_turns();
    let attention = || filled(MultiHeadAttention::new(4, 2));
    let biased = filled(MultiHeadAttention {
        query_proj: Linear::new(4, 4),
        key_proj: Linear::new(4, 4),
        value_proj: Linear::new(4, 4),
        out_proj: Linear::new(4, 4),
        ..MultiHeadAttention::new(4, 2)
    });
    let other = filled(MultiHeadAttention {
        key_proj: Linear::new(2, 4).without_bias(),
        value_proj: Linear::new(2, 6).without_bias(),
        out_proj: Linear::new(6, 3).without_bias(),
        ..MultiHeadAttention::new(4, 2)
    });
    let short = &sequence.index((.., ..2));
    let narrow = &sequence.index((.., ..2, ..2));
    let lstm = |(h, c): (Array, Array)| leaves((h, c));
    let encoder = || TransformerEncoderLayer::new(4, 2);
    let decoder = || TransformerDecoderLayer::new(4, 2);
    let transformer = Transformer {
        encoder: TransformerEncoder::new(vec![encoder().mlp_dims(6), encoder().mlp_dims(6)], 4),
        decoder: TransformerDecoder::new(vec![decoder().mlp_dims(6), decoder().mlp_dims(6)], 4),
    };
    check(vec![
        ("filled(nn.Linear(4, 3))(sequence)", leaves(linear(4, 3).forward(sequence))),
        (
            "filled(nn.Linear(4, 3, bias=False))(sequence)",
            leaves(filled(Linear::new(4, 3).without_bias()).forward(sequence)),
        ),
        (
            "half(filled(nn.Linear(4, 3)))(sequence.astype(mx.float16))",
            leaves(half(linear(4, 3)).forward(&sequence.astype(DType::F16))),
        ),
        (
            "filled(nn.Bilinear(4, 2, 3))(sequence, sequence[..., :2])",
            leaves(filled(Bilinear::new(4, 2, 3)).forward(sequence, part)),
        ),
        (
            "filled(nn.Bilinear(4, 2, 3, bias=False))(sequence, sequence[..., :2])",
            leaves(filled(Bilinear::new(4, 2, 3).without_bias()).forward(sequence, part)),
        ),
        (
            "filled(nn.Embedding(5, 3))(mx.array([[1, 2], [0, 4]]))",
            leaves(filled(Embedding::new(5, 3)).forward(&array([[1, 2], [0, 4]]))),
        ),
        ("filled(nn.Embedding(5, 4)).as_linear(sequence)", leaves(filled(Embedding::new(5, 4)).as_linear(sequence))),
        ("filled(nn.LayerNorm(4))(sequence)", leaves(filled(LayerNorm::new(4)).forward(sequence))),
        (
            "filled(nn.LayerNorm(4, bias=False))(sequence)",
            leaves(filled(LayerNorm::new(4).without_bias()).forward(sequence)),
        ),
        (
            "nn.LayerNorm(4, affine=False, eps=0.1)(sequence)",
            leaves(LayerNorm::new(4).without_affine().eps(0.1).forward(sequence)),
        ),
        (
            "filled(nn.LayerNorm(4))((sequence * 300).astype(mx.float16))",
            leaves(filled(LayerNorm::new(4)).forward(large)),
        ),
        (
            "half(filled(nn.LayerNorm(4)))((sequence * 300).astype(mx.float16))",
            leaves(half(filled(LayerNorm::new(4))).forward(large)),
        ),
        ("filled(nn.RMSNorm(4))(sequence)", leaves(filled(RmsNorm::new(4)).forward(sequence))),
        (
            "half(filled(nn.RMSNorm(4, eps=0.1)))((sequence * 300).astype(mx.float16))",
            leaves(half(filled(RmsNorm::new(4).eps(0.1))).forward(large)),
        ),
        (
            "filled(nn.InstanceNorm(4, affine=True))(image)",
            leaves(filled(InstanceNorm::new().affine(4)).forward(image)),
        ),
        ("nn.InstanceNorm(4)(sequence)", leaves(InstanceNorm::new().forward(sequence))),
        ("filled(nn.GroupNorm(2, 4))(sequence)", leaves(filled(GroupNorm::new(2, 4)).forward(sequence))),
        (
            "filled(nn.GroupNorm(2, 4, pytorch_compatible=True))(image)",
            leaves(filled(GroupNorm::new(2, 4).pytorch()).forward(image)),
        ),
        ("nn.GroupNorm(2, 4, affine=False)(image)", leaves(GroupNorm::new(2, 4).without_affine().forward(image))),
        ("called(nn.BatchNorm(4), sequence)", called(BatchNorm::new(4), sequence)),
        (
            "called(nn.BatchNorm(4, momentum=0.3, eps=0.1), image)",
            called(BatchNorm::new(4).momentum(0.3).eps(0.1), image),
        ),
        ("called(nn.BatchNorm(4), sequence[0])", called(BatchNorm::new(4), &sequence.index(0))),
        (
            "called(nn.BatchNorm(4, affine=False, track_running_stats=False), image)",
            called(BatchNorm::new(4).without_affine().without_running_stats(), image),
        ),
        (
            "called(filled(nn.BatchNorm(4, track_running_stats=False)), image)",
            called(filled(BatchNorm::new(4).without_running_stats()), image),
        ),
        ("filled(nn.RoPE(4))(sequence)", leaves(Rope::new(4).forward(sequence))),
        (
            "nn.RoPE(4, traditional=True, base=100, scale=0.5)(sequence)",
            leaves(Rope::new(4).traditional().base(100.0).scale(0.5).forward(sequence)),
        ),
        ("nn.RoPE(2)(sequence, offset=3)", leaves(Rope::new(2).forward_at(sequence, 3))),
        (
            "nn.RoPE(2, traditional=True)(sequence, offset=3)",
            leaves(Rope::new(2).traditional().forward_at(sequence, 3)),
        ),
        ("nn.RoPE(4)(image)", leaves(Rope::new(4).forward(image))),
        (
            "nn.SinusoidalPositionalEncoding(6)(mx.array([[0.0, 1.0, 5.0]]))",
            leaves(SinusoidalPositionalEncoding::new(6).forward(&array([[0.0, 1.0, 5.0]]))),
        ),
        (
            "nn.SinusoidalPositionalEncoding(2)(mx.array([1.0, 2.0]))",
            leaves(SinusoidalPositionalEncoding::new(2).forward(&array([1.0, 2.0]))),
        ),
        (
            "nn.SinusoidalPositionalEncoding(4, 0.1, 2.0, 1.0, True, True)(mx.array([0.0, 1.0, 5.0]))",
            leaves(sinusoidal.forward(&array([0.0, 1.0, 5.0]))),
        ),
        ("nn.ALiBi()(mx.zeros((1, 12, 2, 3)))", leaves(Alibi.forward(&Array::zeros([1, 12, 2, 3], DType::F32)))),
        (
            "nn.ALiBi()(mx.zeros((1, 2, 2, 3)), offset=1, mask=mx.ones((2, 3)))",
            leaves(Alibi.forward_at(&Array::zeros([1, 2, 2, 3], DType::F32), 1, Some(&ones(&[2, 3])))),
        ),
        ("nn.MultiHeadAttention.create_additive_causal_mask(3)", leaves(causal.clone())),
        (
            "nn.MultiHeadAttention.create_additive_causal_mask(3, mx.float16)",
            leaves(layers::causal_mask(3, DType::F16)),
        ),
        (
            "filled(nn.MultiHeadAttention(4, 2))(sequence, sequence, sequence)",
            leaves(attention().forward(sequence, sequence, sequence, None)),
        ),
        (
            "filled(nn.MultiHeadAttention(4, 2, bias=True))(sequence, sequence, sequence, causal)",
            leaves(biased.forward(sequence, sequence, sequence, Some(causal))),
        ),
        (
            "filled(nn.MultiHeadAttention(4, 2))(sequence, sequence, sequence, causal == 0)",
            leaves(attention().forward(sequence, sequence, sequence, Some(sparse_mask))),
        ),
        (
            "filled(nn.MultiHeadAttention(4, 2, key_input_dims=2, value_dims=6, value_output_dims=3))(sequence, \
             sequence[:, :2, :2], sequence[:, :2, :2])",
            leaves(other.forward(sequence, narrow, narrow, None)),
        ),
        (
            "filled(nn.TransformerEncoderLayer(4, 2))(sequence, causal)",
            leaves(filled(encoder()).forward_masked(sequence, Some(causal))),
        ),
        (
            "filled(nn.TransformerEncoderLayer(4, 2, 5, norm_first=False))(sequence, None)",
            leaves(filled(encoder().mlp_dims(5).norm_last()).forward(sequence)),
        ),
        (
            "filled(nn.TransformerEncoderLayer(4, 2, 5, 0.5, nn.gelu)).eval()(sequence, None)",
            leaves(
                filled(encoder().mlp_dims(5).dropout(0.5).activation(Activation::GELU)).evaluate().forward(sequence),
            ),
        ),
        (
            "filled(nn.TransformerDecoderLayer(4, 2))(sequence, sequence[:, :2], causal, None)",
            leaves(filled(decoder()).forward(sequence, short, Some(causal), None)),
        ),
        (
            "filled(nn.TransformerDecoderLayer(4, 2, norm_first=False))(sequence, sequence, None, causal)",
            leaves(filled(decoder().norm_last()).forward(sequence, sequence, None, Some(causal))),
        ),
        (
            "filled(nn.Transformer(4, 2, 2, 2, 6))(sequence, sequence[:, :2], causal, None, None)",
            leaves(filled(transformer).forward(sequence, short, Some(causal), None, None)),
        ),
        ("filled(nn.RNN(4, 3))(sequence)", leaves(filled(Rnn::new(4, 3)).forward(sequence))),
        (
            "filled(nn.RNN(4, 3, bias=False, nonlinearity=nn.relu))(sequence[0], mx.ones(3))",
            leaves(
                filled(Rnn::new(4, 3).without_bias().nonlinearity(Activation::RELU))
                    .forward_from(&sequence.index(0), Some(&ones(&[3]))),
            ),
        ),
        ("filled(nn.GRU(4, 3))(sequence)", leaves(filled(Gru::new(4, 3)).forward(sequence))),
        (
            "filled(nn.GRU(4, 3, bias=False))(sequence[0], mx.ones(3))",
            leaves(filled(Gru::new(4, 3).without_bias()).forward_from(&sequence.index(0), Some(&ones(&[3])))),
        ),
        (
            "filled(nn.GRU(4, 3))(sequence, mx.ones((2, 3)))",
            leaves(filled(Gru::new(4, 3)).forward_from(sequence, Some(&ones(&[2, 3])))),
        ),
        ("filled(nn.LSTM(4, 3))(sequence)", lstm(filled(Lstm::new(4, 3)).forward_from(sequence, None, None))),
        (
            "filled(nn.LSTM(4, 3, bias=False))(sequence[0], mx.ones(3), mx.ones(3))",
            lstm(filled(Lstm::new(4, 3).without_bias()).forward_from(
                &sequence.index(0),
                Some(&ones(&[3])),
                Some(&ones(&[3])),
            )),
        ),
        (
            "filled(nn.Sequential(nn.Linear(4, 3), nn.tanh, nn.Linear(3, 2)))(sequence)",
            leaves(
                filled(Sequential::new().then(Linear::new(4, 3)).then(Activation::TANH).then(Linear::new(3, 2)))
                    .forward(sequence),
            ),
        ),
    ]);
}

#[test]
fn losses_have_the_values_of_the_python_package() {
    let [a, b, c] = &[0.0, 1.0, 2.0].map(|phase| wave(&[4, 6], phase));
    let labels = &array([0, 3, 5, 2]);
    let probabilities = &b.softmax(-1);
    let bits = &b.greater(0).astype(DType::F32);
    let signs = &b.sign();
    check(vec![
        ("nn.losses.cross_entropy(a, labels)", leaves(each::cross_entropy(a, labels))),
        (
            "nn.losses.cross_entropy(a.astype(mx.float16), labels)",
            leaves(each::cross_entropy(&a.astype(DType::F16), labels)),
        ),
        ("nn.losses.cross_entropy(a * 1000, labels)", leaves(each::cross_entropy(&(a * 1000), labels))),
        ("nn.losses.cross_entropy(a, probabilities)", leaves(each::cross_entropy(a, probabilities))),
        (
            "nn.losses.cross_entropy(a, labels, label_smoothing=0.2)",
            leaves(each::smoothed_cross_entropy(a, labels, 0.2)),
        ),
        (
            "nn.losses.cross_entropy(a, probabilities, label_smoothing=0.2)",
            leaves(each::smoothed_cross_entropy(a, probabilities, 0.2)),
        ),
        ("nn.losses.cross_entropy(a[0], mx.array(2))", leaves(each::cross_entropy(&a.index(0), &array(2)))),
        ("nn.losses.cross_entropy(a, labels, reduction='mean')", leaves(losses::cross_entropy(a, labels))),
        ("nn.losses.binary_cross_entropy(a, bits)", leaves(losses::binary_cross_entropy(a, bits))),
        (
            "nn.losses.binary_cross_entropy(a * 1000, bits, reduction='none')",
            leaves(each::binary_cross_entropy(&(a * 1000), bits)),
        ),
        (
            "nn.losses.binary_cross_entropy(probabilities, bits, with_logits=False)",
            leaves(losses::binary_cross_entropy_of_probabilities(probabilities, bits)),
        ),
        (
            "nn.losses.binary_cross_entropy(1 - bits, bits, with_logits=False, reduction='none')",
            leaves(each::binary_cross_entropy_of_probabilities(&(1 - bits), bits)),
        ),
        ("nn.losses.l1_loss(a, b)", leaves(losses::l1(a, b))),
        ("nn.losses.l1_loss(a, b, reduction='none')", leaves(each::l1(a, b))),
        ("nn.losses.mse_loss(a, b)", leaves(losses::mse(a, b))),
        ("nn.losses.nll_loss(a, labels)", leaves(each::nll(a, labels))),
        ("nn.losses.kl_div_loss(a, b)", leaves(each::kl_div(a, b))),
        ("nn.losses.gaussian_nll_loss(a, b, c)", leaves(losses::gaussian_nll(a, b, c))),
        ("nn.losses.smooth_l1_loss(a, b)", leaves(losses::smooth_l1(a, b, 1.0))),
        ("nn.losses.smooth_l1_loss(a, b, beta=0.5, reduction='none')", leaves(each::smooth_l1(a, b, 0.5))),
        ("nn.losses.triplet_loss(a, b, c)", leaves(each::triplet(a, b, c, 1.0))),
        ("nn.losses.hinge_loss(a, signs)", leaves(each::hinge(a, signs))),
        ("nn.losses.huber_loss(a, b)", leaves(each::huber(a, b, 1.0))),
        ("nn.losses.huber_loss(a, b, delta=0.3, reduction='mean')", leaves(losses::huber(a, b, 0.3))),
        ("nn.losses.log_cosh_loss(a, b)", leaves(each::log_cosh(a, b))),
        ("nn.losses.log_cosh_loss(a * 1000, b)", leaves(each::log_cosh(&(a * 1000), b))),
        ("nn.losses.cosine_similarity_loss(a, b)", leaves(each::cosine_similarity(a, b, 1))),
        ("nn.losses.cosine_similarity_loss(a, a * 0, axis=0)", leaves(each::cosine_similarity(a, &a.zeros_like(), 0))),
        ("nn.losses.margin_ranking_loss(a, b, signs)", leaves(each::margin_ranking(a, b, signs, 0.0))),
        (
            "nn.losses.margin_ranking_loss(a, b, signs, margin=0.4, reduction='mean')",
            leaves(losses::margin_ranking(a, b, signs, 0.4)),
        ),
        ("nn.init.identity()(mx.zeros((3, 3)))", leaves(init::identity(3))),
        ("nn.init.constant(0.3)(mx.zeros((2, 3)))", leaves(init::constant(0.3, [2, 3]))),
    ]);
}

#[test]
fn optimizers_train_as_those_of_the_python_package() {
    let (cosine, linear) = (Schedule::cosine(0.1, 3, 0.0), Schedule::linear(0.001, 0.01, 2));
    let joined = linear.then(2, Schedule::exponential(0.01, 0.9));
    check(vec![
        ("scheduled(optim.exponential_decay(0.1, 0.9))", scheduled(Schedule::exponential(0.1, 0.9))),
        ("scheduled(optim.step_decay(0.1, 0.9, 3))", scheduled(Schedule::step(0.1, 0.9, 3))),
        ("scheduled(optim.cosine_decay(0.1, 10, 0.01))", scheduled(Schedule::cosine(0.1, 10, 0.01))),
        ("scheduled(optim.linear_schedule(0.1, 0.5, 10))", scheduled(Schedule::linear(0.1, 0.5, 10))),
        (
            "scheduled(optim.join_schedules([optim.linear_schedule(0, 1, 5), optim.cosine_decay(1.0, 10)], [4]))",
            scheduled(Schedule::linear(0.0, 1.0, 5).then(4, Schedule::cosine(1.0, 10, 0.0))),
        ),
        ("trained(optim.SGD(0.1))", trained(Sgd::new(0.1))),
        ("trained(optim.SGD(0.1, momentum=0.9))", trained(Sgd::new(0.1).momentum(0.9))),
        (
            "trained(optim.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1))",
            trained(Sgd::new(0.1).momentum(0.9).weight_decay(0.1).nesterov()),
        ),
        ("trained(optim.SGD(0.1, momentum=0.9, dampening=0.3))", trained(Sgd::new(0.1).momentum(0.9).dampening(0.3))),
        ("trained(optim.SGD(0.1, weight_decay=0.3))", trained(Sgd::new(0.1).weight_decay(0.3))),
        ("trained(optim.SGD(optim.cosine_decay(0.1, 3)))", trained(Sgd::new(cosine))),
        ("trained(optim.RMSprop(0.01))", trained(RmsProp::new(0.01))),
        ("trained(optim.Adagrad(0.1))", trained(Adagrad::new(0.1))),
        ("trained(optim.AdaDelta(optim.step_decay(0.9, 0.5, 2)))", trained(AdaDelta::new(Schedule::step(0.9, 0.5, 2)))),
        ("trained(optim.Adam(0.01))", trained(Adam::new(0.01))),
        (
            "trained(optim.Adam(0.01, betas=[0.8, 0.9], bias_correction=True))",
            trained(Adam::new(0.01).betas(0.8, 0.9).bias_correction()),
        ),
        ("trained(optim.AdamW(0.01, weight_decay=0.2))", trained(AdamW::new(0.01).weight_decay(0.2))),
        (
            "trained(optim.AdamW(optim.join_schedules([optim.linear_schedule(0.001, 0.01, 2), \
             optim.exponential_decay(0.01, 0.9)], [2]), bias_correction=True))",
            trained(AdamW::from(Adam::new(joined).bias_correction())),
        ),
        ("trained(optim.Adamax(0.01))", trained(Adamax::new(0.01))),
        ("trained(optim.Lion(0.001))", trained(Lion::new(0.001))),
        ("trained(optim.Lion(0.001, weight_decay=0.5))", trained(Lion::new(0.001).weight_decay(0.5))),
        ("trained(optim.Adafactor())", trained(Adafactor::new())),
        (
            "trained(optim.Adafactor(0.01, relative_step=False, beta_1=0.9, weight_decay=0.1))",
            trained(Adafactor::new().with_rate(0.01).beta1(0.9).weight_decay(0.1)),
        ),
        (
            "trained(optim.Adafactor(warmup_init=True, scale_parameter=False))",
            trained(Adafactor::new().warmup().unscaled()),
        ),
        ("trained(optim.Muon(0.02))", trained(Muon::new(0.02))),
        (
            "trained(optim.Muon(0.02, nesterov=False, weight_decay=0.0))",
            trained(Muon::new(0.02).without_nesterov().weight_decay(0.0)),
        ),
        (
            "trained(optim.MultiOptimizer([optim.Adam(0.01), optim.SGD(0.1, momentum=0.5)], [lambda path, g: 'weight' in path]))",
            trained(Split::new(|path| path.contains("weight"), Adam::new(0.01), Sgd::new(0.1).momentum(0.5))),
        ),
        ("trained(optim.Adam(0.01), steps=1, dtype=mx.bfloat16)", trained_as(Adam::new(0.01), 1, DType::BF16)),
        (
            "trained(optim.SGD(0.1, momentum=0.9), steps=2, dtype=mx.float16)",
            trained_as(Sgd::new(0.1).momentum(0.9), 2, DType::F16),
        ),
        ("optim.clip_grad_norm({'a': a, 'b': [b]}, 1.0)", clipped([wave(&[4, 6], 0.0), wave(&[4, 6], 1.0)], 1.0)),
    ]);
}

fn clipped([a, b]: [Array; 2], max_norm: f64) -> Leaves {
    let (scaled, norm) = clip_grad_norm(&(a, b), max_norm);
    Leaves::from([("0.a".into(), scaled.0), ("0.b.0".into(), scaled.1), ("1".into(), norm)])
}

#[test]
fn gradients_of_losses_are_finite_where_roots_and_logarithms_are_not() {
    let x = array([[0.0, 1.0], [0.0, 0.0]]);
    for slope in [
        grad(|x: &Array| losses::cosine_similarity(x, x, 1))(&x),
        grad(|x: &Array| losses::binary_cross_entropy_of_probabilities(x, &x.zeros_like()))(&x),
    ] {
        let finite = select(slope.abs().less(f64::INFINITY), 1, 0);
        assert_eq!(finite.to_vec::<i32>(), [1; 4], "{slope}");
    }
}

#[test]
fn normalisations_refuse_features_that_would_broadcast() {
    let one = Array::ones([2, 4, 1], DType::F32);
    let layers: [(&str, &dyn Module); 6] = [
        ("LayerNorm", &LayerNorm::new(4)),
        ("RmsNorm", &RmsNorm::new(4)),
        ("InstanceNorm", &InstanceNorm::new().affine(4)),
        ("GroupNorm", &GroupNorm::new(1, 4)),
        ("BatchNorm", &BatchNorm::new(4)),
        ("BatchNorm", &BatchNorm::new(4).without_affine()),
    ];
    for (name, layer) in layers {
        let error = lazuli::catch(|| Ok(layer.forward(&one))).unwrap_err().to_string();
        let said = error.contains("takes an array of shape [.., 4], not one of shape [2, 4, 1]");
        assert!(error.starts_with(&format!("[{name}]")) && said, "{error}");
    }
}
