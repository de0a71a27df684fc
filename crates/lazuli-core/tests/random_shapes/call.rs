//! The calls of a program, plain and compiled.

use crate::make::shape_of;
use crate::program::{Call, Lies, Program, Role};
use crate::run::Values;
use lazuli_core::ops::{self, Bound};
use lazuli_core::{Array, Compiled, DType, Error, ErrorKind, Result, compile};
use lazuli_kernel::testing::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// In what the calls of a compiled program differ from those of the plain one; nothing if they do not.
pub fn difference(program: &Program, is_auto: bool, limit: usize) -> Option<String> {
    let run = || calls(&Arc::new(program.clone()), is_auto, limit);
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
            Some(format!("panics: {}", text.unwrap_or_default()))
        }
    }
}

type Stateful = dyn Fn(&mut Vec<Array>, &Vec<Array>) -> Result<Vec<Array>> + Send + Sync;
type Stateless = dyn Fn(&Vec<Array>) -> Result<Vec<Array>> + Send + Sync;

/// A compiled program: one without state is a function of its arguments alone.
enum Function {
    Stateful(Compiled<Stateful>),
    Stateless(Compiled<Stateless>),
}

impl Function {
    fn call(&self, state: &mut Vec<Array>, arguments: &Vec<Array>) -> Result<Vec<Array>> {
        match self {
            Function::Stateful(f) => f.try_call(state, arguments),
            Function::Stateless(f) => f.try_call(arguments),
        }
    }
}

fn calls(program: &Arc<Program>, is_auto: bool, limit: usize) -> Result<(), String> {
    let all = |role: fn(&Role) -> bool| -> Vec<usize> {
        program.inputs.iter().filter(|i| role(&i.role)).map(|i| i.name).collect()
    };
    let names = [all(|r| matches!(r, Role::State(_))), all(|r| *r == Role::Argument), all(|r| *r == Role::Captured)];
    let captured: Vec<Array> = pick(&inputs(program, &program.calls[0], 0, &names[2]), program, &names[2]);
    let body = {
        let (program, names) = (program.clone(), names.clone());
        move |state: &mut Vec<Array>, arguments: &[Array], limit: Option<usize>| -> Result<Vec<Array>> {
            let mut values = Values { limit, ..Values::default() };
            for (names, arrays) in names.iter().zip([&state[..], arguments, &captured]) {
                values.arrays.extend(names.iter().copied().zip(arrays.iter().cloned()));
            }
            values.run(&program.steps)?;
            let outputs = values.get(&program.outputs)?;
            let replaced =
                program.inputs.iter().filter_map(|i| if let Role::State(v) = i.role { Some(v) } else { None });
            *state = values.get(&replaced.collect::<Vec<_>>())?;
            Ok(outputs)
        }
    };
    let compiled = {
        let body = body.clone();
        if names[0].is_empty() {
            let f = compile(move |x: &Vec<Array>| body(&mut Vec::new(), x, None));
            Function::Stateless(if is_auto { f.shapeless_auto() } else { f.shapeless() })
        } else {
            let f = compile(move |state: &mut Vec<Array>, x: &Vec<Array>| body(state, x, None));
            Function::Stateful(if is_auto { f.shapeless_auto() } else { f.shapeless() })
        }
    };
    // What calls gave is looked at once more after all of them, as nobody may write there.
    let mut kept: Vec<(String, Vec<Array>, Vec<Bits>)> = Vec::new();
    let mut late: Vec<(String, Vec<Array>, Vec<Array>)> = Vec::new();
    let mut before: Option<(&Call, [Vec<Array>; 2])> = None;
    let mut first = true;
    for (k, call) in program.calls.iter().enumerate() {
        let made = [(); 2].map(|()| inputs(program, call, k, &names[2]));
        let arguments = made.each_ref().map(|m| pick(m, program, &names[1]));
        let mut states = match before.take() {
            Some((earlier, states)) if call.carries && earlier.extents == call.extents => states,
            _ => made.each_ref().map(|m| pick(m, program, &names[0])),
        };
        drop(made);
        let [plain_state, compiled_state] = &mut states;
        let earlier = plain_state.clone();
        let plain = body(plain_state, &arguments[0], Some(limit));
        if plain.as_ref().is_err_and(|e| e.to_string().contains("too ")) {
            continue;
        }
        let got = compiled.call(compiled_state, &arguments[1]);
        let of = |what: &str| format!("call {k} {:?}, {what}", call.extents);
        match (plain, got) {
            (Ok(want), Ok(got)) => {
                if want.len() != got.len() {
                    return Err(of(&format!("{} outputs for {}", got.len(), want.len())));
                }
                if call.late {
                    late.push((of("outputs"), got, want));
                    late.push((of("state"), compiled_state.clone(), plain_state.clone()));
                } else {
                    kept.push(same(&of("outputs"), got, &want)?);
                    kept.push(same(&of("state"), compiled_state.clone(), plain_state)?);
                }
            }
            (Err(_), Err(e)) if e.kind() != ErrorKind::Internal => *plain_state = earlier,
            (Ok(_), Err(e)) if e.kind() == ErrorKind::ShapeGuard && !is_auto && !first => {
                *plain_state = earlier.clone();
                same(&of("state of a refused call"), compiled_state.clone(), &earlier)?;
            }
            (Ok(_), Err(e)) => return Err(of(&format!("compiled it raises {e}"))),
            (Err(e), got) => return Err(of(&format!("plain it raises {e}, compiled it gives {got:?}"))),
        }
        first = false;
        same(&of("arguments"), arguments[1].clone(), &arguments[0])?;
        before = Some((call, states));
    }
    for (what, got, want) in late {
        kept.push(same(&what, got, &want)?);
    }
    for (what, arrays, bits) in kept {
        let now = arrays.iter().map(bits_of).collect::<Result<Vec<_>>>().map_err(|e| e.to_string())?;
        if now != bits {
            return Err(format!("{what}: written to by a later call"));
        }
    }
    Ok(())
}

