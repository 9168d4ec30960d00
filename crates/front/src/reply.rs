//! A response on its way to the client: whole, or piece by piece as the app makes it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::{HeaderMap, Response};

use crate::access_log::Entry;
use crate::file::{FileContent, Piece, STRETCH_BYTES};
use crate::turn::Turn;
use crate::wire::Wire;

/// A response as the executor hands it over.
pub type Reply = Response<Content>;

/// What a response holds.
pub enum Content {
    /// All of it.
    Whole(Bytes),
    /// Pieces that follow; see [`StreamSink`].
    Pieces(Rc<Pieces>),
    /// A file, on a connection that takes one; see [`Exchange::takes_files`](crate::Exchange).
    File(FileContent),
}

/// Pieces between the app, which makes them, and the connection, which writes them.
#[derive(Default)]
pub struct Pieces {
    queue: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    state: Cell<PiecesState>,
    /// Fields that follow the last piece.
    trailers: RefCell<Option<HeaderMap>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum PiecesState {
    #[default]
    Open,
    /// The app has made the last piece.
    Ended,
    /// The app has failed in the middle: the client must see that it is not complete.
    Aborted,
    /// The client has got all that its response can hold; what else the app makes is not wanted.
    Sated,
    /// The connection is gone.
    Closed,
}

/// The connection went away before the response was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamClosed;

/// The app's end of a streamed response.
#[derive(Clone)]
pub struct StreamSink(pub(crate) Rc<Pieces>);

impl StreamSink {
    /// A sink and the content it fills.
    #[must_use]
    pub fn new() -> (Self, Content) {
        let pieces = Rc::new(Pieces::default());
        (Self(pieces.clone()), Content::Pieces(pieces))
    }

    /// Adds a piece. Nothing is written until the connection is polled.
    ///
    /// # Errors
    ///
    /// [`StreamClosed`] when nobody will read it.
    pub fn push(&self, piece: Bytes) -> Result<(), StreamClosed> {
        match self.0.state.get() {
            PiecesState::Closed => return Err(StreamClosed),
            PiecesState::Sated => return Ok(()),
            PiecesState::Open | PiecesState::Ended | PiecesState::Aborted => {}
        }
        if !piece.is_empty() {
            self.0.bytes.set(self.0.bytes.get() + piece.len());
            self.0.queue.borrow_mut().push_back(piece);
        }
        Ok(())
    }

    /// Bytes that wait for the connection.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.0.bytes.get()
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.state.get() == PiecesState::Closed
    }

    /// Whether nothing more is wanted: the declared length is reached, or there is no body at all,
    /// as after HEAD.
    #[must_use]
    pub fn is_sated(&self) -> bool {
        self.0.state.get() == PiecesState::Sated
    }

    /// Says that trailers will follow the last piece; the head must name them in `Trailer`.
    pub fn expect_trailers(&self) {
        self.0.trailers.borrow_mut().get_or_insert_default();
    }

    /// Whether trailers will follow the last piece.
    #[must_use]
    pub fn has_trailers(&self) -> bool {
        self.0.trailers.borrow().is_some()
    }

    /// Adds trailers.
    pub fn add_trailers(&self, trailers: HeaderMap) {
        self.0.trailers.borrow_mut().get_or_insert_default().extend(trailers);
    }

    /// The last piece was pushed.
    pub fn end(&self) {
        if self.0.state.get() == PiecesState::Open {
            self.0.state.set(PiecesState::Ended);
        }
    }

    /// There will be no more, and the response is not complete: the connection is cut.
    pub fn abort(&self) {
        if self.0.state.get() == PiecesState::Open {
            self.0.state.set(PiecesState::Aborted);
        }
    }
}

/// The body that hyper writes. When it is dropped, the exchange is over.
pub(crate) struct ReplyBody {
    body: Outgoing,
    turn: Rc<Turn>,
    wire: Rc<Wire>,
    /// The length of the whole body, where it is known before.
    length: Option<u64>,
    sent_bytes: u64,
    entry: Option<Box<Entry>>,
}

enum Outgoing {
    Whole(Bytes),
    Pieces(Rc<Pieces>),
    /// A file, and how much of it hyper has got.
    File(Rc<FileContent>, u64),
}

