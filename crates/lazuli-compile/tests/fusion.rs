//! Which operations share a kernel, and what simplification leaves: graphs as text.

use lazuli_compile::{Options, compile};
use lazuli_ir::{Atom, Aval, Binary, Builder, DType, Graph, Unary};
use lazuli_kernel::{Layout, Step};

fn parse(inputs: &str, body: &str) -> Graph {
    format!("graph v1 ({inputs}) {{\n{body}\n}}").parse().unwrap_or_else(|e| panic!("{e}\n{body}"))
}

/// The ops of each kernel, in the order in which they run.
#[track_caller]
fn check(inputs: &str, body: &str, want: &[&str]) {
    let graph = parse(inputs, body);
    let layouts: Vec<Layout> = graph.input_avals().into_iter().map(|a| Layout::row(a.shape)).collect();
    let compiled = compile(&graph, &layouts, &Options::COMPILE).unwrap();
    let got: Vec<String> = compiled.report.kernels(&graph).iter().map(|k| k.ops.join(" ")).collect();
    assert_eq!(got, want, "{}", compiled.plan);
}

#[test]
fn chains_of_elementwise_ops_are_one_kernel() {
    check(
        "a: f32[8]",
        "b: f32[8] = negative a\nc: f32[8] = exp b\nd: f32[8] = add c 1.0:f32\nreturn d",
        &["negative exp add"],
    );
    // Both results of one loop, and siblings that read the same array.
    check("a: f32[8]", "b: f32[8] = exp a\nc: f32[8] = negative b\nreturn b c", &["exp negative"]);
    check("a: f32[8]", "b: f32[8] = sin a\nc: f32[8] = cos a\nreturn b c", &["sin cos"]);
}

#[test]
fn views_are_index_maps() {
    let body = "b: f32[2,4] = exp a\nc: f32[4,2] = transpose[axes=(1,0)] b\nd: f32[4,2] = negative c\nreturn d";
    check("a: f32[2,4]", body, &["exp transpose negative"]);
    let body = "b: f32[2,4] = exp a\nc: f32[8] = reshape[shape=(8),infer=none] b\nd: f32[8] = negative c\nreturn d";
    check("a: f32[2,4]", body, &["exp reshape negative"]);
}

#[test]
fn reductions_take_their_operands_and_what_follows() {
    let body = "b: f32[4,8] = square a\nc: f32[4] = sum[axes=(1),keepdims=false] b\nd: f32[4] = sqrt c\nreturn d";
    check("a: f32[4,8]", body, &["square sum sqrt"]);
}

/// What is normalised along rows of 8.
const SOFTMAX: &str = "m: f32[4,1] = max[axes=(1),keepdims=true] a\ns: f32[4,8] = subtract a m\ne: f32[4,8] = exp s\n\
                       t: f32[4,1] = sum[axes=(1),keepdims=true] e\n";

