//! The Python binding: converts and calls, nothing else. `python/lazuli` puts names and the parts that are Python on top.
//!
//! Two rooms hold unsafe code: `buffer` (the buffer protocol) and `dlpack`. Every entry runs core code through [`errors::run`], which turns errors and panics into
//! exceptions; work that may take long releases the interpreter.
//!
//! Absent on purpose: operations of its own, caches of arrays, anything that Rust users would miss.

// PyO3's trampolines for methods named by a macro trip this lint; our own unsafe functions keep to it.
#![allow(unsafe_op_in_unsafe_fn)]

mod array;
mod buffer;
mod compile;
mod cond;
mod convert;
mod custom;
mod debug;
mod dim;
mod dlpack;
mod dtype;
mod errors;
mod export;
mod frames;
mod indexing;
mod key;
mod location;
mod memory;
mod nodes;
mod objects;
mod ops;
mod random;
mod scalars;
mod transforms;
mod tree;

use lazuli_core::DType;
use pyo3::prelude::*;

#[pymodule]
fn _lazuli(m: &Bound<'_, PyModule>) -> PyResult<()> {
    lazuli_core::log::check();
    lazuli_core::trace::hide_callers();
    debug::install();
    m.add_class::<array::PyArray>()?;
    m.add_class::<array::ArrayIterator>()?;
    m.add_class::<indexing::At>()?;
    m.add_class::<dim::PyDim>()?;
    m.add_class::<dtype::PyDtype>()?;
    m.add_class::<dtype::Category>()?;
    m.add_class::<compile::Compiled>()?;
    m.add_class::<compile::Explanation>()?;
    m.add_class::<compile::Lowered>()?;
    for d in DType::ALL {
        let name = if d == DType::Bool { "bool_" } else { d.name() };
        m.add(name, dtype::PyDtype(d))?;
    }
    for c in dtype::Category::ALL {
        m.add(format!("{c:?}").as_str(), c)?;
    }
    ops::add_to(m)?;
    random::add_to(m)?;
    memory::add_to(m)?;
    export::add_to(m)?;
    for f in [
        wrap_pyfunction!(convert::asarray, m)?,
        wrap_pyfunction!(dlpack::from_dlpack, m)?,
        wrap_pyfunction!(dtype::_dtype, m)?,
        wrap_pyfunction!(dtype::issubdtype, m)?,
        wrap_pyfunction!(transforms::_value_and_grad, m)?,
        wrap_pyfunction!(transforms::vjp, m)?,
        wrap_pyfunction!(transforms::jvp, m)?,
        wrap_pyfunction!(transforms::_vmap, m)?,
        wrap_pyfunction!(custom::_custom, m)?,
        wrap_pyfunction!(transforms::eval, m)?,
        wrap_pyfunction!(transforms::async_eval, m)?,
        wrap_pyfunction!(transforms::synchronize, m)?,
        wrap_pyfunction!(compile::compile, m)?,
        wrap_pyfunction!(compile::switches::disable_compile, m)?,
        wrap_pyfunction!(compile::switches::enable_compile, m)?,
        wrap_pyfunction!(compile::switches::set_compile_mode, m)?,
        wrap_pyfunction!(compile::switches::get_compile_mode, m)?,
        wrap_pyfunction!(compile::switches::_replace_compile_scope, m)?,
        wrap_pyfunction!(compile::compile_stats, m)?,
        wrap_pyfunction!(nodes::_register_tree_node, m)?,
        wrap_pyfunction!(nodes::_tree_node_parts, m)?,
        wrap_pyfunction!(nodes::_tree_node_build, m)?,
        wrap_pyfunction!(array::describe, m)?,
        wrap_pyfunction!(debug::_debug_print, m)?,
        wrap_pyfunction!(cond::_cond, m)?,
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
