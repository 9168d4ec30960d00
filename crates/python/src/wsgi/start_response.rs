//! `start_response`, and what an app says with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use remuda_front::http::header::{HeaderMap, HeaderName, HeaderValue};
use remuda_front::http::{Response, StatusCode};
use remuda_front::{ConnectionId, Content, Exchange, FileContent, Reply, StreamSink};
use remuda_scoreboard::Ticket;

use super::phrases::{Kind, Phrases, invalid_header, read_name, read_value};
use crate::overdue::Clock;
use crate::serving::Serving;

/// What the app said with `start_response`.
pub(crate) struct Head {
    status: StatusCode,
    /// A reason phrase that is not the standard one.
    reason: Option<hyper::ext::ReasonPhrase>,
    headers: HeaderMap,
    /// The `Content-Length` among the headers.
    pub(crate) length: Option<u64>,
}

/// Status and headers as Python objects.
pub(crate) type Said = (Py<PyAny>, Py<PyAny>);

/// The callable that an app gets to begin its response. One for each request.
///
/// It is `wsgi.early_hints` and `remuda.extend_timeout` as well, and the `write` that it returns, told
/// apart by their arguments: other objects would cost every request, and hardly one calls them.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct StartResponse {
    serving: Rc<Serving>,
    clock: Clock,
    exchange: RefCell<Option<Exchange>>,
    connection: ConnectionId,
    head: RefCell<Option<Head>>,
    /// What the app has said, for hooks, if there are any.
    said: RefCell<Option<Said>>,
    /// The app's environ, until the access log has what it shows of it.
    environ: RefCell<Option<Py<PyDict>>>,
    /// Set once the head has left, when the body follows in pieces.
    sink: RefCell<Option<StreamSink>>,
    head_sent: Cell<bool>,
    /// Fields that follow the body, where the client can take them.
    trailers: RefCell<Option<HeaderMap>>,
}

// SAFETY: as for `Worker`: touched with the interpreter's lock only, which is not given up while a
// cell is borrowed.
unsafe impl Send for StartResponse {}
// SAFETY: as above.
unsafe impl Sync for StartResponse {}

#[pymethods]
impl StartResponse {
    /// `start_response(status, headers, exc_info=None)`; or with one argument `write(data)`, which is
    /// PEP 3333's imperative way to send a body, `wsgi.early_hints(headers)`, or
    /// `remuda.extend_timeout(seconds)`.
    #[pyo3(signature = (status, headers=None, exc_info=None))]
    fn __call__<'py>(
        slf: Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: Option<&Bound<'py, PyAny>>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, Self>>> {
        let this = slf.get();
        let Some(headers) = headers else { return this.take(status).map(|()| None) };
        let exc_info = exc_info.filter(|info| !info.is_none());
        if let Some(info) = exc_info {
            if this.head_sent.get() {
                return Err(PyErr::from_value(info.get_item(1)?));
            }
        } else if this.head.borrow().is_some() || this.head_sent.get() {
            return Err(PyAssertionError::new_err("Response headers already set!"));
        }
        let room = this.exchange.borrow_mut().as_mut().map(Exchange::room_of_headers);
        let room = room.unwrap_or_default();
        let head = Head::read(status, headers, &this.serving.phrases, room)?;
        if this.serving.request_hooks.is_some() {
            *this.said.borrow_mut() = Some((status.clone().unbind(), headers.clone().unbind()));
        }
        *this.head.borrow_mut() = Some(head);
        Ok(Some(slf))
    }

    /// `gunicorn.http2.send_trailers`: fields that leave when the body has.
    fn send_trailers(&self, trailers: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut map = HeaderMap::new();
        for trailer in trailers.try_iter()? {
            let (name, value) = read_header(&trailer?)?;
            map.append(name, value);
        }
        *self.trailers.borrow_mut() = Some(map);
        if let Some(sink) = self.sink.borrow().as_ref() {
            sink.expect_trailers();
        }
        Ok(())
    }
}