#[test]
fn reductions_whose_results_are_used_in_the_same_row_are_one_kernel() {
    let softmax = format!("{SOFTMAX}y: f32[4,8] = divide e t\nreturn y");
    check("a: f32[4,8]", &softmax, &["max subtract exp sum divide"]);
    let log_softmax = format!("{SOFTMAX}l: f32[4,1] = log t\ny: f32[4,8] = subtract s l\nreturn y");
    check("a: f32[4,8]", &log_softmax, &["max subtract exp sum log subtract"]);
    let logsumexp =
        format!("{SOFTMAX}l: f32[4,1] = log t\nr: f32[4,1] = add l m\ny: f32[4] = squeeze[axes=(1)] r\nreturn y");
    check("a: f32[4,8]", &logsumexp, &["max subtract exp sum log add"]);
    // The cross entropy of class indices, and softmax minus the target: a row's result and all its points.
    let cross_entropy = format!(
        "{SOFTMAX}l: f32[4,1] = log t\nr: f32[4,1] = add l m\ni: i32[4,1] = expand_dims[axes=(1)] b\n\
         g: f32[4,1] = take_along_axis[axis=1] a i\nd: f32[4,1] = subtract r g\ny: f32[4,8] = divide e t\nreturn d y"
    );
    check("a: f32[4,8], b: i32[4]", &cross_entropy, &["max subtract exp sum log add take_along_axis subtract divide"]);
    let layer_norm = "m: f32[4] = sum[axes=(1),keepdims=false] a\nn: f32[4] = multiply m 0.125:f32\no: f32[4,1] = expand_dims[axes=(1)] n\n\
                      c: f32[4,8] = subtract a o\nq: f32[4,8] = square c\nv: f32[4,1] = sum[axes=(1),keepdims=true] q\n\
                      s: f32[4,1] = rsqrt v\nx: f32[4,8] = multiply c s\ny: f32[4,8] = multiply x w\nz: f32[4,8] = add y b\n";
    let ops = "sum multiply expand_dims subtract square sum rsqrt multiply multiply add";
    check("a: f32[4,8], w: f32[8], b: f32[8]", &format!("{layer_norm}return z"), &[ops]);
    // What the gradient needs is stored beside.
    check("a: f32[4,8], w: f32[8], b: f32[8]", &format!("{layer_norm}return z n s"), &[ops]);
    let variance = "m: f32[4,1] = sum[axes=(1),keepdims=true] a\nc: f32[4,8] = subtract a m\nq: f32[4,8] = square c\n\
                    v: f32[4] = sum[axes=(1),keepdims=false] q\ns: f32[4] = sqrt v\nreturn v s";
    check("a: f32[4,8]", variance, &["sum subtract square sum sqrt"]);
}

#[test]
fn rows_take_the_maps_around_them() {
    // Scores scaled and masked, in half precision.
    let body = "x: f32[2,4,8] = astype[dtype=f32] a\nc: f32[2,4,8] = multiply x 0.125:f32\nk: f32[2,4,8] = where b c -inf:f32\n\
                m: f32[2,4,1] = max[axes=(2),keepdims=true] k\ns: f32[2,4,8] = subtract k m\ne: f32[2,4,8] = exp s\n\
                t: f32[2,4,1] = sum[axes=(2),keepdims=true] e\ny: f32[2,4,8] = divide e t\nz: f16[2,4,8] = astype[dtype=f16] y\nreturn z";
    check("a: f16[2,4,8], b: bool[4,8]", body, &["astype multiply where max subtract exp sum divide astype"]);
    // The backward pass of a softmax.
    let body = "p: f32[4,8] = multiply a b\ns: f32[4,1] = sum[axes=(1),keepdims=true] p\nd: f32[4,8] = subtract a s\n\
                y: f32[4,8] = multiply d b\nreturn y";
    check("a: f32[4,8], b: f32[4,8]", body, &["multiply sum subtract multiply"]);
    // A sum that is stored for what comes later, and goes on.
    let body = "h: f32[4,8] = add a b\nm: f32[4,1] = sum[axes=(1),keepdims=true] h\nc: f32[4,8] = subtract h m\n\
                d: f32[8,3] = transpose[axes=(1,0)] w\ny: f32[4,3] = matmul c d\nz: f32[4,3] = exp y\nreturn h z";
    check("a: f32[4,8], b: f32[4,8], w: f32[3,8]", body, &["add sum subtract", "matmul exp"]);
    // Columns: whether the row is the last axis makes no difference.
    let body = "m: f32[1,4] = max[axes=(0),keepdims=true] a\ns: f32[8,4] = subtract a m\nreturn s";
    check("a: f32[8,4]", body, &["max subtract"]);
}

