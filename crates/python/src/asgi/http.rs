//! One HTTP request through an ASGI app.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use remuda_front::{Arrived, Exchange, Inbound, RequestBody};
use remuda_journal::Level;
use remuda_scoreboard::Ticket;

use super::respond::Progress;
use super::response::required;
use super::talk::{Own, Talk};
use super::task::{Ended, ending_of};
use super::{ClientDisconnected, Shared};
use crate::overdue::RequestTimeout;
use crate::serving::Serving;
use crate::wsgi::describe;

/// The request's body, as far as the app has not got it.
pub(super) struct Http {
    /// A body that is still coming in.
    inbound: Option<Rc<Inbound>>,
    /// The app has got the last of the body.
    request_given: Cell<bool>,
}

/// What the app gets as `receive` and `send`.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct HttpConversation(Rc<Talk<Http>>);

// SAFETY: as for `Worker`: touched with the interpreter's lock only, which is not given up while a
// cell is borrowed.
unsafe impl Send for HttpConversation {}
// SAFETY: as above.
unsafe impl Sync for HttpConversation {}

/// Starts the task of a request.
pub(super) fn start(
    py: Python<'_>,
    serving: &Rc<Serving>,
    shared: &Rc<Shared>,
    scope: Bound<'_, PyDict>,
    mut exchange: Exchange,
    ticket: Ticket,
) {
    let body = std::mem::replace(&mut exchange.body, RequestBody::Memory(Bytes::new()));
    let own = Http {
        inbound: match body {
            RequestBody::Stream(inbound) => Some(inbound),
            RequestBody::Memory(_) | RequestBody::File { .. } => None,
        },
        request_given: Cell::new(false),
    };
    let talk = Talk::new(serving, shared, exchange, ticket, own);
    match talk.start(scope, Bound::new(py, HttpConversation(talk.clone()))) {
        Some(ended) => talk.on_ended(py, ended),
        None => talk.limit(),
    }
}

#[pymethods]
impl HttpConversation {
    /// ASGI's `receive`: a piece of the body, or that the client has left.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.0.receive(py)
    }

    /// ASGI's `send`.
    fn send<'py>(
        &self,
        py: Python<'py>,
        event: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let talk = &self.0;
        let kind = required(event, intern!(py, "type"))?;
        let kind = kind.cast::<PyString>()?.to_cow()?;
        if talk.client.is_gone() {
            return Err(ClientDisconnected::new_err(()));
        }
        match (&*kind, talk.responder.progress()) {
            ("http.response.start", Progress::Nothing) => talk.responder.start(event)?,
            ("http.response.body", Progress::Begun | Progress::Streaming) => {
                if talk.responder.body(event)? && !talk.client.is_gone() {
                    return talk.sender.wait(py, &talk.shared);
                }
            }
            ("http.response.trailers", Progress::Trailers) => talk.responder.trailers(event)?,
            ("http.response.early_hint", Progress::Nothing) => talk.responder.early_hint(event)?,
            ("http.response.debug", _) => {}
            (kind, progress) => return Err(unexpected(kind, progress)),
        }
        Ok(talk.shared.nothing(py))
    }

    /// `remuda.extend_timeout`: this request may run for so many seconds more than others.
    fn extend_timeout(&self, seconds: f64) -> PyResult<()> {
        self.0.clock.extend(&self.0.serving, seconds)
    }

    /// The task has ended.
    fn on_done(&self, task: &Bound<'_, PyAny>) {
        self.0.on_ended(task.py(), ending_of(task));
    }
}

fn unexpected(kind: &str, progress: Progress) -> PyErr {
    let expected = match progress {
        Progress::Nothing => "'http.response.start'",
        Progress::Begun | Progress::Streaming => "'http.response.body'",
        Progress::Trailers => "'http.response.trailers'",
        Progress::Complete => "nothing, since the response is complete",
    };
    PyRuntimeError::new_err(format!("Expected {expected}, but got '{kind}'."))
}

impl Own for Http {
    fn is_gone(talk: &Talk<Self>) -> bool {
        talk.client.is_gone()
    }

    fn has_room(talk: &Talk<Self>) -> bool {
        talk.responder.has_room()
    }

    fn next_event<'py>(talk: &Talk<Self>, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        if !talk.own.request_given.get() {
            match talk.take_body() {
                Arrived::Piece(piece, last) => {
                    talk.own.request_given.set(last);
                    return request(py, &piece, !last).map(Some);
                }
                Arrived::Nothing if !talk.client.is_leaving() => return Ok(None),
                Arrived::Nothing | Arrived::Failed => {}
            }
            return disconnect(py).map(Some);
        }
        if talk.client.is_leaving() || talk.responder.progress() == Progress::Complete {
            return disconnect(py).map(Some);
        }
        Ok(None)
    }
}

impl Talk<Http> {
    fn take_body(&self) -> Arrived {
        let Some(inbound) = &self.own.inbound else { return Arrived::Piece(Bytes::new(), true) };
        let arrived = inbound.take();
        if arrived != Arrived::Nothing {
            inbound.want(false);
            return arrived;
        }
        // hyper reads on when it is asked, and there may be something in the socket already.
        inbound.want(true);
        self.serving.front.poll_connection(self.responder.connection());
        let arrived = inbound.take();
        inbound.want(arrived == Arrived::Nothing);
        arrived
    }

    fn on_ended(&self, py: Python<'_>, ended: Ended) {
        match ended {
            Ended::Cancelled => self.responder.cut(500, ""),
            Ended::Returned => self.check_complete(),
            Ended::Raised(error) => self.fail(py, &error),
        }
        self.end(py);
        if let Some(ticket) = self.ticket.take() {
            self.serving.end(ticket);
        }
    }

    /// The app has returned.
    fn check_complete(&self) {
        let message = match self.responder.progress() {
            Progress::Complete => return,
            _ if self.client.is_leaving() => return self.responder.cut(500, ""),
            Progress::Nothing | Progress::Begun => "The ASGI app returned without a response",
            Progress::Streaming | Progress::Trailers => {
                "The ASGI app returned before its response was complete"
            }
        };
        self.serving.log(Level::Error, &format!("Error handling request {}\n{message}", self.name));
        self.responder.cut(500, "");
    }

    fn fail(&self, py: Python<'_>, error: &PyErr) {
        if self.client.is_gone() && error.is_instance_of::<ClientDisconnected>(py) {
            self.serving.log(Level::Debug, &format!("Closing connection. {}", self.name));
        } else {
            self.serving.report_failure(&self.name, &describe(py, error));
        }
        self.responder.cut(if error.is_instance_of::<RequestTimeout>(py) { 504 } else { 500 }, "");
    }
}

fn request<'py>(py: Python<'py>, body: &[u8], more: bool) -> PyResult<Bound<'py, PyDict>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), intern!(py, "http.request"))?;
    event.set_item(intern!(py, "body"), PyBytes::new(py, body))?;
    event.set_item(intern!(py, "more_body"), more)?;
    Ok(event)
}

fn disconnect(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), intern!(py, "http.disconnect"))?;
    Ok(event)
}
