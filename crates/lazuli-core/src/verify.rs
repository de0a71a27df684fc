//! Verification: a compiled call against its unfused graph and against the plain function.
//!
//! A difference between the fused and the unfused run is a fault of the compiler; one between both and the plain run is a function that
//! depends on something besides its arguments and captures. Values are compared bit by bit; all NaNs are equal. Absent: running the
//! plain function, which is the front ends' part.

use crate::array::Array;
use crate::program::{Arrays, Program};
use crate::trace;
use lazuli_compile::Options;
use lazuli_ir::{Atom, DType, Error, ErrorKind, Graph, Location, Result, Scalar};
use std::sync::Arc;

/// More operations than this are not tried one by one for the one at fault.
const TRIED: usize = 400;

/// Where two lists of arrays differ most.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Which array.
    pub array: usize,
    /// Which element, in row-major order.
    pub element: usize,
    /// How far apart the values are, in units in the last place; of integers the difference itself. `u64::MAX` for a NaN and a number.
    pub ulps: u64,
    /// The two values.
    pub values: (f64, f64),
}

/// Where two lists of arrays of the same shapes and dtypes differ most, if they do.
pub fn difference(left: &[Array], right: &[Array]) -> Result<Option<Difference>> {
    let mut most: Option<Difference> = None;
    for (array, (a, b)) in left.iter().zip(right).enumerate() {
        let (x, y) = (a.try_to_bytes()?, b.try_to_bytes()?);
        if x == y {
            continue;
        }
        // A complex number is two floats.
        let dtype = if a.dtype() == DType::C64 { DType::F32 } else { a.dtype() };
        let item = dtype.itemsize();
        for (i, (x, y)) in x.chunks_exact(item).zip(y.chunks_exact(item)).enumerate().filter(|(_, (x, y))| x != y) {
            let (x, y) = (Scalar::from_bytes(dtype, x), Scalar::from_bytes(dtype, y));
            let ulps = distance(x, y);
            if ulps > most.as_ref().map_or(0, |d| d.ulps) {
                let element = if dtype == a.dtype() { i } else { i / 2 };
                most = Some(Difference { array, element, ulps, values: (x.to_f64(), y.to_f64()) });
            }
        }
    }
    Ok(most)
}

/// How many values of the dtype lie between two.
fn distance(a: Scalar, b: Scalar) -> u64 {
    if !a.dtype.is_float() {
        return match a.dtype {
            DType::U64 => a.bits.abs_diff(b.bits),
            _ => a.to_i64().abs_diff(b.to_i64()),
        };
    }
    match (a.to_f64().is_nan(), b.to_f64().is_nan()) {
        (true, true) => return 0,
        (true, false) | (false, true) => return u64::MAX,
        (false, false) => {}
    }
    // Sign and magnitude, as one ordered number.
    let sign = 1u64 << (8 * a.dtype.itemsize() - 1);
    let ordered = |s: Scalar| if s.bits & sign == 0 { i128::from(s.bits) } else { -i128::from(s.bits ^ sign) - 1 };
    let apart = (ordered(a) - ordered(b)).unsigned_abs();
    u64::try_from(apart).unwrap_or(u64::MAX)
}

/// Runs a program fused and unfused, and compares both with what the plain function gave; returns what the fused run gave.
///
/// # Errors
/// Of the kind [`Verification`](ErrorKind::Verification) if they differ: with the largest difference and the operation. `path` names an output.
pub fn verify(
    program: &Arc<Program>,
    arguments: &[Array],
    plain: &[Array],
    path: &dyn Fn(usize) -> String,
) -> Result<Arrays> {
    let fused = program.call(arguments)?;
    crate::eval(&fused)?;
    let unfused = Arc::new(program.with(None, UNFUSED)?);
    // Once is what the function does.
    if let Some(d) = difference(&fused, &trace::silently(|| unfused.call(arguments))?)? {
        let at = culprit(program, arguments)?.unwrap_or_else(|| maker(program.graph(), d.array));
        let text = format!(
            "'{}' gives other numbers fused than unfused, which is a bug in Lazuli: {}; the operation at fault is {at}. Please report it; \
             compile_mode(\"no_fuse\") avoids it",
            program.name(),
            show(&d, &path(d.array), "fused", "unfused"),
        );
        return Err(Error::new(ErrorKind::Verification, "verify", text));
    }
    let alike = |(a, b): (&Array, &Array)| a.dtype() == b.dtype() && a.shape() == b.shape();
    if fused.len() != plain.len() || !fused.iter().zip(plain).all(alike) {
        return Err(impure(program.name(), "it gives arrays of another number, shape or dtype".into()));
    }
    match difference(&fused, plain)? {
        None => Ok(fused),
        Some(d) => {
            let what = show(&d, &path(d.array), "compiled", "as a plain function");
            Err(impure(program.name(), format!("{what}, made by {}", maker(program.graph(), d.array))))
        }
    }
}

