//! A request of a WSGI app, seen by the limits of time.

use pyo3::intern;
use pyo3::prelude::*;

use super::page;
use super::start_response::StartResponse;
use crate::overdue::{Clock, Flight, RequestName};

/// A request of a WSGI app, as long as the app runs.
pub(crate) struct WsgiFlight {
    pub(crate) start: Py<StartResponse>,
    pub(crate) name: RequestName,
    /// What runs requests in this worker class: `python/remuda/overdue.py`.
    pub(crate) runners: Py<PyAny>,
    /// The one that runs this request: a greenlet, or the number of a thread.
    pub(crate) runner: Py<PyAny>,
}

impl WsgiFlight {
    /// Called when the app is done: what was to break it off must hit nobody else.
    pub(crate) fn release(&self, py: Python<'_>) {
        if self.clock().is_broken_off() {
            // It does not fail, and nothing could be done.
            let _ = self.runners.call_method1(py, intern!(py, "release"), (&self.runner,));
        }
    }
}

impl Flight for WsgiFlight {
    fn clock(&self) -> &Clock {
        self.start.get().clock()
    }

    fn name(&self) -> RequestName {
        self.name.clone()
    }

    fn stack(&self, py: Python<'_>) -> PyResult<String> {
        self.runners.call_method1(py, intern!(py, "stack"), (&self.runner,))?.extract(py)
    }

    fn is_answered(&self) -> bool {
        false
    }

    fn break_off(&self, py: Python<'_>) -> PyResult<bool> {
        let start = self.start.get();
        if start.is_streaming() {
            start.abort_stream();
        } else if !start.head_sent() {
            start.send_page(page(504, ""));
        }
        self.runners.call_method1(py, intern!(py, "interrupt"), (&self.runner,))?.extract(py)
    }
}