#[test]
fn rows_come_before_what_else_needs_their_results() {
    // The mean of losses, and its gradient.
    let body = format!(
        "{SOFTMAX}l: f32[4,1] = log t\nr: f32[4,1] = add l m\ng: f32[4,1] = take_along_axis[axis=1] a b\n\
         d: f32[4,1] = subtract r g\nz: f32[] = sum[axes=(0,1),keepdims=false] d\ny: f32[4,8] = divide e t\nreturn z y"
    );
    let want = ["max subtract exp sum divide", "log add take_along_axis subtract sum"];
    check("a: f32[4,8], b: i32[4,1]", &body, &want);
    // So do the kernels that they read from.
    let body = "w: f32[4,8] = matmul b c\nm: f32[4,1] = max[axes=(1),keepdims=true] a\ny: f32[4,8] = subtract a m\n\
                x: f32[4,8] = add y w\nz: f32[] = sum[axes=(0,1),keepdims=false] m\nreturn z x";
    check("a: f32[4,8], b: f32[4,2], c: f32[2,8]", body, &["matmul", "max subtract add", "sum"]);
}

#[test]
fn rows_stay_in_the_cache_and_divide_over_threads() {
    let centred = |rows: usize, n: usize| {
        let (shape, row) = (format!("f32[{rows},{n}]"), format!("f32[{rows},1]"));
        let body = format!("m: {row} = max[axes=(1),keepdims=true] a\ns: {shape} = subtract a m\nreturn s");
        (format!("a: {shape}"), body)
    };
    for (rows, n, kernels) in [
        (4096, 4096, &["max subtract"][..]),
        (1, 1000, &["max subtract"]),
        (2, 60_000, &["max", "subtract"]),
        (64, 60_000, &["max subtract"]),
        (4096, 1 << 20, &["max", "subtract"]),
        (100_000, 1, &["max subtract"]),
    ] {
        let (inputs, body) = centred(rows, n);
        check(&inputs, &body, kernels);
    }
    // Nor do reductions of long rows wait for one another in one kernel, however many steps lie between them.
    let body = "s: f32[1,1] = sum[axes=(1),keepdims=true] a\nm: f32[1,1] = multiply s 0.5:f32\nc: f32[1,1000000] = subtract a m\n\
                q: f32[1,1000000] = square c\nv: f32[1,1] = sum[axes=(1),keepdims=true] q\nreturn v";
    check("a: f32[1,1000000]", body, &["sum", "multiply subtract square sum"]);
    let columns = |n: usize, columns: usize| {
        let (shape, row) = (format!("f32[{n},{columns}]"), format!("f32[1,{columns}]"));
        let body = format!("m: {row} = max[axes=(0),keepdims=true] a\ns: {shape} = subtract a m\nreturn s");
        (format!("a: {shape}"), body)
    };
    for (n, across, kernels) in
        [(200, 4096, &["max subtract"][..]), (4096, 4096, &["max", "subtract"]), (1000, 100, &["max", "subtract"])]
    {
        let (inputs, body) = columns(n, across);
        check(&inputs, &body, kernels);
    }
}

#[test]
fn what_another_row_needs_is_no_part_of_the_kernel() {
    // The result is needed at other points: behind a transpose, or by all rows.
    let body = "m: f32[4] = max[axes=(1),keepdims=false] a\nc: f32[4,4] = subtract a m\nreturn c";
    check("a: f32[4,4]", body, &["max", "subtract"]);
    let body = "m: f32[4,1] = max[axes=(1),keepdims=true] a\nn: f32[1,4] = transpose[axes=(1,0)] m\nc: f32[4,4] = subtract a n\nreturn c";
    check("a: f32[4,4]", body, &["max", "transpose subtract"]);
    // One that is needed at both.
    let body = "m: f32[4,1] = max[axes=(1),keepdims=true] a\nc: f32[4,4] = subtract a m\n\
                n: f32[4] = squeeze[axes=(1)] m\nd: f32[4,4] = subtract c n\nreturn d";
    check("a: f32[4,4]", body, &["max", "subtract squeeze subtract"]);
    // Two axes, one after the other.
    let body = "m: f32[4,1] = max[axes=(1),keepdims=true] a\nc: f32[4,6] = subtract a m\nn: f32[1,6] = max[axes=(0),keepdims=true] c\n\
                d: f32[4,6] = subtract c n\nreturn d";
    check("a: f32[4,6]", body, &["max", "subtract max subtract"]);
}

