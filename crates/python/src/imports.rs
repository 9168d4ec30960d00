//! What this worker has imported after the fork: for the next zygote to import before, and for the
//! master to watch.

use std::cell::Cell;
use std::os::fd::RawFd;

use nix::sys::socket::{MsgFlags, send};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use remuda_channel::imported_packet;

/// Watches `sys.modules`, which keeps the order in which they came.
pub(crate) struct Imports {
    modules: Py<PyDict>,
    /// The names are wanted.
    learns: bool,
    /// Says which files they come from.
    tell_sources: Option<Py<PyAny>>,
    /// So many of them are no news.
    seen: Cell<usize>,
}

impl Imports {
    /// `before` were there before the fork; `None` = nobody wants to know the names of others.
    pub(crate) fn new(
        py: Python<'_>,
        before: Option<usize>,
        tell_sources: Option<Py<PyAny>>,
    ) -> PyResult<Option<Self>> {
        if before.is_none() && tell_sources.is_none() {
            return Ok(None);
        }
        let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
        let seen = Cell::new(before.unwrap_or(modules.len()));
        Ok(Some(Self { modules: modules.unbind(), learns: before.is_some(), tell_sources, seen }))
    }

    /// Tells the master what is new since the last call. Costs nothing when nothing is.
    pub(crate) fn tell(&self, py: Python<'_>, channel: RawFd) {
        let modules = self.modules.bind(py);
        let seen = self.seen.replace(modules.len());
        if modules.len() <= seen {
            return;
        }
        if let Some(tell) = &self.tell_sources
            && let Err(error) = tell.call0(py)
        {
            error.write_unraisable(py, None);
        }
        if !self.learns {
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
