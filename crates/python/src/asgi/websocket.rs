//! One WebSocket connection through an ASGI app.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use remuda_front::http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use remuda_front::{Exchange, Heard, Message, WebSocket};
use remuda_journal::Level;
use remuda_scoreboard::Ticket;

use super::respond::Progress;
use super::response::{bytes_of, read_headers, required};
use super::talk::{Own, Talk};
use super::task::{Ended, ending_of};
use super::{ClientDisconnected, Shared};
use crate::serving::Serving;
use crate::wsgi::describe;

/// How far a conversation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The app has not asked yet.
    Asked,
    /// It has heard that a client wants to connect.
    Offered,
    Accepted,
    /// It answers by an HTTP response instead.
    Denied,
    /// It has closed, or refused.
    Closed,
}

/// A WebSocket connection, or what will be one.
pub(super) struct Socket {
    step: Cell<Step>,
    /// Once accepted.
    websocket: RefCell<Option<Rc<WebSocket>>>,
}

/// What the app gets as `receive` and `send`.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct WebSocketConversation(Rc<Talk<Socket>>);

// SAFETY: as for `Worker`: touched with the interpreter's lock only, which is not given up while a
// cell is borrowed.
unsafe impl Send for WebSocketConversation {}
// SAFETY: as above.
unsafe impl Sync for WebSocketConversation {}

/// Bytes of messages that wait for a slow client before the app has to wait as well.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// RFC 6455's codes: all is well; the app has failed; the connection ended without a word.
const NORMAL: u16 = 1000;
const INTERNAL_ERROR: u16 = 1011;
const ABNORMAL: u16 = 1006;

/// Starts the task of a connection.
pub(super) fn start(
    py: Python<'_>,
    serving: &Rc<Serving>,
    shared: &Rc<Shared>,
    scope: Bound<'_, PyDict>,
    exchange: Exchange,
    ticket: Ticket,
) {
    let own = Socket { step: Cell::new(Step::Asked), websocket: RefCell::default() };
    let talk = Talk::new(serving, shared, exchange, ticket, own);
    match talk.start(scope, Bound::new(py, WebSocketConversation(talk.clone()))) {
        Some(ended) => talk.on_ended(py, ended),
        None if talk.own.step.get() != Step::Accepted => talk.limit(),
        None => {}
    }
}

#[pymethods]
impl WebSocketConversation {
    /// ASGI's `receive`: that a client connects, a message, or that it has left.
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
        if Socket::is_gone(talk) {
            return Err(ClientDisconnected::new_err(()));
        }
        match (&*kind, talk.own.step.get()) {
            ("websocket.accept", Step::Asked | Step::Offered) => talk.accept(event)?,
            ("websocket.close", Step::Asked | Step::Offered) => {
                talk.own.step.set(Step::Closed);
                talk.responder.cut(403, "");
            }
            ("websocket.http.response.start", Step::Asked | Step::Offered) => {
                talk.responder.start(event)?;
                talk.own.step.set(Step::Denied);
            }
            ("websocket.http.response.body", Step::Denied)
                if talk.responder.progress() != Progress::Complete =>
            {
                if talk.responder.body(event)? {
                    return talk.sender.wait(py, &talk.shared);
                }
            }
            ("websocket.send", Step::Accepted) => {
                if talk.say(event)? {
                    return talk.sender.wait(py, &talk.shared);
                }
            }
            ("websocket.close", Step::Accepted) => talk.close_as_asked(event)?,
            (kind, step) => return Err(unexpected(kind, step)),
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

fn unexpected(kind: &str, step: Step) -> PyErr {
    let expected = match step {
        Step::Asked | Step::Offered => {
            "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'"
        }
        Step::Accepted => "'websocket.send' or 'websocket.close'",
        Step::Denied => "'websocket.http.response.body'",
        Step::Closed => "nothing, since the connection is closed",
    };
    PyRuntimeError::new_err(format!("Expected {expected}, but got '{kind}'."))
}

impl Own for Socket {
    fn is_gone(talk: &Talk<Self>) -> bool {
        talk.websocket().map_or_else(|| talk.client.is_gone(), |websocket| websocket.is_ended())
    }

    fn has_room(talk: &Talk<Self>) -> bool {
        talk.responder.has_room()
            && talk.websocket().is_none_or(|open| open.unsent_bytes() <= UNSENT_BYTES_MAX)
    }

    fn next_event<'py>(talk: &Talk<Self>, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        if talk.own.step.get() == Step::Asked {
            talk.own.step.set(Step::Offered);
            let event = PyDict::new(py);
            event.set_item(intern!(py, "type"), intern!(py, "websocket.connect"))?;
            return Ok(Some(event));
        }
        let Some(websocket) = talk.websocket() else {
            let is_over = talk.own.step.get() == Step::Closed || talk.client.is_leaving();
            return is_over.then(|| disconnect(py, ABNORMAL, "")).transpose();
        };
        match websocket.hear() {
            Some(Heard::Message(message)) => {
                // There may be room for more now.
                talk.serving.front.poll_connection(talk.responder.connection());
                received(py, message).map(Some)
            }
            Some(Heard::Closed(code, reason)) => disconnect(py, code, &reason).map(Some),
            None => Ok(None),
        }
    }
}

impl Talk<Socket> {
    fn websocket(&self) -> Option<Rc<WebSocket>> {
        self.own.websocket.borrow().clone()
    }

