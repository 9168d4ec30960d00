//! One HTTP request through an ASGI app.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyString};
use remuda_front::http::header::{HeaderValue, LINK};
use remuda_front::{
    Arrived, ConnectionId, Content, Exchange, Inbound, RequestBody, StreamSink, Watcher,
};
use remuda_journal::Level;

use super::response::{Head, read_headers, required};
use super::scope::ScopeBuilder;
use super::{ClientDisconnected, Conversation, Ready, Shared, is_awaited};
use crate::serving::Serving;
use crate::wsgi::{describe, owned, page};

/// Bytes of a response that wait for a slow client before the app has to wait as well.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Nothing,
    /// The app has said status and headers; the client has seen nothing.
    Begun,
    Streaming,
    /// All of the body was given; trailers are to follow.
    Trailers,
    Complete,
}

/// One request and its response.
struct Talk {
    serving: Rc<Serving>,
    shared: Rc<Shared>,
    /// Until its response leaves.
    exchange: RefCell<Option<Exchange>>,
    connection: ConnectionId,
    /// `GET /path`, for the log.
    name: String,
    /// A body that is still coming in.
    inbound: Option<Rc<Inbound>>,
    /// The app has got the last of the body.
    request_given: Cell<bool>,
    progress: Cell<Progress>,
    head: RefCell<Option<Head>>,
    sink: RefCell<Option<StreamSink>>,
    /// Who waits in `receive` and in `send`.
    receiver: RefCell<Option<Py<PyAny>>>,
    sender: RefCell<Option<Py<PyAny>>>,
    task: RefCell<Option<Py<PyAny>>>,
    gone: Cell<bool>,
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
pub(crate) fn start(
    py: Python<'_>,
    serving: &Rc<Serving>,
    shared: &Rc<Shared>,
    scopes: &ScopeBuilder,
    mut exchange: Exchange,
) {
    let scope = match scopes.http(py, &serving.front, &exchange) {
        Ok(scope) => scope,
        Err(error) => {
            serving.report_failure(&name_of(&exchange), &describe(py, &error));
            exchange.reply(&serving.front, page(500, ""));
            return serving.end();
        }
    };
    let body = std::mem::replace(&mut exchange.body, RequestBody::Memory(Bytes::new()));
    let talk = Rc::new(Talk {
        serving: serving.clone(),
        shared: shared.clone(),
        connection: exchange.connection(),
        name: name_of(&exchange),
        inbound: match body {
            RequestBody::Stream(inbound) => Some(inbound),
            RequestBody::Memory(_) | RequestBody::File { .. } => None,
        },
        exchange: RefCell::default(),
        request_given: Cell::new(false),
        progress: Cell::new(Progress::Nothing),
        head: RefCell::default(),
        sink: RefCell::default(),
        receiver: RefCell::default(),
        sender: RefCell::default(),
        task: RefCell::default(),
        gone: Cell::new(false),
        due: Cell::new(false),
    });
    exchange.watch(talk.clone());
    *talk.exchange.borrow_mut() = Some(exchange);
    if let Err(error) = run(py, &talk, &scope) {
        talk.fail(py, &error);
        talk.end();
    }
}

fn name_of(exchange: &Exchange) -> String {
    format!("{} {}", exchange.head.method, exchange.head.uri)
}

fn run(py: Python<'_>, talk: &Rc<Talk>, scope: &Bound<'_, PyDict>) -> PyResult<()> {
    let conversation = Bound::new(py, HttpConversation(talk.clone()))?;
    let receive = conversation.getattr(intern!(py, "receive"))?;
    let send = conversation.getattr(intern!(py, "send"))?;
    let coroutine = talk.serving.app.bind(py).call1((scope, receive, send))?;
    let task = talk.shared.start.bind(py).call1((coroutine,))?;
    if task.call_method0(intern!(py, "done"))?.is_truthy()? {
        talk.on_done(&task);
        return Ok(());
    }
    task.call_method1(
        intern!(py, "add_done_callback"),
        (conversation.getattr(intern!(py, "on_done"))?,),
    )?;
    *talk.task.borrow_mut() = Some(task.unbind());
    Ok(())
}

#[pymethods]
impl HttpConversation {
    /// ASGI's `receive`: a piece of the body, or that the client has left.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let talk = &self.0;
        if let Some(event) = talk.next_event(py)? {
            return Ok(Bound::new(py, Ready(Some(event.into_any().unbind())))?.into_any());
        }
        talk.wait_in(py, &talk.receiver)
    }

