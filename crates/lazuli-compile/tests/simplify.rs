//! What each rewrite rule leaves, and what it must not touch: graphs as text.

use lazuli_compile::{rule_names, simplify};
use lazuli_ir::Graph;
use std::collections::BTreeSet;

fn parse(inputs: &str, body: &str) -> Graph {
    let lines = body.replace("; ", "\n");
    format!("graph v1 ({inputs}) {{\n{lines}\n}}").parse().unwrap_or_else(|e| panic!("{e}\n{lines}"))
}

#[track_caller]
fn check(inputs: &str, body: &str, want: &str) {
    let got = simplify(&parse(inputs, body));
    assert_eq!(got, parse(inputs, want), "{body}\nbecomes\n{got}");
}

/// Rule, inputs, body, what is left.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("fold", "a: f32[2]", "b: f32[] = add 1.0:f32 2.0:f32; c: f32[2] = add a b; return c", "b: f32[2] = add a 3.0:f32; return b"),
    ("negative of negative", "a: f32[2]", "b: f32[2] = negative a; c: f32[2] = negative b; return c", "return a"),
    ("conjugate of conjugate", "a: c64[2]", "b: c64[2] = conjugate a; c: c64[2] = conjugate b; return c", "return a"),
    ("invert of invert", "a: i32[2]", "b: i32[2] = bitwise_invert a; c: i32[2] = bitwise_invert b; return c", "return a"),
    ("not of not", "a: bool[2]", "b: bool[2] = logical_not a; c: bool[2] = logical_not b; return c", "return a"),
    ("not of equal", "a: f32[2]", "b: bool[2] = equal a 1.0:f32; c: bool[2] = logical_not b; return c", "b: bool[2] = not_equal a 1.0:f32; return b"),
    ("not of not_equal", "a: f32[2]", "b: bool[2] = not_equal a 1.0:f32; c: bool[2] = logical_not b; return c", "b: bool[2] = equal a 1.0:f32; return b"),
    ("conjugate of real", "a: f32[2]", "b: f32[2] = conjugate a; return b", "return a"),
    ("real of real", "a: f32[2]", "b: f32[2] = real a; return b", "return a"),
    ("stop_gradient", "a: f32[2]", "b: f32[2] = stop_gradient a; return b", "return a"),
    ("floor of an integer", "a: i32[2]", "b: i32[2] = floor a; return b", "return a"),
    ("ceil of an integer", "a: u8[2]", "b: u8[2] = ceil a; return b", "return a"),
    ("round of an integer", "a: i64[2]", "b: i64[2] = round a; return b", "return a"),
    ("abs of unsigned", "a: u8[2]", "b: u8[2] = abs a; return b", "return a"),
    ("abs of abs", "a: f32[2]", "b: f32[2] = abs a; c: f32[2] = abs b; return c", "b: f32[2] = abs a; return b"),
    ("floor of floor", "a: f32[2]", "b: f32[2] = floor a; c: f32[2] = floor b; return c", "b: f32[2] = floor a; return b"),
    ("ceil of ceil", "a: f32[2]", "b: f32[2] = ceil a; c: f32[2] = ceil b; return c", "b: f32[2] = ceil a; return b"),
    ("round of round", "a: f32[2]", "b: f32[2] = round a; c: f32[2] = round b; return c", "b: f32[2] = round a; return b"),
    ("abs of negative", "a: f32[2]", "b: f32[2] = negative a; c: f32[2] = abs b; return c", "b: f32[2] = abs a; return b"),
    ("square of negative", "a: f32[2]", "b: f32[2] = negative a; c: f32[2] = square b; return c", "b: f32[2] = square a; return b"),
    ("square of abs", "a: f32[2]", "b: f32[2] = abs a; c: f32[2] = square b; return c", "b: f32[2] = square a; return b"),
    ("abs of square", "a: f32[2]", "b: f32[2] = square a; c: f32[2] = abs b; return c", "b: f32[2] = square a; return b"),
    ("times itself", "a: f32[2]", "b: f32[2] = multiply a a; return b", "b: f32[2] = square a; return b"),
    ("plus negative", "a: f32[2], b: f32[2]", "c: f32[2] = negative b; d: f32[2] = add a c; return d", "c: f32[2] = subtract a b; return c"),
    ("plus negative", "a: f32[2], b: f32[2]", "c: f32[2] = negative a; d: f32[2] = add c b; return d", "c: f32[2] = subtract b a; return c"),
    ("minus negative", "a: f32[2], b: f32[2]", "c: f32[2] = negative b; d: f32[2] = subtract a c; return d", "c: f32[2] = add a b; return c"),
    ("product of negatives", "a: f32[2], b: f32[2]", "c: f32[2] = negative a; d: f32[2] = negative b; e: f32[2] = multiply c d; return e", "c: f32[2] = multiply a b; return c"),
    ("quotient of negatives", "a: f32[2], b: f32[2]", "c: f32[2] = negative a; d: f32[2] = negative b; e: f32[2] = divide c d; return e", "c: f32[2] = divide a b; return c"),
    ("times minus one", "a: f32[2]", "b: f32[2] = multiply -1.0:f32 a; return b", "b: f32[2] = negative a; return b"),
    ("over a power of two", "a: f32[2]", "b: f32[2] = divide a 8.0:f32; return b", "b: f32[2] = multiply a 0.125:f32; return b"),
    ("to the power of two", "a: f32[2]", "b: f32[2] = power a 2.0:f32; return b", "b: f32[2] = square a; return b"),
    ("to the power of one", "a: i32[2]", "b: i32[2] = power a 1:i32; c: i32[2] = negative b; return c", "b: i32[2] = negative a; return b"),
    ("times one", "a: f32[2]", "b: f32[2] = multiply a 1.0:f32; c: f32[2] = exp b; return c", "b: f32[2] = exp a; return b"),
    ("over one", "a: f32[2]", "b: f32[2] = divide a 1.0:f32; return b", "return a"),
    ("minus zero", "a: f32[2]", "b: f32[2] = subtract a 0.0:f32; return b", "return a"),
    ("plus zero", "a: f32[2]", "b: f32[2] = add a -0.0:f32; return b", "return a"),
    ("plus zero", "a: i32[2]", "b: i32[2] = add 0:i32 a; return b", "return a"),
    ("maximum with itself", "a: f32[2]", "b: f32[2] = maximum a a; return b", "return a"),
    ("minimum with itself", "a: f32[2]", "b: f32[2] = minimum a a; return b", "return a"),
    ("and with itself", "a: i32[2]", "b: i32[2] = bitwise_and a a; return b", "return a"),
    ("or with itself", "a: i32[2]", "b: i32[2] = bitwise_or a a; return b", "return a"),
    ("maximum with -inf", "a: f32[2]", "b: f32[2] = maximum a -inf:f32; return b", "return a"),
    ("minimum with inf", "a: f32[2]", "b: f32[2] = minimum inf:f32 a; return b", "return a"),
    ("or with zero", "a: i32[2]", "b: i32[2] = bitwise_or a 0:i32; return b", "return a"),
    ("xor with zero", "a: i32[2]", "b: i32[2] = bitwise_xor 0:i32 a; return b", "return a"),
    ("left shift by zero", "a: i32[2]", "b: i32[2] = left_shift a 0:i32; return b", "return a"),
    ("right shift by zero", "a: i32[2]", "b: i32[2] = right_shift a 0:i32; return b", "return a"),
    ("logical and with true", "a: bool[2]", "b: bool[2] = logical_and a true:bool; return b", "return a"),
    ("logical or with false", "a: bool[2]", "b: bool[2] = logical_or false:bool a; return b", "return a"),
    ("logical and with itself", "a: bool[2]", "b: bool[2] = logical_and a a; return b", "return a"),
    ("logical or with itself", "a: bool[2]", "b: bool[2] = logical_or a a; return b", "return a"),
    ("where of not", "a: bool[2], b: f32[2]", "c: bool[2] = logical_not a; d: f32[2] = where c b 1.0:f32; return d", "c: f32[2] = where a 1.0:f32 b; return c"),
    ("where true or false", "a: bool[2]", "b: bool[2] = where a true:bool false:bool; return b", "return a"),
    ("where with known condition", "a: f32[2]", "b: f32[2] = where true:bool a 1.0:f32; return b", "return a"),
    ("where with known condition", "a: f32[2]", "b: f32[2] = where false:bool a a; return b", "return a"),
    ("astype of the same dtype", "a: f32[2]", "b: f32[2] = astype[dtype=f32] a; return b", "return a"),
    ("astype of astype", "a: f16[2]", "b: f32[2] = astype[dtype=f32] a; c: f16[2] = astype[dtype=f16] b; return c", "return a"),
    ("transpose by nothing", "a: f32[2,3]", "b: f32[2,3] = transpose[axes=(0,1)] a; return b", "return a"),
    ("transpose of transpose", "a: f32[2,3]", "b: f32[3,2] = transpose[axes=(1,0)] a; c: f32[2,3] = transpose[axes=(1,0)] b; return c", "return a"),
    ("reshape of reshape", "a: f32[2,3]", "b: f32[6] = reshape[shape=(6),infer=none] a; c: f32[3,2] = reshape[shape=(3,2),infer=none] b; return c", "b: f32[3,2] = reshape[shape=(3,2),infer=none] a; return b"),
    ("broadcast of broadcast", "a: f32[3]", "b: f32[2,3] = broadcast_to[shape=(2,3)] a; c: f32[4,2,3] = broadcast_to[shape=(4,2,3)] b; return c", "b: f32[4,2,3] = broadcast_to[shape=(4,2,3)] a; return b"),
    ("broadcast of a literal to no axes", "a: f32[3]", "b: f32[] = broadcast_to[shape=()] 2.0:f32; c: f32[3] = add a b; return c", "b: f32[3] = add a 2.0:f32; return b"),
    ("squeeze of expand_dims", "a: f32[3]", "b: f32[1,3] = expand_dims[axes=(0)] a; c: f32[3] = squeeze[axes=(0)] b; return c", "return a"),
    ("expand_dims of squeeze", "a: f32[1,3]", "b: f32[3] = squeeze[axes=(0)] a; c: f32[1,3] = expand_dims[axes=(0)] b; return c", "return a"),
    ("slice of everything", "a: f32[3]", "b: f32[3] = slice[bounds=(:)] a; return b", "return a"),
    ("slice of slice", "a: f32[20]", "b: f32[9] = slice[bounds=(1:19:2)] a; c: f32[3] = slice[bounds=(2:7:2)] b; return c", "b: f32[3] = slice[bounds=(5:15:4)] a; return b"),
    ("slice of slice", "a: f32[5]", "b: f32[5] = slice[bounds=(::-1)] a; c: f32[5] = slice[bounds=(::-1)] b; return c", "return a"),
    ("concatenate of one", "a: f32[3]", "b: f32[3] = concatenate[axis=0] a; return b", "return a"),
];

