//! What shape rules refuse, with the exact words: they name the op, the shapes and dtypes at fault, and the remedy.

use lazuli_ir::testing::Sample;

fn check(line: &str, expect: &str) {
    let sample: Sample = line.parse().unwrap();
    let got = match sample.graph() {
        Ok(graph) => panic!("{line} is accepted:\n{graph}"),
        Err(e) => e.to_string(),
    };
    assert_eq!(got, expect, "{line}");
}

#[test]
fn refused_with_a_remedy() {
    for (line, expect) in REFUSED {
        check(line, expect);
    }
}

const REFUSED: &[(&str, &str)] = &[
    ("add f32[2]", "[add] takes 2 operands, not 1"),
    ("transpose[axes=(0,0)] f32[2,3]", "[transpose] axes (0,0) are not a permutation of the axes of f32[2,3]"),
    ("transpose[axes=(0)] f32[2,3]", "[transpose] axes (0) are not a permutation of the axes of f32[2,3]"),
    (
        "broadcast_to[shape=(2,4)] f32[3]",
        "[broadcast_to] an array of shape (3,) can't be broadcast to (2, 4): only axes of extent 1 stretch, aligned at the last axis",
    ),
    ("broadcast_to[shape=(#0.2)] f32[1] | f32[2,3]", "[broadcast_to] extent #0.2 refers to no axis of a shape operand"),
    ("expand_dims[axes=(5)] f32[2]", "[expand_dims] axis 5 is out of bounds for f32[2]"),
    ("squeeze[axes=(1)] f32[1,3]", "[squeeze] axis 1 of an array of shape (1, 3) does not have extent 1"),
    (
        "reshape[shape=(5,3),infer=none] f32[3,4]",
        "[reshape] cannot reshape an array of size 12 and shape (3, 4) into shape (5, 3): the sizes must agree",
    ),
    (
        "reshape[shape=(5,1),infer=1] f32[3,4]",
        "[reshape] cannot reshape an array of size 12 and shape (3, 4) into shape (5, -1): the sizes must agree",
    ),
    ("reshape[shape=(0,1),infer=1] f32[0,4]", "[reshape] cannot infer an extent where another one is 0: write it out"),
    ("reshape[shape=(3),infer=2] f32[3]", "[reshape] the extent to infer, 2, is not one of 1"),
    ("flatten[start=1,end=0] f32[3,4]", "[flatten] axes 1 to 0 are not a range of axes of an array with 2 dimensions"),
    ("flatten[start=0,end=2] f32[3,4]", "[flatten] axes 0 to 2 are not a range of axes of an array with 2 dimensions"),
    (
        "unflatten[axis=1,shape=(3,1),infer=1] f32[2,4]",
        "[unflatten] cannot split axis 1 of extent 4 into (3, -1): their product must be the extent",
    ),
    (
        "unflatten[axis=2,shape=(3,1),infer=1] f32[2,4]",
        "[unflatten] axis 2 is out of bounds for an array with 2 dimensions",
    ),
    ("slice[bounds=(1:)] f32[3,4]", "[slice] 1 bounds for the 2 axes of f32[3,4]"),
    (
        "slice_update[bounds=(1:,:),op=add] f32[3,4] f32[4]",
        "[slice_update] the slice of the target has shape (2, 4), the update (4,): broadcast the update first",
    ),
    (
        "slice_update[bounds=(1:,:),op=add] f32[3,4] i32[2,4]",
        "[slice_update] operands must have one dtype, not float32, int32: cast with astype first",
    ),
    (
        "unslice[bounds=(1:,:),shape=(3,4)] f32[3,4]",
        "[unslice] the slice of f32[3,4] has shape (2, 4), the input (3, 4)",
    ),
    ("diagonal[offset=0] f32[4]", "[diagonal] needs at least 2 dimensions, not 1"),
    (
        "undiagonal[offset=-1,shape=(4,3)] f32[2]",
        "[undiagonal] diagonal -1 of a matrix of shape (4, 3) has 3 elements, the input 2",
    ),
    ("part[axis=1,index=0,count=2,extents=()] f32[4]", "[part] axis 1 is out of bounds for an array with 1 dimensions"),
    ("part[axis=0,index=0,count=3,extents=()] f32[4]", "[part] an axis of extent 4 can't be cut into 3 equal parts"),
    (
        "part[axis=0,index=0,count=2,extents=(1,2)] f32[4]",
        "[part] an axis of extent 4 can't be cut into parts of extents [1, 2]",
    ),
    ("pad[low=(1),high=(1)] f32[3] f32[1]", "[pad] the padding value must be a scalar, not f32[1]"),
    ("pad[low=(1),high=(1)] f32[3,2] f32[]", "[pad] 1 widths for the 2 axes of f32[3,2]"),
    (
        "pad[low=(1),high=(1)] f32[3] i32[]",
        "[pad] operands must have one dtype, not float32, int32: cast with astype first",
    ),
    ("concatenate[axis=0]", "[concatenate] needs at least one array"),
    ("concatenate[axis=2] f32[2,3] f32[2,3]", "[concatenate] axis 2 is out of bounds for an array with 2 dimensions"),
    (
        "concatenate[axis=0] f32[3,4] f32[3,5]",
        "[concatenate] shapes (3, 4) and (3, 5) do not fit: all extents but that of axis 0 must be equal",
    ),
    (
        "concatenate[axis=0] f32[3,4] f32[4]",
        "[concatenate] shapes (3, 4) and (4,) do not fit: all extents but that of axis 0 must be equal",
    ),
    (
        "concatenate[axis=0] f32[3] f16[3]",
        "[concatenate] operands must have one dtype, not float32, float16: cast with astype first",
    ),
    (
        "gather[axes=(0),slice_sizes=(1,3)] f32[4,3] f32[2]",
        "[gather] indices must be integers, not float32: cast with astype first",
    ),
    (
        "gather[axes=(0),slice_sizes=(1,4)] f32[4,3] i32[2]",
        "[gather] a window of shape (1, 4) does not fit into an array of shape (4, 3)",
    ),
    ("gather[axes=(0,0),slice_sizes=(1,3)] f32[4,3] i32[2] i32[2]", "[gather] axis 0 is indexed twice"),
    (
        "gather[axes=(0,1),slice_sizes=(1,1)] f32[4,3] i32[2] i32[3]",
        "[gather] shapes (2,) and (3,) cannot be broadcast: axes are aligned at the last one, and there extents must be equal or 1",
    ),
    (
        "scatter[axes=(0),op=add] f32[4,3] i32[2] f32[3,1,3]",
        "[scatter] updates of shape (3, 1, 3) must begin with the shape (2,) of the indices: broadcast them first",
    ),
    (
        "scatter[axes=(0),op=add] f32[4,3] i32[2] f32[2,3]",
        "[scatter] a window of shape (3,) does not fit into an array of shape (4, 3)",
    ),
    (
        "take_along_axis[axis=0] f32[4,3] i32[3]",
        "[take_along_axis] indices have 1 dimensions, the array has 2: they must be equal",
    ),
    (
        "take_along_axis[axis=0] f32[4,3] f32[4,3]",
        "[take_along_axis] indices must be integers, not float32: cast with astype first",
    ),
    (
        "take_along_axis[axis=0] f32[0,3] i32[2,1]",
        "[take_along_axis] axis 0 of shape (0, 3) has no elements to take for a result of shape (2, 3)",
    ),
    (
        "take_along_axis[axis=0] f32[4,3] i32[2,2]",
        "[take_along_axis] shapes (1, 3) and (2, 2) cannot be broadcast: axes are aligned at the last one, and there extents must be equal or 1",
    ),
    (
        "put_along_axis[axis=0,op=add] f32[4,1] i32[2,3] f32[2,3]",
        "[put_along_axis] updates of shape (2, 3) do not fit a target of shape (4, 1): all extents but that of axis 0 must agree",
    ),
    (
        "put_along_axis[axis=0,op=add] f32[4,3] i32[2,3] i32[2,3]",
        "[put_along_axis] operands must have one dtype, not float32, int32: cast with astype first",
    ),
    ("sum[axes=(2),keepdims=false] f32[2,3]", "[sum] axis 2 is out of bounds for f32[2,3]"),
    ("max[axes=(0),keepdims=false] f32[0,3]", "[max] axis 0 of f32[0,3] is empty: an empty max has no value"),
    ("min[axes=(0),keepdims=false] c64[3]", "[min] complex numbers have no order: reduce their abs, real or imag"),
    (
        "prod[axes=(0),keepdims=false] c64[3]",
        "[prod] is not defined on complex64: multiply halves of the array until one element is left",
    ),
    ("all[axes=(0),keepdims=false] f32[3]", "[all] takes bool, not float32: cast with astype first"),
    ("argmax[axis=0,keepdims=false] f32[0,3]", "[argmax] axis 0 of f32[0,3] is empty: an empty argmax has no value"),
    ("argmin[axis=0,keepdims=false] c64[3]", "[argmin] complex numbers have no order: reduce their abs, real or imag"),
    (
        "cumprod[axis=0,reverse=false,exclusive=false] c64[3]",
        "[cumprod] is not defined on complex64: of the scans only cumsum is",
    ),
    (
        "cumsum[axis=1,reverse=false,exclusive=false] f32[3]",
        "[cumsum] axis 1 is out of bounds for an array with 1 dimensions",
    ),
    (
        "logcumsumexp[axis=0,reverse=false,exclusive=false] i32[3]",
        "[logcumsumexp] needs a float dtype, not int32: cast with astype first",
    ),
    (
        "linear_recurrence[axis=0,reverse=false] f32[3] f32[4]",
        "[linear_recurrence] factors of shape (3,) and terms of shape (4,): they must be equal",
    ),
    (
        "linear_recurrence[axis=0,reverse=false] i32[3] i32[3]",
        "[linear_recurrence] needs a float dtype, not int32: cast with astype first",
    ),
    (
        "linear_recurrence[axis=0,reverse=false] f32[3] f16[3]",
        "[linear_recurrence] operands must have one dtype, not float32, float16: cast with astype first",
    ),
    (
        "linear_recurrence[axis=1,reverse=false] f32[3] f32[3]",
        "[linear_recurrence] axis 1 is out of bounds for an array with 1 dimensions",
    ),
    ("sort[axis=3] f32[2,2]", "[sort] axis 3 is out of bounds for an array with 2 dimensions"),
    ("matmul f32[2,3] f32[4,5]", "[matmul] last dimension of a (2, 3) must match second to last dimension of b (4, 5)"),
    (
        "matmul f32[2,3,3] f32[3,3,5]",
        "[matmul] shapes (2,) and (3,) cannot be broadcast: axes are aligned at the last one, and there extents must be equal or 1",
    ),
    ("matmul f32[3] f32[3,5]", "[matmul] needs arrays with at least 2 dimensions, not f32[3] and f32[3,5]"),
    (
        "matmul i32[2,3] i32[3,5]",
        "[matmul] is defined on floats or complex numbers of one dtype, not on int32 and int32: cast with astype first",
    ),
    (
        "matmul f32[2,3] f16[3,5]",
        "[matmul] is defined on floats or complex numbers of one dtype, not on float32 and float16: cast with astype first",
    ),
    ("iota[dtype=bool,shape=(3),axis=0]", "[iota] counts in an integer or float dtype, not in bool"),
    ("iota[dtype=i32,shape=(),axis=0]", "[iota] axis 0 is out of bounds for an array with 0 dimensions"),
    (
        "number_of_elements[axes=(1),dtype=i32,literal=false] | f32[3]",
        "[number_of_elements] axis 1 is out of bounds for an array with 1 dimensions",
    ),
    (
        "number_of_elements[axes=(0,1),dtype=u8,literal=true] | f32[16,16]",
        "[number_of_elements] 256 elements are more than uint8 has numbers for: count them in a wider dtype",
    ),
    (
        "number_of_elements[axes=(1),dtype=i32,literal=false]",
        "[number_of_elements] counts in a shape operand, and there is none",
    ),
    ("random_bits[shape=(3),width=3] u32[2]", "[random_bits] a width of 3 bytes: it must be 1, 2 or 4"),
    ("random_bits[shape=(3),width=4] u32[3]", "[random_bits] a key is a uint32 array of shape (…, 2), not u32[3]"),
    ("view[dtype=u16] u8[3]", "[view] the 3 bytes of the last axis of u8[3] are not a multiple of the size of uint16"),
    ("view[dtype=u16] f32[]", "[view] a scalar float32 can only be viewed as a dtype of the same size, not as uint16"),
];
