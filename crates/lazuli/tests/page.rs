//! What the documentation of `compile` shows, and what it promises, in Rust.

use lazuli::nn::losses::binary_cross_entropy;
use lazuli::nn::optimizers::{Adam, AdamW, Optimizer, Sgd};
use lazuli::nn::{Activation, Dropout, LayerNorm, Linear, Module, Sequential, set_training};
use lazuli::{Array, Error, ErrorKind, Result, Tree, array, compile, compile_disabled, grad, random};
use lazuli::{value_and_grad, vmap};

fn check(got: &Array, expected: &[f32]) {
    let got = got.to_vec::<f32>();
    assert_eq!(got.len(), expected.len(), "{got:?} is not {expected:?}");
    for (a, b) in got.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{got:?} is not {expected:?}");
    }
}

fn fun(x: &Array, y: &Array) -> Array {
    (-x).exp() + y
}

#[test]
fn one_function_has_one_trace() {
    let (x, y) = (array(1.0), array(2.0));
    let f = compile(fun);
    for _ in 0..2 {
        check(&f(&x, &y), &[2.36788]);
    }
    check(&compile(fun)(&x, &y), &[2.36788]);
    assert_eq!(f.traces(), 1);
    f(&array([1.0, 2.0]), &y);
    f(&array(1), &y);
    assert_eq!(f.traces(), 3, "another shape and another dtype");
    let traces: Vec<usize> = (0..3)
        .map(|_| {
            let temporary = compile(|x: &Array| x.abs().exp());
            temporary(&x);
            temporary.traces()
        })
        .collect();
    assert_eq!(traces, [1, 1, 1]);
}

#[test]
fn structures_and_constants_are_told_apart() {
    let nested = compile(|x: &Vec<Vec<Array>>| array(x.len() as f32));
    let a = array(1.0);
    check(&nested(&vec![vec![a.clone()], vec![a.clone()]]), &[2.0]);
    check(&nested(&vec![vec![a.clone(), a.clone()]]), &[1.0]);
    let scaled = compile(|x: &Array, by: &f32| x / *by);
    assert_eq!(scaled(&a, &0.0).item::<f32>(), f32::INFINITY);
    assert_eq!(scaled(&a, &-0.0).item::<f32>(), f32::NEG_INFINITY);
    scaled(&a, &f32::NAN);
    scaled(&a, &f32::NAN);
    assert_eq!(scaled.traces(), 3);
}

#[test]
fn reading_a_value_is_an_error_that_names_the_remedy() {
    let f = compile(|x: &Array| {
        let z = -x;
        println!("{z}");
        z.exp()
    });
    let x = array(5.0);
    for _ in 0..2 {
        let error = f.try_call(&x).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TracedRead);
        assert!(error.message().contains("page.rs") && error.message().contains("disable_compile"), "{error}");
    }
    assert_eq!(f.traces(), 0);
    let _off = compile_disabled();
    check(&f(&x), &[(-5f32).exp()]);
}

#[test]
fn a_call_that_reads_a_value_panics_at_its_line() {
    let line = line!() + 1;
    let f = compile(|x: &Array| format!("{}", -x).len() as i32);
    let call = std::panic::AssertUnwindSafe(|| f(&array(5.0)));
    let panic = std::panic::catch_unwind(call).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains(&format!("page.rs:{line}")), "{message}");
}

#[test]
fn gelu_is_one_kernel_of_the_same_bits() {
    fn gelu(x: &Array) -> Array {
        x * (1.0 + (x / 2f32.sqrt()).erf()) / 2.0
    }
    let fast = compile(gelu);
    let x = random::uniform([4, 100, 33]) * 8.0 - 4.0;
    assert_eq!(fast(&x).to_vec::<f32>(), gelu(&x).to_vec::<f32>());
    assert_eq!(fast.explain(&x).unwrap().summary(), "1 kernel, 5 ops fused, 1 trace, 0 constants");
}