/// Small pieces are copied; a large one stays where Python has it until it is written.
pub(crate) fn owned(data: PyBackedBytes) -> Bytes {
    const COPIED_BYTES_MAX: usize = 16 * 1024;
    if data.len() <= COPIED_BYTES_MAX {
        Bytes::copy_from_slice(&data)
    } else {
        Bytes::from_owner(data)
    }
}

/// Bytes of a stream that wait for a slow client before the app has to wait as well.
const WAITING_BYTES_MAX: usize = 256 * 1024;

impl StartResponse {
    /// What a call with one argument means.
    fn take(&self, argument: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(data) = argument.extract::<PyBackedBytes>() {
            return if data.is_empty() { Ok(()) } else { self.push(argument.py(), owned(data)) };
        }
        match argument.extract() {
            // The request may run for so much longer than others.
            Ok(seconds) => self.clock.extend(&self.serving, seconds),
            Err(_) => self.early_hints(argument),
        }
    }

    /// Sends a 103 with these headers, if the response has not begun.
    fn early_hints(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        if headers.is_instance_of::<PyString>() {
            let message = "start_response() needs a status and headers, and write() needs bytes";
            return Err(PyTypeError::new_err(message));
        }
        let fields = headers.try_iter()?.map(|header| read_hint(&header?));
        let fields = fields.collect::<PyResult<Vec<_>>>()?;
        if let Some(exchange) = &*self.exchange.borrow() {
            exchange.early_hints(&self.serving.front, &fields);
        }
        Ok(())
    }

