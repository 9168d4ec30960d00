//! One request with the app, and the way back for its response.

use std::io;
use std::net::Shutdown;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SERVER};
use hyper::http::Version;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use crate::access_log::Entry;
use crate::forwarded::{Believed, Scheme};
use crate::proxy::Told;
use crate::reply::ReplyBody;
use crate::shared::Core;
use crate::tls::TlsFacts;
use crate::turn::Turn;
use crate::wire::{Peer, Wire};
use crate::{Content, Front, Handshake, Reply, RequestBody, WebSocket};

/// A complete request that the app has to answer.
///
/// Dropped without a reply, its connection is cut: the client never waits in vain.
///
/// It passes through many hands, so it is a pointer to what it is.
pub struct Exchange(pub(crate) Box<Held>);

/// What an exchange is about.
pub struct Held {
    /// Method, target, version and headers.
    pub head: Parts,
    /// The whole body; taken by the executor.
    pub body: RequestBody,
    pub(crate) believed: Believed,
    /// The client wants to speak WebSocket; see [`Exchange::accept_websocket`].
    pub websocket: Option<Handshake>,
    pub(crate) wire: Rc<Wire>,
    pub(crate) turn: Rc<Turn>,
    pub(crate) core: Rc<Core>,
    /// Read only when somebody logs it.
    pub(crate) handed_over: Option<Instant>,
    /// What [`Front::environ_wanted`] asks for, in that order.
    pub environ: Vec<String>,
}

impl Deref for Exchange {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.0
    }
}

impl DerefMut for Exchange {
    fn deref_mut(&mut self) -> &mut Held {
        &mut self.0
    }
}

/// Is told that something about an exchange has changed: a piece of the body has come, the client
/// has read, or it has left. Called in the middle of the front's work: it must only take a note.
pub trait Watcher {
    /// Something has changed.
    fn changed(self: Rc<Self>);
}

/// The client of one exchange.
pub struct Client(Rc<Turn>);

impl Client {
    /// Whether it has closed at least its side. Most that do so are gone, but some still want their
    /// answer.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.0.is_leaving()
    }

    /// Whether nobody is left who could read a response.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.is_gone()
    }
}

/// Where the rest of a streamed response goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(pub(crate) usize);