#[test]
fn every_rule_applies() {
    for (_, inputs, body, want) in ROWS {
        check(inputs, body, want);
    }
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.0).collect();
    assert_eq!(rows, rule_names().collect(), "the rules and their rows");
    assert_eq!(rule_names().count(), rows.len(), "two rules have one name");
}

/// What would be wrong for some NaN, 0, infinity, integer that wraps, or shape.
#[test]
fn what_is_not_exact_stays() {
    let same = |inputs: &str, body: &str| check(inputs, body, body);
    same("a: f32[2]", "b: f32[2] = add a 0.0:f32; return b");
    same("a: f32[2]", "b: f32[2] = multiply a 0.0:f32; return b");
    same("a: f32[2]", "b: f32[2] = subtract a a; return b");
    same("a: f32[2]", "b: f32[2] = divide a a; return b");
    same("a: f32[2]", "b: f32[2] = divide a 3.0:f32; return b");
    same("a: c64[2]", "b: c64[2] = multiply a (1,0):c64; return b");
    same("a: f32[2], b: f32[2]", "c: f32[2] = subtract a b; d: f32[2] = negative c; return d");
    same("a: i32[2]", "b: i32[2] = square a; c: i32[2] = abs b; return c");
    same("a: f32[2]", "b: bool[2] = less a 1.0:f32; c: bool[2] = logical_not b; return c");
    same("a: f32[2]", "b: bool[2] = logical_not a; c: bool[2] = logical_not b; return c");
    same("a: f32[2]", "b: f16[2] = astype[dtype=f16] a; c: f32[2] = astype[dtype=f32] b; return c");
    same("a: f32[2]", "b: bool[2] = logical_or a 0.0:f32; return b");
    // The shape of what is not taken counts.
    same("a: f32[2], b: f32[3,2]", "c: f32[3,2] = where true:bool a b; return c");
    same("a: bool[3,2], b: f32[2]", "c: f32[3,2] = where a b b; return c");
    // Ends that count from the back depend on the extent.
    same("a: f32[5]", "b: f32[3] = slice[bounds=(-3:)] a; c: f32[2] = slice[bounds=(1:)] b; return c");
}

