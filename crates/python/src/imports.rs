//! What this worker has imported after the fork, for the next zygote to import before.

use std::cell::Cell;
use std::os::fd::RawFd;

use nix::sys::socket::{MsgFlags, send};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use remuda_channel::imported_packet;

/// Watches `sys.modules`, which keeps the order in which they came.
pub(crate) struct Imports {
    modules: Py<PyDict>,
    /// So many of them are no news.
    seen: Cell<usize>,
}

impl Imports {
    /// `seen` were there before the fork; `None` = nobody wants to know.
    pub(crate) fn new(py: Python<'_>, seen: Option<usize>) -> PyResult<Option<Self>> {
        let Some(seen) = seen else { return Ok(None) };
        let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind();
        Ok(Some(Self { modules, seen: Cell::new(seen) }))
    }

    /// Tells the master what is new since the last call. Costs nothing when nothing is.
    pub(crate) fn tell(&self, py: Python<'_>, channel: RawFd) {
        let modules = self.modules.bind(py);
        let seen = self.seen.replace(modules.len());
        if modules.len() <= seen {
            return;
        }
        let fresh = modules.iter().skip(seen).filter(|(name, module)| is_plain(name, module));
        let names: Vec<String> = fresh.filter_map(|(name, _)| name.extract().ok()).collect();
        if !names.is_empty() {
            let packet = imported_packet(names.iter().map(String::as_str));
            // What does not go out now costs a little memory later, no more.
            let _ = send(channel, &packet, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        }
    }
}

/// Whether an import by this name would bring it: aliases and what was made by hand would not.
fn is_plain(name: &Bound<'_, PyAny>, module: &Bound<'_, PyAny>) -> bool {
    let Ok(spec) = module.getattr("__spec__") else { return false };
    name.is_instance_of::<PyString>()
        && spec.getattr("name").is_ok_and(|spec| spec.eq(name).unwrap_or(false))
}
