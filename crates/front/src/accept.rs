//! Taking connections: how many, and what gives way when there is no room.

use std::io;
use std::rc::Rc;

use socket2::Socket;

use crate::Front;
use crate::claim::Claimed;
use crate::connection::{Connection, Stage};
use crate::front::Accepting;
use crate::listener::Accepted;
use crate::wire::{Peer, Phase, Wire};

/// The kernel wakes the first in its wait queue, so a worker that stays first gets everything;
/// after this many connections it goes to the end.
const ACCEPTS_BEFORE_REQUEUE: u32 = 1;

impl Front {
    pub(crate) fn accept(&self, index: usize, most: usize) {
        for taken in 0..most {
            // Only for the first is it sure that somebody waits, and worth an idle connection's end;
            // later ones are reported again.
            if taken > 0 && self.is_full() || !self.make_room() {
                return;
            }
            match self.listeners[index].accept() {
                Accepted::One(socket, peer) => self.welcome(socket, peer, index),
                Accepted::None => return,
                Accepted::Exhausted(error) => return self.lack_room(error),
            }
        }
        if self.core.limits.has_siblings && self.accepted.get() >= ACCEPTS_BEFORE_REQUEUE {
            self.requeue(index);
        }
    }

    /// The kernel has no room for another connection.
    pub(crate) fn lack_room(&self, error: io::Error) {
        self.core.accept_trouble.fail(error, self.core.now.get());
        self.close_oldest_idle();
        self.pause();
    }

    /// Makes room for one more connection; false when nobody can give way, and accepting pauses.
    pub(crate) fn make_room(&self) -> bool {
        let has_room = !self.is_full() || self.close_oldest_idle();
        if !has_room {
            self.pause();
        }
        has_room
    }

    fn is_full(&self) -> bool {
        self.connections.borrow().len() >= self.core.limits.connections
    }

    /// Whether one more connection could be held, if need be in place of an idle one.
    pub(crate) fn could_accept(&self) -> bool {
        !self.is_full() || self.oldest_idle().is_some()
    }

    fn oldest_idle(&self) -> Option<usize> {
        let connections = self.connections.borrow();
        let idle = connections.iter().filter(|(_, c)| c.wire.phase.get() == Phase::Idle);
        idle.min_by_key(|(_, c)| c.wire.since.get()).map(|(id, _)| id)
    }

    fn close_oldest_idle(&self) -> bool {
        let Some(id) = self.oldest_idle() else { return false };
        let wire = self.connections.borrow().get(id).map(|connection| connection.wire.clone());
        // One that the lookout reaches for is about to leave by itself.
        if let Some(wire) = wire.filter(|wire| wire.claim.claim() == Claimed::Ours) {
            wire.say_goodbye();
            self.forget(id);
        }
        true
    }

    /// Adds a new connection.
    pub(crate) fn welcome(&self, socket: Socket, peer: Peer, listener: usize) {
        self.accepted.set(self.accepted.get() + 1);
        let trusted = self.core.proxies.trusted.contains(peer);
        let stage = self.door.first_stage(peer, trusted);
        if matches!(stage, Stage::Parked) && self.pass_on(&socket, listener, false, 0) {
            return;
        }
        self.add(socket, peer, listener, stage);
    }

    /// Adds a connection at some stage; `None` when it had to be closed.
    pub(crate) fn add(
        &self,
        socket: Socket,
        peer: Peer,
        listener: usize,
        stage: Stage,
    ) -> Option<Rc<Wire>> {
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let id = entry.key();
        // Without a place in epoll it would never be heard again: closing it is the honest end.
        let serial = self.serial.replace(self.serial.get().wrapping_add(1));
        self.poller.add_connection(&socket, id, serial).ok()?;
        let trusted = self.core.proxies.trusted.contains(peer);
        let wire = Rc::new(Wire::new((id, serial), socket, peer, listener, trusted));
        wire.since.set(self.core.now.get());
        self.core.enqueue(&wire);
        if let (Some(lookout), Stage::Parked) = (&self.lookout, &stage) {
            lookout.add(wire.key(), wire.claim.clone());
        }
        self.release(&wire, &stage);
        entry.insert(Connection { wire: wire.clone(), stage });
        drop(connections);
        self.tell_siblings();
        Some(wire)
    }

    fn requeue(&self, index: usize) {
        self.accepted.set(0);
        let listener = &self.listeners[index];
        // If it cannot be added again we would never accept; the next sweep tries once more.
        if self.poller.remove(listener).is_err()
            || self.poller.add_listener(listener, index, true).is_err()
        {
            self.accepting.set(Accepting::Paused);
        }
    }

    fn pause(&self) {
        if self.accepting.get() == Accepting::Yes {
            self.accepting.set(Accepting::Paused);
            for listener in &self.listeners {
                let _ = self.poller.remove(listener);
            }
            self.unwatch_relay();
        }
    }

    pub(crate) fn resume(&self) {
        self.accepting.set(Accepting::Yes);
        for (index, listener) in self.listeners.iter().enumerate() {
            // Already watched is what we want.
            let _ = self.poller.add_listener(listener, index, self.core.limits.has_siblings);
        }
        self.watch_relay();
    }
}