impl ReplyBody {
    pub(crate) fn new(
        content: Content,
        turn: Rc<Turn>,
        wire: Rc<Wire>,
        length: Option<u64>,
        entry: Option<Box<Entry>>,
    ) -> Self {
        let body = match content {
            Content::Whole(bytes) => Outgoing::Whole(bytes),
            Content::Pieces(pieces) => Outgoing::Pieces(pieces),
            Content::File(file) => Outgoing::File(Rc::new(file), 0),
        };
        Self { body, turn, wire, length, sent_bytes: 0, entry }
    }

    /// Whether trailers will follow the last piece.
    pub(crate) fn has_trailers(&self) -> bool {
        match &self.body {
            Outgoing::Whole(_) | Outgoing::File(..) => false,
            Outgoing::Pieces(pieces) => pieces.trailers.borrow().is_some(),
        }
    }

    /// What it shares with the app, if that makes it in pieces.
    pub(crate) fn pieces(&self) -> Option<Rc<Pieces>> {
        match &self.body {
            Outgoing::Whole(_) | Outgoing::File(..) => None,
            Outgoing::Pieces(pieces) => Some(pieces.clone()),
        }
    }
}

/// The app gave up in the middle of a response.
#[derive(Debug)]
pub(crate) struct Incomplete;

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the application failed before its response was complete")
    }
}

impl std::error::Error for Incomplete {}

impl Body for ReplyBody {
    type Data = Piece;
    type Error = Incomplete;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Incomplete>>> {
        let piece = match &mut self.body {
            Outgoing::Whole(bytes) if bytes.is_empty() => None,
            Outgoing::Whole(bytes) => Some(Piece::Bytes(std::mem::take(bytes))),
            Outgoing::File(file, given) => next_stretch(file, given),
            Outgoing::Pieces(pieces) => match pieces.queue.borrow_mut().pop_front() {
                Some(piece) => {
                    pieces.bytes.set(pieces.bytes.get() - piece.len());
                    Some(Piece::Bytes(piece))
                }
                None if pieces.state.get() == PiecesState::Open => return Poll::Pending,
                None if pieces.state.get() == PiecesState::Aborted => {
                    return Poll::Ready(Some(Err(Incomplete)));
                }
                None => {
                    let trailers = pieces.trailers.take().filter(|fields| !fields.is_empty());
                    return Poll::Ready(trailers.map(|fields| Ok(Frame::trailers(fields))));
                }
            },
        };
        match &self.body {
            Outgoing::Whole(_) => {}
            // The app may have waited for room.
            Outgoing::Pieces(_) => self.turn.notify(),
            Outgoing::File(file, _) => *self.wire.file.borrow_mut() = Some(file.clone()),
        }
        Poll::Ready(piece.map(|piece| {
            self.sent_bytes += piece.remaining() as u64;
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Outgoing::Whole(bytes) => bytes.is_empty(),
            Outgoing::File(file, given) => *given == file.length(),
            Outgoing::Pieces(pieces) => {
                pieces.state.get() == PiecesState::Ended
                    && pieces.queue.borrow().is_empty()
                    && pieces.trailers.borrow().is_none()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Outgoing::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Outgoing::File(file, given) => SizeHint::with_exact(file.length() - given),
            Outgoing::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        if let Outgoing::Pieces(pieces) = &self.body {
            // hyper asks for no more than fits, and lets go then; or the client is gone.
            let is_sated = self.length.is_some_and(|length| self.sent_bytes >= length);
            let end = if is_sated { PiecesState::Sated } else { PiecesState::Closed };
            let was_open = pieces.state.replace(end) == PiecesState::Open;
            pieces.queue.borrow_mut().clear();
            pieces.bytes.set(0);
            if was_open && !is_sated {
                self.turn.leave();
            }
        }
        self.wire.end_turn(&self.turn);
        if let Some(entry) = self.entry.take() {
            entry.finish(self.sent_bytes);
        }
    }
}

fn next_stretch(file: &Rc<FileContent>, given: &mut u64) -> Option<Piece> {
    let count = (file.length() - *given).min(STRETCH_BYTES as u64);
    *given += count;
    let count = usize::try_from(count).unwrap_or(STRETCH_BYTES);
    (count > 0).then(|| Piece::Stretch(count, file.clone()))
}

/// A response without a body of the app's, made by the front itself.
pub(crate) fn whole(
    response: Response<Bytes>,
    turn: Rc<Turn>,
    wire: Rc<Wire>,
) -> Response<ReplyBody> {
    response.map(|bytes| ReplyBody::new(Content::Whole(bytes), turn, wire, None, None))
}
