//! The reader and writer that hyper works on: what comes in passes a [`Screen`] first, and what goes
//! out may be a file.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::ReadBufCursor;

use crate::file::slices_before_file;
use crate::screen::{Refused, Screen, Seen};
use crate::shared::Core;
use crate::transport::{Scratch, send_slices};
use crate::wire::Wire;

pub(crate) struct Screened {
    pub(crate) wire: Rc<Wire>,
    pub(crate) scratch: Scratch,
    pub(crate) core: Rc<Core>,
    pub(crate) screen: Screen,
}

impl Screened {
    /// Screens bytes that were read. Gives how many of them were taken, and whether hyper has got
    /// any; nothing more is to be read when there is something to refuse.
    fn screen(&mut self, bytes: &[u8], cursor: &mut ReadBufCursor<'_>) -> Option<(usize, bool)> {
        let wire = &*self.wire;
        match self.screen.look(bytes, &self.core.limits) {
            Ok(Seen::Head(count)) => {
                wire.hand_head_to_hyper();
                cursor.put_slice(&bytes[..count]);
                Some((count, true))
            }
            Ok(Seen::Body(count)) => {
                cursor.put_slice(&bytes[..count]);
                Some((count, true))
            }
            Ok(Seen::Kept(count)) => {
                wire.head_begun.set(self.screen.is_within_head());
                if let Some(packet) = self.screen.take_packet() {
                    wire.take_packet(packet);
                }
                Some((count, false))
            }
            Err(Refused::Head(refusal)) => {
                wire.refusal.set(Some(refusal));
                None
            }
            Err(Refused::Body(refusal)) => {
                wire.refuse_bodies(refusal);
                None
            }
        }
    }

    /// Gives hyper something of what was read before; false when it needs more than that.
    fn serve_from_ahead(&mut self, cursor: &mut ReadBufCursor<'_>) -> Poll<bool> {
        loop {
            let passed = self.screen.take_passed(cursor.remaining());
            if !passed.is_empty() {
                self.wire.hand_head_to_hyper();
                cursor.put_slice(&passed);
                return Poll::Ready(true);
            }
            let mut ahead = self.wire.ahead.take();
            if ahead.is_empty() {
                return Poll::Ready(false);
            }
            let room = ahead.len().min(cursor.remaining());
            let Some((taken, served)) = self.screen(&ahead[..room], cursor) else {
                return Poll::Pending;
            };
            ahead.advance(taken);
            self.wire.ahead.replace(ahead);
            if served {
                return Poll::Ready(true);
            }
        }
    }

    /// Sends what hyper has only seen a placeholder of.
    fn send_file(&self, count: usize) -> Poll<io::Result<usize>> {
        let Some(file) = self.wire.file.borrow().clone() else {
            return Poll::Ready(Err(io::Error::other("there is no file to send")));
        };
        let sent = self.wire.transmit_file(&file, count);
        if file.is_sent() {
            self.wire.file.take();
        }
        sent
    }

    /// True when it is hyper's own words about a bad head that shall be written: the front says it
    /// with a page.
    fn is_to_be_kept_quiet(&self) -> bool {
        let quiet = self.wire.hyper_reads_head.get();
        if !quiet {
            self.wire.unflushed.set(true);
        }
        quiet
    }
}

impl hyper::rt::Read for Screened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let scratch = self.scratch.clone();
        while !self.wire.is_refused() {
            if ready!(self.serve_from_ahead(&mut cursor)) {
                return Poll::Ready(Ok(()));
            }
            let mut scratch = scratch.borrow_mut();
            let room = cursor.remaining().min(scratch.len());
            let count = match ready!(self.wire.receive_new(&mut scratch[..room])) {
                Ok(count) if count > 0 => count,
                ended => return Poll::Ready(ended.map(drop)),
            };
            let Some((taken, served)) = self.screen(&scratch[..count], &mut cursor) else { break };
            if taken < count {
                self.wire.ahead.replace(Bytes::copy_from_slice(&scratch[taken..count]));
            }
            if served {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }
}

impl hyper::rt::Write for Screened {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_to_be_kept_quiet() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        match slices_before_file(slices) {
            None => send_slices(&self.wire, &self.scratch, slices),
            Some(0) => self.send_file(slices[0].len()),
            // What stands before it goes into the same packet.
            Some(before) => self.wire.transmit_before_more(&slices[..before]),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.wire.flush();
        self.wire.unflushed.set(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The front does that, see `Front::close`.
        self.wire.flush()
    }
}