    pub(crate) fn new(
        serving: Rc<Serving>,
        exchange: Exchange,
        ticket: Ticket,
        environ: &Bound<'_, PyDict>,
    ) -> Self {
        let is_shown = !serving.front.environ_wanted().is_empty();
        Self {
            environ: RefCell::new(is_shown.then(|| environ.clone().unbind())),
            serving,
            clock: Clock::new(ticket),
            connection: exchange.connection(),
            exchange: RefCell::new(Some(exchange)),
            head: RefCell::default(),
            said: RefCell::default(),
            sink: RefCell::default(),
            head_sent: Cell::new(false),
            trailers: RefCell::default(),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The app is done. It and its environ hold each other, and nobody would part them.
    pub(crate) fn end(&self) {
        self.clock.end();
        self.environ.borrow_mut().take();
    }

    /// Status and headers as the app has given them.
    pub(crate) fn take_said(&self) -> Option<Said> {
        self.said.borrow_mut().take()
    }

    /// Whether the client has seen the head already, so that no error page can follow.
    pub(crate) fn head_sent(&self) -> bool {
        self.head_sent.get()
    }

    /// The declared length of the body, if the app has said one.
    pub(crate) fn declared_length(&self) -> Option<u64> {
        self.head.borrow().as_ref().and_then(|head| head.length)
    }

    fn take_head(&self) -> PyResult<(Exchange, Head)> {
        let missing = || PyAssertionError::new_err("start_response() was not called");
        let head = self.head.borrow_mut().take().ok_or_else(missing)?;
        let mut exchange = self.exchange.borrow_mut().take().ok_or_else(missing)?;
        let environ = self.environ.borrow_mut().take();
        if let Some(environ) = environ {
            exchange.environ = Python::attach(|py| self.shown(environ.bind(py)));
        }
        self.head_sent.set(true);
        Ok((exchange, head))
    }

    /// What the access log shows of the environ; the names count in any case, as in gunicorn.
    fn shown(&self, environ: &Bound<'_, PyDict>) -> Vec<String> {
        let wanted = self.serving.front.environ_wanted();
        let text = |wanted: &String| {
            let is_it = |key: &Bound<'_, PyAny>| {
                key.extract::<String>().is_ok_and(|key| key.eq_ignore_ascii_case(wanted))
            };
            let found = environ.iter().find(|(key, _)| is_it(key));
            found.map_or_else(|| "-".to_owned(), |(_, value)| value.to_string())
        };
        wanted.iter().map(text).collect()
    }

    /// Sends the head and the whole body at once.
    pub(crate) fn send_whole(&self, body: Bytes) -> PyResult<()> {
        if self.trailers.borrow().is_some() {
            self.begin_stream(body)?;
            self.end_stream();
            return Ok(());
        }
        let (exchange, head) = self.take_head()?;
        let content = match head.length {
            Some(length) if length < body.len() as u64 => {
                Content::Whole(body.slice(..usize::try_from(length).unwrap_or(usize::MAX)))
            }
            // Too short: sent as a stream, so that hyper sees it end early and cuts the
            // connection; the client must not wait for the rest, nor take it for complete.
            Some(length) if length > body.len() as u64 && !body.is_empty() => {
                let (sink, content) = StreamSink::new();
                let _ = sink.push(body);
                sink.end();
                content
            }
            _ => Content::Whole(body),
        };
        exchange.reply(&self.serving.front, head.into_reply(content));
        Ok(())
    }

    /// Whether the head is known and its body can be a file.
    pub(crate) fn takes_file(&self) -> bool {
        let exchange = self.exchange.borrow();
        self.head.borrow().is_some() && exchange.as_ref().is_some_and(Exchange::takes_files)
    }

    /// Sends the head, and has the front send a file behind it.
    pub(crate) fn send_file(&self, file: FileContent) -> PyResult<()> {
        let (exchange, head) = self.take_head()?;
        exchange.reply(&self.serving.front, head.into_reply(Content::File(file)));
        Ok(())
    }

    /// Sends the head and the first piece, with others to follow.
    fn begin_stream(&self, piece: Bytes) -> PyResult<()> {
        let (exchange, head) = self.take_head()?;
        let (sink, content) = StreamSink::new();
        if self.trailers.borrow().is_some() {
            sink.expect_trailers();
        }
        sink.push(piece).map_err(|_| gone())?;
        *self.sink.borrow_mut() = Some(sink);
        exchange.reply(&self.serving.front, head.into_reply(content));
        Ok(())
    }

    /// Sends a piece of the body, the head first if it has not left. Waits while the client is
    /// slow: the loop in gevent, the process in sync.
    pub(crate) fn push(&self, py: Python<'_>, piece: Bytes) -> PyResult<()> {
        let Some(sink) = self.sink.borrow().clone() else {
            self.begin_stream(piece)?;
            return self.wait_for_client(py);
        };
        sink.push(piece).map_err(|_| gone())?;
        self.serving.front.poll_connection(self.connection);
        self.wait_for_client(py)
    }

    fn wait_for_client(&self, py: Python<'_>) -> PyResult<()> {
        let Some(sink) = self.sink.borrow().clone() else { return Ok(()) };
        let front = &self.serving.front;
        let mut waiting = sink.waiting_bytes();
        let mut moved = Instant::now();
        while waiting > WAITING_BYTES_MAX && !sink.is_closed() {
            let Some(awaited) = front.awaited(self.connection) else { return Err(gone()) };
            let came = self.serving.wait_for_room(py, awaited)?;
            front.resume_writing(self.connection);
            let before = std::mem::replace(&mut waiting, sink.waiting_bytes());
            if came && !awaited.room_is_said || waiting < before {
                moved = Instant::now();
            } else if moved.elapsed() >= self.serving.write_pause {
                self.abort_stream();
                return Err(gone());
            }
        }
        if sink.is_closed() { Err(gone()) } else { Ok(()) }
    }

    /// The last piece has left.
    pub(crate) fn end_stream(&self) {
        if let Some(sink) = self.sink.borrow().as_ref() {
            if let Some(trailers) = self.trailers.take() {
                sink.add_trailers(trailers);
            }
            sink.end();
        }
        self.serving.front.poll_connection(self.connection);
    }

    /// Cuts the connection: the client must see that the response is not complete.
    pub(crate) fn abort_stream(&self) {
        if let Some(sink) = self.sink.borrow().as_ref() {
            sink.abort();
        }
        self.serving.front.poll_connection(self.connection);
    }

    /// Whether the client has left, or does not read, in the middle of a streamed response.
    pub(crate) fn is_client_gone(&self) -> bool {
        self.sink.borrow().as_ref().is_some_and(StreamSink::is_closed)
    }

    /// Whether the client has got all that the response can hold.
    pub(crate) fn is_sated(&self) -> bool {
        self.sink.borrow().as_ref().is_some_and(StreamSink::is_sated)
    }

    /// Whether the body is sent in pieces.
    pub(crate) fn is_streaming(&self) -> bool {
        self.sink.borrow().is_some()
    }

    /// Answers with a page of ours; nothing of the app's was sent.
    pub(crate) fn send_page(&self, page: Reply) {
        self.head.borrow_mut().take();
        let exchange = self.exchange.borrow_mut().take();
        if let Some(exchange) = exchange {
            self.head_sent.set(true);
            exchange.reply(&self.serving.front, page);
        }
    }
}

/// The client has closed its connection; not an error of the app's.
fn gone() -> PyErr {
    pyo3::exceptions::PyBrokenPipeError::new_err("the client closed the connection")
}

impl Head {
    fn read(
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        phrases: &Phrases,
        mut map: HeaderMap,
    ) -> PyResult<Self> {
        let (status, reason) = phrases.status(status)?;
        let headers = headers
            .cast::<PyList>()
            .map_err(|_| PyTypeError::new_err("response headers must be a list of tuples"))?;
        map.reserve(headers.len() + 3);
        let mut length = None;
        for header in headers.iter() {
            let (name, value) = pair_of(&header)?;
            let (name, kind) = phrases.name(&header, &name)?;
            match kind {
                Kind::Ours => drop(phrases.value(&header, &value)?),
                Kind::Length => {
                    let text = value.to_cow()?;
                    length = text.parse().or_else(|_| text.trim().parse()).ok();
                    if length.is_none() {
                        return Err(invalid_header(&header));
                    }
                    map.append(name, read_value(&header, &text)?);
                }
                Kind::Other => {
                    map.append(name, phrases.value(&header, &value)?);
                }
            }
        }
        Ok(Self { status, reason, headers: map, length })
    }