    /// ASGI's `send`.
    fn send<'py>(
        &self,
        py: Python<'py>,
        event: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let talk = &self.0;
        let kind = required(event, "type")?;
        let kind = kind.cast::<PyString>()?.to_cow()?;
        match (&*kind, talk.progress.get()) {
            ("http.response.start", Progress::Nothing) => {
                *talk.head.borrow_mut() = Some(Head::read(event)?);
                talk.progress.set(Progress::Begun);
            }
            ("http.response.body", Progress::Begun | Progress::Streaming) => {
                return talk.send_body(py, event);
            }
            ("http.response.trailers", Progress::Trailers) => talk.send_trailers(event)?,
            ("http.response.early_hint", Progress::Nothing) => talk.send_early_hint(event)?,
            ("http.response.debug", _) => {}
            (_, Progress::Complete) if talk.gone.get() => {
                return Err(ClientDisconnected::new_err(()));
            }
            (kind, progress) => {
                let expected = match progress {
                    Progress::Nothing => "'http.response.start'",
                    Progress::Begun | Progress::Streaming => "'http.response.body'",
                    Progress::Trailers => "'http.response.trailers'",
                    Progress::Complete => "nothing, since the response is complete",
                };
                let message = format!("Expected {expected}, but got '{kind}'.");
                return Err(PyRuntimeError::new_err(message));
            }
        }
        Ok(talk.shared.nothing.bind(py).clone().into_any())
    }

    /// The task has ended.
    fn on_done(&self, task: &Bound<'_, PyAny>) {
        self.0.on_done(task);
    }
}

impl Watcher for Talk {
    fn changed(self: Rc<Self>) {
        if !self.due.replace(true) {
            let shared = self.shared.clone();
            shared.due.borrow_mut().push(self);
        }
    }
}

