//! One request's turn on its connection: from its head to the last byte of its response.
//!
//! HTTP/1 has one turn after another, HTTP/2 has many at once. hyper, the executor and the
//! connection all hold on to it, and each of them may be the first to let go.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use hyper::Response;

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
    /// Hands over the response; what comes after the first one is dropped, and what nobody will
    /// take any more: a response holds on to its turn, so it must not be left lying here.
    pub(crate) fn answer(&self, response: Response<ReplyBody>) {
        if self.is_awaited() {
            self.answer.set(Answer::Given);
            if !self.is_gone() {
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

    /// The app waits for a piece of the body.
    pub(crate) fn is_body_wanted(&self) -> bool {
        self.inbound.borrow().as_ref().is_some_and(|inbound| inbound.is_wanted())
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

    /// The response is written: nobody watches, and what is left of the body is not wanted.
    pub(crate) fn end(&self) {
        self.inbound.take();
        self.watcher.take();
    }
}
