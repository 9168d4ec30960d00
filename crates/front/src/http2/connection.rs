//! HTTP/2 on one connection: h2's state machine, polled by hand, and the streams on it.
//!
//! h2 itself and not hyper's server over it: hyper gives a whole piece of a response to h2 as soon
//! as the client has room for one byte, and then takes it for sent. Here a piece leaves only as the
//! client makes room, so a turn ends when its response has left, the time limit for slow readers
//! holds for each stream, and a drain knows what is in flight.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server;

use super::stream::{Orphan, Stream, Streamed};
use crate::http1::{Again, Failure, Polled};
use crate::ingress::Ingress;
use crate::limits::Http2Limits;
use crate::transport::Transport;

/// Response bytes that a stream may have under way.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// Request bytes of all streams that may be under way. Few bodies come in at the same time.
const RECEIVE_BYTES_MAX: u32 = 16 << 20;
/// What "no limit" means for the bytes of a header list.
const HEADER_LIST_BYTES_MAX: u32 = 16 << 20;

pub(crate) struct Http2 {
    talk: Talk,
    streams: Vec<Stream>,
    /// Requests that the client has taken back while the app has them. They count as streams, or a
    /// client could have any number of them.
    orphans: Vec<Orphan>,
    streams_max: usize,
    ingress: Ingress,
    again: Arc<Again>,
    waker: Waker,
    /// It had a request.
    begun: bool,
}

enum Talk {
    Opening(server::Handshake<Transport, Bytes>),
    Open(server::Connection<Transport, Bytes>),
}

impl Http2 {
    pub(crate) fn new(transport: Transport, ingress: Ingress, limits: &Http2Limits) -> Box<Self> {
        let again = Arc::new(Again::default());
        Box::new(Self {
            talk: Talk::Opening(builder(limits).handshake(transport)),
            streams: Vec::new(),
            orphans: Vec::new(),
            streams_max: limits.streams as usize,
            ingress,
            waker: Waker::from(again.clone()),
            again,
            begun: false,
        })
    }

    /// Polls until h2 waits for the socket, and the streams for the app or the client.
    pub(crate) fn poll(&mut self) -> Polled {
        let waker = self.waker.clone();
        let mut context = Context::from_waker(&waker);
        loop {
            self.again.reset();
            let end = self.advance(&mut context);
            let moved = self.ingress.wire.pump(&mut context, self.ingress.core.now.get());
            if let Poll::Ready(end) = end {
                return end;
            }
            if !moved && !self.again.is_wanted() {
                self.ingress.wire.settle(self.ingress.core.now.get());
                return Polled::Pending;
            }
        }
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Polled> {
        if let Talk::Opening(handshake) = &mut self.talk {
            match Pin::new(handshake).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(connection)) => self.talk = Talk::Open(connection),
                Poll::Ready(Err(error)) => return Poll::Ready(failed(&error)),
            }
        }
        let end = self.accept(context);
        let Self { streams, orphans, ingress, .. } = self;
        streams.retain_mut(|stream| match stream.poll(context, ingress.core.now.get()) {
            Streamed::Pending => true,
            Streamed::Over => false,
            Streamed::TakenBack(orphan) => {
                ingress.core.unwanted.set(true);
                orphans.push(orphan);
                false
            }
        });
        end
    }

    /// Moves frames, and takes the requests among them.
    fn accept(&mut self, context: &mut Context<'_>) -> Poll<Polled> {
        self.orphans.retain(|orphan| !orphan.is_over());
        let Talk::Open(connection) = &mut self.talk else { return Poll::Pending };
        loop {
            if self.streams.len() + self.orphans.len() >= self.streams_max {
                // New ones wait in h2, which counts those that are taken back there.
                return connection.poll_closed(context).map(|end| match end {
                    Ok(()) => Polled::Closed,
                    Err(error) => failed(&error),
                });
            }
            match connection.poll_accept(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Polled::Closed),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(failed(&error)),
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.streams.push(Stream::begin(request, respond, &self.ingress));
                    if !self.begun && self.ingress.core.draining.get() {
                        leave(connection, &self.ingress);
                    }
                    self.begun = true;
                }
            }
        }
    }

    /// Says that no more requests will be taken; those in flight are finished. False when that had
    /// been said before.
    pub(crate) fn finish(&mut self) -> bool {
        match &mut self.talk {
            Talk::Open(connection) if !self.ingress.wire.leaving.get() => {
                leave(connection, &self.ingress);
                true
            }
            _ => false,
        }
    }

    /// Whether requests wait until the app is done with some that nobody wants any more.
    pub(crate) fn is_held_up(&self) -> bool {
        !self.orphans.is_empty() && self.streams.len() + self.orphans.len() >= self.streams_max
    }

    /// Whether it had a request, so that it may be told to leave without one being lost.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }
}

/// Says so twice, as h2 does: once for the client to stop, and, when that has surely arrived, with
/// the last request that will be answered.
fn leave(connection: &mut server::Connection<Transport, Bytes>, ingress: &Ingress) {
    ingress.wire.leaving.set(true);
    connection.graceful_shutdown();
}

fn builder(limits: &Http2Limits) -> server::Builder {
    let header_list = if limits.header_list_bytes == 0 {
        HEADER_LIST_BYTES_MAX
    } else {
        limits.header_list_bytes
    };
    let all_streams = limits.window_bytes.saturating_mul(limits.streams).min(RECEIVE_BYTES_MAX);
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .initial_window_size(limits.window_bytes)
        .initial_connection_window_size(all_streams.max(limits.window_bytes))
        .max_frame_size(limits.frame_bytes)
        .max_header_list_size(header_list)
        .max_send_buffer_size(SEND_BYTES_MAX);
    builder
}

fn failed(error: &h2::Error) -> Polled {
    // A client that leaves, in whatever way, is no event.
    if error.is_io() || error.is_remote() {
        return Polled::Failed(Failure::Gone);
    }
    Polled::Failed(Failure::Invalid(format!("HTTP/2: {error}")))
}
