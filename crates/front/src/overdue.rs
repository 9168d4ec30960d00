//! The limits of time, and the end: what is late, and how a worker finishes what it holds.

use std::rc::Rc;
use std::time::Duration;

use crate::Front;
use crate::connection::Stage;
use crate::exchange::ConnectionId;
use crate::front::Accepting;
use crate::listener::Accepted;
use crate::refusal::Refusal;
use crate::websocket::Course;
use crate::wire::{Phase, Wire};

/// A draining worker keeps idle connections this long: a request that is on its way to us while
/// we decide to close would be lost.
const DRAIN_LINGER: Duration = Duration::from_secs(1);
/// And a client in the middle of a request head this long.
const DRAIN_HEAD: Duration = Duration::from_secs(5);
/// Most pauses between two requests are shorter, and making hyper's part anew is not for nothing.
const PARKED_AFTER: Duration = Duration::from_secs(1);

impl Front {
    /// Applies the limits of time; to be called about once a second, more often while draining.
    pub fn sweep(&self) {
        let now = self.core.read_clock();
        let late: Vec<Rc<Wire>> = {
            let connections = self.connections.borrow();
            let late = connections.iter().filter(|(_, c)| self.is_late(&c.wire, now));
            late.map(|(_, c)| c.wire.clone()).collect()
        };
        for wire in late {
            self.on_late(&wire);
        }
        self.park_idle(now);
        self.ask_websockets(now);
        if self.accepting.get() == Accepting::Paused && self.could_accept() {
            self.resume();
        }
    }

    /// Asks silent WebSocket clients for a sign of life.
    fn ask_websockets(&self, now: u64) {
        let websockets: Vec<_> = {
            let connections = self.connections.borrow();
            let open = connections.iter().filter_map(|(id, c)| match &c.stage {
                Stage::WebSocket(websocket) => Some((id, websocket.clone())),
                _ => None,
            });
            open.collect()
        };
        for (id, websocket) in websockets {
            match websocket.beat(now) {
                Course::GoesOn if websocket.unsent_bytes() == 0 => {}
                Course::GoesOn => self.poll_connection(ConnectionId(id)),
                Course::Over | Course::Lost => self.remove(id),
            }
        }
    }

    /// Lets go of what hyper holds for connections that have been idle for a while.
    fn park_idle(&self, now: u64) {
        let mut connections = self.connections.borrow_mut();
        let idle = connections.iter_mut().map(|(_, c)| c).filter(|c| {
            let wire = &c.wire;
            let between = match wire.phase.get() {
                Phase::Idle => true,
                Phase::Head => !wire.head_begun.get(),
                _ => false,
            };
            between
                && !wire.queued.get()
                && Duration::from_nanos(now.saturating_sub(wire.since.get())) >= PARKED_AFTER
        });
        for connection in idle {
            if let Stage::Http1(_) = connection.stage
                && let Stage::Http1(http1) = std::mem::replace(&mut connection.stage, Stage::Parked)
            {
                let unread = http1.into_unread();
                if !unread.is_empty() {
                    // The beginning of a next request came together with the last one.
                    *connection.wire.ahead.borrow_mut() = unread;
                    self.core.enqueue(&connection.wire);
                }
            }
        }
    }

    fn is_late(&self, wire: &Wire, now: u64) -> bool {
        if wire.queued.get() {
            // Bytes may have come that we were too busy to look at: the delay is ours.
            return false;
        }
        let Some(mut allowance) = wire.allowance(&self.core.limits) else { return false };
        if self.core.draining.get() {
            match wire.phase.get() {
                Phase::Idle => allowance = allowance.min(DRAIN_LINGER),
                Phase::Head if wire.head_begun.get() => allowance = allowance.min(DRAIN_HEAD),
                Phase::Head => allowance = allowance.min(DRAIN_LINGER),
                _ => {}
            }
        }
        Duration::from_nanos(now.saturating_sub(wire.since.get())) >= allowance
    }

    fn on_late(&self, wire: &Rc<Wire>) {
        match wire.phase.get() {
            Phase::Body => {
                wire.refuse_bodies(Refusal::BodyTimeout);
                self.poll_connection(ConnectionId(wire.id));
                // Nobody could say so: the app has begun its response already.
                if wire.phase.get() == Phase::Body {
                    self.remove(wire.id);
                }
            }
            // hyper has no request to answer yet, so the words go straight to the socket.
            Phase::Head if wire.head_begun.get() => self.refuse(wire, Refusal::HeadTimeout),
            Phase::App => {}
            Phase::Head | Phase::Writing | Phase::Idle | Phase::Linger => self.remove(wire.id),
        }
    }

    /// Accepts no more and finishes what is held; each response from now on closes its
    /// connection. With `queue`, first accepts what already waits: nobody else will.
    pub fn drain(&self, queue: bool) {
        self.core.read_clock();
        if queue && self.accepting.get() != Accepting::Never {
            for index in 0..self.listeners.len() {
                while let Accepted::One(socket, peer) = self.listeners[index].accept() {
                    self.add(socket, peer, index);
                }
            }
        }
        if self.accepting.replace(Accepting::Never) == Accepting::Yes {
            for listener in &self.listeners {
                let _ = self.poller.remove(listener);
            }
        }
        if self.core.draining.replace(true) {
            return;
        }
        // The limits of draining begin now, not when the connection became idle.
        for (_, connection) in self.connections.borrow_mut().iter_mut() {
            let phase = connection.wire.phase.get();
            if matches!(phase, Phase::Idle | Phase::Head) {
                connection.wire.since.set(self.core.now.get());
            }
            if matches!(phase, Phase::App | Phase::Body)
                && let Stage::Http1(http1) = &mut connection.stage
            {
                http1.finish();
            }
            if let Stage::WebSocket(websocket) = &connection.stage {
                websocket.finish();
                self.core.enqueue(&connection.wire);
            }
        }
    }
}
