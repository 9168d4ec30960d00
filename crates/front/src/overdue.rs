//! The limits of time, and the end: what is late, and how a worker finishes what it holds.

use std::rc::Rc;
use std::time::Duration;

use crate::connection::{Connection, Stage};
use crate::exchange::ConnectionId;
use crate::front::Accepting;
use crate::listener::Accepted;
use crate::refusal::Refusal;
use crate::turn::Turn;
use crate::websocket::Course;
use crate::wire::{Phase, Wire};
use crate::{Drain, Front};

/// A draining worker keeps idle connections this long: a request that is on its way to us while
/// we decide to close would be lost.
const DRAIN_LINGER: Duration = Duration::from_secs(1);
/// And a client in the middle of a request head this long.
const DRAIN_HEAD: Duration = Duration::from_secs(5);
/// Most pauses between two requests are shorter, and making hyper's part anew is not for nothing.
const PARKED_AFTER: Duration = Duration::from_secs(1);

/// Idle connections that are not parked, at most; each holds about 10 KiB.
const UNPARKED_IDLE_MAX: usize = 512;

/// Lets go of what hyper holds, if the connection is between two requests.
fn park(connection: &mut Connection) {
    let wire = &connection.wire;
    let between = match wire.phase.get() {
        Phase::Idle => true,
        Phase::Head => !wire.head_begun.get(),
        _ => false,
    };
    let is_still = between && !wire.queued.get() && wire.ahead.borrow().is_empty();
    if is_still && matches!(connection.stage, Stage::Http1(_)) {
        connection.stage = Stage::Parked;
    }
}

impl Front {
    /// Applies the limits of time; to be called about once a second, more often while draining.
    pub fn sweep(&self) {
        self.catch_up();
        let now = self.core.read_clock();
        let late: Vec<Rc<Wire>> = {
            let connections = self.connections.borrow();
            let late = connections.iter().filter(|(_, c)| self.is_late(&c.wire, now));
            late.map(|(_, c)| c.wire.clone()).collect()
        };
        for wire in late {
            if self.claim(&wire) {
                self.on_late(&wire);
            }
        }
        self.park_idle(now);
        self.let_on(now);
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
        for (_, connection) in self.connections.borrow_mut().iter_mut() {
            let idle_ns = now.saturating_sub(connection.wire.since.get());
            if Duration::from_nanos(idle_ns) >= PARKED_AFTER {
                park(connection);
            }
        }
    }

    /// A connection has become idle: at the limit, the one that has been it longest is parked now,
    /// or a sudden crowd would need memory that malloc does not give back.
    pub(crate) fn note_idle(&self, wire: &Wire) {
        let times = wire.times_idle.get().wrapping_add(1);
        wire.times_idle.set(times);
        let mut lately_idle = self.lately_idle.borrow_mut();
        lately_idle.push_back((wire.key(), times));
        if lately_idle.len() > UNPARKED_IDLE_MAX
            && let Some(((id, serial), times)) = lately_idle.pop_front()
            && let Some(connection) = self.connections.borrow_mut().get_mut(id)
            && connection.wire.serial == serial
            && connection.wire.times_idle.get() == times
        {
            park(connection);
        }
    }

    /// Certificates that were exchanged, and connections whose apps have caught up.
    fn let_on(&self, now: u64) {
        self.core.notices.borrow_mut().extend(self.door.look(now));
        for (_, connection) in &*self.connections.borrow() {
            if let Stage::Http2(http2) = &connection.stage
                && http2.is_held_up()
            {
                self.core.enqueue(&connection.wire);
            }
        }
    }

