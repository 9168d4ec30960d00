//! The way of a response from an app's events to the front.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use remuda_front::http::Method;
use remuda_front::http::header::{HeaderValue, LINK};
use remuda_front::{ConnectionId, Content, Exchange, StreamSink, Watcher};

use super::ClientDisconnected;
use super::response::{Head, bytes_of, flag, read_headers, required};
use crate::serving::Serving;
use crate::wsgi::page;

/// Bytes of a response that wait for a slow client before the app has to wait as well.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Nothing,
    /// The app has said status and headers; the client has seen nothing.
    Begun,
    Streaming,
    /// All of the body was given; trailers are to follow.
    Trailers,
    Complete,
}

pub(super) struct Responder {
    serving: Rc<Serving>,
    /// Until its response leaves.
    exchange: RefCell<Option<Exchange>>,
    connection: ConnectionId,
    progress: Cell<Progress>,
    /// Bytes of the declared length that were not given yet; `None` when none counts.
    owed: Cell<Option<u64>>,
    head: RefCell<Option<Head>>,
    sink: RefCell<Option<StreamSink>>,
}

impl Responder {
    pub(super) fn new(serving: Rc<Serving>, exchange: Exchange) -> Self {
        Self {
            serving,
            connection: exchange.connection(),
            exchange: RefCell::new(Some(exchange)),
            progress: Cell::new(Progress::Nothing),
            owed: Cell::new(None),
            head: RefCell::default(),
            sink: RefCell::default(),
        }
    }

    pub(super) fn watch(&self, watcher: Rc<dyn Watcher>) {
        if let Some(exchange) = &*self.exchange.borrow() {
            exchange.watch(watcher);
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.get()
    }

    pub(super) fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The exchange, when something else than a response becomes of it.
    pub(super) fn take_exchange(&self) -> Option<Exchange> {
        self.progress.set(Progress::Complete);
        self.exchange.take()
    }

    /// `http.response.start`
    pub(super) fn start(&self, event: &Bound<'_, PyDict>) -> PyResult<()> {
        *self.head.borrow_mut() = Some(Head::read(event)?);
        self.progress.set(Progress::Begun);
        Ok(())
    }

    /// `http.response.body`; true when the client reads slowly, and the app has to wait.
    pub(super) fn body(&self, event: &Bound<'_, PyDict>) -> PyResult<bool> {
        let py = event.py();
        let body = match event.get_item(intern!(py, "body"))? {
            Some(body) => bytes_of(&body)?,
            None => Bytes::new(),
        };
        let more = flag(event, intern!(py, "more_body"))?;
        match self.progress.get() {
            Progress::Begun => self.begin(body, more)?,
            _ => self.go_on(body, more)?,
        }
        if self.serving.front.has_work() {
            // A next request may have come in the same packet.
            self.serving.call_schedule(py)?;
        }
        Ok(more && !self.has_room())
    }

    pub(super) fn has_room(&self) -> bool {
        let sink = self.sink.borrow();
        sink.as_ref().is_none_or(|sink| sink.waiting_bytes() <= WAITING_BYTES_MAX)
    }

    /// Sends the head and the first of the body, which usually is all of it.
    fn begin(&self, body: Bytes, more: bool) -> PyResult<()> {
        let lost = || PyRuntimeError::new_err("The response has left already.");
        let declared = self.head.borrow().as_ref().ok_or_else(lost)?.length();
        if self.exchange.borrow().as_ref().ok_or_else(lost)?.head.method != Method::HEAD {
            self.owed.set(declared);
        }
        self.count(&body, more)?;
        let head = self.head.take().ok_or_else(lost)?;
        let exchange = self.exchange.take().ok_or_else(lost)?;
        let front = &self.serving.front;
        if !more && !head.trailers {
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
        self.count(&body, more)?;
        sink.push(body).map_err(|_| ClientDisconnected::new_err(()))?;
        self.finish_when_last(&sink, more, sink.has_trailers());
        self.serving.front.poll_connection(self.connection);
        Ok(())
    }

    /// Holds the app to the length that it has declared.
    fn count(&self, body: &Bytes, more: bool) -> PyResult<()> {
        let Some(owed) = self.owed.get() else { return Ok(()) };
        let wrong = |how| {
            let message = format!("The response is {how} than its Content-Length.");
            Err(PyRuntimeError::new_err(message))
        };
        match owed.checked_sub(body.len() as u64) {
            None => wrong("longer"),
            Some(left) if left > 0 && !more => wrong("shorter"),
            left => {
                self.owed.set(left);
                Ok(())
            }
        }
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

    /// `http.response.trailers`
    pub(super) fn trailers(&self, event: &Bound<'_, PyDict>) -> PyResult<()> {
        let more = flag(event, intern!(event.py(), "more_trailers"))?;
        let trailers = read_headers(&required(event, intern!(event.py(), "headers"))?)?;
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

    /// `http.response.early_hint`
    pub(super) fn early_hint(&self, event: &Bound<'_, PyDict>) -> PyResult<()> {
        let mut links = Vec::new();
        for link in required(event, intern!(event.py(), "links"))?.try_iter()? {
            let link = link?;
            let bytes = link.cast::<PyBytes>().map_err(|_| {
                PyTypeError::new_err("the links of an early hint must be byte strings")
            })?;
            // One that is no header is only a hint that is not given.
            links.extend(HeaderValue::from_bytes(bytes.as_bytes()).ok().map(|link| (LINK, link)));
        }
        if let Some(exchange) = &*self.exchange.borrow() {
            exchange.early_hints(&self.serving.front, &links);
        }
        Ok(())
    }

    /// Answers with a page of ours, if the client has seen nothing yet; else cuts the connection.
    pub(super) fn cut(&self, status: u16, message: &str) {
        match (self.exchange.take(), &*self.sink.borrow()) {
            (Some(exchange), _) => exchange.reply(&self.serving.front, page(status, message)),
            (None, Some(sink)) if self.progress.get() != Progress::Complete => {
                sink.abort();
                self.serving.front.poll_connection(self.connection);
            }
            (None, _) => {}
        }
        self.progress.set(Progress::Complete);
    }
}
