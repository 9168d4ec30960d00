//! One request with the app, and the way back for its response.

use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use hyper::header::{CONNECTION, HeaderName, HeaderValue, SERVER};
use hyper::http::Version;
use hyper::http::request::Parts;

use crate::access_log::Entry;
use crate::forwarded::{Believed, Scheme};
use crate::front::Core;
use crate::reply::ReplyBody;
use crate::turn::Turn;
use crate::wire::{Peer, Wire};
use crate::{Front, Reply, RequestBody};

/// A complete request that the app has to answer.
///
/// Dropped without a reply, its connection is cut: the client never waits in vain.
pub struct Exchange {
    /// Method, target, version and headers.
    pub head: Parts,
    /// The whole body; taken by the executor.
    pub body: RequestBody,
    pub(crate) believed: Believed,
    pub(crate) wire: Rc<Wire>,
    pub(crate) turn: Rc<Turn>,
    pub(crate) core: Rc<Core>,
    /// Read only when somebody logs it.
    pub(crate) handed_over: Option<Instant>,
}

/// Is told that something about an exchange has changed: a piece of the body has come, the client
/// has read, or it has left. Called in the middle of the front's work: it must only take a note.
pub trait Watcher {
    /// Something has changed.
    fn changed(self: Rc<Self>);
}

/// Where the rest of a streamed response goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(pub(crate) usize);

impl Exchange {
    /// Who sent it.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.wire.peer
    }

    /// The peer's address and port as text; both empty on a unix socket.
    #[must_use]
    pub fn peer_text(&self) -> (&str, &str) {
        let (ip, port) = self.wire.peer_text.get_or_init(|| match self.wire.peer {
            Peer::Inet(ip, port) => (ip.to_string(), port.to_string()),
            Peer::Unix => Default::default(),
        });
        (ip, port)
    }

    /// The index of the listener it came by.
    #[must_use]
    pub fn listener(&self) -> usize {
        self.wire.listener
    }

    /// Whether the peer's scheme and forwarder headers are believed.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.wire.trusted
    }

    /// How the client came, as far as we can know.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.believed.scheme.unwrap_or(Scheme::Http)
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
        self.wire.socket.as_fd().try_clone_to_owned()
    }

    /// Whether a file can be sent on its connection without a detour through this process.
    #[must_use]
    pub fn takes_files(&self) -> bool {
        self.head.version != Version::HTTP_2
    }

    /// Remembers for the log that the request is refused by the executor.
    pub fn note_refusal(&self, reason: &str) {
        self.core.note_refusal(self.wire.peer, || reason.to_owned());
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

    /// Whether the client has left.
    #[must_use]
    pub fn is_client_gone(&self) -> bool {
        self.turn.is_gone()
    }

    /// Sends a `103 Early Hints` with these fields at once. Hints are only hints: where they cannot
    /// be sent (HTTP/1.0, a client that does not read) nothing happens.
    pub fn early_hints(&self, fields: &[(HeaderName, HeaderValue)]) {
        let wire = &self.wire;
        if self.head.version != Version::HTTP_11 || !wire.writable.get() || fields.is_empty() {
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
        match (&wire.socket).write(&head) {
            Ok(count) if count == head.len() => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Half of it has left, and the response cannot follow that.
            _ => drop(wire.socket.shutdown(Shutdown::Both)),
        }
    }

    /// Hands the response to the connection and writes what the socket takes now.
    pub fn reply(mut self, front: &Front, mut reply: Reply) {
        let headers = reply.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("remuda"));
        if self.core.draining.get() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.head.version == Version::HTTP_10 && reply.headers().contains_key(CONNECTION) {
            // Else hyper would add to `close` that it could be kept.
            *reply.version_mut() = Version::HTTP_10;
        }
        let entry = self.access_entry(&reply);
        let (turn, wire) = (self.turn.clone(), self.wire.clone());
        self.turn.answer(reply.map(|content| ReplyBody::new(content, turn, wire, entry)));
        front.poll_connection(self.connection());
    }

    fn access_entry(&mut self, reply: &Reply) -> Option<Box<Entry>> {
        let log = self.core.access.as_ref()?;
        let (placeholder, ()) = hyper::Request::new(()).into_parts();
        let head = std::mem::replace(&mut self.head, placeholder);
        let started = self.handed_over.unwrap_or_else(Instant::now);
        Some(Box::new(Entry::new(log.clone(), head, self.wire.peer, reply, started)))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.turn.deny() {
            self.core.enqueue(&self.wire);
        }
    }
}