    fn accept(self: &Rc<Self>, event: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = event.py();
        let mut headers = match event.get_item(intern!(py, "headers"))? {
            Some(headers) if !headers.is_none() => read_headers(&headers)?,
            _ => HeaderMap::new(),
        };
        if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            let message = "The subprotocol has a key of its own: 'subprotocol'.";
            return Err(PyValueError::new_err(message));
        }
        if let Some(name) = optional(event, intern!(py, "subprotocol"))? {
            let name = name.cast::<PyString>()?.to_cow()?;
            let value = HeaderValue::from_str(&name)
                .map_err(|_| PyValueError::new_err(format!("Invalid subprotocol: {name:?}")))?;
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        let Some(exchange) = self.responder.take_exchange() else {
            return Err(ClientDisconnected::new_err(()));
        };
        self.own.step.set(Step::Accepted);
        self.lift_limits();
        if let Some(ticket) = self.ticket.take() {
            self.serving.line.end(ticket);
        }
        let front = &self.serving.front;
        let websocket = exchange.accept_websocket(front, headers, self.clone());
        *self.own.websocket.borrow_mut() = websocket;
        Ok(())
    }

    /// `websocket.send`; true when the client reads slowly, and the app has to wait.
    fn say(&self, event: &Bound<'_, PyDict>) -> PyResult<bool> {
        let py = event.py();
        let bytes = optional(event, intern!(py, "bytes"))?;
        let message = match (bytes, optional(event, intern!(py, "text"))?) {
            (Some(bytes), _) => Message::Binary(bytes_of(&bytes)?),
            (None, Some(text)) => Message::Text(text.cast::<PyString>()?.to_cow()?.into_owned()),
            (None, None) => {
                let message = "'websocket.send' needs 'bytes' or 'text'.";
                return Err(PyValueError::new_err(message));
            }
        };
        let Some(websocket) = self.websocket() else { return Ok(false) };
        if !websocket.say(message) {
            return Err(ClientDisconnected::new_err(()));
        }
        self.serving.front.poll_connection(self.responder.connection());
        if self.serving.front.has_work() {
            self.serving.call_schedule(py)?;
        }
        Ok(!Socket::has_room(self) && !Socket::is_gone(self))
    }

    fn close_as_asked(&self, event: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = event.py();
        let code =
            optional(event, intern!(py, "code"))?.map_or(Ok(NORMAL), |code| code.extract())?;
        if !WebSocket::may_be_said(code) {
            let message = format!("Close code {code} must not be sent.");
            return Err(PyValueError::new_err(message));
        }
        let reason = match optional(event, intern!(py, "reason"))? {
            Some(reason) => reason.cast::<PyString>()?.to_cow()?.into_owned(),
            None => String::new(),
        };
        self.close(code, &reason);
        Ok(())
    }

    fn close(&self, code: u16, reason: &str) {
        self.own.step.set(Step::Closed);
        if let Some(websocket) = self.websocket() {
            websocket.close(code, reason);
            self.serving.front.poll_connection(self.responder.connection());
        }
    }

    fn on_ended(&self, py: Python<'_>, ended: Ended) {
        match ended {
            Ended::Returned => self.check_closed(),
            Ended::Cancelled => self.give_up(),
            Ended::Raised(error) if Socket::is_gone(self) && is_disconnect(py, &error) => {
                self.serving.log(Level::Debug, &format!("Closing connection. {}", self.name));
                self.give_up();
            }
            Ended::Raised(error) => {
                self.serving.report_failure(&self.name, &describe(py, &error));
                self.give_up();
            }
        }
        self.end(py);
        if let Some(websocket) = self.own.websocket.take() {
            websocket.forget_watcher();
        }
        match self.ticket.take() {
            Some(ticket) => self.serving.end(ticket),
            None => self.serving.leave_app(),
        }
    }

    fn check_closed(&self) {
        match self.own.step.get() {
            Step::Closed => {}
            Step::Accepted => self.close(NORMAL, ""),
            Step::Denied if self.responder.progress() == Progress::Complete => {}
            Step::Asked | Step::Offered | Step::Denied => {
                if !self.client.is_leaving() {
                    let message = "The ASGI app returned without having accepted or refused";
                    let name = &self.name;
                    self.serving
                        .log(Level::Error, &format!("Error handling request {name}\n{message}"));
                }
                self.give_up();
            }
        }
    }

    /// The app has failed.
    fn give_up(&self) {
        if self.own.step.get() == Step::Accepted {
            self.close(INTERNAL_ERROR, "");
        } else {
            self.responder.cut(500, "");
        }
    }
}

fn is_disconnect(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<ClientDisconnected>(py)
}

/// A value that may be missing or `None`.
fn optional<'py>(
    event: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(event.get_item(key)?.filter(|value| !value.is_none()))
}

fn received(py: Python<'_>, message: Message) -> PyResult<Bound<'_, PyDict>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), intern!(py, "websocket.receive"))?;
    match message {
        Message::Text(text) => event.set_item(intern!(py, "text"), text)?,
        Message::Binary(bytes) => {
            event.set_item(intern!(py, "bytes"), PyBytes::new(py, &bytes))?;
        }
    }
    Ok(event)
}

fn disconnect<'py>(py: Python<'py>, code: u16, reason: &str) -> PyResult<Bound<'py, PyDict>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), intern!(py, "websocket.disconnect"))?;
    event.set_item(intern!(py, "code"), code)?;
    event.set_item(intern!(py, "reason"), reason)?;
    Ok(event)
}
