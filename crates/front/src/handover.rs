//! Connections that change workers: passed on by a busy or leaving one, taken by an idle one.
//!
//! Only a connection between two requests can move, and only a plain one: all that there is of it
//! then is its socket. See [`crate::claim`] for who may touch it when.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;

use crate::Front;
use crate::claim::Claimed;
use crate::connection::Stage;
use crate::front::Accepting;
use crate::listener::peer_of;
use crate::lookout::Key;
use crate::opening::Step;
use crate::relay::{Passed, Relay};
use crate::wire::{Peer, Phase, Wire};

/// A connection that nobody waits on changes workers so often at most before it is served.
pub(crate) const HOPS_MAX: u8 = 3;
/// And whoever gives one away takes none for so long.
const REST: Duration = Duration::from_millis(20);

impl Front {
    /// Takes a connection that a sibling has passed on, if there is room for one.
    pub(crate) fn take_passed(&self) {
        if self.make_room()
            && let Some(passed) = self.next_passed()
        {
            // To the end of the kernel's queue, so that another one takes the next.
            if self.accepting.get() == Accepting::Yes {
                self.unwatch_relay();
                self.watch_relay();
            }
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
        if self.pass_on(&passed.socket, passed.listener, passed.served, passed.hops) {
            return;
        }
        // The sibling may be one of before a reload, with other settings.
        let forbidden = self.door.forbids(peer).then_some(Stage::Opening(Step::Forbidden));
        let stage = forbidden.unwrap_or(Stage::Parked);
        if let Some(wire) = self.add(passed.socket, peer, passed.listener, stage) {
            wire.claim.set_guest(true);
            if passed.served {
                wire.phase.set(Phase::Idle);
            }
        }
    }

    /// Lets a sibling have a connection that comes in if this worker has more than its share; true
    /// when it does. Who takes it may have as many: so it goes on a few times, and then stays.
    pub(crate) fn pass_on(&self, socket: &Socket, listener: usize, served: bool, hops: u8) -> bool {
        let Some(relay) = self.relay_to_siblings() else { return false };
        let given = hops < HOPS_MAX
            && self.connections() >= self.share(relay)
            && relay.is_empty()
            && relay.give(socket, listener, served, hops + 1).is_ok();
        if given {
            self.rest_relay();
        }
        given
    }

    /// Where connections go that others should have; `None` = nobody is there to take them.
    #[inline]
    fn relay_to_siblings(&self) -> Option<&Arc<Relay>> {
        self.relay.as_ref().filter(|_| self.gives_away)
    }

    /// How many connections are too many here: well above what the one has that has fewest.
    fn share(&self, relay: &Relay) -> usize {
        let fewest = relay.siblings().fewest().filter(|_| !self.core.draining.get());
        fewest.map_or(usize::MAX, |fewest| fewest + fewest / 16 + 2)
    }

    /// Takes nothing from the siblings for a moment: else whoever has just given something, and is
    /// awake anyway, would take it back before others wake up.
    fn rest_relay(&self) {
        // Without an alarm it would never end.
        if !self.relay_rests.get() && self.poller.wake_after(REST).is_ok() {
            self.unwatch_relay();
            self.relay_rests.set(true);
        }
    }

    /// Gives a connection that has become idle to the siblings, if this worker has more than its
    /// share: requests of busy workers go to idle ones, and so do in time their connections. One at
    /// most for each tick of the coarse clock; true when it went.
    pub(crate) fn even_out(&self, wire: &Rc<Wire>, stage: &Stage) -> bool {
        let Some(relay) = self.relay_to_siblings() else { return false };
        // One that has only just come would go on and on.
        if !wire.served_here.get()
            || !could_leave(wire, stage)
            || self.evened_out_at.replace(self.core.now.get()) == self.core.now.get()
        {
            return false;
        }
        // One more than for new ones, or connections would wander for nothing.
        let goes =
            self.connections() > self.share(relay) && relay.is_empty() && self.hand_over(wire);
        if goes {
            self.rest_relay();
        }
        goes
    }

    /// Takes from the siblings again, some time after something was given to them.
    pub(crate) fn end_rest(&self) {
        self.relay_rests.set(false);
        if self.accepting.get() == Accepting::Yes {
            self.watch_relay();
        }
    }

    /// Tells the siblings how many connections there are here.
    pub(crate) fn tell_siblings(&self) {
        if let Some(relay) = &self.relay
            && !self.core.draining.get()
        {
            relay.siblings().hold(self.connections());
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
        if self.gives_away && could_leave(wire, stage) {
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
        if relay.give(wire.socket(), wire.listener(), served, 0).is_ok() {
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
