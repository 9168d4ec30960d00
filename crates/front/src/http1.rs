//! HTTP/1 on one connection: hyper's future, polled by hand.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use hyper::server::conn::http1;

use crate::ingress::Ingress;
use crate::refusal::Refusal;
use crate::screened::Screened;
use crate::wire::Wire;

/// Remembers that a future asked to be polled again while it was being polled.
#[derive(Default)]
pub(crate) struct Again(AtomicBool);

impl Again {
    pub(crate) fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) struct Http1 {
    connection: http1::Connection<Screened, Ingress>,
    again: Arc<Again>,
    waker: Waker,
}

/// How a poll ended.
pub(crate) enum Polled {
    Pending,
    /// Everything is written, and nothing more will be.
    Closed,
    /// What came next is no request that can be answered; everything before is.
    Refused(Refusal),
    Failed(Failure),
}

/// Why a connection cannot go on.
pub(crate) enum Failure {
    /// The client's bytes were no HTTP; it has been told so.
    Invalid(String),
    /// The client is gone.
    Gone,
}

impl Http1 {
    pub(crate) fn new(connection: http1::Connection<Screened, Ingress>) -> Box<Self> {
        let again = Arc::new(Again::default());
        Box::new(Self { connection, waker: Waker::from(again.clone()), again })
    }

    /// Polls until hyper waits for the socket or for the app.
    pub(crate) fn poll(&mut self, wire: &Wire, now: u64) -> Polled {
        loop {
            self.again.reset();
            let mut context = Context::from_waker(&self.waker);
            match self.connection.poll_without_shutdown(&mut context) {
                Poll::Ready(Ok(())) => return Polled::Closed,
                Poll::Ready(Err(error)) if error.is_parse() => return refused(wire, &error),
                Poll::Ready(Err(_)) => return Polled::Failed(Failure::Gone),
                Poll::Pending if wire.pump(&mut context, now) => {}
                Poll::Pending if wire.budget.get() > 0 && self.again.is_wanted() => {}
                Poll::Pending => {
                    if let Some(refusal) = wire.refusal.get()
                        && !wire.unflushed.get()
                    {
                        return Polled::Refused(refusal);
                    }
                    wire.settle(now);
                    return Polled::Pending;
                }
            }
        }
    }

    /// No request after the one in flight.
    pub(crate) fn finish(&mut self) {
        Pin::new(&mut self.connection).graceful_shutdown();
    }

    /// Ends it without a word; what was read but not used. To be called only between two requests,
    /// or once it has said that it is closed: only then is everything written.
    pub(crate) fn into_unread(self) -> Bytes {
        self.connection.into_parts().read_buf
    }
}

/// hyper did not like a head. It has answered by itself, unless nothing else was on its way then.
fn refused(wire: &Wire, error: &hyper::Error) -> Polled {
    let refusal = Refusal::of_parser(error);
    match wire.hyper_reads_head.get() {
        true => Polled::Refused(refusal),
        false => Polled::Failed(Failure::Invalid(refusal.message())),
    }
}