#[test]
fn products_take_the_maps_that_follow() {
    let inputs = "a: f32[4,6], w: f32[6,8], b: f32[8], r: f32[4,8]";
    let bias = "p: f32[4,8] = matmul a w\ny: f32[4,8] = add p b\n";
    let relu = format!("{bias}z: f32[4,8] = maximum y 0.0:f32\n");
    check(inputs, &format!("{relu}return z"), &["matmul add maximum"]);
    // What is computed on the way is stored as well where it is needed later, the product itself included.
    check(inputs, &format!("{relu}return z y p"), &["matmul add maximum"]);
    let half = "h: f16[4,8] = astype[dtype=f16] z\nx: f32[4,8] = add z r\nreturn h x";
    check(inputs, &format!("{relu}{half}"), &["matmul add maximum astype add"]);
    // Two maps of one product, and one of two products.
    check(inputs, &format!("{bias}z: f32[4,8] = exp p\nreturn y z"), &["matmul add exp"]);
    let both = "p: f32[4,8] = matmul a w\nq: f32[4,8] = matmul a w\ny: f32[4,8] = add p q\nreturn y";
    let two = both.replace("matmul a w\ny", "matmul r v\ny");
    check("a: f32[4,6], w: f32[6,8], r: f32[4,3], v: f32[3,8]", &two, &["matmul", "matmul add"]);
    // The gradient of a weight, a product that is needed as its transpose, and the weight's update.
    let update = "x: f32[8,4] = transpose[axes=(1,0)] r\np: f32[8,6] = matmul x a\nt: f32[6,8] = transpose[axes=(1,0)] p\n\
                  s: f32[6,8] = multiply t 0.1:f32\nv: f32[6,8] = subtract w s\nreturn v";
    check(inputs, update, &["matmul transpose multiply subtract"]);
    // Behind a change of shape that keeps the rows; not behind one of columns, nor where whole rows are needed.
    let body = "p: f32[4,8] = matmul a w\nq: f32[2,2,8] = reshape[shape=(2,2,8),infer=none] p\ny: f32[2,2,8] = exp q\nreturn y";
    check(inputs, body, &["matmul", "reshape exp"]);
    let body = "p: f32[4,8] = matmul a w\nq: f32[8,4] = transpose[axes=(1,0)] p\ny: f32[8,4] = exp q\nz: f32[4,8] = exp p\nreturn y z";
    check(inputs, body, &["matmul exp", "transpose exp"]);
    let body =
        "p: f32[4,8] = matmul a w\nm: f32[4,1] = max[axes=(1),keepdims=true] p\ny: f32[4,8] = subtract p m\nreturn y";
    check(inputs, body, &["matmul", "max subtract"]);
    let body = "p: f32[4,8] = matmul a w\ny: f32[8] = sum[axes=(0),keepdims=false] p\nreturn y";
    check(inputs, body, &["matmul", "sum"]);
}

#[test]
fn products_of_a_computed_matrix_and_a_vector_are_sums() {
    let wide = "f: f32[8,6] = astype[dtype=f32] w\nm: f32[8,6] = multiply f s\n";
    let inputs = "w: i8[8,6], s: f32[6], x: f32[1,8], y: f32[6,1], z: f32[3,8]";
    let row = format!("{wide}p: f32[1,6] = matmul x m\nr: f32[1,6] = tanh p\nreturn r");
    check(inputs, &row, &["astype multiply transpose multiply sum expand_dims tanh"]);
    let column = format!("{wide}p: f32[8,1] = matmul m y\nr: f32[8,1] = tanh p\nreturn r");
    check(inputs, &column, &["astype multiply multiply sum tanh"]);
    // One pass over what is summed in turn.
    let both = "a: f32[8,6] = exp w\nb: f32[8,1] = matmul a y\nc: f32[1,6] = transpose[axes=(1,0)] y\n\
                d: f32[1,8] = matmul c v\nreturn b d";
    check("w: f32[8,6], v: f32[6,8], y: f32[6,1]", both, &["exp multiply sum", "matmul"]);
    // With more than a vector, a matrix that lies in memory or is read for several vectors, or a vector that ends in a division, it is a library call.
    let shared = format!("{wide}p: f32[2,1,6] = matmul v m\nreturn p");
    check(&format!("{inputs}, v: f32[2,1,8]"), &shared, &["astype multiply", "matmul"]);
    let divided = format!("{wide}v: f32[1,8] = divide x d\np: f32[1,6] = matmul v m\nreturn p");
    check(&format!("{inputs}, d: f32[1,1]"), &divided, &["astype multiply", "divide", "matmul"]);
    let matrix = format!("{wide}p: f32[3,6] = matmul z m\nreturn p");
    check(inputs, &matrix, &["astype multiply", "matmul"]);
}

