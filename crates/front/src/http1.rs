//! HTTP/1 on one connection: hyper's future, polled by hand.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use hyper::server::conn::http1;

use crate::ingress::Ingress;
use crate::refusal::Refusal;
use crate::transport::{TURN_BYTES_MAX, Transport};
use crate::wire::Wire;

/// Remembers that a future asked to be polled again while it was being polled.
#[derive(Default)]
struct Again(AtomicBool);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) struct Http1 {
    connection: http1::Connection<Transport, Ingress>,
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
    /// The client's bytes were no HTTP, or the client is gone.
    Failed(hyper::Error),
}

impl Http1 {
    pub(crate) fn new(connection: http1::Connection<Transport, Ingress>) -> Box<Self> {
        let again = Arc::new(Again::default());
        Box::new(Self { connection, waker: Waker::from(again.clone()), again })
    }

    /// Polls until hyper waits for the socket or for the app.
    pub(crate) fn poll(&mut self, wire: &Wire, now: u64) -> Polled {
        wire.budget.set(TURN_BYTES_MAX);
        loop {
            self.again.0.store(false, Ordering::Relaxed);
            let mut context = Context::from_waker(&self.waker);
            match self.connection.poll_without_shutdown(&mut context) {
                Poll::Ready(Ok(())) => return Polled::Closed,
                Poll::Ready(Err(error)) => return Polled::Failed(error),
                Poll::Pending if wire.pump(&mut context, now) => {}
                Poll::Pending if wire.is_tired() => {
                    wire.settle(now);
                    return Polled::Pending;
                }
                Poll::Pending if self.again.0.load(Ordering::Relaxed) => {}
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
