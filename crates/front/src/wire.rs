//! What the parts of a connection share: the socket, and the facts that its phase follows from.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use socket2::Socket;

use crate::Limits;
use crate::claim::Claim;
use crate::file::FileContent;
use crate::lookout::Key;
use crate::proxy::Told;
use crate::refusal::Refusal;
use crate::tls::Session;
use crate::turn::Turn;
use crate::uwsgi::Packet;
use crate::websocket::WebSocket;

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

/// What a connection is waiting for, and so which limit of time applies. What its requests wait for
/// is theirs, see [`Turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first request head, or the rest of one.
    Head,
    /// Its requests: no limit but theirs.
    Turns,
    /// The client to read what was written.
    Writing,
    /// The next request, on a connection that has had one.
    Idle,
    /// The client to close, after we have; closing first could destroy our last response.
    Linger,
}

/// Bytes that one connection may bring or take before others have their turn. More at once only
/// comes with a transfer on a quick line, or from somebody who means harm.
pub(crate) const TURN_BYTES_MAX: usize = 1 << 20;

pub(crate) struct Wire {
    pub(crate) id: usize,
    /// Tells it from others that had its place before.
    pub(crate) serial: u32,
    /// The socket, and whose it is at the moment.
    pub(crate) claim: Arc<Claim>,
    /// Who has connected, or in whose name a proxy has.
    pub(crate) peer: Cell<Peer>,
    /// What the executor keeps for it, made at its first request.
    pub(crate) kept: OnceCell<Box<dyn Any>>,
    /// Who has connected is believed, in its scheme and forwarder headers.
    pub(crate) trusted: bool,
    /// What a PROXY header has said.
    pub(crate) told: OnceCell<Box<Told>>,
    /// The request of a connection that speaks uwsgi, until hyper has seen what it may see of it.
    pub(crate) packet: OnceCell<Cell<Option<Box<Packet>>>>,
    /// Encryption, from the first byte of its handshake on.
    pub(crate) tls: OnceCell<Box<Session>>,
    pub(crate) readable: Cell<bool>,
    pub(crate) writable: Cell<bool>,
    pub(crate) hangup: Cell<bool>,
    pub(crate) ended: Cell<bool>,
    /// Bytes that were read and decrypted already, and come before those of the socket.
    pub(crate) ahead: RefCell<Bytes>,
    /// Bytes of a head have come in that is not complete yet.
    pub(crate) head_begun: Cell<bool>,
    /// A whole head is with hyper, which has not said yet whether it takes it.
    pub(crate) hyper_reads_head: Cell<bool>,
    /// hyper has bytes that the socket has not taken.
    pub(crate) unflushed: Cell<bool>,
    /// Why nothing more is read here, once all that came before is answered.
    pub(crate) refusal: Cell<Option<Refusal>>,
    /// It has had a body that its app takes piece by piece.
    pub(crate) streams_in: Cell<bool>,
    /// It was told that no request will be taken any more, and may say goodbye.
    pub(crate) leaving: Cell<bool>,
    /// Requests whose response is not written to the end.
    turns: RefCell<Vec<Rc<Turn>>>,
    /// What the transport sends where hyper shows a placeholder.
    pub(crate) file: RefCell<Option<Rc<FileContent>>>,
    /// Takes over once HTTP's last response is written.
    successor: RefCell<Option<Rc<WebSocket>>>,
    pub(crate) phase: Cell<Phase>,
    /// When the phase began, or last made progress: nanoseconds of the loop's clock.
    pub(crate) since: Cell<u64>,
    /// It has had a request in this worker.
    pub(crate) served_here: Cell<bool>,
    /// How often it has become idle.
    pub(crate) times_idle: Cell<u32>,
    /// It stands in the ready queue already.
    pub(crate) queued: Cell<bool>,
    /// Bytes that may be read or written before others have their turn.
    pub(crate) budget: Cell<usize>,
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
            claim: Arc::new(Claim::new(socket, listener)),
            peer: Cell::new(peer),
            kept: OnceCell::new(),
            trusted,
            told: OnceCell::new(),
            packet: OnceCell::new(),
            tls: OnceCell::new(),
            // Most clients send at once: the first read is tried without waiting for an event.
            readable: Cell::new(true),
            writable: Cell::new(true),
            hangup: Cell::new(false),
            ended: Cell::new(false),
            ahead: RefCell::default(),
            head_begun: Cell::new(false),
            hyper_reads_head: Cell::new(false),
            unflushed: Cell::new(false),
            refusal: Cell::new(None),
            streams_in: Cell::new(false),
            leaving: Cell::new(false),
            turns: RefCell::default(),
            file: RefCell::default(),
            successor: RefCell::default(),
            phase: Cell::new(Phase::Head),
            since: Cell::new(0),
            served_here: Cell::new(false),
            times_idle: Cell::new(0),
            queued: Cell::new(false),
            budget: Cell::new(TURN_BYTES_MAX),
        }
    }

    /// Derives the phase from the facts; a change starts its time anew.
    pub(crate) fn settle(&self, now: u64) {
        let turns = self.turns.borrow();
        for turn in &*turns {
            turn.settle(now);
        }
        let phase = if !self.writable.get() || self.unflushed.get() {
            Phase::Writing
        } else if !turns.is_empty() {
            Phase::Turns
        } else if self.head_begun.get() || self.phase.get() == Phase::Head {
            Phase::Head
        } else {
            Phase::Idle
        };
        if phase != self.phase.get() || self.is_tired() {
            self.phase.set(phase);
            self.since.set(now);
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.claim.socket
    }

    /// The listener that it came by.
    pub(crate) fn listener(&self) -> usize {
        self.claim.listener
    }

    /// Place and serial number.
    pub(crate) fn key(&self) -> Key {
        (self.id, self.serial)
    }

    /// Another worker could go on with it after the request under way: what it has been told
    /// before, by TLS or by a proxy, does not travel with the socket.
    pub(crate) fn can_move(&self) -> bool {
        self.tls.get().is_none() && self.told.get().is_none()
    }

    /// Another worker could serve its next request: no byte of that was read.
    pub(crate) fn is_between_requests(&self) -> bool {
        let is_between = match self.phase.get() {
            Phase::Idle => true,
            Phase::Head => !self.head_begun.get(),
            _ => false,
        };
        is_between && self.can_move() && self.ahead.borrow().is_empty() && !self.has_turns()
    }

    /// It could go on writing, but others have to get their turn.
    pub(crate) fn is_tired(&self) -> bool {
        self.unflushed.get() && self.budget.get() == 0
    }

    /// There may be something to read.
    pub(crate) fn has_bytes(&self) -> bool {
        self.readable.get() || !self.ahead.borrow().is_empty()
    }

    pub(crate) fn has_turns(&self) -> bool {
        !self.turns.borrow().is_empty()
    }

    /// Its oldest turn that has waited for its client too long.
    pub(crate) fn late_turn(&self, limits: &Limits, now: u64) -> Option<Rc<Turn>> {
        self.turns.borrow().iter().find(|turn| turn.is_late(limits, now)).cloned()
    }

    /// The response that is about to be given is HTTP's last one here.
    pub(crate) fn upgrade(&self, websocket: Rc<WebSocket>) {
        *self.successor.borrow_mut() = Some(websocket);
    }

    pub(crate) fn take_successor(&self) -> Option<Rc<WebSocket>> {
        self.successor.take()
    }

    pub(crate) fn begin_turn(&self) -> Rc<Turn> {
        self.served_here.set(true);
        self.claim.set_guest(false);
        let turn = Rc::new(Turn::default());
        self.turns.borrow_mut().push(turn.clone());
        turn
    }

    pub(crate) fn end_turn(&self, turn: &Rc<Turn>) {
        turn.end();
        self.turns.borrow_mut().retain(|other| !Rc::ptr_eq(other, turn));
    }

    /// Takes what hyper has of the bodies that come in piece by piece; true when there was something.
    pub(crate) fn pump(&self, context: &mut Context<'_>, now: u64) -> bool {
        if !self.streams_in.get() {
            return false;
        }
        let mut moved = false;
        for turn in &*self.turns.borrow() {
            if let Some(inbound) = turn.inbound()
                && inbound.pump(context)
            {
                turn.since.set(now);
                turn.notify();
                moved = true;
            }
        }
        moved
    }

    /// A head goes on to hyper. If it does not like it, it says so at once; unless bytes of an
    /// earlier response are still on their way, whatever it writes then are those words.
    pub(crate) fn hand_head_to_hyper(&self) {
        self.head_begun.set(true);
        self.hyper_reads_head.set(!self.unflushed.get());
    }

    /// The one request of a connection that speaks uwsgi.
    pub(crate) fn take_packet(&self, packet: Box<Packet>) {
        let _ = self.packet.set(Cell::new(Some(packet)));
    }

    /// Whether its request has come by uwsgi.
    pub(crate) fn has_packet(&self) -> bool {
        self.packet.get().is_some()
    }

    /// Whether nothing more is read here.
    pub(crate) fn is_refused(&self) -> bool {
        self.refusal.get().is_some()
            || self.turns.borrow().iter().any(|turn| turn.refusal().is_some())
    }

    /// The bodies that come in are not wanted any more.
    pub(crate) fn refuse_bodies(&self, refusal: Refusal) {
        for turn in &*self.turns.borrow() {
            turn.refuse(refusal);
        }
    }

    /// The client has closed its side.
    pub(crate) fn half_close(&self) {
        for turn in &*self.turns.borrow() {
            turn.half_close();
        }
    }

    /// The client is gone.
    pub(crate) fn leave(&self) {
        for turn in &*self.turns.borrow() {
            turn.leave();
        }
        if let Some(websocket) = self.take_successor() {
            websocket.lose();
        }
    }

    /// The time the current phase may take; `None` = as long as it wants.
    pub(crate) fn allowance(&self, limits: &Limits) -> Option<Duration> {
        match self.phase.get() {
            Phase::Head | Phase::Idle if self.leaving.get() => Some(LINGER),
            Phase::Head => Some(limits.head),
            Phase::Turns => None,
            Phase::Writing => Some(limits.write_pause),
            Phase::Idle => Some(limits.keepalive),
            Phase::Linger => Some(LINGER),
        }
    }
}

/// How long a client may take to close after us.
const LINGER: Duration = Duration::from_secs(1);