#[test]
fn updates_of_a_part_pass_on_to_their_users() {
    let update = "b: f32[4,8] = exp a\nc: f32[4,3] = slice[bounds=(:,1:4)] a\nd: f32[4,3] = add c 1.0:f32\n\
                  e: f32[4,8] = slice_update[bounds=(:,1:4),op=assign] b d\n";
    check("a: f32[4,8]", &format!("{update}f: f32[4,8] = negative e\nreturn f"), &["exp add slice_update negative"]);
    let sum = format!("{update}f: f32[4] = sum[axes=(1),keepdims=false] e\nreturn f");
    check("a: f32[4,8]", &sum, &["exp add slice_update sum"]);
    // One that combines does too, but for products of complex numbers.
    let combine = |op: &str, dtype: &str| {
        format!(
            "b: {dtype}[4,8] = negative a\ne: {dtype}[4,8] = slice_update[bounds=(:,1:4),op={op}] b u\n\
             f: {dtype}[4,8] = square e\nreturn f"
        )
    };
    for (op, dtype) in [("add", "f32"), ("mul", "f16"), ("max", "i32"), ("add", "c64")] {
        let inputs = format!("a: {dtype}[4,8], u: {dtype}[4,3]");
        check(&inputs, &combine(op, dtype), &["negative slice_update square"]);
    }
    check("a: c64[4,8], u: c64[4,3]", &combine("mul", "c64"), &["negative slice_update", "square"]);
    // What has to lie in memory is written there.
    check("a: f32[4,8]", &format!("{update}return e"), &["exp add slice_update"]);
    let both = format!("{update}f: f32[4,8] = negative e\nreturn e f");
    check("a: f32[4,8]", &both, &["exp add slice_update negative"]);
    check_steps("a: f32[4,8]", &both, &["(32,)", "(4, 3)"]);
}

#[test]
fn assignments_at_computed_positions_take_the_maps_around_them() {
    let inputs = "a: f32[9,8], i: i32[3], u: f32[3,1,8], o: f32[9,8], k: i32[9,2], w: f32[9,2]";
    let assign = "b: f32[9,8] = exp a\nv: f32[3,1,8] = tanh u\nc: f32[9,8] = scatter[axes=(0),op=assign] b i v\n";
    let map = "d: f32[9,8] = multiply c o\ne: f32[9,8] = add d 1.0:f32\n";
    check(inputs, &format!("{assign}{map}return e"), &["exp tanh scatter multiply add"]);
    // The map everywhere, and where there are updates.
    check_steps(inputs, &format!("{assign}{map}return e"), &["(72,)", "(3, 8)"]);
    check_steps(inputs, &format!("{assign}{map}return c e"), &["(72,)", "(3, 8)", "(3, 8)"]);
    let along =
        "b: f32[9,8] = negative a\nc: f32[9,8] = put_along_axis[axis=1,op=assign] b k w\nd: f32[9,8] = exp c\nreturn d";
    check(inputs, along, &["negative put_along_axis exp"]);
    // Not where the map needs other points, or where updates are many.
    let turned =
        format!("{assign}d: f32[8,9] = transpose[axes=(1,0)] c\ne: f32[8,9] = exp d\nf: f32[9,8] = exp c\nreturn e f");
    check(inputs, &turned, &["exp tanh scatter exp", "transpose exp"]);
    let many = "c: f32[2,8] = scatter[axes=(0),op=assign] a i u\nd: f32[2,8] = exp c\nreturn d";
    check("a: f32[2,8], i: i32[3], u: f32[3,1,8]", many, &["scatter", "exp"]);
}

