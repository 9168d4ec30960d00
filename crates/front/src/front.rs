//! The front of one worker: its listeners, its connections, and what is ready.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use slab::Slab;

use crate::access_log::{AccessFormat, AccessLines, AccessRecord, Measure};
use crate::connection::{Connection, Stage};
use crate::exchange::ConnectionId;
use crate::limits::{HEAD_BYTES_MAX, HEADER_FIELDS_MAX};
use crate::listener::Listener;
use crate::lookout::{Key, Lookout};
use crate::opening::{Door, Protocols};
use crate::poller::{Batch, Poller, Ready, Token, Waiter};
use crate::relay::Relay;
use crate::shared::{Core, Notice};
use crate::transport::{SCRATCH_BYTES, Scratch, scratch};
use crate::trouble::Trouble;
use crate::wire::Wire;
use crate::{Exchange, Limits, Proxies};

/// The front of one worker.
pub struct Front {
    pub(crate) core: Rc<Core>,
    pub(crate) poller: Arc<Poller>,
    batch: RefCell<Batch>,
    pub(crate) builder: http1::Builder,
    pub(crate) door: Door,
    pub(crate) scratch: Scratch,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) connections: RefCell<Slab<Connection>>,
    pub(crate) accepting: Cell<Accepting>,
    /// Accepted since the listeners were last put at the end of the kernel's wait queue.
    pub(crate) accepted: Cell<u32>,
    /// Of the next connection.
    pub(crate) serial: Cell<u32>,
    /// What became idle, and the how manieth time that was for it.
    pub(crate) lately_idle: RefCell<VecDeque<(Key, u32)>>,
    watched_ready: Cell<bool>,
    watched: OwnedFd,
    pub(crate) relay: Option<Arc<Relay>>,
    pub(crate) lookout: Option<Lookout>,
    /// There are siblings, and a lookout that passes connections on to them.
    pub(crate) gives_away: bool,
    /// For a moment nothing is taken from siblings.
    pub(crate) relay_rests: Cell<bool>,
    /// When it was last looked whether this worker has too many connections.
    pub(crate) evened_out_at: Cell<u64>,
}

/// How a front ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Siblings serve on: connections go to them as soon as they have no request.
    ToSiblings,
    /// Each connection is closed after its answer.
    Alone,
    /// The same, but first what siblings have passed on is taken: they drain as well. What waits
    /// in the accept queues belongs to another master's workers.
    Succeeded,
    /// The same, but first what waits in the queues is accepted: nobody else will.
    Last,
}

/// What a response that does not leave waits for.
#[derive(Clone, Copy, Debug)]
pub struct Awaited {
    /// The connection's socket.
    pub socket: RawFd,
    /// The client has to say that it has room again, so that the socket becomes readable. Somebody
    /// else may read that first: whoever waits must look again before long.
    pub room_is_said: bool,
}

/// Whether the listeners are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepting {
    Yes,
    /// Full, or out of descriptors; [`Front::sweep`] or a closed connection resumes.
    Paused,
    /// Drained for good.
    Never,
}

/// With siblings, one connection a turn: whoever is busy with it leaves the rest to them.
const ACCEPTS_WITH_SIBLINGS: usize = 1;
const ACCEPTS_ALONE: usize = 64;
/// What stands for the relay among the bits of listeners.
const RELAY: u64 = 1 << 63;

fn listener_bit(index: usize) -> u64 {
    1 << index.min(62)
}

/// What a front is made of. By default it has no listeners, speaks plain HTTP/1, believes no proxy,
/// writes no access log and has no siblings.
#[derive(Default)]
pub struct Setup {
    /// Sockets that the master has bound.
    pub listeners: Vec<Listener>,
    /// How much, and for how long.
    pub limits: Limits,
    /// Who is believed about a client.
    pub proxies: Proxies,
    /// What is spoken beside plain HTTP/1.
    pub protocols: Protocols,
    /// The form of access lines, if there are any.
    pub access: Option<AccessFormat>,
    /// The queue through which connections are passed on to siblings.
    pub relay: Option<Relay>,
}

