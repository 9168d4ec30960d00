//! Taking connections: how many, and what gives way when there is no room.

use std::rc::Rc;

use socket2::Socket;

use crate::Front;
use crate::connection::{Connection, Stage};
use crate::front::{Accepting, Notice};
use crate::listener::Accepted;
use crate::wire::{Peer, Phase, Wire};

/// The kernel wakes the first in its wait queue, so a worker that stays first gets everything;
/// after this many connections it goes to the end.
const ACCEPTS_BEFORE_REQUEUE: u32 = 16;

impl Front {
    pub(crate) fn accept(&self, index: usize, most: usize) {
        for taken in 0..most {
            if self.is_full() {
                // Only now is it sure that somebody waits, and worth an idle connection's end;
                // later ones are reported again.
                if taken > 0 {
                    return;
                }
                if !self.close_oldest_idle() {
                    return self.pause();
                }
            }
            match self.listeners[index].accept() {
                Accepted::One(socket, peer) => self.add(socket, peer, index),
                Accepted::None => return,
                Accepted::Exhausted(error) => {
                    self.core.notices.borrow_mut().push(Notice::CannotAccept(error));
                    self.close_oldest_idle();
                    return self.pause();
                }
            }
        }
        if self.core.limits.has_siblings && self.accepted.get() >= ACCEPTS_BEFORE_REQUEUE {
            self.requeue(index);
        }
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
        self.oldest_idle().map(|id| self.forget(id)).is_some()
    }

    pub(crate) fn add(&self, socket: Socket, peer: Peer, listener: usize) {
        self.accepted.set(self.accepted.get() + 1);
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let id = entry.key();
        // Without a place in epoll it would never be heard again: closing it is the honest end.
        let serial = self.serial.replace(self.serial.get().wrapping_add(1));
        if self.poller.add_connection(&socket, id, serial).is_err() {
            return;
        }
        let trusted = self.core.proxies.trusted.contains(peer);
        let wire = Rc::new(Wire::new((id, serial), socket, peer, listener, trusted));
        wire.since.set(self.core.now.get());
        self.core.enqueue(&wire);
        entry.insert(Connection { wire, stage: Stage::Parked });
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
        if self.accepting.replace(Accepting::Paused) == Accepting::Yes {
            for listener in &self.listeners {
                let _ = self.poller.remove(listener);
            }
        }
    }

    pub(crate) fn resume(&self) {
        self.accepting.set(Accepting::Yes);
        for (index, listener) in self.listeners.iter().enumerate() {
            // Already watched is what we want.
            let _ = self.poller.add_listener(listener, index, self.core.limits.has_siblings);
        }
    }
}
