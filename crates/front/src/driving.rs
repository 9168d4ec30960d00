//! A connection gets its turn: it is polled as far as its socket allows, and then rests.

use std::rc::Rc;

use bytes::Bytes;

use crate::Front;
use crate::connection::Stage;
use crate::exchange::ConnectionId;
use crate::front::Accepting;
use crate::http1::{Http1, Polled};
use crate::http2::Http2;
use crate::ingress::Ingress;
use crate::screen::Screen;
use crate::screened::Screened;
use crate::transport::Transport;
use crate::websocket::{Course, WebSocket};
use crate::wire::{Phase, TURN_BYTES_MAX, Wire};

impl Front {
    /// Lets a connection read and write as far as its socket allows.
    pub fn poll_connection(&self, ConnectionId(id): ConnectionId) {
        let (stage, wire) = {
            let mut connections = self.connections.borrow_mut();
            let Some(connection) = connections.get_mut(id) else { return };
            connection.wire.queued.set(false);
            if !self.claim(&connection.wire) {
                return;
            }
            let stage = std::mem::replace(&mut connection.stage, Stage::Polled);
            (stage, connection.wire.clone())
        };
        match stage {
            Stage::Parked if wire.has_bytes() => self.drive(self.begin_http1(&wire), &wire),
            Stage::Parked => self.rest(&wire, Stage::Parked),
            Stage::Http1(http1) => self.drive(http1, &wire),
            Stage::Opening(step) => self.open(&wire, step),
            Stage::Http2(http2) => self.drive_http2(http2, &wire),
            Stage::Parting(words) => self.part(&wire, words),
            Stage::WebSocket(websocket) => self.talk(websocket, &wire),
            Stage::Lingering => self.linger(&wire),
            Stage::Polled => {}
        }
    }

    fn ingress(&self, wire: &Rc<Wire>) -> Ingress {
        Ingress { core: self.core.clone(), wire: wire.clone() }
    }

    pub(crate) fn begin_http1(&self, wire: &Rc<Wire>) -> Box<Http1> {
        let screened = Screened {
            wire: wire.clone(),
            scratch: self.scratch.clone(),
            core: self.core.clone(),
            screen: if self.door.speaks_uwsgi() { Screen::of_uwsgi() } else { Screen::default() },
        };
        Http1::new(self.builder.serve_connection(screened, self.ingress(wire)))
    }

    pub(crate) fn begin_http2(&self, wire: &Rc<Wire>) -> Box<Http2> {
        let transport = Transport { wire: wire.clone(), scratch: self.scratch.clone() };
        Http2::new(transport, self.ingress(wire), &self.core.limits.http2)
    }

    pub(crate) fn drive(&self, mut http1: Box<Http1>, wire: &Rc<Wire>) {
        wire.budget.set(TURN_BYTES_MAX);
        match http1.poll(wire, self.core.now.get()) {
            Polled::Pending => self.rest(wire, Stage::Http1(http1)),
            Polled::Closed => match wire.take_successor() {
                Some(websocket) => {
                    let unread = http1.into_unread();
                    // What came behind the request was not screened yet, and is no HTTP.
                    let ahead = Bytes::from([&unread[..], &wire.ahead.take()[..]].concat());
                    websocket.take_ahead(&ahead, self.core.now.get());
                    self.talk(websocket, wire);
                }
                None => {
                    drop(http1);
                    self.close(wire);
                }
            },
            Polled::Refused(refusal) => {
                drop(http1);
                self.refuse(wire, refusal);
            }
            Polled::Failed(failure) => {
                drop(http1);
                self.fail(wire, failure);
            }
        }
    }

    #[inline(never)]
    pub(crate) fn drive_http2(&self, mut http2: Box<Http2>, wire: &Rc<Wire>) {
        wire.budget.set(TURN_BYTES_MAX);
        match http2.poll() {
            Polled::Pending => self.rest(wire, Stage::Http2(http2)),
            Polled::Closed => {
                drop(http2);
                self.close(wire);
            }
            Polled::Failed(failure) => {
                drop(http2);
                self.fail(wire, failure);
            }
            Polled::Refused(refusal) => {
                drop(http2);
                self.refuse(wire, refusal);
            }
        }
    }

    /// A connection has had its turn.
    #[inline]
    fn rest(&self, wire: &Rc<Wire>, stage: Stage) {
        if self.hand_over_if_leaving(wire, &stage) || self.even_out(wire, &stage) {
            return;
        }
        self.release(wire, &stage);
        self.keep(wire, stage);
        if wire.budget.get() == 0 {
            self.core.enqueue_later(wire);
        }
        if wire.phase.get() == Phase::Idle {
            self.note_idle(wire);
            // It can give way to somebody who waits.
            if self.accepting.get() == Accepting::Paused {
                self.resume();
            }
        }
    }

    fn talk(&self, websocket: Rc<WebSocket>, wire: &Rc<Wire>) {
        wire.budget.set(TURN_BYTES_MAX);
        let course = websocket.poll(&mut self.scratch.borrow_mut(), self.core.now.get());
        match course {
            Course::GoesOn => self.rest(wire, Stage::WebSocket(websocket)),
            Course::Over => self.close(wire),
            Course::Lost => self.remove(wire.id),
        }
    }

    /// Puts a connection's stage back, unless it is gone.
    pub(crate) fn keep(&self, wire: &Wire, stage: Stage) {
        let former = match self.connections.borrow_mut().get_mut(wire.id) {
            Some(connection) => std::mem::replace(&mut connection.stage, stage),
            None => stage,
        };
        // After the borrow has ended: it may touch the core on its way out.
        drop(former);
    }
}
