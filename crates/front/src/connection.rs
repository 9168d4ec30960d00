//! One connection: its socket, its hyper future, and how long it has been in which phase.

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use hyper::server::conn::http1;
use socket2::Socket;

use crate::Limits;
use crate::ingress::Ingress;
use crate::transport::Transport;

/// Who is on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Address and port of a TCP client.
    Inet(IpAddr, u16),
    /// A client on a unix socket has no address.
    Unix,
}

impl Peer {
    /// The client's IP address; `None` on a unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(ip, _) => Some(*ip),
            Self::Unix => None,
        }
    }
}

/// What a connection is waiting for, and so which limit of time applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first request head, or the rest of one.
    Head,
    /// The rest of a request body.
    Body,
    /// The app: no limit of the front's.
    App,
    /// The client to read what was written.
    Writing,
    /// The next request, on a connection that has had one.
    Idle,
    /// The client to close, after we have; closing first could destroy our last response.
    Linger,
}

/// What the parts of a connection share: the socket and the facts its phase follows from.
pub(crate) struct Wire {
    pub(crate) id: usize,
    /// Tells it from others that had its place before.
    pub(crate) serial: u32,
    pub(crate) socket: Socket,
    pub(crate) peer: Peer,
    /// The peer's address and port as text, made at its first request.
    pub(crate) peer_text: OnceCell<(String, String)>,
    pub(crate) listener: usize,
    /// The peer's scheme and forwarder headers are believed.
    pub(crate) trusted: bool,
    pub(crate) readable: Cell<bool>,
    pub(crate) writable: Cell<bool>,
    pub(crate) hangup: Cell<bool>,
    pub(crate) ended: Cell<bool>,
    /// Bytes of a head have come in that is not complete yet.
    pub(crate) head_begun: Cell<bool>,
    pub(crate) body_pending: Cell<bool>,
    /// A request is with the app, or its response is not written to the end.
    pub(crate) in_flight: Cell<bool>,
    /// The body came too slowly; the service future answers 408.
    pub(crate) body_late: Cell<bool>,
    pub(crate) phase: Cell<Phase>,
    /// When the phase began, or last made progress: nanoseconds of the loop's clock.
    pub(crate) since: Cell<u64>,
    /// It stands in the ready queue already.
    pub(crate) queued: Cell<bool>,
}

impl Wire {
    pub(crate) fn new(
        (id, serial): (usize, u32),
        socket: Socket,
        peer: Peer,
        listener: usize,
        trusted: bool,
    ) -> Self {
        Self {
            id,
            serial,
            socket,
            peer,
            peer_text: OnceCell::new(),
            listener,
            trusted,
            // Most clients send at once: the first read is tried without waiting for an event.
            readable: Cell::new(true),
            writable: Cell::new(true),
            hangup: Cell::new(false),
            ended: Cell::new(false),
            head_begun: Cell::new(false),
            body_pending: Cell::new(false),
            in_flight: Cell::new(false),
            body_late: Cell::new(false),
            phase: Cell::new(Phase::Head),
            since: Cell::new(0),
            queued: Cell::new(false),
        }
    }

    /// Derives the phase from the facts; a change starts its time anew.
    fn settle(&self, now: u64) {
        let phase = if self.body_pending.get() {
            Phase::Body
        } else if self.in_flight.get() {
            if self.writable.get() { Phase::App } else { Phase::Writing }
        } else if !self.writable.get() {
            Phase::Writing
        } else if self.head_begun.get() || self.phase.get() == Phase::Head {
            Phase::Head
        } else {
            Phase::Idle
        };
        if phase != self.phase.get() {
            self.phase.set(phase);
            self.since.set(now);
        }
    }

    /// The time the current phase may take; `None` = as long as it wants.
    pub(crate) fn allowance(&self, limits: &Limits) -> Option<Duration> {
        match self.phase.get() {
            Phase::Head => Some(limits.head),
            Phase::Body => Some(limits.body_pause),
            Phase::App => None,
            Phase::Writing => Some(limits.write_pause),
            Phase::Idle => Some(limits.keepalive),
            Phase::Linger => Some(LINGER),
        }
    }
}

/// How long a client may take to close after us.
const LINGER: Duration = Duration::from_secs(1);

/// Remembers that a future asked to be polled again while it was being polled.
#[derive(Default)]
struct Again(AtomicBool);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Future1 = http1::Connection<Transport, Ingress>;

pub(crate) struct Connection {
    pub(crate) wire: Rc<Wire>,
    /// `None` once hyper is done and the connection only lingers.
    pub(crate) future: Option<Box<Driven>>,
}

/// hyper's future and its waker; taken out of the connection while it is polled.
pub(crate) struct Driven {
    future: Future1,
    again: Arc<Again>,
    waker: Waker,
}

/// How a poll ended.
pub(crate) enum Polled {
    Pending,
    /// hyper has finished: everything written, our side closed.
    Closed,
    /// The client's bytes were no HTTP, or the client is gone.
    Failed(hyper::Error),
}

impl Driven {
    pub(crate) fn new(future: Future1) -> Box<Self> {
        let again = Arc::new(Again::default());
        Box::new(Self { future, waker: Waker::from(again.clone()), again })
    }

    /// Polls until hyper waits for the socket or for the app.
    pub(crate) fn poll(&mut self, wire: &Wire, now: u64) -> Polled {
        loop {
            self.again.0.store(false, Ordering::Relaxed);
            let mut context = Context::from_waker(&self.waker);
            match Pin::new(&mut self.future).poll(&mut context) {
                Poll::Ready(Ok(())) => return Polled::Closed,
                Poll::Ready(Err(error)) => return Polled::Failed(error),
                Poll::Pending if self.again.0.load(Ordering::Relaxed) => {}
                Poll::Pending => {
                    wire.settle(now);
                    return Polled::Pending;
                }
            }
        }
    }

    /// No request after the one in flight.
    pub(crate) fn finish(&mut self) {
        Pin::new(&mut self.future).graceful_shutdown();
    }
}
