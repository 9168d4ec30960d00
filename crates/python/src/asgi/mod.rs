//! Requests through an ASGI app: scope, `receive` and `send`, and the task that runs it.
//!
//! The front drives itself, see `worker.rs`; asyncio's loop runs the apps. A task starts in the
//! middle of the front's turn ("eagerly", from Python 3.12 on), so an app that never waits has
//! answered when its start returns, and no turn of the loop was spent on it.
//!
//! `receive` and `send` give an awaitable that is ready at once, where they can. Where they cannot
//! they give a coroutine that waits for a future, and the conversation's [`Watcher`] has it looked
//! after when the front has news.
//!
//! [`Watcher`]: remuda_front::Watcher

mod awaitable;
mod http;
mod response;
mod scope;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use remuda_channel::WorkerPlan;
use remuda_front::{Exchange, Listener};

pub(crate) use awaitable::Ready;
pub(crate) use http::HttpConversation;

use crate::serving::Serving;
use scope::ScopeBuilder;

pyo3::create_exception!(
    remuda,
    ClientDisconnected,
    pyo3::exceptions::PyOSError,
    "Raised by `send` when the client has left."
);

/// What all conversations with the app share.
pub(crate) struct Asgi {
    scopes: ScopeBuilder,
    shared: Rc<Shared>,
}

pub(crate) struct Shared {
    /// Conversations about which the front has news.
    due: RefCell<Vec<Rc<dyn Conversation>>>,
    /// `create_future()` of the loop.
    create_future: Py<PyAny>,
    /// A coroutine function that waits for a future.
    wait: Py<PyAny>,
    /// Starts a task: `start(coroutine) -> task`.
    start: Py<PyAny>,
    /// `call_later(seconds, callable)` of the loop.
    call_later: Py<PyAny>,
    /// What `receive` and `send` give when there is nothing to wait for and nothing to say.
    nothing: Py<Ready>,
    grace: Duration,
}

/// Something that the front can have news about.
pub(crate) trait Conversation {
    /// Resolves the futures that now can be.
    fn wake(&self, py: Python<'_>) -> PyResult<()>;
}

impl Asgi {
    /// `tasks` is the loop's side, see `python/remuda/asgi_loop.py`.
    pub(crate) fn new(
        py: Python<'_>,
        listeners: &[Listener],
        plan: &WorkerPlan,
        tasks: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let state = tasks.getattr("state")?.cast_into::<PyDict>()?;
        Ok(Self {
            scopes: ScopeBuilder::new(py, listeners, &plan.asgi, state)?,
            shared: Rc::new(Shared {
                due: RefCell::default(),
                create_future: tasks.getattr("create_future")?.unbind(),
                wait: tasks.getattr("wait")?.unbind(),
                start: tasks.getattr("start")?.unbind(),
                call_later: tasks.getattr("call_later")?.unbind(),
                nothing: Py::new(py, Ready(None))?,
                grace: Duration::from_secs_f64(plan.asgi.disconnect_grace_s),
            }),
        })
    }

    /// Starts the task of a request.
    pub(crate) fn start(&self, py: Python<'_>, serving: &Rc<Serving>, exchange: Exchange) {
        http::start(py, serving, &self.shared, &self.scopes, exchange);
    }

    /// A sign that time has passed.
    pub(crate) fn beat(&self, py: Python<'_>) -> PyResult<()> {
        self.wake(py)
    }

    /// Looks after the conversations about which the front has news.
    pub(crate) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let due = std::mem::take(&mut *self.shared.due.borrow_mut());
            if due.is_empty() {
                return Ok(());
            }
            for conversation in due {
                conversation.wake(py)?;
            }
        }
    }
}

impl Shared {
    /// A coroutine that waits for a new future, and that future.
    fn waiting<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Py<PyAny>)> {
        let future = self.create_future.call0(py)?;
        Ok((self.wait.bind(py).call1((&future,))?, future))
    }

    /// Cancels a task after the time that one gets whose client has left.
    fn cancel_later(&self, py: Python<'_>, task: &Py<PyAny>) -> PyResult<()> {
        let cancel = task.bind(py).getattr(intern!(py, "cancel"))?;
        self.call_later.call1(py, (self.grace.as_secs_f64(), cancel)).map(drop)
    }
}

/// Whether somebody still waits for a future: who waited may have been cancelled meanwhile.
fn is_awaited(py: Python<'_>, future: &Py<PyAny>) -> PyResult<bool> {
    Ok(!future.call_method0(py, intern!(py, "done"))?.is_truthy(py)?)
}
