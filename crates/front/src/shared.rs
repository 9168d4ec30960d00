//! What exchanges, connections and the front share: limits, the clock, the queues of what is ready.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use nix::time::{ClockId, clock_gettime};

use crate::access_log::AccessLines;
use crate::refusals::Refusals;
use crate::tls::{Certificates, TlsError};
use crate::trouble::{Shortage, Trouble};
use crate::wire::{Peer, Wire};
use crate::{Exchange, Limits, Proxies};

/// Something the operator should read.
#[derive(Debug)]
pub enum Notice {
    /// No descriptor or memory for another connection: those in the queue wait there.
    CannotAccept(Shortage),
    /// No thread for a lookout: a long request holds up others on the same worker.
    NoLookout(io::Error),
    /// Request bodies could not be written to their temporary files.
    SpoolFailed(Shortage),
    /// Files have changed, and new connections get this certificate.
    CertificateRenewed(Arc<Certificates>),
    /// Files have changed, but cannot be used: the certificate of before stays.
    CertificateRefused(TlsError),
    /// Requests were refused, or what had to come before them: the first, and how many more.
    InvalidRequest {
        /// Who sent it.
        peer: Peer,
        /// Why.
        reason: String,
        /// Others that were refused since the last notice of the kind.
        more: u64,
    },
}

/// What exchanges, connections and the front share.
pub(crate) struct Core {
    pub(crate) limits: Limits,
    pub(crate) proxies: Proxies,
    pub(crate) now: Cell<u64>,
    pub(crate) draining: Cell<bool>,
    /// Connections between two requests go to the siblings.
    pub(crate) hands_over: Cell<bool>,
    pub(crate) notices: RefCell<Vec<Notice>>,
    pub(crate) access: Option<Rc<AccessLines>>,
    pub(crate) refusals: RefCell<Refusals>,
    /// No room for connections, and for bodies.
    pub(crate) accept_trouble: Trouble,
    pub(crate) spool_trouble: Trouble,
    pub(crate) ready: RefCell<VecDeque<usize>>,
    /// Connections that have had their turn, and have more to read or to write.
    pub(crate) later: RefCell<Vec<usize>>,
    pub(crate) arrived: RefCell<VecDeque<Exchange>>,
    /// Some of them were taken back.
    pub(crate) unwanted: Cell<bool>,
}

impl Core {
    pub(crate) fn arrive(&self, exchange: Exchange) {
        self.arrived.borrow_mut().push_back(exchange);
    }

    /// Remembers a refused request for the log.
    pub(crate) fn note_refusal(&self, peer: Peer, reason: impl FnOnce() -> String) {
        self.refusals.borrow_mut().add(peer, reason);
    }

    /// Puts a connection into the ready queue, once.
    pub(crate) fn enqueue(&self, wire: &Wire) {
        if !wire.queued.replace(true) {
            self.ready.borrow_mut().push_back(wire.id);
        }
    }

    /// The same, once others have had their turn.
    pub(crate) fn enqueue_later(&self, wire: &Wire) {
        if !wire.queued.replace(true) {
            self.later.borrow_mut().push(wire.id);
        }
    }

    /// The kernel's coarse clock: some milliseconds more or less change no limit of time, and it is
    /// read at each step of a request.
    pub(crate) fn read_clock(&self) -> u64 {
        if let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) {
            self.now.set(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64);
        }
        self.now.get()
    }
}