    fn into_reply(self, content: Content) -> Reply {
        let mut reply = Response::new(content);
        *reply.status_mut() = self.status;
        *reply.headers_mut() = self.headers;
        if let Some(reason) = self.reason {
            reply.extensions_mut().insert(reason);
        }
        reply
    }
}

/// Hints may be bytes as well, as in gunicorn.
fn read_hint(header: &Bound<'_, PyAny>) -> PyResult<(HeaderName, HeaderValue)> {
    let Ok((name, value)) = header.extract::<(PyBackedBytes, PyBackedBytes)>() else {
        return read_header(header);
    };
    let pair = HeaderName::from_bytes(&name).ok().zip(HeaderValue::from_bytes(&value).ok());
    pair.ok_or_else(|| invalid_header(header))
}

fn read_header(header: &Bound<'_, PyAny>) -> PyResult<(HeaderName, HeaderValue)> {
    let (name, value) = pair_of(header)?;
    Ok((read_name(header, &name.to_cow()?)?, read_value(header, &value.to_cow()?)?))
}

/// Name and value of a header.
fn pair_of<'a, 'py>(
    header: &'a Bound<'py, PyAny>,
) -> PyResult<(Borrowed<'a, 'py, PyString>, Borrowed<'a, 'py, PyString>)> {
    let pair =
        header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2).ok_or_else(|| {
            PyTypeError::new_err("a response header must be a tuple of two strings")
        })?;
    let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
    match (name.cast::<PyString>(), value.cast::<PyString>()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => Err(PyTypeError::new_err(format!("{:?} is not a string", header))),
    }
}
