//! One request's turn on its connection: from its head to the last byte of its response.
//!
//! HTTP/1 has one turn after another, HTTP/2 has many at once. hyper, the executor and the
//! connection all hold on to it, and each of them may be the first to let go.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::Response;
use hyper::header::{HeaderName, HeaderValue};

use crate::Limits;
use crate::exchange::Watcher;
use crate::inbound::Inbound;
use crate::refusal::Refusal;
use crate::reply::ReplyBody;

#[derive(Default)]
pub(crate) struct Turn {
    response: RefCell<Option<Response<ReplyBody>>>,
    answer: Cell<Answer>,
    /// The body that is coming in, when the app takes it piece by piece.
    inbound: RefCell<Option<Rc<Inbound>>>,
    /// Why the rest of the body is not wanted.
    refusal: Cell<Option<Refusal>>,
    /// Who wants to know that something has changed.
    watcher: RefCell<Option<Rc<dyn Watcher>>>,
    client: Cell<Client>,
    /// Nobody drives it any more.
    over: Cell<bool>,
    /// The client wants no response: it has taken back this one request (HTTP/2).
    reset: Cell<bool>,
    /// The body is being read ahead of the app.
    pub(crate) reading: Cell<bool>,
    /// The client has no room for more of the response (HTTP/2; else that is the socket's matter).
    pub(crate) stalled: Cell<bool>,
    /// What follows from these facts.
    waits: Cell<Waits>,
    /// When that began, or last made progress: nanoseconds of the loop's clock.
    pub(crate) since: Cell<u64>,
    /// The client was too slow in reading. Whoever drives the turn ends it.
    late: Cell<bool>,
    /// Early hints that shall leave before the response.
    hints: RefCell<Vec<(HeaderName, HeaderValue)>>,
}

/// Whom a turn waits for, and so which limit of time applies.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Waits {
    /// The app: no limit of the front's.
    #[default]
    App,
    /// The client, for the rest of the body.
    Body,
    /// The client, to read.
    Reader,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    Awaited,
    Given,
    /// The executor has dropped the request.
    Denied,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Client {
    #[default]
    Present,
    /// It has closed its side. Most that do so are gone, but some still want their answer.
    Leaving,
    /// The connection has ended before the response was written.
    Gone,
}

impl Turn {
    /// Hands over the response; what comes after the first one is dropped. So is what comes when the
    /// turn is over or its client gone: nobody would take it, and as it holds the turn, each would
    /// keep the other.
    pub(crate) fn answer(&self, response: Response<ReplyBody>) {
        if self.is_awaited() {
            self.answer.set(Answer::Given);
            if !self.over.get() && !self.is_gone() {
                *self.response.borrow_mut() = Some(response);
            }
        }
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.answer.get() == Answer::Awaited
    }

    /// There will be no response; true when there was none so far.
    pub(crate) fn deny(&self) -> bool {
        let is_awaited = self.is_awaited();
        if is_awaited {
            self.answer.set(Answer::Denied);
        }
        is_awaited
    }

    pub(crate) fn take_response(&self) -> Option<Response<ReplyBody>> {
        self.response.take()
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.answer.get() == Answer::Denied
    }

    pub(crate) fn set_inbound(&self, inbound: Rc<Inbound>) {
        *self.inbound.borrow_mut() = Some(inbound);
    }

    /// The body that is coming in.
    pub(crate) fn inbound(&self) -> Option<Rc<Inbound>> {
        self.inbound.borrow().clone()
    }

    /// Derives from the facts whom it waits for; a change starts its time anew.
    pub(crate) fn settle(&self, now: u64) {
        let is_wanted = |inbound: &Rc<Inbound>| inbound.is_wanted();
        let waits = if self.reading.get() || self.inbound.borrow().as_ref().is_some_and(is_wanted) {
            Waits::Body
        } else if self.stalled.get() {
            Waits::Reader
        } else {
            Waits::App
        };
        if waits != self.waits.replace(waits) {
            self.since.set(now);
        }
    }

    /// The client has been too slow since it last did something.
    pub(crate) fn is_late(&self, limits: &Limits, now: u64) -> bool {
        let allowance = match self.waits.get() {
            Waits::App => return false,
            Waits::Body => limits.body_pause,
            Waits::Reader => limits.write_pause,
        };
        Duration::from_nanos(now.saturating_sub(self.since.get())) >= allowance
    }

    pub(crate) fn give_up(&self) {
        self.late.set(true);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.late.get()
    }

    /// The rest of the body is not wanted; the service future says why, if it still can.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.refusal.set(Some(refusal));
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let of_body = || self.inbound.borrow().as_ref().and_then(|inbound| inbound.refusal());
        self.refusal.get().or_else(of_body)
    }

    pub(crate) fn watch(&self, watcher: Rc<dyn Watcher>) {
        *self.watcher.borrow_mut() = Some(watcher);
    }

    /// Tells the watcher, if there is one, to look again.
    pub(crate) fn notify(&self) {
        let watcher = self.watcher.borrow().clone();
        if let Some(watcher) = watcher {
            watcher.changed();
        }
    }

    /// The client has closed its side.
    pub(crate) fn half_close(&self) {
        if self.client.get() == Client::Present {
            self.client.set(Client::Leaving);
            self.notify();
        }
    }

    /// The client is gone.
    pub(crate) fn leave(&self) {
        if self.client.replace(Client::Gone) != Client::Gone {
            if let Some(inbound) = self.inbound() {
                inbound.fail();
            }
            drop(self.response.take());
            self.notify();
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.client.get() != Client::Present
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.client.get() == Client::Gone
    }

    /// The client has taken the request back.
    pub(crate) fn reset(&self) {
        self.reset.set(true);
        self.leave();
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.reset.get()
    }

    pub(crate) fn add_hints(&self, fields: &[(HeaderName, HeaderValue)]) {
        self.hints.borrow_mut().extend_from_slice(fields);
    }

    pub(crate) fn take_hints(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.hints.take()
    }

    /// The response is written, or there is nobody to write it to: nobody watches, and what is left
    /// of the body is not wanted.
    pub(crate) fn end(&self) {
        self.over.set(true);
        if let Some(inbound) = self.inbound.take() {
            inbound.fail();
        }
        self.watcher.take();
    }
}