    fn is_late(&self, wire: &Wire, now: u64) -> bool {
        if wire.queued.get() {
            // Bytes may have come that we were too busy to look at: the delay is ours.
            return false;
        }
        if wire.late_turn(&self.core.limits, now).is_some() {
            return true;
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
        if let Some(turn) = wire.late_turn(&self.core.limits, self.core.now.get()) {
            return self.on_late_turn(wire, &turn);
        }
        let step = self.with_stage(wire, |stage| match stage {
            Stage::Opening(step) => Some(*step),
            _ => None,
        });
        match wire.phase.get() {
            Phase::Turns => {}
            Phase::Head | Phase::Idle if self.say_goodbye(wire) => {}
            Phase::Head => match step.flatten() {
                Some(step) => self.close_door(wire, step),
                None if wire.head_begun.get() => self.refuse(wire, Refusal::HeadTimeout),
                None => self.remove(wire.id),
            },
            Phase::Idle => {
                wire.say_goodbye();
                self.remove(wire.id);
            }
            Phase::Writing | Phase::Linger => self.remove(wire.id),
        }
    }

    /// A client that is too slow with a body, or in reading a response.
    fn on_late_turn(&self, wire: &Rc<Wire>, turn: &Rc<Turn>) {
        let is_http2 = self.with_stage(wire, |stage| matches!(stage, Stage::Http2(_)));
        if turn.is_awaited() {
            turn.refuse(Refusal::BodyTimeout);
        } else if is_http2 == Some(true) {
            turn.give_up();
        } else {
            return self.remove(wire.id);
        }
        self.poll_connection(ConnectionId(wire.id));
    }

    /// Tells an HTTP/2 client that its connection ends, since a request may be on its way; true when
    /// it was not told before.
    fn say_goodbye(&self, wire: &Rc<Wire>) -> bool {
        let mut connections = self.connections.borrow_mut();
        let Some(connection) = connections.get_mut(wire.id) else { return false };
        let Stage::Http2(http2) = &mut connection.stage else { return false };
        let is_new = http2.finish();
        if is_new {
            wire.since.set(self.core.now.get());
            self.core.enqueue(wire);
        }
        is_new
    }

    fn with_stage<T>(&self, wire: &Wire, look: impl FnOnce(&Stage) -> T) -> Option<T> {
        self.connections.borrow().get(wire.id).map(|connection| look(&connection.stage))
    }

    /// Accepts no more and finishes what is held.
    pub fn drain(&self, how: Drain) {
        self.core.read_clock();
        if how == Drain::Last {
            // Siblings leave, too. Each takes back what lies in the relay after it has stopped
            // passing on, so whoever is last to hear of it finds all that nobody else has.
            if let Some(lookout) = &self.lookout {
                lookout.pass_no_more();
            }
            for index in 0..self.listeners.len() {
                while let Accepted::One(socket, peer) = self.listeners[index].accept() {
                    self.welcome(socket, peer, index);
                }
            }
        }
        if matches!(how, Drain::Last | Drain::Succeeded) {
            while let Some(passed) = self.next_passed() {
                self.welcome_passed(passed);
            }
        }
        self.core.hands_over.set(how == Drain::ToSiblings && self.relay.is_some());
        if self.accepting.replace(Accepting::Never) == Accepting::Yes {
            for listener in &self.listeners {
                let _ = self.poller.remove(listener);
            }
            self.unwatch_relay();
        }
        if self.core.hands_over.get() {
            self.hand_over_all();
        }
        if self.core.draining.replace(true) {
            return;
        }
        if let Some(relay) = &self.relay {
            relay.siblings().leave();
        }
        let may_move = |wire: &Wire| self.core.hands_over.get() && wire.can_move();
        // The limits of draining begin now, not when the connection became idle.
        for (_, connection) in self.connections.borrow_mut().iter_mut() {
            let wire = &connection.wire;
            if matches!(wire.phase.get(), Phase::Idle | Phase::Head) {
                wire.since.set(self.core.now.get());
            }
            match &mut connection.stage {
                Stage::Http1(http1) if wire.has_turns() && !may_move(wire) => http1.finish(),
                Stage::Http2(http2) if http2.has_begun() => {
                    http2.finish();
                    self.core.enqueue(wire);
                }
                Stage::WebSocket(websocket) => {
                    websocket.finish();
                    self.core.enqueue(wire);
                }
                _ => {}
            }
        }
    }
}
