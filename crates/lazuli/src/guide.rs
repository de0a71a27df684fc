//! The guide's blocks of Rust, run as documentation tests.

macro_rules! chapters {
    ($($name:ident: $file:literal;)*) => { $(
        #[doc = include_str!(concat!("../../../docs/", $file))]
        mod $name {}
    )* };
}

chapters! {
    index: "index.md";
    compile: "compile.md";
    pitfalls: "pitfalls.md";
    from_pytorch: "from-pytorch.md";
    from_numpy: "from-numpy.md";
    from_scratch: "from-scratch.md";
}
