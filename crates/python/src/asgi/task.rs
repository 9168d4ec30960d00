//! The task that runs the app for one conversation.

use std::cell::RefCell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Shared;

#[derive(Default)]
pub(super) struct AppTask {
    /// Until it is done.
    task: RefCell<Option<Py<PyAny>>>,
    /// Will cancel it, since its client leaves.
    cancellation: RefCell<Option<Py<PyAny>>>,
}

/// How a task has ended.
pub(super) enum Ended {
    Returned,
    Cancelled,
    Raised(PyErr),
}

impl AppTask {
    /// Calls the app. `Some` when it has ended already, as apps that never wait do; else `on_done`
    /// of `conversation` is called once it has.
    pub(super) fn start(
        &self,
        py: Python<'_>,
        shared: &Shared,
        app: &Py<PyAny>,
        scope: Bound<'_, PyDict>,
        conversation: &Bound<'_, PyAny>,
    ) -> Option<Ended> {
        self.try_start(py, shared, app, scope, conversation)
            .unwrap_or_else(|error| Some(Ended::Raised(error)))
    }

    fn try_start(
        &self,
        py: Python<'_>,
        shared: &Shared,
        app: &Py<PyAny>,
        scope: Bound<'_, PyDict>,
        conversation: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Ended>> {
        let receive = conversation.getattr(intern!(py, "receive"))?;
        let send = conversation.getattr(intern!(py, "send"))?;
        let task = shared.start(app.bind(py).call1((scope, receive, send))?)?;
        if task.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(Some(ending_of(&task)));
        }
        let on_done = conversation.getattr(intern!(py, "on_done"))?;
        task.call_method1(intern!(py, "add_done_callback"), (on_done,))?;
        *self.task.borrow_mut() = Some(task.unbind());
        Ok(None)
    }

    /// A client that leaves lets its task go on for a while.
    pub(super) fn look_for_client(
        &self,
        py: Python<'_>,
        shared: &Shared,
        is_leaving: bool,
    ) -> PyResult<()> {
        if !is_leaving || self.cancellation.borrow().is_some() {
            return Ok(());
        }
        if let Some(task) = self.get(py) {
            let cancel = task.bind(py).getattr(intern!(py, "cancel"))?;
            let grace = shared.grace.as_secs_f64();
            let timer = shared.call_later.call1(py, (grace, cancel))?;
            *self.cancellation.borrow_mut() = Some(timer);
        }
        Ok(())
    }

    /// Where its code is now; empty when it is done.
    pub(super) fn stack(&self, py: Python<'_>, shared: &Shared) -> PyResult<String> {
        match self.get(py) {
            Some(task) => shared.stack.call1(py, (task,))?.extract(py),
            None => Ok(String::new()),
        }
    }

    pub(super) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        match self.get(py) {
            Some(task) => task.call_method0(py, intern!(py, "cancel")).map(drop),
            None => Ok(()),
        }
    }

    fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.task.borrow().as_ref().map(|task| task.clone_ref(py))
    }

    /// It is done.
    pub(super) fn end(&self, py: Python<'_>) {
        self.task.take();
        if let Some(timer) = self.cancellation.take() {
            // It fires in vain if it cannot be called off.
            let _ = timer.call_method0(py, intern!(py, "cancel"));
        }
    }
}

/// How a task that is done has ended.
pub(super) fn ending_of(task: &Bound<'_, PyAny>) -> Ended {
    let py = task.py();
    match task.call_method0(intern!(py, "exception")) {
        Ok(error) if error.is_none() => Ended::Returned,
        Ok(error) => Ended::Raised(PyErr::from_value(error)),
        // It says so only of a task that was cancelled.
        Err(_) => Ended::Cancelled,
    }
}