impl Exchange {
    /// Who sent it.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.wire.peer.get()
    }

    /// What the executor keeps for the connection, made at its first request; `None` when it keeps
    /// something of another type. Gone when the connection and its last exchange are.
    pub fn kept<T: 'static>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.wire.kept.get_or_init(|| Box::new(make())).downcast_ref()
    }

    /// Gives up the request's headers: an empty map with the room that they had, for the response's.
    /// For whoever has read them. Those that the access log shall show stay.
    pub fn room_of_headers(&mut self) -> HeaderMap {
        if self.core.access.is_some() {
            return HeaderMap::new();
        }
        let mut headers = std::mem::take(&mut self.head.headers);
        headers.clear();
        headers
    }

    /// The index of the listener it came by.
    #[must_use]
    pub fn listener(&self) -> usize {
        self.wire.listener()
    }

    /// Whether the peer's scheme and forwarder headers are believed. By uwsgi they are the client's:
    /// what a proxy has to say itself stands in variables.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.wire.trusted && !self.wire.has_packet()
    }

    /// How the client came, as far as we can know.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        let own = || if self.wire.tls.get().is_some() { Scheme::Https } else { Scheme::Http };
        self.believed.scheme.unwrap_or_else(own)
    }

    /// What was agreed on for encryption; `None` on a plain connection.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.wire.tls.get().map(|session| session.facts())
    }

    /// What a PROXY header has said about the connection.
    #[must_use]
    pub fn told(&self) -> Option<&Told> {
        self.wire.told.get().map(|told| &**told)
    }

    /// The client wants no response any more.
    pub(crate) fn is_taken_back(&self) -> bool {
        self.turn.is_reset()
    }

    /// Whether there are headers with underscores in their names.
    #[must_use]
    pub fn has_underscores(&self) -> bool {
        self.believed.has_underscores
    }

    /// A duplicate of the client's socket.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub fn duplicate_socket(&self) -> io::Result<OwnedFd> {
        self.wire.socket().as_fd().try_clone_to_owned()
    }

    /// Whether a file can be sent on its connection without a detour through this process.
    #[must_use]
    pub fn takes_files(&self) -> bool {
        self.head.version != Version::HTTP_2 && self.wire.tls.get().is_none()
    }

    /// Remembers for the log that the request is refused by the executor.
    pub fn note_refusal(&self, reason: &str) {
        self.core.note_refusal(self.wire.peer.get(), || reason.to_owned());
    }

    /// The connection, to be polled after pieces were pushed to a stream.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        ConnectionId(self.wire.id)
    }

    /// Has `watcher` told of changes until the response is written.
    pub fn watch(&self, watcher: Rc<dyn Watcher>) {
        self.turn.watch(watcher);
    }

    /// What is known of its client, also after the response has left.
    #[must_use]
    pub fn client(&self) -> Client {
        Client(self.turn.clone())
    }

    /// Sends a `103 Early Hints` with these fields at once. Hints are only hints: where they cannot
    /// be sent (HTTP/1.0, uwsgi, a client that does not read) nothing happens.
    pub fn early_hints(&self, front: &Front, fields: &[(HeaderName, HeaderValue)]) {
        let wire = &self.wire;
        if self.head.version == Version::HTTP_2 {
            self.turn.add_hints(fields);
            return front.poll_connection(self.connection());
        }
        if self.head.version != Version::HTTP_11
            || wire.has_packet()
            || !wire.writable.get()
            || fields.is_empty()
        {
            return;
        }
        let mut head = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
        for (name, value) in fields {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        // hyper holds nothing back before a response, so these bytes stand in their right place.
        match wire.transmit(&head) {
            Poll::Ready(Ok(count)) if count == head.len() => {}
            Poll::Pending => {}
            // Half of it has left, and the response cannot follow that.
            _ => drop(wire.socket().shutdown(Shutdown::Both)),
        }
    }

    /// Hands the response to the connection and writes what the socket takes now.
    pub fn reply(mut self, front: &Front, mut reply: Reply) {
        // The app may have taken its time, and what begins now must not count from before.
        self.core.read_clock();
        if !self.wire.claim.answer() {
            // Dropped: the connection is cut, and the client has its 504.
            return;
        }
        let switches = reply.status() == StatusCode::SWITCHING_PROTOCOLS;
        let is_http1 = self.head.version != Version::HTTP_2;
        let headers = reply.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("remuda"));
        let may_stay = self.core.hands_over.get() && self.wire.can_move();
        if self.core.draining.get() && is_http1 && !switches && !may_stay {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.head.version == Version::HTTP_10 && reply.headers().contains_key(CONNECTION) {
            // Else hyper would add to `close` that it could be kept.
            *reply.version_mut() = Version::HTTP_10;
        }
        let length = body_length(&self.head.method, &reply);
        let entry = self.access_entry(&reply);
        let (turn, wire) = (self.turn.clone(), self.wire.clone());
        self.turn.answer(reply.map(|content| ReplyBody::new(content, turn, wire, length, entry)));
        let connection = self.connection();
        // Before hyper reads on: then the room where the head was read is free again.
        drop(self);
        front.poll_connection(connection);
    }

    /// Goes over to WebSocket: the response's headers may name a subprotocol and more. `None` when
    /// the client has not asked for it.
    pub fn accept_websocket(
        mut self,
        front: &Front,
        mut headers: HeaderMap,
        watcher: Rc<dyn Watcher>,
    ) -> Option<Rc<WebSocket>> {
        let handshake = self.websocket.take()?;
        let limits = self.core.limits.websocket?;
        handshake.answer(&mut headers);
        let now = self.core.now.get();
        let websocket = WebSocket::new(self.wire.clone(), handshake, limits, watcher, now);
        let websocket = Rc::new(websocket);
        self.wire.upgrade(websocket.clone());
        let mut reply = Reply::new(Content::Whole(Bytes::new()));
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *reply.headers_mut() = headers;
        self.reply(front, reply);
        Some(websocket)
    }

    fn access_entry(&mut self, reply: &Reply) -> Option<Box<Entry>> {
        let log = self.core.access.clone()?;
        let (placeholder, ()) = hyper::Request::new(()).into_parts();
        let head = std::mem::replace(&mut self.head, placeholder);
        let started = self.handed_over.unwrap_or_else(Instant::now);
        let (peer, environ) = (self.wire.peer.get(), std::mem::take(&mut self.environ));
        Some(Box::new(Entry::new(log, head, peer, reply, environ, started)))
    }
}

/// How long the body of a response is that is sent in pieces, where that is known.
fn body_length(method: &Method, reply: &Reply) -> Option<u64> {
    if !matches!(reply.body(), Content::Pieces(_)) {
        return None;
    }
    let has_none = *method == Method::HEAD
        || matches!(reply.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_none {
        return Some(0);
    }
    reply.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.turn.deny() {
            self.core.enqueue(&self.wire);
        }
    }
}
