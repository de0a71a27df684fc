//! Functions with a vectorisation of their own, under every composition of transforms, against the plain function.

use lazuli_core::custom::{Rules, custom_function};
use lazuli_core::{Array, Result, array, catch, compile, grad, vmap, vmap_along};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

static CALLS: AtomicUsize = AtomicUsize::new(0);

fn plain(x: &Array, y: &Array) -> Array {
    x.sin() * y
}

fn derived(x: &Array, y: &Array) -> Array {
    with(x, y, true, None)
}

type Ruled = fn(&[Array], &[Option<usize>]) -> Result<(Vec<Array>, Vec<Option<usize>>)>;

fn with(x: &Array, y: &Array, has_derivative: bool, rule: Option<Ruled>) -> Array {
    let vjp = |p: &[Array], ct: &[Array], out: &[Array]| {
        Ok(vec![&ct[0] * p[0].cos() * &p[1] + &out[0] * 0.0, &ct[0] * p[0].sin()])
    };
    let rules = Rules {
        vjp: if has_derivative { Some(&vjp) } else { None },
        jvp: None,
        vmap: rule.map(|rule| Arc::new(rule) as Arc<_>),
    };
    custom_function("f", &[x.clone(), y.clone()], |a| Ok(vec![plain(&a[0], &a[1])]), rules).unwrap().remove(0)
}

fn rule(inputs: &[Array], axes: &[Option<usize>]) -> Result<(Vec<Array>, Vec<Option<usize>>)> {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let front = |(a, axis): (&Array, &Option<usize>)| match axis {
        Some(axis) => a.moveaxis(*axis as isize, 0),
        None => a.expand_dims([0]),
    };
    let inputs: Vec<Array> = inputs.iter().zip(axes).map(front).collect();
    Ok((vec![plain(&inputs[0], &inputs[1])], vec![Some(0)]))
}

fn ruled(x: &Array, y: &Array) -> Array {
    with(x, y, false, Some(rule))
}

fn both(x: &Array, y: &Array) -> Array {
    with(x, y, true, Some(rule))
}

/// What `transformed` makes of the function agrees with what it makes of the plain one, uncompiled and compiled; `calls`: whether the rule is asked.
#[track_caller]
fn check(
    calls: bool,
    args: (&Array, &Array),
    transformed: impl Fn(fn(&Array, &Array) -> Array, &Array, &Array) -> Array + Send + Sync + Copy + 'static,
) {
    let (x, y) = args;
    let want = transformed(plain, x, y);
    for (f, has_rule) in [(derived as fn(&Array, &Array) -> Array, false), (ruled, true), (both, true)] {
        let before = CALLS.load(Ordering::Relaxed);
        let compiled = compile(move |x: &Array, y: &Array| transformed(f, x, y));
        let shapeless = compile(move |x: &Array, y: &Array| transformed(f, x, y)).shapeless();
        for got in [transformed(f, x, y), compiled(x, y), shapeless(x, y)] {
            assert_eq!(got.shape(), want.shape());
            for (a, b) in got.to_vec::<f32>().iter().zip(want.to_vec::<f32>()) {
                assert!((a - b).abs() < 1e-5, "{got} is not {want}");
            }
        }
        assert!(!calls || !has_rule || CALLS.load(Ordering::Relaxed) > before, "the rule was not asked");
    }
}

#[test]
fn rules_of_vmap_compose() {
    let x = &array([[0.5, 1.0, -1.0], [2.0, 0.0, 3.0]]);
    let y = &array([[1.0, -1.0, 0.5], [2.0, 0.25, -3.0]]);
    let v = &array([0.5, 1.5, -2.0]);
    let sum = |f: fn(&Array, &Array) -> Array| move |x: &Array, y: &Array| f(x, y).sum(());
    check(true, (x, y), |f, x, y| vmap(f)(x, y));
    check(true, (x, v), |f, x, y| vmap_along(f, [Some(0), None])(x, y));
    check(true, (&x.transpose([1, 0]), y), |f, x, y| vmap_along(f, [Some(-1), Some(0)])(x, y));
    check(true, (x, y), |f, x, y| vmap(vmap(f))(x, y));
    check(true, (x, y), |f, x, y| vmap(move |x: &Array, y: &Array| f(&x.exp(), y) + f(y, x).sum(()))(x, y));
    check(false, (x, y), move |f, x, y| vmap(grad(sum(f)))(x, y));
    check(true, (x, y), |f, x, y| grad(move |x: &Array, y: &Array| vmap(f)(x, y).sum(()))(x, y));
    check(true, (v, x), |f, x, y| grad(move |x: &Array, y: &Array| vmap_along(f, [None, Some(0)])(x, y).sum(()))(x, y));
    check(true, (x, y), |f, x, y| vmap(grad(move |x: &Array, y: &Array| vmap(f)(x, y).sum(())))(x, y));
}

#[test]
fn a_rule_that_does_not_fit_is_an_error() {
    let run = |rule: Ruled| {
        let f = move |x: &Array| with(x, x, false, Some(rule));
        catch(|| Ok(vmap(f)(&array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])))).unwrap_err().to_string()
    };
    assert!(run(|_, _| Ok((vec![], vec![]))).contains("gave 0 arrays and 0 axes: it must give 1 of each"));
    assert!(run(|i, _| Ok((vec![i[0].clone()], vec![None]))).contains("the function gives (2,) for a point"));
    assert!(run(|i, _| Ok((vec![i[0].clone()], vec![Some(2)]))).contains("axis 2 for array 0"));
}