#[test]
fn updates_that_are_combined_go_on_into_the_map_that_follows() {
    // The step of a table of embeddings: rows of it, some of which may be the same.
    let inputs = "w: f32[1024,64], m: f32[1024,64], i: i32[4], u: f32[4,1,64]";
    let gradient =
        "z: f32[1024,64] = broadcast_to[shape=(1024,64)] 0.0:f32\ng: f32[1024,64] = scatter[axes=(0),op=add] z i u\n";
    let step = "s: f32[1024,64] = multiply g 0.1:f32\nx: f32[1024,64] = subtract w s\n";
    check(inputs, &format!("{gradient}{step}return x"), &["broadcast_to scatter multiply subtract"]);
    check_steps(inputs, &format!("{gradient}{step}return x"), &["scatter (65536,) (4, 64) (65536,)"]);
    // The gradient is wanted as well, and the map has several results.
    let momentum = "n: f32[1024,64] = add m g\ns: f32[1024,64] = multiply n 0.1:f32\nx: f32[1024,64] = subtract w s\n";
    check_steps(inputs, &format!("{gradient}{momentum}return x n g"), &["scatter (65536,) (4, 64) (65536,)"]);
    // What is the same along an axis of the map keeps the axes apart, those of the target too; half floats are combined in f32.
    let scaled = "g: f16[1024,64] = scatter[axes=(0),op=max] a i u\nx: f16[1024,64] = multiply g b\nreturn x";
    let half = "a: f16[1024,64], i: i32[4], u: f16[4,1,64], b: f16[1024,1]";
    check_steps(half, scaled, &["scatter (1024, 64) (4, 64) (1024, 64)"]);
    // Single elements, if they are few.
    let single = |n: usize, m: usize| {
        let body = format!("g: f32[{n}] = scatter[axes=(0),op=add] a i u\nx: f32[{n}] = exp g\nreturn x");
        (format!("a: f32[{n}], i: i32[{m}], u: f32[{m},1]"), body)
    };
    let (inputs, body) = single(65536, 256);
    check_steps(&inputs, &body, &["scatter (65536,) (256,) (65536,)"]);
    let (inputs, body) = single(65536, 257);
    check_steps(&inputs, &body, &["(65536,)", "(257,)", "(65536,)"]);
    // Not a small array, or more updates than it has elements.
    let add = |n: usize, m: usize| {
        let body = format!("g: f32[{n},64] = scatter[axes=(0),op=add] a i u\nx: f32[{n},64] = exp g\nreturn x");
        (format!("a: f32[{n},64], i: i32[{m}], u: f32[{m},1,64]"), body)
    };
    for (n, m, fused) in [(1024, 1024, true), (1024, 1025, false), (1023, 4, false)] {
        let (inputs, body) = add(n, m);
        check(&inputs, &body, if fused { &["scatter exp"] } else { &["scatter", "exp"] });
    }
    // Not what a reduction needs, or another point, or complex numbers.
    let inputs = "a: f32[1024,64], i: i32[3], u: f32[3,1,64]";
    let add = "g: f32[1024,64] = scatter[axes=(0),op=add] a i u\n";
    check(inputs, &format!("{add}x: f32[1024] = sum[axes=(1),keepdims=false] g\nreturn x"), &["scatter", "sum"]);
    let turned = "t: f32[64,1024] = transpose[axes=(1,0)] g\nx: f32[64,1024] = exp t\nreturn x";
    check(inputs, &format!("{add}{turned}"), &["scatter", "transpose exp"]);
    let complex = "g: c64[1024,64] = scatter[axes=(0),op=add] a i u\nx: c64[1024,64] = negative g\nreturn x";
    check(&inputs.replace("f32", "c64"), complex, &["scatter", "negative"]);
    // One of two that meet.
    let twice =
        format!("{add}h: f32[1024,64] = scatter[axes=(0),op=add] a j u\nx: f32[1024,64] = multiply g h\nreturn x");
    check(&format!("{inputs}, j: i32[3]"), &twice, &["scatter", "scatter multiply"]);
}

