//! hyper's reader and writer over a non-blocking socket. What is read passes a [`Screen`] first.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::ReadBufCursor;

use crate::file::slices_before_file;
use crate::front::Core;
use crate::screen::{Refused, Screen, Seen};
use crate::wire::Wire;

/// Bytes taken from the kernel at once.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

/// One buffer for all connections of a front: reads end in it, then hyper takes what it wants.
/// The copy is small beside the system call, and an idle connection holds no buffer of ours.
pub(crate) type Scratch = Rc<RefCell<Box<[u8]>>>;

pub(crate) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()))
}

pub(crate) struct Transport {
    pub(crate) wire: Rc<Wire>,
    pub(crate) scratch: Scratch,
    pub(crate) core: Rc<Core>,
    pub(crate) screen: Screen,
}

impl Transport {
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

    /// Sends what hyper has only seen a placeholder of.
    fn send_file(&self, count: usize) -> Poll<io::Result<usize>> {
        let Some(file) = self.wire.file.borrow().clone() else {
            return Poll::Ready(Err(io::Error::other("there is no file to send")));
        };
        let sent = written(&self.wire, count, || file.send_to(&self.wire.socket, count));
        if file.is_sent() {
            self.wire.file.take();
        }
        sent
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
}

/// The outcome of a non-blocking read of some bytes.
fn read(wire: &Wire, room: &mut [u8]) -> Poll<io::Result<usize>> {
    if !wire.readable.get() {
        return Poll::Pending;
    }
    loop {
        return match (&wire.socket).read(room) {
            Ok(count) => {
                // A short read has emptied the kernel's buffer, so the next edge will be
                // reported; except for an end of file whose edge came with these bytes.
                if count < room.len() && !wire.hangup.get() {
                    wire.readable.set(false);
                }
                Poll::Ready(Ok(count))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wire.readable.set(false);
                Poll::Pending
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Poll::Ready(Err(error)),
        };
    }
}

impl hyper::rt::Read for Transport {
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
            let count = match ready!(read(&self.wire, &mut scratch[..room])) {
                Ok(count) if count > 0 => count,
                ended => {
                    self.wire.ended.set(true);
                    return Poll::Ready(ended.map(drop));
                }
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

/// Bytes that one connection may write before others get their turn: a client that reads as fast as
/// we write would keep us for as long as its response lasts.
pub(crate) const TURN_BYTES_MAX: usize = 4 << 20;

/// The outcome of a non-blocking write.
fn written(
    wire: &Wire,
    count: usize,
    mut write: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    if wire.hyper_reads_head.get() {
        // hyper's own words about a bad head; the front says it with a page.
        return Poll::Ready(Ok(count));
    }
    wire.unflushed.set(true);
    if !wire.writable.get() || wire.budget.get() == 0 {
        return Poll::Pending;
    }
    loop {
        return match write() {
            Ok(count) => {
                wire.budget.set(wire.budget.get().saturating_sub(count));
                Poll::Ready(Ok(count))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wire.writable.set(false);
                Poll::Pending
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Poll::Ready(Err(error)),
        };
    }
}

/// A head and a small body: copying them together costs less than a vectored system call.
const SMALL_BYTES: usize = 2048;

/// Copies the slices together, if they are small enough.
fn gather<'a>(slices: &[io::IoSlice<'_>], small: &'a mut [u8; SMALL_BYTES]) -> Option<&'a [u8]> {
    let mut length = 0;
    for slice in slices {
        small.get_mut(length..length + slice.len())?.copy_from_slice(slice);
        length += slice.len();
    }
    Some(&small[..length])
}

impl hyper::rt::Write for Transport {
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
        let mut socket = &self.wire.socket;
        match slices_before_file(slices) {
            None => {}
            Some(0) => return self.send_file(slices[0].len()),
            // What stands before it goes into the same packet.
            Some(before) => {
                let slices = &slices[..before];
                let count = slices.iter().map(|slice| slice.len()).sum();
                let more = libc::MSG_MORE;
                return written(&self.wire, count, || {
                    socket.send_vectored_with_flags(slices, more)
                });
            }
        }
        let mut small = [0; SMALL_BYTES];
        match gather(slices, &mut small) {
            Some(bytes) => written(&self.wire, bytes.len(), || socket.write(bytes)),
            None => {
                let count = slices.iter().map(|slice| slice.len()).sum();
                written(&self.wire, count, || socket.write_vectored(slices))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.unflushed.set(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The peer may be gone already, and then there is nothing left to say to it.
        let _ = self.wire.socket.shutdown(Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;

    #[test]
    fn small_slices_are_joined_and_large_ones_are_not() {
        let mut small = [0; SMALL_BYTES];
        let slices = [IoSlice::new(b"head "), IoSlice::new(b"body")];
        assert_eq!(gather(&slices, &mut small), Some(&b"head body"[..]));
        let large = [0; SMALL_BYTES];
        let slices = [IoSlice::new(b"head "), IoSlice::new(&large)];
        assert_eq!(gather(&slices, &mut small), None);
    }
}
