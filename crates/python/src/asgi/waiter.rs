//! Who waits in `receive` or in `send`, for something that the front will have news of.

use std::cell::RefCell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::Shared;

/// The future that an app waits for, if it does.
#[derive(Default)]
pub(super) struct Waiter(RefCell<Option<Py<PyAny>>>);

impl Waiter {
    /// A coroutine that waits. Who asks twice waits for the same.
    pub(super) fn wait<'py>(
        &self,
        py: Python<'py>,
        shared: &Shared,
    ) -> PyResult<Bound<'py, PyAny>> {
        let future = match self.awaited(py)? {
            Some(future) => future,
            None => {
                let future = shared.create_future.call0(py)?;
                *self.0.borrow_mut() = Some(future.clone_ref(py));
                future
            }
        };
        shared.wait.bind(py).call1((future,))
    }

    /// Whether somebody waits: who did may have been cancelled meanwhile.
    pub(super) fn is_waiting(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.awaited(py)?.is_some())
    }

    pub(super) fn resolve(&self, py: Python<'_>, value: impl Into<Py<PyAny>>) -> PyResult<()> {
        self.settle(py, intern!(py, "set_result"), value.into())
    }

    pub(super) fn fail(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        self.settle(py, intern!(py, "set_exception"), error.into_value(py).into_any())
    }

    fn settle(&self, py: Python<'_>, how: &Bound<'_, PyString>, value: Py<PyAny>) -> PyResult<()> {
        if let Some(future) = self.awaited(py)? {
            self.0.take();
            future.call_method1(py, how, (value,))?;
        }
        Ok(())
    }

    /// Nobody will be told any more.
    pub(super) fn forget(&self) {
        self.0.take();
    }

    fn awaited(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(future) = self.0.borrow().as_ref().map(|future| future.clone_ref(py)) else {
            return Ok(None);
        };
        let is_done = future.call_method0(py, intern!(py, "done"))?.is_truthy(py)?;
        Ok((!is_done).then_some(future))
    }
}