const UNFUSED: Options = Options { simplify: false, fuse: false };

/// The error of a function that does another thing when it runs than when it was traced.
pub fn impure(name: &str, difference: String) -> Error {
    let text = format!(
        "'{name}' is impure: {difference}. Fused and unfused agree, so the function depends on something besides its arguments and captures (a \
         global, a counter, a key of random numbers): pass that as an argument or capture it with inputs="
    );
    Error::new(ErrorKind::Verification, "verify", text)
}

fn show(d: &Difference, path: &str, left: &str, right: &str) -> String {
    let (a, b) = d.values;
    let apart = if d.ulps == u64::MAX { "a NaN beside a number".into() } else { format!("{} ULP apart", d.ulps) };
    format!("{path} differs most at element {}: {a} {left}, {b} {right}, {apart}", d.element)
}

/// The operation that makes an output.
fn maker(graph: &Graph, output: usize) -> String {
    let equation = graph.outputs.get(output).and_then(|&out| {
        let Atom::Var(v) = out else { return None };
        graph.equations.iter().find(|e| e.outputs.contains(&v))
    });
    equation.map_or("no operation: it is an input or a constant".into(), |e| named(e.prim.name(), e.meta.location))
}

fn named(name: &str, at: Location) -> String {
    if at == Location::UNKNOWN { format!("'{name}'") } else { format!("'{name}' at {at}") }
}

/// The first operation up to which a fused and an unfused run differ.
fn culprit(program: &Program, arguments: &[Array]) -> Result<Option<String>> {
    for e in program.graph().equations.iter().take(TRIED) {
        let outputs: Vec<Atom> = e.outputs.iter().map(|&v| v.into()).collect();
        let run = |options| trace::silently(|| Arc::new(program.with(Some(outputs.clone()), options)?).call(arguments));
        if difference(&run(program.options())?, &run(UNFUSED)?)?.is_some() {
            return Ok(Some(named(e.prim.name(), e.meta.location)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array;
    use crate::program::fault;
    use lazuli_ir::Unary;

    #[test]
    fn differences_are_counted_in_units_in_the_last_place() {
        let check = |a: &[f32], b: &[f32], expected: Option<(usize, u64)>| {
            let found = difference(&[array(a.to_vec())], &[array(b.to_vec())]).unwrap();
            assert_eq!(found.map(|d| (d.element, d.ulps)), expected, "{a:?} {b:?}");
        };
        let next = |x: f32, n: i32| f32::from_bits((x.to_bits() as i32 + n) as u32);
        check(&[1.0, 2.0], &[1.0, 2.0], None);
        check(&[1.0, 2.0, 3.0], &[next(1.0, 1), next(2.0, -3), 3.0], Some((1, 3)));
        check(&[f32::NAN], &[-f32::NAN], None);
        check(&[f32::NAN, 1.0], &[1.0, 1.0], Some((0, u64::MAX)));
        check(&[0.0], &[-0.0], Some((0, 1)));
        check(&[f32::from_bits(1)], &[-f32::from_bits(1)], Some((0, 3)));
    }

    #[test]
    fn a_program_is_compared_with_the_plain_function() {
        let inputs = [array([1.0, 2.0])];
        let avals = [inputs[0].aval().clone()];
        let program = Program::trace("f", &avals, Options::COMPILE, |x| Ok(vec![(&x[0] + 1.0f32).exp()])).unwrap();
        let program = Arc::new(program);
        let plain = (&inputs[0] + 1.0f32).exp();
        let path = |i: usize| format!("output {i}");
        assert!(verify(&program, &inputs, &[plain], &path).is_ok());
        let error = verify(&program, &inputs, &[(&inputs[0] + 2.0f32).exp()], &path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Verification);
        for part in ["'f' is impure", "output 0 differs most at element", "ULP apart", "'exp'"] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
        assert!(verify(&program, &inputs, &[], &path).is_err());
    }

    #[test]
    fn a_fault_of_the_compiler_is_told_from_an_impure_function() {
        let tangents = |graph: &mut Graph| {
            for e in &mut graph.equations {
                if e.prim == Unary::Sin.into() {
                    e.prim = Unary::Tan.into();
                }
            }
        };
        let inputs = [array([1.0, 2.0])];
        let f = |x: &[Array]| Ok(vec![&x[0] * 2.0f32, x[0].exp().sin() + 1.0f32]);
        let plain = f(&inputs).unwrap();
        fault::FAULT.set(Some(tangents));
        let program = Program::trace("f", &[inputs[0].aval().clone()], Options::COMPILE, f).unwrap();
        let error = verify(&Arc::new(program), &inputs, &plain, &|i| format!("output {i}")).unwrap_err();
        fault::FAULT.set(None);
        assert_eq!(error.kind(), ErrorKind::Verification);
        for part in
            ["a bug in Lazuli", "output 1 differs most at element", "ULP apart", "at fault is 'sin' at", "verify.rs:"]
        {
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }
}
