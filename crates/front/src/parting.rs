//! The end of a connection: last words, a patient goodbye, and forgetting.

use std::io::{ErrorKind, Read};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::Front;
use crate::connection::Stage;
use crate::front::Accepting;
use crate::http1::Failure;
use crate::refusal::Refusal;
use crate::wire::{Phase, TURN_BYTES_MAX, Wire};

/// What a client sends after our last word is read in portions: others wait for their turn, too.
const LINGERING_READS_MAX: usize = 16;

impl Front {
    /// Our last word is said.
    pub(crate) fn close(&self, wire: &Rc<Wire>) {
        wire.finish_sending();
        wire.phase.set(Phase::Linger);
        wire.since.set(self.core.now.get());
        // Whoever was refused may have sent more than was looked at.
        wire.readable.set(true);
        self.linger(wire);
    }

    /// The client spoke no HTTP and was told so, or went away.
    pub(crate) fn fail(&self, wire: &Rc<Wire>, failure: Failure) {
        let Failure::Invalid(reason) = failure else {
            // By uwsgi an answer without a length ends with its connection: only a reset says that
            // it was not all.
            if wire.has_packet() {
                let _ = wire.socket().set_linger(Some(Duration::ZERO));
            }
            return self.remove(wire.id);
        };
        self.core.note_refusal(wire.peer.get(), || reason);
        self.close(wire);
    }

    /// Answers what is no request, with a page, and closes.
    pub(crate) fn refuse(&self, wire: &Rc<Wire>, refusal: Refusal) {
        self.core.note_refusal(wire.peer.get(), || refusal.message());
        wire.phase.set(Phase::Writing);
        wire.since.set(self.core.now.get());
        self.part(wire, refusal.to_bytes());
    }

    /// Writes our last words.
    pub(crate) fn part(&self, wire: &Rc<Wire>, mut words: Bytes) {
        wire.budget.set(TURN_BYTES_MAX);
        while !words.is_empty() {
            match wire.transmit(&words) {
                Poll::Ready(Ok(count)) => words.advance(count),
                Poll::Ready(Err(_)) => return self.remove(wire.id),
                Poll::Pending => return self.keep(wire, Stage::Parting(words)),
            }
        }
        self.close(wire);
    }

    /// Reads and forgets what the client still sends after our last response. Closing with bytes
    /// unread would make the kernel send a reset, which can overtake that response.
    pub(crate) fn linger(&self, wire: &Rc<Wire>) {
        if wire.ended.get() {
            return self.remove(wire.id);
        }
        let mut scratch = self.scratch.borrow_mut();
        for _ in 0..LINGERING_READS_MAX {
            match wire.socket().read(&mut scratch) {
                Ok(0) => return self.remove(wire.id),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.keep(wire, Stage::Lingering);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.remove(wire.id),
            }
        }
        // More bytes will be an event of their own; if there are none, the limit of time ends it.
        self.keep(wire, Stage::Lingering);
    }

    pub(crate) fn remove(&self, id: usize) {
        self.forget(id);
        if self.accepting.get() == Accepting::Paused {
            self.resume();
        }
    }

    pub(crate) fn forget(&self, id: usize) {
        let Some(gone) = self.connections.borrow_mut().try_remove(id) else { return };
        self.tell_siblings();
        let wire = gone.wire.clone();
        if let Some(lookout) = &self.lookout {
            lookout.remove(wire.key());
        }
        wire.leave();
        let file = wire.file.take();
        // After the borrow has ended: a response body on its way out may touch the core.
        if let Stage::WebSocket(websocket) = &gone.stage {
            websocket.lose();
        }
        drop((gone, file));
        if Rc::strong_count(&wire) > 1 {
            // The app still holds the request, and so the socket stays open: it must not go on
            // sending events in the name of a connection that will get this id.
            let _ = self.poller.remove(wire.socket());
        }
    }
}
