//! One request with the app, and the way back for its response.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use hyper::Response;
use hyper::header::{CONNECTION, HeaderValue, SERVER};
use hyper::http::request::Parts;

use crate::access_log::Entry;
use crate::connection::{Peer, Wire};
use crate::front::Core;
use crate::reply::ReplyBody;
use crate::{Front, Reply, RequestBody};

/// Where hyper waits for the response.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) response: RefCell<Option<Response<ReplyBody>>>,
    /// The exchange was dropped without a response.
    pub(crate) abandoned: Cell<bool>,
}

/// A complete request that the app has to answer.
///
/// Dropped without a reply, its connection is cut: the client never waits in vain.
pub struct Exchange {
    /// Method, target, version and headers.
    pub head: Parts,
    /// The whole body; taken by the executor.
    pub body: RequestBody,
    pub(crate) wire: Rc<Wire>,
    pub(crate) slot: Rc<Slot>,
    pub(crate) core: Rc<Core>,
    /// Read only when somebody logs it.
    pub(crate) handed_over: Option<Instant>,
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

    /// The connection, to be polled after pieces were pushed to a stream.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        ConnectionId(self.wire.id)
    }

    /// Hands the response to the connection and writes what the socket takes now.
    pub fn reply(mut self, front: &Front, mut reply: Reply) {
        let headers = reply.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("remuda"));
        if self.core.draining.get() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let entry = self.access_entry(&reply);
        let wire = self.wire.clone();
        let response = reply.map(|content| ReplyBody::new(content, wire, entry));
        *self.slot.response.borrow_mut() = Some(response);
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
        // After a reply hyper has taken the response already, or finds it at its next poll.
        if self.slot.response.borrow().is_none() && !self.slot.abandoned.get() {
            self.slot.abandoned.set(true);
            self.core.enqueue(&self.wire);
        }
    }
}
