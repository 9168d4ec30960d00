//! One HTTP request through an ASGI app.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use remuda_front::{Arrived, Client, Exchange, Inbound, RequestBody, Watcher};
use remuda_journal::Level;
use remuda_scoreboard::Ticket;

use super::respond::{Progress, Responder};
use super::response::required;
use super::task::{AppTask, Ended, ending_of};
use super::waiter::Waiter;
use super::{ClientDisconnected, Conversation, Ready, RequestName, Shared, offer_time};
use crate::overdue::{Clock, Flight, RequestTimeout};
use crate::serving::Serving;
use crate::wsgi::describe;

/// One request and its response.
struct Talk {
    serving: Rc<Serving>,
    shared: Rc<Shared>,
    client: Client,
    name: RequestName,
    /// To be given back at the end.
    ticket: Cell<Option<Ticket>>,
    /// A body that is still coming in.
    inbound: Option<Rc<Inbound>>,
    /// The app has got the last of the body.
    request_given: Cell<bool>,
    responder: Responder,
    receiver: Waiter,
    sender: Waiter,
    task: AppTask,
    clock: Clock,
    /// Its place among those that limits of time apply to.
    place: Cell<Option<usize>>,
    due: Cell<bool>,
}

/// What the app gets as `receive` and `send`.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct HttpConversation(Rc<Talk>);

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
    let talk = Rc::new(Talk {
        serving: serving.clone(),
        shared: shared.clone(),
        client: exchange.client(),
        name: RequestName::of(&exchange),
        ticket: Cell::new(Some(ticket)),
        inbound: match body {
            RequestBody::Stream(inbound) => Some(inbound),
            RequestBody::Memory(_) | RequestBody::File { .. } => None,
        },
        request_given: Cell::new(false),
        responder: Responder::new(serving.clone(), exchange),
        receiver: Waiter::default(),
        sender: Waiter::default(),
        task: AppTask::default(),
        clock: Clock::new(ticket),
        place: Cell::default(),
        due: Cell::new(false),
    });
    talk.responder.watch(talk.clone());
    let ended = match Bound::new(py, HttpConversation(talk.clone())) {
        Ok(conversation) => {
            offer_time(&scope, conversation.as_any());
            talk.task.start(py, shared, &serving.app, scope, conversation.as_any())
        }
        Err(error) => Some(Ended::Raised(error)),
    };
    match ended {
        Some(ended) => talk.on_ended(py, ended),
        None if serving.flights.are_watched() => {
            talk.place.set(Some(serving.flights.watch(talk.clone())));
        }
        None => {}
    }
}

#[pymethods]
impl HttpConversation {
    /// ASGI's `receive`: a piece of the body, or that the client has left.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let talk = &self.0;
        match talk.next_event(py)? {
            Some(event) => Ready::with(py, event),
            None => talk.receiver.wait(py, &talk.shared),
        }
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

impl Watcher for Talk {
    fn changed(self: Rc<Self>) {
        if !self.due.replace(true) {
            let shared = self.shared.clone();
            shared.have_wake(self);
        }
    }
}

impl Flight for Talk {
    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn name(&self) -> RequestName {
        self.name.clone()
    }

    fn stack(&self, py: Python<'_>) -> PyResult<String> {
        self.task.stack(py, &self.shared)
    }

    fn is_answered(&self) -> bool {
        self.responder.progress() == Progress::Complete
    }

    fn break_off(&self, py: Python<'_>) -> PyResult<bool> {
        self.responder.cut(504, "");
        self.task.cancel(py)?;
        Ok(false)
    }
}

impl Conversation for Talk {
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.due.set(false);
        self.task.look_for_client(py, &self.shared, self.client.is_leaving())?;
        if self.receiver.is_waiting(py)?
            && let Some(event) = self.next_event(py)?
        {
            self.receiver.resolve(py, event.into_any())?;
        }
        if self.client.is_gone() {
            self.sender.fail(py, ClientDisconnected::new_err(()))?;
        } else if self.responder.has_room() {
            self.sender.resolve(py, py.None())?;
        }
        Ok(())
    }
}

impl Talk {
    /// What `receive` can give now.
    fn next_event<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        if !self.request_given.get() {
            match self.take_body() {
                Arrived::Piece(piece, last) => {
                    self.request_given.set(last);
                    return request(py, &piece, !last).map(Some);
                }
                Arrived::Nothing if !self.client.is_leaving() => return Ok(None),
                Arrived::Nothing | Arrived::Failed => {}
            }
            return disconnect(py).map(Some);
        }
        if self.client.is_leaving() || self.responder.progress() == Progress::Complete {
            return disconnect(py).map(Some);
        }
        Ok(None)
    }

    fn take_body(&self) -> Arrived {
        let Some(inbound) = &self.inbound else { return Arrived::Piece(Bytes::new(), true) };
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
        self.task.end(py);
        self.receiver.forget();
        self.sender.forget();
        self.clock.end();
        if let Some(place) = self.place.take() {
            self.serving.flights.forget(place);
        }
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
