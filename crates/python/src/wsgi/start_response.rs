//! `start_response`, and the `write` callable that it returns.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyList, PyString, PyTuple};
use remuda_front::http::header::{HeaderMap, HeaderName, HeaderValue};
use remuda_front::http::{Response, StatusCode};
use remuda_front::{ConnectionId, Content, Exchange, FileContent, Reply, StreamSink};

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

/// The callable that an app gets to begin its response. One for each request.
///
/// It is `wsgi.early_hints` as well, told apart by the number of its arguments: a second object
/// would cost every request more than all early hints of the world are worth.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct StartResponse {
    serving: Rc<Serving>,
    exchange: RefCell<Option<Exchange>>,
    connection: ConnectionId,
    head: RefCell<Option<Head>>,
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
    /// `start_response(status, headers, exc_info=None)`, or `wsgi.early_hints(headers)`.
    #[pyo3(signature = (status, headers=None, exc_info=None))]
    fn __call__(
        slf: Bound<'_, Self>,
        status: &Bound<'_, PyAny>,
        headers: Option<&Bound<'_, PyAny>>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Write>> {
        let this = slf.get();
        let Some(headers) = headers else { return this.early_hints(status).map(|()| None) };
        let exc_info = exc_info.filter(|info| !info.is_none());
        if let Some(info) = exc_info {
            if this.head_sent.get() {
                return Err(PyErr::from_value(info.get_item(1)?));
            }
        } else if this.head.borrow().is_some() || this.head_sent.get() {
            return Err(PyAssertionError::new_err("Response headers already set!"));
        }
        let head = Head::read(status, headers)?;
        *this.head.borrow_mut() = Some(head);
        Ok(Some(Write(slf.unbind())))
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

/// PEP 3333's imperative way to send a body.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct Write(Py<StartResponse>);

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, data: PyBackedBytes) -> PyResult<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.0.get().push(py, owned(data))
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
    /// Sends a 103 with these headers, if the response has not begun.
    fn early_hints(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        if headers.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("start_response() needs a status and headers"));
        }
        let fields = headers.try_iter()?.map(|header| read_hint(&header?));
        let fields = fields.collect::<PyResult<Vec<_>>>()?;
        if let Some(exchange) = &*self.exchange.borrow() {
            exchange.early_hints(&self.serving.front, &fields);
        }
        Ok(())
    }

    pub(crate) fn new(serving: Rc<Serving>, exchange: Exchange) -> Self {
        Self {
            serving,
            connection: exchange.connection(),
            exchange: RefCell::new(Some(exchange)),
            head: RefCell::default(),
            sink: RefCell::default(),
            head_sent: Cell::new(false),
            trailers: RefCell::default(),
        }
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
        let exchange = self.exchange.borrow_mut().take().ok_or_else(missing)?;
        self.head_sent.set(true);
        Ok((exchange, head))
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
    fn read(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (status, reason) = read_status(status)?;
        let headers = headers
            .cast::<PyList>()
            .map_err(|_| PyTypeError::new_err("response headers must be a list of tuples"))?;
        let mut map = HeaderMap::with_capacity(headers.len() + 3);
        let mut length = None;
        for header in headers.iter() {
            let (name, value) = read_header(&header)?;
            if is_ours(&name) {
                continue;
            }
            if name == "content-length" {
                length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
                if length.is_none() {
                    return Err(invalid_header(&header));
                }
            }
            map.append(name, value);
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

fn read_status(
    status: &Bound<'_, PyAny>,
) -> PyResult<(StatusCode, Option<hyper::ext::ReasonPhrase>)> {
    let text =
        status.cast::<PyString>().map_err(|_| PyTypeError::new_err("status must be a string"))?;
    let text = text.to_cow()?;
    let invalid = || PyValueError::new_err(format!("Invalid response status: '{text}'"));
    let (code, reason) = text.split_once(' ').unwrap_or((&text, ""));
    let code = StatusCode::from_bytes(code.as_bytes()).map_err(|_| invalid())?;
    if code.is_informational() {
        return Err(invalid());
    }
    if reason.is_empty() || code.canonical_reason() == Some(reason) {
        return Ok((code, None));
    }
    let bytes = latin1_bytes(reason).ok_or_else(invalid)?;
    let reason = hyper::ext::ReasonPhrase::try_from(bytes).map_err(|_| invalid())?;
    Ok((code, Some(reason)))
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
    let pair =
        header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2).ok_or_else(|| {
            PyTypeError::new_err("a response header must be a tuple of two strings")
        })?;
    let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
    let (Ok(name), Ok(value)) = (name.cast::<PyString>(), value.cast::<PyString>()) else {
        return Err(PyTypeError::new_err(format!("{:?} is not a string", header)));
    };
    let (name, value) = (name.to_cow()?, value.to_cow()?);
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid_header(header))?;
    let value = if value.is_ascii() {
        HeaderValue::from_str(value.trim_matches([' ', '\t'])).ok()
    } else {
        latin1_bytes(&value).and_then(|bytes| HeaderValue::from_bytes(&bytes).ok())
    };
    Ok((name, value.ok_or_else(|| invalid_header(header))?))
}

fn invalid_header(header: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!("Invalid response header: {header:?}"))
}

/// PEP 3333's native strings hold bytes; a character above 255 is a mistake of the app's.
fn latin1_bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// Hop-by-hop fields belong to the connection and not to the app; gunicorn drops them, too.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailers"
            | "transfer-encoding"
            | "upgrade"
            | "server"
            | "date"
    )
}