impl Front {
    /// A front. `watched` is one more descriptor in the same epoll instance, the worker's channel to
    /// the master; see [`Front::take_watched`].
    ///
    /// # Errors
    ///
    /// What epoll says.
    pub fn new(setup: Setup, watched: OwnedFd) -> io::Result<Self> {
        let Setup { listeners, limits, proxies, protocols, access, relay } = setup;
        let poller = Arc::new(Poller::new()?);
        poller.add_watched(&watched)?;
        let relay = relay.map(Arc::new);
        let siblings = relay.clone().filter(|_| limits.has_siblings);
        let lookout = (siblings.is_some() || limits.stuck.is_some())
            .then(|| Lookout::start(poller.clone(), siblings, limits.stuck));
        for (index, listener) in listeners.iter().enumerate() {
            poller.add_listener(listener, index, limits.has_siblings)?;
        }
        let mut builder = http1::Builder::new();
        builder
            .keep_alive(!limits.keepalive.is_zero())
            .half_close(true)
            .title_case_headers(limits.title_case)
            .max_headers(limits.header_fields.clamp(1, HEADER_FIELDS_MAX))
            // A whole head and a little more, so that hyper never says that it is too large.
            .max_buf_size(HEAD_BYTES_MAX + SCRATCH_BYTES);
        let door = Door::new(protocols);
        // Certificates that were loaded before the fork may have been exchanged since.
        let mut notices: Vec<_> = door.look(0).into_iter().collect();
        let lookout = lookout.and_then(|lookout| {
            lookout.map_err(|error| notices.push(Notice::NoLookout(error))).ok()
        });
        let gives_away = lookout.as_ref().is_some_and(Lookout::passes_on);
        let front = Self {
            core: Rc::new(Core {
                limits,
                proxies,
                now: Cell::new(0),
                draining: Cell::new(false),
                hands_over: Cell::new(false),
                notices: RefCell::new(notices),
                refusals: RefCell::default(),
                accept_trouble: Trouble::default(),
                spool_trouble: Trouble::default(),
                access: access.map(|format| Rc::new(AccessLines::new(format))),
                ready: RefCell::default(),
                later: RefCell::default(),
                arrived: RefCell::default(),
                unwanted: Cell::new(false),
            }),
            poller,
            batch: RefCell::default(),
            builder,
            door,
            scratch: scratch(),
            listeners,
            connections: RefCell::default(),
            accepting: Cell::new(Accepting::Yes),
            accepted: Cell::new(0),
            serial: Cell::new(0),
            lately_idle: RefCell::default(),
            watched_ready: Cell::new(false),
            watched,
            relay,
            lookout,
            gives_away,
            relay_rests: Cell::new(false),
            evened_out_at: Cell::new(0),
        };
        front.watch_relay();
        Ok(front)
    }

