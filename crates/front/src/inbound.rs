//! A request body that the app takes piece by piece while it comes in: the ASGI way.
//!
//! hyper gives a piece only when it is asked, so asking no more than [`WAITING_BYTES_MAX`] ahead of
//! the app is what makes a quick client wait for a slow app.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;

use crate::arriving::Arriving;

use crate::refusal::Refusal;

/// Bytes that wait for the app before the client has to wait.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// A request body on its way in.
#[derive(Debug)]
pub struct Inbound {
    incoming: RefCell<Option<Arriving>>,
    waiting: RefCell<VecDeque<Bytes>>,
    waiting_bytes: Cell<usize>,
    /// The last piece was taken from hyper.
    complete: Cell<bool>,
    /// The client left, was too slow, or sent no HTTP.
    failed: Cell<bool>,
    /// Nothing was taken yet, because that would tell the client to send its body.
    held: Cell<bool>,
    /// The app waits for the next piece, and so does the limit of time for bodies.
    wanted: Cell<bool>,
    bytes: Cell<u64>,
    bytes_max: Option<u64>,
    /// Why the rest is not taken.
    refusal: Cell<Option<Refusal>>,
}

/// What the app can have now.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    /// A piece, and whether it is the last.
    Piece(Bytes, bool),
    /// Nothing yet.
    Nothing,
    /// Nothing ever: the rest will not come.
    Failed,
}

impl Inbound {
    /// `expected`: the client waits for `100 Continue`, which hyper sends when it is first asked
    /// for a piece; so that has to wait for the app.
    pub(crate) fn new(incoming: Arriving, expected: bool, bytes_max: Option<u64>) -> Self {
        Self {
            bytes: Cell::new(0),
            bytes_max,
            refusal: Cell::new(None),
            held: Cell::new(expected),
            incoming: RefCell::new(Some(incoming)),
            waiting: RefCell::default(),
            waiting_bytes: Cell::new(0),
            complete: Cell::new(false),
            failed: Cell::new(false),
            wanted: Cell::new(false),
        }
    }

    /// Takes what hyper has; true when there was something.
    pub(crate) fn pump(&self, context: &mut Context<'_>) -> bool {
        if self.held.get() {
            return false;
        }
        let mut incoming = self.incoming.borrow_mut();
        let mut moved = false;
        while self.waiting_bytes.get() < WAITING_BYTES_MAX
            && let Some(body) = incoming.as_mut()
        {
            match Pin::new(body).poll_frame(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data() {
                        self.bytes.set(self.bytes.get() + piece.len() as u64);
                        if let Some(bytes_max) = self.bytes_max
                            && self.bytes.get() > bytes_max
                        {
                            self.failed.set(true);
                            self.refusal.set(Some(Refusal::BodySize { bytes_max }));
                            *incoming = None;
                            return true;
                        }
                        self.waiting_bytes.set(self.waiting_bytes.get() + piece.len());
                        self.waiting.borrow_mut().push_back(piece);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed.set(true);
                    self.refusal.set(refusal_of(&error));
                    *incoming = None;
                }
                Poll::Ready(None) => {
                    self.complete.set(true);
                    *incoming = None;
                }
            }
            moved = true;
        }
        moved
    }

    /// Why the rest is not taken; `None` while all is well, or when the client has left.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get()
    }

    /// The rest will not come.
    pub(crate) fn fail(&self) {
        if !self.complete.get() {
            self.failed.set(true);
        }
        self.incoming.borrow_mut().take();
    }

    /// What the app can have now: all that waits, as one piece.
    pub fn take(&self) -> Arrived {
        let mut waiting = self.waiting.borrow_mut();
        let piece = match waiting.len() {
            0 if self.complete.get() => Bytes::new(),
            0 if self.failed.get() => return Arrived::Failed,
            0 => return Arrived::Nothing,
            1 => waiting.pop_front().unwrap_or_default(),
            _ => waiting.drain(..).collect::<Vec<_>>().concat().into(),
        };
        self.waiting_bytes.set(0);
        Arrived::Piece(piece, self.complete.get())
    }

    /// Says that the app waits for more, or no longer does.
    pub fn want(&self, wanted: bool) {
        self.wanted.set(wanted);
        if wanted {
            self.held.set(false);
        }
    }

    /// Whether the rest will not come.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.get()
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.get() && !self.complete.get() && !self.failed.get()
    }
}

/// Why a body cannot be read on; `None` when its client has just left.
pub(crate) fn refusal_of(error: &io::Error) -> Option<Refusal> {
    // A client that breaks HTTP/2 is told so by h2.
    let error = error.get_ref()?.downcast_ref::<hyper::Error>()?;
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    let is_cut = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::UnexpectedEof;
    let has_left = error.is_incomplete_message() || cause.is_some_and(is_cut);
    (!has_left).then_some(Refusal::Chunk)
}