#[test]
fn state_is_updated_and_captures_are_constants() {
    let push = compile(|s: &mut Vec<Array>, x: &Array, y: &Array| {
        let z = x + y;
        s.push(z.clone());
        z.exp()
    });
    let mut s = vec![];
    push(&mut s, &array(1.0), &array(2.0));
    check(&s[0], &[3.0]);
    let mut c = array(1.0);
    let constant = {
        let c = c.clone();
        compile(move |x: &Array| x + &c)
    };
    let captured = compile(|c: &mut Array, x: &Array| x + &*c);
    check(&constant(&array(1.0)), &[2.0]);
    check(&captured(&mut c, &array(1.0)), &[2.0]);
    c = array(5.0);
    check(&constant(&array(1.0)), &[2.0]);
    check(&captured(&mut c, &array(1.0)), &[6.0]);
    assert!(constant.try_call(&c).is_ok());
    let shared = array(7.0);
    let both = compile({
        let shared = shared.clone();
        move |x: &Array| x + &shared
    });
    assert!(both.try_call(&shared).unwrap_err().message().contains("uncaptured"));
}

#[test]
fn an_error_leaves_state_alone() {
    fn step(state: &mut (Array, bool), x: &Array) -> Result<Array> {
        state.0 = &state.0 + x;
        if state.1 { Err(Error::value("step", "refused")) } else { Ok(state.0.clone()) }
    }
    let compiled = compile(step);
    let mut state = (array(1.0), true);
    assert_eq!(compiled(&mut state, &array(2.0)).unwrap_err().message(), "refused");
    check(&state.0, &[1.0]);
    state.1 = false;
    check(&compiled(&mut state, &array(2.0)).unwrap(), &[3.0]);
    let mismatch = compile(|s: &mut Array, x: &Array| *s = &*s + x);
    let mut s = array([1.0, 2.0]);
    assert!(mismatch.try_call(&mut s, &array([1.0, 2.0, 3.0])).unwrap_err().location().unwrap().contains("page.rs"));
    check(&s, &[1.0, 2.0]);
}

#[test]
fn transformations_compose() {
    check(&compile(grad(Array::exp))(&array(1.0)), &[std::f32::consts::E]);
    let f = compile(|x: &Array| x.sin());
    check(&grad(&*f)(&array(0.0)), &[1.0]);
    check(&compile(f.clone())(&array(0.0)), &[0.0]);
    check(&grad(grad(|x: &Array| x * x * x))(&array(2.0)), &[12.0]);
    check(&vmap(grad(|x: &Array| x * x))(&array([1.0, 2.0])), &[2.0, 4.0]);
    let rows = vmap(|m: &Linear, x: &Array| m.weight.matmul(x));
    let m = Linear { weight: array([[[1.0, 2.0]], [[3.0, 4.0]]]).into(), bias: None };
    check(&rows(&m, &array([[1.0, 1.0], [1.0, 0.0]])), &[3.0, 3.0]);
}

#[derive(Debug, Clone, Tree)]
enum Shape {
    Line { slope: Array },
    Flat,
}

#[test]
fn enums_are_trees() {
    let at = compile(|s: &Shape, x: &Array| match s {
        Shape::Line { slope } => slope * x,
        Shape::Flat => x * 0.0f32,
    });
    check(&at(&Shape::Line { slope: array(2.0) }, &array(3.0)), &[6.0]);
    check(&at(&Shape::Flat, &array(3.0)), &[0.0]);
    assert_eq!(at.traces(), 2);
}