    /// The epoll descriptor: readable when [`Front::collect`] has something to collect.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.poller.fd()
    }

    /// What a thread waits with that does not hold the interpreter's lock.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        Waiter(self.poller.clone())
    }

    /// Ends the wait of a thread that waits with a [`Waiter`], or else the next wait. For whoever
    /// leaves something in the queues, which the kernel knows nothing of.
    pub fn ring(&self) {
        self.poller.ring();
    }

    /// Takes what the kernel has ready, without waiting; true when there is something to do.
    ///
    /// # Errors
    ///
    /// What epoll says; never `EINTR`.
    pub fn collect(&self) -> io::Result<bool> {
        let mut batch = self.batch.borrow_mut();
        self.poller.wait(&mut batch, Duration::ZERO)?;
        self.take(&batch);
        Ok(self.has_work())
    }

    /// Takes what a [`Waiter`] has brought.
    pub fn take(&self, batch: &Batch) {
        let listening = self.note_all(batch);
        if listening & RELAY != 0 {
            self.take_passed();
        }
        for index in 0..self.listeners.len() {
            if listening & listener_bit(index) != 0 {
                let most = if self.core.limits.has_siblings {
                    ACCEPTS_WITH_SIBLINGS
                } else {
                    ACCEPTS_ALONE
                };
                self.accept(index, most);
            }
        }
    }

    /// Takes what the kernel has of open connections, and accepts none: a worker that is busy looks
    /// whom it keeps waiting, before it calls them late.
    pub(crate) fn catch_up(&self) {
        let mut batch = self.batch.borrow_mut();
        loop {
            // What epoll cannot say now it says to the next who asks.
            if self.poller.wait(&mut batch, Duration::ZERO).is_err() {
                return;
            }
            self.note_all(&batch);
            if !batch.is_full() {
                return;
            }
        }
    }

    /// Notes what is ready; the listeners among it as bits.
    fn note_all(&self, batch: &Batch) -> u64 {
        let mut listening: u64 = 0;
        if let Some(lookout) = &self.lookout {
            self.forget_passed(lookout.come_round());
            if lookout.was_counted_out() {
                self.tell_siblings();
            }
        }
        self.core.read_clock();
        self.core.ready.borrow_mut().extend(self.core.later.borrow_mut().drain(..));
        let connections = self.connections.borrow();
        for ready in batch.ready() {
            match ready.token {
                Token::Listener(index) => listening |= listener_bit(index),
                Token::Relay => listening |= RELAY,
                Token::Watched => self.watched_ready.set(true),
                // What it rings for stands in the queues.
                Token::Bell => {}
                Token::Alarm => self.end_rest(),
                Token::Connection(id, serial) => {
                    let connection = connections.get(id);
                    if let Some(connection) = connection.filter(|c| c.wire.serial == serial) {
                        self.note(&connection.wire, ready);
                    }
                }
            }
        }
        listening
    }

    fn note(&self, wire: &Wire, ready: Ready) {
        if ready.hangup {
            wire.hangup.set(true);
            wire.half_close();
        }
        if ready.readable {
            wire.readable.set(true);
        }
        if ready.writable && !wire.writable.replace(true) {
            wire.since.set(self.core.now.get());
        }
        self.core.enqueue(wire);
    }

    /// Whether a connection or a request waits for its turn.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.core.ready.borrow().is_empty()
            || !self.core.arrived.borrow().is_empty()
            || !self.core.later.borrow().is_empty()
    }

    /// Whether the watched descriptor became readable since the last call.
    #[must_use]
    pub fn take_watched(&self) -> bool {
        self.watched_ready.take()
    }

    /// Watches the other descriptor no more.
    pub fn unwatch(&self) {
        // Not watched any more is what we want.
        let _ = self.poller.remove(&self.watched);
    }

    /// The next complete request; polls ready connections until there is one.
    #[must_use]
    pub fn next_exchange(&self) -> Option<Exchange> {
        loop {
            if self.core.unwanted.take() {
                self.drop_unwanted();
            }
            if let Some(exchange) = self.core.arrived.borrow_mut().pop_front() {
                exchange.wire.claim.await_answer();
                return Some(exchange);
            }
            let id = self.core.ready.borrow_mut().pop_front()?;
            self.poll_connection(ConnectionId(id));
        }
    }

    /// The request with the app may take so much longer than `Limits::stuck`; for executors that run
    /// one at a time.
    pub fn put_off(&self, length: Duration) {
        if let Some(lookout) = &self.lookout {
            lookout.put_off(length);
        }
    }

    /// Requests that were taken back before the app has got them.
    fn drop_unwanted(&self) {
        let arrived = self.core.arrived.take();
        let (unwanted, wanted): (VecDeque<_>, _) =
            arrived.into_iter().partition(Exchange::is_taken_back);
        self.core.arrived.replace(wanted);
        drop(unwanted);
    }

    /// What a response that does not leave waits for; `None` when the connection is gone.
    #[must_use]
    pub fn awaited(&self, ConnectionId(id): ConnectionId) -> Option<Awaited> {
        let connections = self.connections.borrow();
        let connection = connections.get(id)?;
        let socket = connection.wire.socket().as_raw_fd();
        // HTTP/2 clients make room by saying so.
        let is_http2 = matches!(connection.stage, Stage::Http2(_));
        Some(Awaited { socket, room_is_said: is_http2 && connection.wire.writable.get() })
    }

    /// Looks at a connection's socket again, for room and for news, and writes.
    pub fn resume_writing(&self, connection: ConnectionId) {
        self.core.read_clock();
        if let Some(connection) = self.connections.borrow().get(connection.0) {
            connection.wire.writable.set(true);
            connection.wire.readable.set(true);
        }
        self.poll_connection(connection);
    }

    /// Whether a drain was asked for.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.core.draining.get()
    }

    /// Whether a drain was asked for and nothing is left to finish.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.core.draining.get() && self.connections.borrow().is_empty() && !self.has_work()
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// The listener of an index from [`Exchange::listener`].
    #[must_use]
    pub fn listener(&self, index: usize) -> &Listener {
        &self.listeners[index]
    }

    /// The client that a trusted peer names in `X-Forwarded-For`: the last one in the list that is
    /// not trusted itself. `None` when the peer is not trusted or names nobody.
    #[must_use]
    pub fn forwarded_client<'a>(&self, exchange: &'a Exchange) -> Option<&'a str> {
        if !exchange.is_trusted() {
            return None;
        }
        let named = exchange.head.headers.get("x-forwarded-for")?.to_str().ok()?;
        self.core.proxies.trusted.client_among(named)
    }

    /// What the operator should read, since the last call.
    #[must_use]
    pub fn take_notices(&self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut *self.core.notices.borrow_mut());
        notices.extend(self.core.refusals.borrow_mut().take());
        let now = self.core.now.get();
        notices.extend(self.core.accept_trouble.take(now).map(Notice::CannotAccept));
        notices.extend(self.core.spool_trouble.take(now).map(Notice::SpoolFailed));
        notices
    }

    /// Names of the values of an app's environ that the access log shows.
    #[must_use]
    pub fn environ_wanted(&self) -> &[String] {
        self.core.access.as_ref().map(|lines| lines.environ()).unwrap_or_default()
    }

    /// How requests have ended since the last call; empty when nobody measures.
    pub fn take_measured(&self) -> Vec<Measure> {
        self.core.access.as_ref().map(|lines| lines.take_measured()).unwrap_or_default()
    }

    /// Requests that are over since the last call; empty when lines are written of them, or nothing.
    pub fn take_access_records(&self) -> Vec<AccessRecord> {
        self.core.access.as_ref().map(|lines| lines.take_records()).unwrap_or_default()
    }

    /// Complete lines for the access log, since the last call; empty when there is none.
    #[must_use]
    pub fn take_access_lines(&self) -> String {
        self.core.access.as_ref().map(|lines| lines.take()).unwrap_or_default()
    }
}