#[test]
fn random_bits_are_computed_where_they_are_used() {
    let body =
        "b: u32[8] = random_bits[shape=(8),width=4] k\nc: f32[8] = astype[dtype=f32] b\nd: f32[8] = add a c\nreturn d";
    check("a: f32[8], k: u32[2]", body, &["random_bits astype add"]);
}

#[test]
fn numbers_of_shapes_are_computed_where_they_are_used() {
    let mut body = "n: f32[] = number_of_elements[axes=(0),dtype=f32,literal=false] | a\n".to_string();
    let sums: Vec<String> = (0..6).map(|i| format!("s{i}")).collect();
    for (i, s) in sums.iter().enumerate() {
        let axes = if i % 2 == 0 { "0" } else { "0,1" };
        let shape = if i % 2 == 0 { "f32[100000]" } else { "f32[]" };
        body += &format!("p{i}: f32[64,100000] = multiply a {i}.5:f32\n");
        body += &format!("q{i}: f32[64,100000] = multiply p{i} n\n");
        body += &format!("{s}: {shape} = sum[axes=({axes}),keepdims=false] q{i}\n");
    }
    body += &format!("return {}", sums.join(" "));
    let graph = parse("a: f32[64,100000]", &body);
    let compiled = compile(&graph, &[Layout::row([64, 100_000].as_slice())], &Options::COMPILE).unwrap();
    let of_number = compiled.report.kernels(&graph).into_iter().filter(|k| k.ops == ["number_of_elements"]).count();
    assert_eq!(of_number, 0, "{}", compiled.plan);
}

#[test]
fn a_circle_of_kernels_is_not_made() {
    // The last op needs both the map and a reduction of it.
    let body = |n: usize| {
        format!(
            "b: f32[{n}] = erf a\nc: f32[] = sum[axes=(0),keepdims=false] b\nd: f32[{n}] = subtract b c\nreturn b d"
        )
    };
    check("a: f32[8]", &body(8), &["erf sum subtract"]);
    check("a: f32[1000000]", &body(1_000_000), &["erf", "sum", "subtract"]);
}

#[test]
fn long_chains_need_bounded_stack_and_little_time() {
    let mut b = Builder::new();
    let x = b.input(Aval::new(DType::F32, [4].as_slice()));
    let mut y: Atom = x.into();
    for i in 0..10_000 {
        y = b.binary(if i % 2 == 0 { Binary::Add } else { Binary::Mul }, y, x.into()).unwrap();
    }
    let graph = b.finish(vec![y]);
    for options in [Options::EVAL, Options::COMPILE] {
        let compiled = compile(&graph, &[Layout::row([4].as_slice())], &options).unwrap();
        let most = if options.fuse { 4 } else { 10_000 };
        assert!(compiled.plan.steps.len() <= most, "{} steps", compiled.plan.steps.len());
    }
}

