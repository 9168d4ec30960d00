//! An awaitable that never waits.

use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Gives its value at once. Has the methods of a coroutine, so that an app may make a task of it.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct Ready(pub(crate) Option<Py<PyAny>>);

impl Ready {
    /// One that gives `value`.
    pub(crate) fn with<'py>(
        py: Python<'py>,
        value: Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(Bound::new(py, Self(Some(value.into_any().unbind())))?.into_any())
    }
}

#[pymethods]
impl Ready {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match &self.0 {
            None => Ok(None),
            Some(value) => Err(PyStopIteration::new_err((value.clone_ref(py),))),
        }
    }

    /// Begins the coroutine, and so ends it.
    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        match &self.0 {
            None => Err(PyStopIteration::new_err(())),
            Some(value) => Err(PyStopIteration::new_err((value.clone_ref(py),))),
        }
    }

    /// Raises the exception: there is no code in here that could catch it.
    #[pyo3(signature = (kind, value=None, _traceback=None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let error = match value {
            Some(value) if value.is_instance_of::<pyo3::exceptions::PyBaseException>() => {
                value.clone()
            }
            Some(value) => kind.call1((value,))?,
            None if kind.is_callable() => kind.call0()?,
            None => kind.clone(),
        };
        if error.is_instance_of::<pyo3::exceptions::PyBaseException>() {
            return Err(PyErr::from_value(error));
        }
        Err(PyTypeError::new_err("exceptions must derive from BaseException"))
    }

    fn close(&self) {}
}