/// Trains on one batch, eager and compiled: equal losses, and falling ones.
fn trains<O: Optimizer + Clone>(optimizer: O) {
    random::seed(1);
    let model = Sequential::new()
        .then(Linear::new(3, 8))
        .then(LayerNorm::new(8))
        .then(Activation::GELU)
        .then(Dropout::new(0.1))
        .then(Linear::new(8, 1));
    let x = array([[1.0, 2.0, 3.0], [3.0, -4.0, 1.0], [0.5, 0.0, -2.0]]);
    let y = array([1.0, 0.0, 1.0]);
    type State<O> = (Sequential, O, random::State);
    fn step<O: Optimizer>((model, opt, key): &mut State<O>, x: &Array, y: &Array) -> Array {
        let (loss, grads) = random::using(key, || {
            value_and_grad(|m: &Sequential| binary_cross_entropy(&m.forward(x).squeeze(), y))(&*model)
        });
        opt.update(model, &grads);
        loss
    }
    let run = |step: &dyn Fn(&mut State<O>, &Array, &Array) -> Array| -> Vec<f32> {
        let mut state = (model.clone(), optimizer.clone(), random::State::new(3));
        (0..30).map(|_| step(&mut state, &x, &y).item()).collect()
    };
    let compiled = compile(step::<O>);
    let (eager, fused) = (run(&step::<O>), run(&*compiled));
    assert_eq!(eager, fused);
    assert!(fused[29] < 0.7 * fused[0], "{fused:?}");
    assert!(compiled.traces() <= 2);
}

#[test]
fn optimizers_train_alike_eager_and_compiled() {
    trains(Sgd::new(0.1).momentum(0.9).weight_decay(1e-3).nesterov());
    trains(Adam::new(0.02).bias_correction());
    trains(AdamW::new(0.05));
}

#[test]
fn evaluation_mode_is_part_of_the_key() {
    let mut layer = Dropout::new(0.5);
    let apply = compile(|m: &Dropout, x: &Array| m.forward(x));
    let x = array([1.0; 64]);
    assert_ne!(apply(&layer, &x).to_vec::<f32>(), vec![1.0; 64]);
    set_training(&mut layer, false);
    check(&apply(&layer, &x), &[1.0; 64]);
    assert_eq!(apply.traces(), 2);
}

#[test]
fn modules_of_one_name_and_structure_are_told_apart() {
    fn other() -> Box<dyn Module> {
        #[derive(Debug, Clone, Tree)]
        struct Scale {
            by: Array,
        }
        impl Module for Scale {
            fn forward(&self, x: &Array) -> Array {
                x / &self.by
            }
        }
        Box::new(Scale { by: array(2.0) })
    }
    #[derive(Debug, Clone, Tree)]
    struct Scale {
        by: Array,
    }
    impl Module for Scale {
        fn forward(&self, x: &Array) -> Array {
            x * &self.by
        }
    }
    let apply = compile(|m: &Sequential, x: &Array| m.forward(x));
    let one = Sequential::new().then(Scale { by: array(2.0) });
    check(&apply(&one, &array(3.0)), &[6.0]);
    check(&apply(&Sequential { layers: vec![other()] }, &array(3.0)), &[1.5]);
}

#[test]
fn random_numbers_are_fresh_where_their_state_is_captured() {
    random::seed(5);
    let constant = compile(|x: &Array| x + random::uniform([2]));
    let x = array([0.0, 0.0]);
    let first = constant(&x).to_vec::<f32>();
    assert_eq!(constant(&x).to_vec::<f32>(), first, "drawn at the trace");
    let after = random::uniform([2]).to_vec::<f32>();
    random::seed(5);
    assert_eq!(random::uniform([2]).to_vec::<f32>(), first);
    assert_eq!(random::uniform([2]).to_vec::<f32>(), after, "the thread's key moved on once");

    let fresh = compile(|rng: &mut random::State, x: &Array| x + random::using(rng, || random::uniform([2])));
    let mut rng = random::State::new(5);
    assert_eq!(fresh(&mut rng, &x).to_vec::<f32>(), first);
    assert_eq!(fresh(&mut rng, &x).to_vec::<f32>(), after);
    assert_eq!(fresh.traces(), 1);
    assert_eq!(compile(|rng: &mut random::State| rng.uniform([2]))(&mut random::State::new(5)).to_vec::<f32>(), first);

    // A panic within `using` leaves the thread's own key.
    random::seed(5);
    let lost = lazuli::catch(|| Ok(random::using(&mut random::State::new(9), || array([1.0, 2.0]) + array([1.0; 3]))));
    assert!(lost.is_err());
    assert_eq!(random::uniform([2]).to_vec::<f32>(), first);
}

