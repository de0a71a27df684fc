//! Random shapeless programs: for all shapes that they are called with they give what plain functions give, bit for bit, or refuse.
//!
//! A program is a list of steps that is run over arrays, plain and compiled ([`run`]), for extents that are equal, 0 or 1 in one call and not in another, and for
//! inputs that lie in other ways. A program that fails is printed, with as few steps and calls as still fail, as text that goes into [`FOUND`].
//! `LAZULI_RANDOM_CASES` asks for more programs, `LAZULI_RANDOM_FIRST` for later ones.

mod call;
mod make;
mod program;
mod run;
mod shrink;

use call::difference;
use program::Program;

/// Programs that have failed.
const FOUND: &[&str] = &[
    // Elements of an axis that has none, which is a part of one that has.
    "0: f32[k,1,m]
     3: u8[n,n]
     17 = reshape[-1] 0
     22 = reshape[#17.0,-1] 17
     24 = slice[-2,-1,1,3] 22
     51 = take_along_axis[0] 24 3
     return 51
     call 0,0,0 row,row
     call 1,3,62 strided,row",
    // Cotangents of another dtype than the output.
    "0: f32[n,m]
     18 = vjp[2] 0 0 { 12 13
       14 = argmin[1,0] 12
     } 14
     return 18
     call 1,2,0 row",
    // A batch of a constant, with a step that nobody uses.
    "0: f32[]
     1: f32[3,3] captured
     16 = vmap[0,0,0] 1 { 3
       10 = grad[0] 3 0 { 4 5
         6 = multiply 4 5
       } 6
     } 3
     return 16 0
     call 0,0,0 row,row",
    // Second derivatives of a constant.
    "0: f32[51] captured
     1: f32[n]
     28 = grad[0] 0 { 20
       27 = grad[1] 20 { 22
         21 = sum[0] 22
         24 = add 22 20
         25 = mean[0] 24
       } 21 25
     } 27
     return 28
     call 3,0,0 row,row",
    // A reshape that changes no shape, in the graph of a derivative that is bound to other shapes.
    "2: f32[m]
     13 = grad[1] 2 2 { 7 8
       9 = reshape[#7.0] 7
     } 7 9 9 7
     return 13
     call 0,2,0 row
     call 0,3,0 row",
    // An exponent that is an extent.
    "0: f32[n,m]
     16 = grad[2] 0 0 0 { 11 12 13
       14 = power[#11.0] 13
     } 14
     return 16
     call 2,2,0 row
     call 2,3,0 row
     call 3,3,0 row",
    // Second derivatives through a reshape that changes nothing of a square.
    "3: f32[n,n]
     9 = grad[2] 3 { 6
       7 = reshape[#6.1,#6.0] 6
       8 = matmul 7 7
     } 8 6
     return 9
     call 4,0,0 row
     call 7,0,0 row",
    // Second derivatives of a call whose result is used twice.
    "0: f32[3,m]
     20 = grad[0] 0 { 6
       19 = grad[0] 6 { 13
         14 = rms_norm 13
         18 = exp2 14
       } 18 14
     } 19
     return 20
     call 0,2,0 row
     call 0,1,0 row
     call 0,5,0 row",
    // A choice within a choice, in whose memory sizes of other orders lie otherwise.
    "0: f32[]
     1: f32[m,k]
     2: bool[]
     3: f32[k]
     21 = cond[1] 3 3 3 { 9 10
       11 = prod[1,-1] 10
       18 = cond[0] 11 10 { 12
       } 12
       20 = argmax[0,0] 18
     } 20
     return 21
     call 0,3,2 row,row,row,row
     call 0,33,312 row,within,row,row
     call 3,39,312 row,row,row,row",
    // A map of arrays of two shapes, whose loops can be split for both where one extent is a multiple of the other.
    "0: f32[2,k]
     4 = cos 0
     17 = reshape[-1,#4.0] 4
     20 = cos 17
     21 = add 20 17
     return 21 4
     call 0,0,18 row
     call 0,0,19 row
     call 0,0,20 row",
    // Second derivatives of a mean, which counts the elements of what is computed otherwise.
    "0: f32[n,m]
     2: f32[3,3] captured
     15 = grad[3] 0 2 { 4 5
       6 = sqrt 5
       13 = grad[3] 6 5 { 8 9
         10 = mean[0] 8
         11 = matmul 9 8
       } 11 10
       14 = matmul 13 6
     } 14
     return 15
     call 0,0,0 row,row
     call 2,0,0 row,row",
    // A view that needs a copy or none, as its input lies.
    "0: f32[k,k,3]
     12 = reshape[-1,#0.2] 0
     13 = slice[0,5,5,-2] 12
     14 = deviation[0,0] 13
     return 14
     call 2,2,2 row
     call 2,2,2 stretched",
    // A branch that would be fused in another way for other extents of the pattern.
    "0: f32[n,m,1]
     1: f32[1,k]
     2: f32[k,k]
     3: f32[k]
     5 = full[#3.0,#3.0]
     14 = cond[1] 0 5 { 8
       9 = median[0,1] 8
       10 = subtract 8 9
     } 10
     return 14
     call 7,7,3 row,row,row,row
     call 7,7,2 row,row,row,row",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

/// Every `parts`-th program, beginning with `part`.
fn check(part: u64, parts: u64) {
    let (first, count) = (number("LAZULI_RANDOM_FIRST").unwrap_or(0), number("LAZULI_RANDOM_CASES").unwrap_or(240));
    let mut failed = Vec::new();
    for seed in (first..first + count).filter(|seed| seed % parts == part) {
        let program = make::program(seed);
        let (is_auto, limit) = (seed / parts % 2 == 1, make::limit(seed));
        if let Some(what) = difference(&program, is_auto, limit) {
            let (program, what) = shrink::shrunk(program, what, |p| difference(p, is_auto, limit));
            eprintln!("program {seed}{}: {what}\n{program}", if is_auto { ", auto" } else { "" });
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "programs {failed:?} fail");
}

#[test]
fn random_programs_1() {
    check(0, 2);
}

#[test]
fn random_programs_2() {
    check(1, 2);
}

#[test]
fn found_programs() {
    for text in FOUND {
        let program = Program::parse(text).unwrap_or_else(|| panic!("no program: {text}"));
        for is_auto in [false, true] {
            if let Some(what) = difference(&program, is_auto, make::limit(15)) {
                panic!("{what}\n{program}");
            }
        }
    }
}

#[test]
fn programs_are_text() {
    for seed in 0..200 {
        let program = make::program(seed);
        assert_eq!(Program::parse(&program.to_string()).as_ref(), Some(&program), "{program}");
    }
}
