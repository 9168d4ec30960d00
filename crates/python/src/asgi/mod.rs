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
mod respond;
mod response;
mod scope;
mod talk;
mod task;
mod waiter;
mod websocket;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use remuda_channel::WorkerPlan;
use remuda_front::{Exchange, Listener};
use remuda_scoreboard::Ticket;

pub(crate) use awaitable::Ready;
pub(crate) use http::HttpConversation;
pub(crate) use websocket::WebSocketConversation;

use crate::overdue::RequestName;
use crate::serving::Serving;
use crate::wsgi::{describe, page};
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
    /// Makes a task of a coroutine, with these keywords.
    make_task: Py<PyAny>,
    task_keywords: Py<PyDict>,
    /// Where a task's code is now.
    stack: Py<PyAny>,
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
                make_task: tasks.getattr("make_task")?.unbind(),
                task_keywords: tasks.getattr("task_keywords")?.cast_into()?.unbind(),
                stack: tasks.getattr("stack")?.unbind(),
                call_later: tasks.getattr("call_later")?.unbind(),
                nothing: Py::new(py, Ready(None))?,
                grace: Duration::from_secs_f64(plan.asgi.disconnect_grace_s),
            }),
        })
    }

    /// Starts the task of a request, or of a WebSocket connection.
    pub(crate) fn start(
        &self,
        py: Python<'_>,
        serving: &Rc<Serving>,
        exchange: Exchange,
        ticket: Ticket,
    ) {
        let is_websocket = exchange.websocket.is_some();
        let scope = match is_websocket {
            false => self.scopes.http(py, &serving.front, &exchange),
            true => self.scopes.websocket(py, &serving.front, &exchange),
        };
        match scope {
            Ok(scope) if is_websocket => {
                websocket::start(py, serving, &self.shared, scope, exchange, ticket);
            }
            Ok(scope) => http::start(py, serving, &self.shared, scope, exchange, ticket),
            Err(error) => {
                serving.report_failure(&RequestName::of(&exchange), &describe(py, &error));
                exchange.reply(&serving.front, page(500, ""));
                serving.end(ticket);
            }
        }
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
    fn have_wake(&self, conversation: Rc<dyn Conversation>) {
        self.due.borrow_mut().push(conversation);
    }

    /// A task of what the app has returned.
    fn start<'py>(&self, returned: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = returned.py();
        // SAFETY: only looks at the type of a living object.
        let is_coroutine = unsafe { pyo3::ffi::PyCoro_CheckExact(returned.as_ptr()) } != 0;
        let coroutine =
            if is_coroutine { returned } else { self.wait.bind(py).call1((returned,))? };
        self.make_task.bind(py).call((coroutine,), Some(self.task_keywords.bind(py)))
    }

    fn nothing<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.nothing.bind(py).clone().into_any()
    }
}

/// The ASGI way to offer `remuda.extend_timeout`: among the scope's extensions.
fn offer_time(scope: &Bound<'_, PyDict>, conversation: &Bound<'_, PyAny>) {
    let py = scope.py();
    let offer = || -> PyResult<()> {
        let extend = conversation.getattr(intern!(py, "extend_timeout"))?;
        let Some(extensions) = scope.get_item(intern!(py, "extensions"))? else { return Ok(()) };
        extensions.set_item(intern!(py, "remuda.extend_timeout"), extend)
    };
    // Only for want of memory; the app can do without.
    let _ = offer();
}
