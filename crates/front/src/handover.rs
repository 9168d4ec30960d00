//! Connections that change workers: passed on by a busy or leaving one, taken by an idle one.
//!
//! Only a connection between two requests can move, and only a plain one: all that there is of it
//! then is its socket. See [`crate::claim`] for who may touch it when.

use std::os::fd::AsFd;
use std::rc::Rc;

use crate::Front;
use crate::claim::Claimed;
use crate::connection::Stage;
use crate::listener::peer_of;
use crate::lookout::Key;
use crate::relay::Passed;
use crate::wire::{Peer, Phase, Wire};

impl Front {
    /// Takes a connection that a sibling has passed on, if there is room for one.
    pub(crate) fn take_passed(&self) {
        if self.make_room()
            && let Some(passed) = self.next_passed()
        {
            self.welcome_passed(passed);
        }
    }

    pub(crate) fn next_passed(&self) -> Option<Passed> {
        match self.relay.as_ref()?.take() {
            Ok(passed) => passed,
            Err(error) => {
                self.lack_room(error);
                None
            }
        }
    }

    pub(crate) fn welcome_passed(&self, passed: Passed) {
        // Whoever has sent it had it by the same listeners; and a socket that is broken by now has no
        // address any more.
        let peer = match self.listeners.get(passed.listener).map(|listener| listener.port) {
            Some(Some(_)) => passed.socket.peer_addr().ok().map(|address| peer_of(&address)),
            Some(None) => Some(Peer::Unix),
            None => None,
        };
        let Some(peer) = peer else { return };
        if let Some(wire) = self.add(passed.socket, peer, passed.listener, Stage::Parked)
            && passed.served
        {
            wire.phase.set(Phase::Idle);
        }
    }

    /// Whether this front may work on a connection now. One that the lookout reaches for comes again
    /// later.
    #[inline]
    pub(crate) fn claim(&self, wire: &Wire) -> bool {
        match wire.claim.claim() {
            Claimed::Ours => true,
            Claimed::NotNow => {
                self.core.enqueue_later(wire);
                false
            }
            // It is on the list of what was passed on.
            Claimed::Gone => false,
        }
    }

    /// Lets go of a connection that another worker could serve as well.
    #[inline]
    pub(crate) fn release(&self, wire: &Wire, stage: &Stage) {
        if self.lookout.is_some() && could_leave(wire, stage) {
            wire.claim.release(wire.phase.get() == Phase::Idle);
        }
    }

    /// Forgets the connections that the lookout has passed on.
    pub(crate) fn forget_passed(&self, keys: Vec<Key>) {
        for (id, serial) in keys {
            let connections = self.connections.borrow();
            let is_it = connections.get(id).is_some_and(|c| c.wire.serial == serial);
            drop(connections);
            if is_it {
                self.forget(id);
            }
        }
    }

    /// Gives a connection, on which nobody works, to the siblings; false when it cannot leave now.
    fn hand_over(&self, wire: &Rc<Wire>) -> bool {
        let Some(relay) = &self.relay else { return false };
        if wire.claim.claim() != Claimed::Ours {
            return false;
        }
        // First, or events of it would go on coming here as long as a sibling has it open.
        let _ = self.poller.remove(wire.socket());
        let served = wire.phase.get() == Phase::Idle;
        if relay.give(wire.socket(), wire.listener(), served).is_ok() {
            self.forget(wire.id);
            return true;
        }
        let _ = self.poller.add_connection(wire.socket(), wire.id, wire.serial);
        false
    }

    /// Gives a connection to the siblings if this worker leaves, and the connection could.
    pub(crate) fn hand_over_if_leaving(&self, wire: &Rc<Wire>, stage: &Stage) -> bool {
        self.core.hands_over.get() && could_leave(wire, stage) && self.hand_over(wire)
    }

    /// Gives all connections that could leave to the siblings.
    pub(crate) fn hand_over_all(&self) {
        let ready: Vec<_> = {
            let connections = self.connections.borrow();
            let ready = connections.iter().filter(|(_, c)| could_leave(&c.wire, &c.stage));
            ready.map(|(_, connection)| connection.wire.clone()).collect()
        };
        for wire in ready {
            self.hand_over(&wire);
        }
    }

    /// Watches what siblings pass on.
    pub(crate) fn watch_relay(&self) {
        if let Some(relay) = &self.relay {
            // Already watched is what we want.
            let _ = self.poller.add_relay(relay.waiting().as_fd());
        }
    }

    pub(crate) fn unwatch_relay(&self) {
        if let Some(relay) = &self.relay {
            let _ = self.poller.remove(relay.waiting());
        }
    }
}

/// Whether another worker could serve its next request.
#[inline]
fn could_leave(wire: &Wire, stage: &Stage) -> bool {
    matches!(stage, Stage::Parked | Stage::Http1(_)) && wire.is_between_requests()
}