#[test]
fn a_placeholder_that_leaks_is_told_from_a_value_read_too_early() {
    use std::sync::{Arc, Mutex};
    let kept = Arc::new(Mutex::new(None));
    let leak = compile({
        let kept = kept.clone();
        move |x: &Array| {
            *kept.lock().unwrap() = Some(x.clone());
            x + 1.0
        }
    });
    check(&leak(&array(1.0)), &[2.0]);
    let leaked = kept.lock().unwrap().take().unwrap();
    assert_eq!(leaked.try_to_vec::<f32>().unwrap_err().kind(), ErrorKind::LeakedTracer);
    let early = compile(|x: &Array| x * x.item::<f32>());
    assert_eq!(early.try_call(&array(1.0)).unwrap_err().kind(), ErrorKind::TracedRead);
    let mismatch = compile(|x: &Array, y: &Array| x + y);
    assert_eq!(mismatch.try_call(&array([1.0; 2]), &array([1.0; 3])).unwrap_err().kind(), ErrorKind::Value);
}

#[test]
fn fallible_functions_are_transformed_into_fallible_ones() {
    let root = |x: &Array| if x.item::<f32>() < 0.0 { Err(Error::value("root", "negative")) } else { Ok(x.sqrt()) };
    let slope = grad(root);
    check(&slope(&array(4.0)).unwrap(), &[0.25]);
    assert_eq!(slope(&array(-1.0)).unwrap_err().message(), "negative");
    let refused = vmap(|_: &Array| -> Result<Array> { Err(Error::value("f", "refused")) });
    assert!(refused(&array([1.0])).is_err());
    let by = lazuli::grad_all(|x: &Array, y: &Array, n: &Array| x * y * n);
    let (x, y, n) = by(&array(2.0), &array(3.0), &array(1));
    check(&x, &[3.0]);
    check(&y, &[2.0]);
    assert_eq!(n.to_vec::<i32>(), [0]);
    let vector = lazuli::catch(|| Ok(grad(|x: &Array| x * 2.0)(&array([1.0, 2.0])))).unwrap_err();
    assert!(
        vector.message().contains("gradient is that of a scalar") && vector.location().unwrap().contains("page.rs")
    );
    // Zeros would be taken for the gradient.
    let integer = lazuli::catch(|| Ok(grad(|(x, _): &(Array, i32)| x * x)(&(array(3), 1)))).unwrap_err();
    assert!(integer.message().contains("dtype int32") && integer.message().contains("astype"), "{integer}");
    assert_eq!(grad(|_: &i32| array(1.0))(&3), 3, "there is no array at all");
}

#[test]
fn derivatives_of_trees_with_several_arguments() {
    let f = |(x, y): &(Array, Vec<Array>)| (x * &y[0], x.sin());
    let at = (array(2.0), vec![array(3.0)]);
    let ((z, _), (dx, dy)) = lazuli::vjp(f, &at, &(array(1.0), array(0.0)));
    check(&z, &[6.0]);
    check(&dx, &[3.0]);
    check(&dy[0], &[2.0]);
    let ((_, s), (dz, ds)) = lazuli::jvp(f, &at, &(array(1.0), vec![array(0.5)]));
    check(&s, &[2f32.sin()]);
    check(&dz, &[4.0]);
    check(&ds, &[2f32.cos()]);
    assert!(lazuli::try_vjp(f, &at, &(array([1.0]), array(0.0))).is_err());
}