#[test]
fn shapes_and_numbers_do_not_decide_the_code() {
    let kernels = |n: usize, rate: f64| {
        let mut b = Builder::new();
        let x: Atom = b.input(Aval::new(DType::F32, [n, 3].as_slice())).into();
        let y = b.mul(x, b.like(x, rate)).unwrap();
        let y = b.unary(Unary::Exp, y).unwrap();
        let graph = b.finish(vec![y]);
        let plan = compile(&graph, &[Layout::row([n, 3].as_slice())], &Options::COMPILE).unwrap().plan;
        plan.steps
            .into_iter()
            .map(|s| match s {
                Step::Launch { kernel, .. } => kernel,
                other => panic!("{other}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(kernels(4, 0.1), kernels(7, 0.2));
}

/// The extents of each binding of each step.
#[track_caller]
fn check_steps(inputs: &str, body: &str, want: &[&str]) {
    let graph = parse(inputs, body);
    let layouts: Vec<Layout> = graph.input_avals().into_iter().map(|a| Layout::row(a.shape)).collect();
    let plan = compile(&graph, &layouts, &Options::COMPILE).unwrap().plan;
    let bindings = |step: &Step| match step {
        Step::Launch { bindings, .. } => {
            bindings.iter().map(|b| lazuli_kernel::shape::show(&b.extents)).collect::<Vec<_>>().join(" ")
        }
        Step::Host { .. } => "host".into(),
        Step::Product { binding, .. } => format!("product {}", lazuli_kernel::shape::show(&binding.extents)),
        Step::Scatter(scatter) => {
            let extents = scatter.passes().map(|pass| lazuli_kernel::shape::show(&pass.binding.extents));
            format!("scatter {}", extents.join(" "))
        }
        _ => "library".into(),
    };
    let got: Vec<String> = plan.steps.iter().map(bindings).collect();
    assert_eq!(got, want, "{plan}");
}

#[test]
fn independent_kernels_of_one_structure_are_one_launch() {
    let step = |v: &str, new: &str, p: &str, g: &str, shape: &str| {
        format!(
            "m{new}: {shape} = multiply {v} 0.9:f32\n{new}: {shape} = add m{new} {g}\n\
             s{new}: {shape} = multiply {new} 0.1:f32\nn{new}: {shape} = subtract {p} s{new}\n"
        )
    };
    let update = step("a", "u", "b", "c", "f32[4,8]")
        + &step("d", "v", "e", "f", "f32[8]")
        + &step("g", "w", "h", "i", "f32[3,5]");
    check_steps(
        "a: f32[4,8], b: f32[4,8], c: f32[4,8], d: f32[8], e: f32[8], f: f32[8], g: f32[3,5], h: f32[3,5], i: f32[3,5]",
        &format!("{update}return u nu v nv w nw"),
        &["(32,) (8,) (15,)"],
    );
    // Reductions too; not where one needs the other.
    let sums = "c: f32[] = sum[axes=(0),keepdims=false] a\nd: f32[] = sum[axes=(0),keepdims=false] b\nreturn c d";
    check_steps("a: f32[7], b: f32[9]", sums, &["(7,) (9,)"]);
    let chain =
        "b: f32[8,8] = matmul a a\nc: f32[8,8] = exp b\nd: f32[8,8] = matmul c c\ne: f32[8,8] = exp d\nreturn c e";
    check_steps("a: f32[8,8]", chain, &["product (8, 8)", "product (8, 8)"]);
}

#[test]
fn what_is_printed_is_stored_on_the_way() {
    let print = |v: &str| format!("debug_print[format=\"{{0}}\",batch=0] {v}\n");
    // One kernel stores what is printed and what follows from it.
    let chain = format!("b: f32[64] = exp a\n{}c: f32[64] = add b 1.0:f32\nd: f32[64] = sin c\nreturn d", print("b"));
    check_steps("a: f32[64]", &chain, &["(64,)", "host"]);
    // Softmax stays one kernel over rows, the maximum and the numerator stored besides.
    let rows = format!(
        "b: f32[8,1] = max[axes=(1),keepdims=true] a\n{}c: f32[8,16] = subtract a b\nd: f32[8,16] = exp c\n{}\
         e: f32[8,1] = sum[axes=(1),keepdims=true] d\nf: f32[8,16] = divide d e\nreturn f",
        print("b"),
        print("d"),
    );
    check_steps("a: f32[8,16]", &rows, &["(8, 16)", "host", "host"]);
    // What nobody reads is printed all the same; arguments as they lie, views copied.
    let views = format!("b: f32[3,2] = transpose[axes=(1,0)] a\n{}{}return a", print("a"), print("b"));
    check_steps("a: f32[2,3]", &views, &["host", "(3, 2)", "host"]);
    // Independent kernels that are joined do not change the order of prints.
    let joined = format!("c: f32[7] = exp a\n{}d: f32[9] = exp b\n{}return c d", print("c"), print("d"));
    check_steps("a: f32[7], b: f32[9]", &joined, &["(7,) (9,)", "host", "host"]);
}