#[test]
fn equal_equations_are_one_and_dead_ones_none() {
    check(
        "a: f32[2]",
        "b: f32[2] = sin a; c: f32[2] = sin a; d: f32[2] = add b c; return d",
        "b: f32[2] = sin a; c: f32[2] = add b b; return c",
    );
    check(
        "a: f32[2], b: f32[2]",
        "c: f32[2] = add a b; d: f32[2] = add b a; e: f32[2] = divide c d; return e",
        "c: f32[2] = add a b; d: f32[2] = divide c c; return d",
    );
    check("a: f32[2]", "b: f32[2] = exp a; return a", "return a");
    // A reduction that keeps its axes and one that does not are one; the other is a view.
    check(
        "a: f32[2,3]",
        "b: f32[2] = sum[axes=(1),keepdims=false] a; c: f32[2,1] = sum[axes=(1),keepdims=true] a; d: f32[2,3] = divide a c; return b d",
        "b: f32[2] = sum[axes=(1),keepdims=false] a; c: f32[2,1] = expand_dims[axes=(1)] b; d: f32[2,3] = divide a c; return b d",
    );
    check(
        "a: f32[2,3]",
        "b: f32[2,1] = max[axes=(1),keepdims=true] a; c: f32[2] = max[axes=(1),keepdims=false] a; return b c",
        "b: f32[2,1] = max[axes=(1),keepdims=true] a; c: f32[2] = squeeze[axes=(1)] b; return b c",
    );
    // What happens in order happens as often as it is written.
    let ordered = "b: f32[2] = exp a {ordered}; c: f32[2] = exp a {ordered}; return a";
    check("a: f32[2]", ordered, ordered);
}
