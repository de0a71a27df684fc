//! Functions in files: what is loaded does what was saved, for other extents too.

use lazuli_core::export::{self, Traced};
use lazuli_core::{Array, ErrorKind, Result, array, cond, grad, ops, random};

type Function = fn(&[Array]) -> Result<Vec<Array>>;

const FUNCTIONS: &[(&str, Function)] = &[
    ("elementwise", |x| Ok(vec![(-&x[0]).exp() + 1.5])),
    ("reductions", |x| Ok(vec![ops::softmax(&x[0], Some(&[-1]), false)?, ops::mean(&x[0], None, false)?])),
    ("a gradient", |x| Ok(vec![grad(|x: &Array| (x.sin() * x).mean(()))(&x[0])])),
    ("operations that decide by extents", |x| Ok(vec![ops::roll(&x[0], 1, 0)?, ops::median(&x[0], Some(&[1]), true)?])),
    ("diagonals", |x| {
        let row = ops::squeeze(&ops::split(&x[0].index(..1), 1, 0)?[0], Some(&[0]))?;
        Ok(vec![ops::diagonal(&x[0], -1, 0, 1)?, ops::diag(&row, 2)?, ops::trace(&x[0], 0, 0, 1, None)?])
    }),
];

fn same(what: &str, got: &[Array], want: &[Array]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (g, w) in got.iter().zip(want) {
        assert_eq!(g.shape(), w.shape(), "{what}");
        assert_eq!(g.to_vec::<f32>(), w.to_vec::<f32>(), "{what}");
    }
}

#[test]
fn what_is_loaded_does_what_was_saved() {
    for (k, &(what, f)) in FUNCTIONS.iter().enumerate() {
        for shapeless in [false, true] {
            let file = std::env::temp_dir().join(format!("lazuli-export-{}-{k}-{shapeless}", std::process::id()));
            let traced = Traced::new("f", &[random::normal([3, 5])], &[], shapeless, f).unwrap();
            export::save(&file, &[traced], "text").unwrap();
            let loaded = export::load(&file).unwrap();
            std::fs::remove_file(&file).unwrap();
            assert_eq!((loaded.metadata.as_str(), loaded.traces().len()), ("text", 1));
            let mark = if shapeless { " for other extents too" } else { "" };
            assert_eq!(format!("{:?}", loaded.traces()), format!("[Traced(f(f32[3,5]){mark})]"));
            for shape in [[3, 5], [4, 2], [2, 7]] {
                let x = [random::normal(shape)];
                match loaded.call(&x, &[]) {
                    Ok(got) => same(what, &got, &f(&x).unwrap()),
                    Err(e) => {
                        assert!(!shapeless && shape != [3, 5], "{what}: {e}");
                        assert!(e.to_string().contains("no trace fits"), "{e}");
                    }
                }
            }
        }
    }
}

/// Branches within branches.
fn choices(depth: usize, x: &Array) -> Array {
    match depth {
        0 => x.sin(),
        _ => cond(&x.sum(()).greater(0.0), move |x: &Array| choices(depth - 1, x), |x: &Array| -x, x),
    }
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let file = std::env::temp_dir().join(format!("lazuli-export-nested-{}", std::process::id()));
    let x = [array([1.0, 2.0])];
    let traced = |depth| Traced::new("f", &x, &[], false, |x| Ok(vec![choices(depth, &x[0])])).unwrap();
    export::save(&file, &[traced(60)], "").unwrap();
    same("60 deep", &export::load(&file).unwrap().call(&x, &[]).unwrap(), &[x[0].sin()]);
    std::fs::remove_file(&file).unwrap();
    let error = export::save(&file, &[traced(257)], "").unwrap_err().to_string();
    assert_eq!(error, "[export_function] 'f' cannot be saved: calls and branches are nested more than 256 deep");
    assert!(!file.exists());
}

#[test]
fn arguments_have_names_of_their_own() {
    let (x, name) = ([array([1.0])], |name: &str| (name.to_owned(), array([2.0])));
    let traced = |named: &[(String, Array)]| Traced::new("f", &x, named, false, |x| Ok(x.to_vec()));
    for (named, message) in [
        (vec![name("w"), name("v"), name("w")], "two arguments are named 'w'"),
        (vec![name("")], "no argument can be named \"\""),
        (vec![name("v"), name("a\nb")], "no argument can be named \"a\\nb\""),
    ] {
        let error = traced(&named).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let file = std::env::temp_dir().join(format!("lazuli-export-names-{}", std::process::id()));
    export::save(&file, &[traced(&[name("w")]).unwrap()], "").unwrap();
    let loaded = export::load(&file).unwrap();
    export::save(&file, &[], "").unwrap();
    let empty = export::load(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    same("f", &loaded.call(&x, &[name("w")]).unwrap(), &[x[0].clone(), array([2.0])]);
    let error = loaded.call(&x, &[name("w"), name("w")]).unwrap_err();
    assert_eq!(error.to_string(), "[import_function] two arguments are named 'w'");
    let error = empty.call(&[], &[]).unwrap_err();
    assert_eq!(error.to_string(), "[import_function] no trace fits (); there are none");
}

#[test]
fn damaged_files_are_errors() {
    let file = std::env::temp_dir().join(format!("lazuli-export-damaged-{}", std::process::id()));
    let (arguments, w) = ([array([1.0, 2.0])], array([3.0, 4.0]));
    let traced = Traced::new("f", &arguments, &[], true, |x| ops::split(&(&x[0] * 2.0 * &w), 2, 0)).unwrap();
    export::save(&file, &[traced], "").unwrap();
    let want = export::load(&file).unwrap().call(&arguments, &[]).unwrap();
    let whole = std::fs::read(&file).unwrap();
    // A bit in a name that nobody reads changes nothing; any other is noticed.
    for at in (0..whole.len() * 8).step_by(3) {
        let mut damaged = whole.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        std::fs::write(&file, damaged).unwrap();
        match export::load(&file) {
            Ok(f) => same(&format!("bit {at}"), &f.call(&arguments, &[]).unwrap(), &want),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Io, "bit {at}: {e}"),
        }
    }
    for n in (0..whole.len()).step_by(7) {
        std::fs::write(&file, &whole[..n]).unwrap();
        assert_eq!(export::load(&file).unwrap_err().kind(), ErrorKind::Io);
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(export::load(&file).unwrap_err().kind(), ErrorKind::Io);
}