/// Shape, dtype and bytes, in which all NaNs are one.
type Bits = (Vec<usize>, DType, Vec<u8>);

fn bits_of(a: &Array) -> Result<Bits> {
    let mut bytes = a.try_to_bytes()?;
    let (size, infinity) = match a.dtype() {
        DType::F16 => (2, 0x7C00),
        DType::BF16 => (2, 0x7F80),
        DType::F32 | DType::C64 => (4, 0x7F80_0000),
        DType::F64 => (8, 0x7FF0_0000_0000_0000),
        _ => return Ok((a.shape().to_vec(), a.dtype(), bytes)),
    };
    for number in bytes.chunks_exact_mut(size) {
        let mut all = [0; 8];
        all[..size].copy_from_slice(number);
        if u64::from_le_bytes(all) & (u64::MAX >> (65 - 8 * size)) > infinity {
            number.fill(0xFF);
        }
    }
    Ok((a.shape().to_vec(), a.dtype(), bytes))
}

/// What was given, if it is what was wanted.
fn same(what: &str, got: Vec<Array>, want: &[Array]) -> Result<(String, Vec<Array>, Vec<Bits>), String> {
    let bits = |arrays: &[Array]| arrays.iter().map(bits_of).collect::<Result<Vec<_>>>();
    let (wanted, given) = match (bits(want), bits(&got)) {
        (Ok(wanted), Ok(given)) => (wanted, given),
        // Some things are refused when they are run.
        (Err(a), Err(b)) if a.kind() == b.kind() => return Ok((what.to_owned(), Vec::new(), Vec::new())),
        (wanted, given) => {
            return Err(format!("{what}: plain it raises {:?}, compiled it raises {:?}", wanted.err(), given.err()));
        }
    };
    for (i, (g, w)) in given.iter().zip(&wanted).enumerate() {
        if (&g.0, g.1) != (&w.0, w.1) {
            return Err(format!("{what}: {i} is {:?}{:?}, not {:?}{:?}", g.1, g.0, w.1, w.0));
        }
        if g.2 != w.2 {
            let size = g.1.itemsize();
            let differs = |k: &usize| g.2[k * size..(k + 1) * size] != w.2[k * size..(k + 1) * size];
            let at: Vec<usize> = (0..g.2.len() / size).filter(differs).collect();
            let show = |a: &Array| ops::take(a, &Array::from_slice(&[at[0] as i64], &[1]), None).map(|a| a.to_string());
            return Err(format!(
                "{what}: {i}, {:?}{:?}, has {:?} at {} and not {:?}; {} differ",
                g.1,
                g.0,
                show(&got[i]),
                at[0],
                show(&want[i]),
                at.len()
            ));
        }
    }
    Ok((what.to_owned(), got, given))
}

