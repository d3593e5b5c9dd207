//! The border of tepal: what Python sees of the core and the ground.
//!
//! This crate translates and drives; it makes no rule of scheduling, timing or buffering of its own (those are
//! `tepal-core`'s) and no system call (`tepal-sys`). See ARCHITECTURE.md for the way through it.

mod asyncio_streams;
mod channel;
mod convert;
mod datagram;
mod errors;
mod event_loop;
mod names;
mod nursery;
mod owned;
mod pipe;
mod process;
mod protocols;
mod raw;
mod scope;
mod stream;
mod supervisor;
mod sync;
mod tls;

use pyo3::prelude::*;

/// The native half of the `tepal` package.
///
/// Works without the GIL: all state lies in `Owned`, which locks there, or in atomics (`owned.rs`); free lists exist
/// only where a GIL guards them (`raw/free_list.rs`).
#[pymodule(gil_used = false)]
fn _tepal(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("BACKEND", tepal_sys::reactor::BACKEND)?;
    module.add_class::<event_loop::Loop>()?;
    raw::loop_methods::register(module.py())?;
    raw::shared_context::register(module.py())?;
    raw::handle::register(module)?;
    raw::future::register(module)?;
    raw::task::register(module)?;
    sync::register(module)?;
    scope::register(module)?;
    nursery::register(module)?;
    channel::register(module)?;
    module.add_class::<supervisor::Restarts>()?;
    asyncio_streams::register(module)?;
    stream::register(module)?;
    tls::register(module)?;
    datagram::register(module)?;
    pipe::register(module)?;
    module.add_function(wrap_pyfunction!(process::spawn, module)?)?;
    module.add_function(wrap_pyfunction!(raw::task::set_published_layout, module)?)?;
    module.add_function(wrap_pyfunction!(event_loop::after_fork_in_child, module)?)
}
