//! The interpreter: what the Python package needs from Rust, as the module `remuda._remuda`.
//!
//! A worker is one [`worker::Worker`]: the HTTP front, the app, and one thread. Python code drives
//! it (`python/remuda/worker.py`): a blocking loop for `sync`, a pool of them for `gthread`, gevent's
//! hub for `gevent`. The
//! zygote needs little: a fork without Python's hooks, and the journal.
//!
//! The names that Python sees are listed at the end of this file.

mod access;
mod asgi;
mod context;
mod file_pages;
mod idle;
mod immortal;
mod imports;
mod journal;
mod known;
mod memory_profile;
mod memory_samples;
mod overdue;
mod process;
mod serving;
mod setup;
mod title;
mod tls_context;
mod worker;
mod wsgi;

use pyo3::prelude::*;

/// The module `remuda._remuda`.
// The interpreter's lock is what keeps threads apart in here; see `Worker`.
#[pymodule(gil_used = true)]
pub fn _remuda(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<journal::PyJournal>()?;
    module.add_class::<worker::Worker>()?;
    module.add_class::<wsgi::StartResponse>()?;
    module.add_class::<wsgi::FileWrapper>()?;
    module.add_class::<asgi::HttpConversation>()?;
    module.add_class::<asgi::WebSocketConversation>()?;
    module.add_class::<asgi::Ready>()?;
    module.add("RequestTimeout", module.py().get_type::<overdue::RequestTimeout>())?;
    module.add("ClientDisconnected", module.py().get_type::<asgi::ClientDisconnected>())?;
    module.add_class::<setup::Groundwork>()?;
    module.add_function(wrap_pyfunction!(setup::lay_groundwork, module)?)?;
    module.add_function(wrap_pyfunction!(tls_context::cipher_suites, module)?)?;
    module.add_function(wrap_pyfunction!(process::fork_without_hooks, module)?)?;
    module.add_function(wrap_pyfunction!(process::await_middle, module)?)?;
    module.add_function(wrap_pyfunction!(process::die_with_parent, module)?)?;
    module.add_function(wrap_pyfunction!(process::is_known, module)?)?;
    module.add_function(wrap_pyfunction!(immortal::can_make_immortal, module)?)?;
    module.add_function(wrap_pyfunction!(immortal::make_immortal, module)?)?;
    module.add_function(wrap_pyfunction!(file_pages::release_file_pages, module)?)?;
    module.add_function(wrap_pyfunction!(title::name_process, module)?)?;
    module.add_function(wrap_pyfunction!(title::show_state, module)?)?;
    module.add_function(wrap_pyfunction!(process::trim_heap, module)?)?;
    module.add_function(wrap_pyfunction!(process::flush_c_streams, module)?)?;
    module.add_function(wrap_pyfunction!(process::interrupt_thread, module)?)?;
    module.add_function(wrap_pyfunction!(process::calm_thread, module)?)?;
    Ok(())
}