/// Arrays of those inputs, by name.
fn pick(all: &[Array], program: &Program, names: &[usize]) -> Vec<Array> {
    program.inputs.iter().zip(all).filter(|(i, _)| names.contains(&i.name)).map(|(_, a)| a.clone()).collect()
}

/// All inputs of a call. Those that are captured are the same at each.
fn inputs(program: &Program, call: &Call, k: usize, captured: &[usize]) -> Vec<Array> {
    let mut all: Vec<Array> = Vec::new();
    for (i, input) in program.inputs.iter().enumerate() {
        let is_captured = captured.contains(&input.name);
        let salt = if is_captured { 1000 + i } else { 10 * k + i };
        let lies = if is_captured { program.calls[0].layouts[i] } else { call.layouts[i] };
        let shape = shape_of(input, call);
        let array = match lies {
            Lies::Same(j) => {
                let fits = |j: &usize| {
                    !is_captured
                        && !captured.contains(&program.inputs[*j].name)
                        && all[*j].shape() == shape
                        && all[*j].dtype() == input.dtype
                };
                Some(j).filter(fits).map(|j| all[j].clone())
            }
            _ => None,
        };
        let array = array.map_or_else(|| lie(lies, values(&shape, input.dtype, salt)), Ok);
        all.push(array.expect("inputs can be made"));
    }
    all
}

/// Numbers of both signs, a few of them zero.
fn values(shape: &[usize], dtype: DType, salt: usize) -> Array {
    let mut rng = Rng(salt as u64 * 77);
    let mut bytes = Vec::new();
    for _ in 0..shape.iter().product() {
        let mut number = || match rng.below(12) {
            0 => rng.pick(&[0.0, -0.0, 1.0, -3.0]),
            _ => rng.real(2.0),
        };
        let (x, y) = (number(), number());
        let scalar = match dtype {
            DType::C64 => lazuli_core::Scalar::c64(x as f32, y as f32),
            DType::Bool => lazuli_core::Scalar::from_i64(dtype, i64::from(x > 0.0)),
            _ if dtype.is_integer() => lazuli_core::Scalar::from_i64(dtype, (3.0 * x.abs()) as i64),
            _ => lazuli_core::Scalar::from_f64(dtype, x),
        };
        bytes.extend_from_slice(&scalar.to_bytes());
    }
    Array::try_from_bytes(&bytes, dtype, shape).expect("as many as fit")
}

/// The array, or one like it, that lies in memory so.
fn lie(lies: Lies, a: Array) -> Result<Array, Error> {
    let shape = a.shape().to_vec();
    let all = |bound: Bound| vec![bound; shape.len()];
    let flip = |a: &Array| ops::slice(a, &all(Bound { start: None, stop: None, step: -1 }));
    let laid = match lies {
        _ if shape.is_empty() && lies != Lies::Pending => return Ok(a),
        Lies::Row | Lies::Same(_) => return Ok(a),
        Lies::Transposed => ops::transpose(&ops::transpose(&a, None)?.contiguous()?, None)?,
        Lies::Flipped => flip(&flip(&a)?.contiguous()?)?,
        Lies::Strided => {
            let larger = (0..shape.len() as isize).try_fold(a, |a, axis| ops::repeat(&a, 2, axis))?;
            ops::slice(&larger.contiguous()?, &all(Bound { start: Some(1), stop: None, step: 2 }))?
        }
        Lies::Within => {
            let larger = ops::pad(&a, &vec![(1, 2); shape.len()], lazuli_core::Scalar::one(a.dtype()))?;
            ops::slice(&larger.contiguous()?, &all(Bound { start: Some(1), stop: Some(-2), step: 1 }))?
        }
        Lies::Stretched if shape[0] > 0 => {
            let one = ops::slice_axis(&a, 0, Bound { start: None, stop: Some(1), step: 1 })?.contiguous()?;
            ops::broadcast_to(&one, &shape)?
        }
        Lies::Stretched => return Ok(a),
        Lies::Pending => return ops::select(true, &a, &a),
    };
    lazuli_core::eval(std::slice::from_ref(&laid))?;
    Ok(laid)
}