impl Conversation for Talk {
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.due.set(false);
        self.look_for_client(py)?;
        let receiver = self.receiver.borrow().as_ref().map(|future| future.clone_ref(py));
        if let Some(future) = receiver {
            if !is_awaited(py, &future)? {
                self.receiver.take();
            } else if let Some(event) = self.next_event(py)? {
                self.receiver.take();
                future.call_method1(py, intern!(py, "set_result"), (event,))?;
            }
        }
        let sender = self.sender.borrow().as_ref().map(|future| future.clone_ref(py));
        if let Some(future) = sender {
            if !is_awaited(py, &future)? {
                self.sender.take();
            } else if self.is_gone() {
                self.sender.take();
                let error = ClientDisconnected::new_err(()).into_value(py);
                future.call_method1(py, intern!(py, "set_exception"), (error,))?;
            } else if self.has_room() {
                self.sender.take();
                future.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
            }
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
                Arrived::Nothing if !self.is_gone() => return Ok(None),
                Arrived::Nothing | Arrived::Failed => {}
            }
            return disconnect(py).map(Some);
        }
        if self.is_gone() || self.progress.get() == Progress::Complete {
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
        self.serving.front.poll_connection(self.connection);
        let arrived = inbound.take();
        inbound.want(arrived == Arrived::Nothing);
        arrived
    }

    fn is_gone(&self) -> bool {
        let left = self.exchange.borrow().as_ref().is_some_and(Exchange::is_client_gone);
        let closed = self.sink.borrow().as_ref().is_some_and(StreamSink::is_closed)
            && self.progress.get() != Progress::Complete;
        if left || closed {
            self.gone.set(true);
        }
        self.gone.get()
    }

    /// A client that has left lets its task go on for a while.
    fn look_for_client(&self, py: Python<'_>) -> PyResult<()> {
        if self.gone.get() || !self.is_gone() {
            return Ok(());
        }
        let task = self.task.borrow().as_ref().map(|task| task.clone_ref(py));
        task.map_or(Ok(()), |task| self.shared.cancel_later(py, &task))
    }

    fn wait_in<'py>(
        &self,
        py: Python<'py>,
        place: &RefCell<Option<Py<PyAny>>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let waiting = place.borrow().as_ref().map(|future| future.clone_ref(py));
        if let Some(future) = waiting
            && is_awaited(py, &future)?
        {
            return self.shared.wait.bind(py).call1((future,));
        }
        let (coroutine, future) = self.shared.waiting(py)?;
        *place.borrow_mut() = Some(future);
        Ok(coroutine)
    }

    fn has_room(&self) -> bool {
        let sink = self.sink.borrow();
        sink.as_ref().is_none_or(|sink| sink.waiting_bytes() <= WAITING_BYTES_MAX)
    }

    fn send_body<'py>(
        &self,
        py: Python<'py>,
        event: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let body = match event.get_item(intern!(py, "body"))? {
            Some(body) => owned(body.extract::<PyBackedBytes>()?),
            None => Bytes::new(),
        };
        let more = match event.get_item(intern!(py, "more_body"))? {
            Some(more) => more.is_truthy()?,
            None => false,
        };
        if self.is_gone() {
            return Err(ClientDisconnected::new_err(()));
        }
        match self.progress.get() {
            Progress::Begun => self.begin(body, more)?,
            _ => self.go_on(body, more)?,
        }
        if self.serving.front.has_work() {
            // A next request may have come in the same packet.
            self.serving.call_schedule(py)?;
        }
        if more && !self.has_room() && !self.is_gone() {
            return self.wait_in(py, &self.sender);
        }
        Ok(self.shared.nothing.bind(py).clone().into_any())
    }

    /// Sends the head and the first of the body, which usually is all of it.
    fn begin(&self, body: Bytes, more: bool) -> PyResult<()> {
        let lost = || PyRuntimeError::new_err("The response has left already.");
        let head = self.head.take().ok_or_else(lost)?;
        let exchange = self.exchange.take().ok_or_else(lost)?;
        let declared = head.length().unwrap_or(body.len() as u64);
        let short = (body.len() as u64) < declared;
        if body.len() as u64 > declared {
            *self.exchange.borrow_mut() = Some(exchange);
            let message = "The response is longer than its Content-Length.";
            return Err(PyRuntimeError::new_err(message));
        }
        let front = &self.serving.front;
        if !more && !head.trailers && (!short || body.is_empty()) {
            self.progress.set(Progress::Complete);
            exchange.reply(front, head.into_reply(Content::Whole(body)));
            return Ok(());
        }
        let (sink, content) = StreamSink::new();
        // Nobody can have closed it yet.
        let _ = sink.push(body);
        let trailers = head.trailers;
        *self.sink.borrow_mut() = Some(sink.clone());
        self.progress.set(Progress::Streaming);
        self.finish_when_last(&sink, more, trailers);
        exchange.reply(front, head.into_reply(content));
        Ok(())
    }

    fn go_on(&self, body: Bytes, more: bool) -> PyResult<()> {
        let sink = self.sink.borrow().clone();
        let Some(sink) = sink else { return Err(PyRuntimeError::new_err("No response begun.")) };
        sink.push(body).map_err(|_| ClientDisconnected::new_err(()))?;
        self.finish_when_last(&sink, more, sink.has_trailers());
        self.serving.front.poll_connection(self.connection);
        Ok(())
    }

    fn finish_when_last(&self, sink: &StreamSink, more: bool, trailers: bool) {
        if trailers {
            sink.expect_trailers();
        }
        if more {
            return;
        }
        if trailers {
            self.progress.set(Progress::Trailers);
        } else {
            self.progress.set(Progress::Complete);
            sink.end();
        }
    }

    fn send_trailers(&self, event: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = event.py();
        let more = match event.get_item(intern!(py, "more_trailers"))? {
            Some(more) => more.is_truthy()?,
            None => false,
        };
        let trailers = read_headers(&required(event, "headers")?)?;
        if let Some(sink) = &*self.sink.borrow() {
            sink.add_trailers(trailers);
            if !more {
                self.progress.set(Progress::Complete);
                sink.end();
            }
        }
        self.serving.front.poll_connection(self.connection);
        Ok(())
    }

    fn send_early_hint(&self, event: &Bound<'_, PyDict>) -> PyResult<()> {
        let mut links = Vec::new();
        for link in required(event, "links")?.try_iter()? {
            let link = link?;
            let bytes = link.cast::<PyBytes>().map_err(|_| {
                PyTypeError::new_err("the links of an early hint must be byte strings")
            })?;
            let value = HeaderValue::from_bytes(bytes.as_bytes())
                .map_err(|_| PyValueError::new_err("a link of an early hint is no header"))?;
            links.push((LINK, value));
        }
        if let Some(exchange) = &*self.exchange.borrow() {
            exchange.early_hints(&links);
        }
        Ok(())
    }

    fn on_done(&self, task: &Bound<'_, PyAny>) {
        let py = task.py();
        self.task.take();
        let cancelled = || task.call_method0(intern!(py, "cancelled"))?.is_truthy();
        match cancelled() {
            Ok(true) => self.cut(),
            Ok(false) => match task.call_method0(intern!(py, "exception")) {
                Ok(error) if error.is_none() => self.check_complete(),
                Ok(error) => self.fail(py, &PyErr::from_value(error)),
                Err(error) => self.fail(py, &error),
            },
            Err(error) => self.fail(py, &error),
        }
        self.end();
    }

    fn end(&self) {
        // Futures that nobody will resolve any more, and what is left of the exchange.
        self.receiver.take();
        self.sender.take();
        let exchange = self.exchange.take();
        drop(exchange);
        self.serving.end();
    }

    /// The app has returned.
    fn check_complete(&self) {
        let message = match self.progress.get() {
            Progress::Complete => return,
            _ if self.is_gone() => return,
            // It was told that the client has left, in the middle of its request.
            _ if self.inbound.as_ref().is_some_and(|inbound| inbound.has_failed()) => return,
            Progress::Nothing | Progress::Begun => "The ASGI app returned without a response",
            Progress::Streaming | Progress::Trailers => {
                "The ASGI app returned before its response was complete"
            }
        };
        self.serving.log(Level::Error, &format!("Error handling request {}\n{message}", self.name));
        self.cut();
    }

    fn fail(&self, py: Python<'_>, error: &PyErr) {
        if self.is_gone() && error.is_instance_of::<ClientDisconnected>(py) {
            self.serving.log(Level::Debug, &format!("Closing connection. {}", self.name));
        } else {
            self.serving.report_failure(&self.name, &describe(py, error));
        }
        self.cut();
    }

    /// Ends a response that is not complete: by an error page if the client has seen nothing yet.
    fn cut(&self) {
        let exchange = self.exchange.take();
        match (exchange, &*self.sink.borrow()) {
            (Some(exchange), _) => exchange.reply(&self.serving.front, page(500, "")),
            (None, Some(sink)) if self.progress.get() != Progress::Complete => {
                sink.abort();
                self.serving.front.poll_connection(self.connection);
            }
            (None, _) => {}
        }
        self.progress.set(Progress::Complete);
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
