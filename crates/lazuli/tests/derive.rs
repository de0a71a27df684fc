//! `#[derive(Tree)]`, `#[derive(Module)]`, and what every tree of parameters can do.

use lazuli::nn::optimizers::{Adam, Optimizer};
use lazuli::nn::{Activation, BatchNorm, Dropout, LayerNorm, Linear, Module, Param, Parameters, Sequential};
use lazuli::{Array, DType, ErrorKind, Tree, array, compile, grad, random, value_and_grad};
use std::collections::BTreeMap;

fn paths(tree: &impl Tree) -> Vec<String> {
    tree.parameters().into_iter().map(|p| p.path).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mode {
    Add,
    Multiply,
}

#[derive(Debug, Clone, Tree)]
struct Mixed<T> {
    #[tree(name = "W")]
    weight: Param,
    nested: Option<T>,
    list: Vec<(Array, Linear)>,
    boxed: Box<dyn Module>,
    named: BTreeMap<String, Array>,
    #[tree(constant)]
    mode: Mode,
    #[tree(fixed)]
    mean: Array,
    #[tree(skip)]
    calls: usize,
}

fn mixed() -> Mixed<LayerNorm> {
    Mixed {
        weight: array([2.0]).into(),
        nested: Some(LayerNorm::new(1)),
        list: vec![(array(1.0), Linear::new(1, 1).without_bias())],
        boxed: Box::new(Sequential::new().then(Activation::RELU).then(Linear::new(1, 1))),
        named: BTreeMap::from([("scale".to_owned(), array(3.0))]),
        mode: Mode::Add,
        mean: array([5.0]),
        calls: 0,
    }
}

#[test]
fn what_is_left_out_of_a_state_stays_the_callers() {
    let step = compile(|t: &mut Mixed<LayerNorm>, x: &Array| t.mean = &t.mean + x);
    let switch = compile(|t: &mut Mixed<LayerNorm>| t.mode = Mode::Multiply);
    for calls in [1, 2] {
        let mut tree = Mixed { calls, ..mixed() };
        step(&mut tree, &array([1.0]));
        assert_eq!((tree.calls, tree.mean.to_vec::<f32>()), (calls, vec![6.0]));
        switch(&mut tree);
        assert_eq!((tree.calls, tree.mode, tree.mean.to_vec::<f32>()), (calls, Mode::Multiply, vec![6.0]));
    }
    assert_eq!((step.traces(), switch.traces()), (1, 1));
}

/// However deep it is in a state that grows.
#[test]
fn what_is_left_out_within_containers_stays_the_callers() {
    #[derive(Debug, Clone, Module)]
    struct Named(Linear, #[tree(skip)] &'static str);
    #[derive(Debug, Clone, Tree)]
    enum Either {
        Of { model: Named },
        Nothing,
    }
    type State = (Option<Vec<Named>>, Box<dyn Module>, [Either; 2], BTreeMap<String, Named>, Vec<Array>);
    fn new(name: &'static str) -> State {
        let named = || Named(Linear::new(1, 1), name);
        let either = [Either::Of { model: named() }, Either::Nothing];
        (Some(vec![named(), named()]), Box::new(named()), either, BTreeMap::from([("a".into(), named())]), vec![])
    }
    let grow = compile(|(models, _, either, map, grown): &mut State, x: &Array| {
        grown.push(x + 1.0);
        let first = models.as_mut().unwrap();
        first[0].0.weight = (&*first[0].0.weight + x).into();
        first.push(Named(Linear::new(1, 1), "its own"));
        either[1] = Either::Of { model: Named(Linear::new(1, 1), "its own") };
        map.insert("b".into(), Named(Linear::new(1, 1), "its own"));
    });
    for name in ["first", "second"] {
        random::seed(0);
        let mut state = new(name);
        random::seed(0);
        let before = new(name).0.unwrap()[0].0.weight.to_vec::<f32>();
        grow(&mut state, &array(2.0));
        let shown = format!("{state:?}");
        assert_eq!((shown.matches(name).count(), shown.matches("its own").count()), (5, 3), "{shown}");
        assert_eq!(state.0.unwrap()[0].0.weight.to_vec::<f32>(), [before[0] + 2.0]);
    }
    assert_eq!(grow.traces(), 1);
}

#[test]
fn fields_have_paths_roles_and_names() {
    let tree = mixed();
    let expected = [
        "W",
        "nested.weight",
        "nested.bias",
        "list.0.0",
        "list.0.1.weight",
        "boxed.layers.1.weight",
        "boxed.layers.1.bias",
        "named.scale",
        "mean",
    ];
    assert_eq!(paths(&tree), expected);
    assert_eq!(tree.trainable().len(), expected.len() - 1, "all but the mean");
    let apply = compile(|t: &Mixed<LayerNorm>, x: &Array| match t.mode {
        Mode::Add => x + &t.weight,
        Mode::Multiply => x * &t.weight,
    });
    let mut other = tree.clone();
    other.calls = 7;
    assert_eq!(apply(&tree, &array(1.0)).to_vec::<f32>(), [3.0]);
    assert_eq!(apply(&other, &array(1.0)).to_vec::<f32>(), [3.0]);
    assert_eq!(apply.traces(), 1, "a skipped field is no part of the key");
    other.mode = Mode::Multiply;
    assert_eq!(apply(&other, &array(1.0)).to_vec::<f32>(), [2.0]);
    assert_eq!(apply.traces(), 2, "a constant is");
    let slope = grad(|t: &Mixed<LayerNorm>| (&*t.weight * &t.mean).sum(()))(&tree);
    assert_eq!((slope.weight.to_vec::<f32>(), slope.mean.to_vec::<f32>()), (vec![5.0], vec![0.0]));
}

#[derive(Debug, Clone, Module)]
struct Block<A>(A, Option<Dropout>, #[tree(skip)] &'static str);

#[derive(Debug, Clone, Module)]
enum Layer {
    Dense { first: Linear, then: Activation },
    Stack(Vec<Block<Linear>>),
    Nothing,
}

#[test]
fn derived_modules_apply_their_fields_in_order() {
    let x = array([[1.0, -2.0]]);
    let linear = Linear { weight: array([[1.0, 0.0], [0.0, 1.0]]).into(), bias: Some(array([0.5, 0.5]).into()) };
    let apply = |layer: &Layer| layer.forward(&x).to_vec::<f32>();
    assert_eq!(apply(&Layer::Dense { first: linear.clone(), then: Activation::RELU }), [1.5, 0.0]);
    let block = Block(linear, None, "a note");
    assert_eq!(apply(&Layer::Stack(vec![block.clone(), block])), [2.0, -1.0]);
    assert_eq!(apply(&Layer::Nothing), [1.0, -2.0]);
    let boxed: Box<dyn Module> = Box::new(Layer::Nothing);
    let apply = compile(|(m, x): &(Box<dyn Module>, Array)| m.forward(x));
    assert_eq!(apply(&(boxed, x.clone())).to_vec::<f32>(), [1.0, -2.0]);
}

fn model() -> Sequential {
    Sequential::new().then(Linear::new(2, 3)).then(BatchNorm::new(3)).then(Dropout::new(0.5)).then(Linear::new(3, 1))
}

#[test]
fn frozen_parameters_and_running_statistics_stay() {
    random::seed(2);
    let mut state = (model(), Adam::new(0.1));
    state.0.freeze_where(|path| path.starts_with("layers.0")).unwrap();
    let step = compile(|(model, optimizer): &mut (Sequential, Adam), x: &Array| {
        let (loss, gradient) = value_and_grad(|m: &Sequential| m.forward(x).square().mean(()))(&*model);
        optimizer.update(model, &gradient);
        loss
    });
    let values =
        |model: &Sequential| -> Vec<Vec<f32>> { model.parameters().into_iter().map(|p| p.array.to_vec()).collect() };
    let before = values(&state.0);
    for _ in 0..2 {
        step(&mut state, &array([[1.0, 2.0], [-1.0, 0.5]]));
    }
    let changed: Vec<String> = paths(&state.0)
        .into_iter()
        .zip(before.iter().zip(values(&state.0)))
        .filter_map(|(path, (before, after))| (*before != after).then_some(path))
        .collect();
    assert!(changed.iter().all(|p| !p.starts_with("layers.0") && !p.contains("running")), "{changed:?}");
    assert!(changed.contains(&"layers.3.weight".to_owned()), "{changed:?}");
    state.0.unfreeze();
    step(&mut state, &array([[1.0, 2.0], [-1.0, 0.5]]));
    assert_ne!(values(&state.0)[0], before[0], "unfrozen, it is trained");
}

#[test]
fn what_cannot_be_frozen_is_an_error() {
    let mut tree = (array(1.0), Linear::new(1, 1));
    let kind = |result: lazuli::Result<&mut _>| result.map(|_| ()).unwrap_err().kind();
    assert_eq!(kind(tree.freeze_where(|path| path == "0")), ErrorKind::Type);
    assert_eq!(kind(tree.freeze_where(|path| path == "2")), ErrorKind::Value);
    assert!(tree.freeze_where(|path| path == "1.bias").is_ok());
    assert_eq!(tree.trainable().len(), 2);
}

#[test]
fn weights_go_through_files_whole_or_not_at_all() {
    let file = std::env::temp_dir().join(format!("lazuli-weights-{}.safetensors", std::process::id()));
    let (one, mut two) = (model(), model());
    two.set_dtype(DType::F16);
    one.save_weights(&file).unwrap();
    two.load_weights(&file).unwrap();
    for (a, b) in one.parameters().iter().zip(two.parameters()) {
        assert_eq!(a.path, b.path);
        assert_eq!(a.array.to_vec::<f32>(), b.array.to_vec::<f32>());
    }
    let mut other = Sequential::new().then(Linear::new(2, 3));
    let message = other.load_weights(&file).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("there is no parameter 'layers."), "{message}");
    let mut other = Sequential::new().then(Linear::new(2, 2)).then(Linear::new(2, 2));
    let before = other.parameters()[0].array.to_vec::<f32>();
    let message = other.load_weights(&file).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("'layers.0.weight' has shape [2, 2], got [3, 2]"), "{message}");
    assert_eq!(other.parameters()[0].array.to_vec::<f32>(), before);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(other.load_weights(&file).map(|_| ()).unwrap_err().kind(), ErrorKind::Io);
}
