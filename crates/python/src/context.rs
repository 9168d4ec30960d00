//! A fresh `contextvars` context for each request of a WSGI app.

use pyo3::prelude::*;

/// A `contextvars` context that is current while it lives.
pub(crate) struct FreshContext<'py>(Bound<'py, PyAny>);

impl<'py> FreshContext<'py> {
    pub(crate) fn enter(py: Python<'py>) -> Option<Self> {
        // SAFETY: the interpreter is attached; both calls take and return what they document.
        unsafe {
            let context = Bound::from_owned_ptr_or_opt(py, pyo3::ffi::PyContext_New())?;
            if pyo3::ffi::PyContext_Enter(context.as_ptr()) == 0 {
                return Some(Self(context));
            }
        }
        // Without a context of its own the request still runs, in its greenlet's.
        drop(PyErr::take(py));
        None
    }
}

impl Drop for FreshContext<'_> {
    fn drop(&mut self) {
        // SAFETY: entered in `enter`, on this greenlet, whose context the switches keep.
        if unsafe { pyo3::ffi::PyContext_Exit(self.0.as_ptr()) } != 0 {
            // An app that left a context of its own entered: its error, not ours.
            drop(PyErr::take(self.0.py()));
        }
    }
}
