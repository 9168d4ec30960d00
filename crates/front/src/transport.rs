//! hyper's reader and writer over a non-blocking socket.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;

use crate::wire::Wire;

/// Bytes taken from the kernel at once.
const SCRATCH_BYTES: usize = 64 * 1024;

/// One buffer for all connections of a front: reads end in it, then hyper takes what it wants.
/// The copy is small beside the system call, and an idle connection holds no buffer of ours.
pub(crate) type Scratch = Rc<RefCell<Box<[u8]>>>;

pub(crate) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()))
}

pub(crate) struct Transport {
    pub(crate) wire: Rc<Wire>,
    pub(crate) scratch: Scratch,
}

impl hyper::rt::Read for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &*self.wire;
        let ahead = &mut *wire.ahead.borrow_mut();
        if !ahead.is_empty() {
            let piece = ahead.split_to(ahead.len().min(cursor.remaining()));
            wire.head_begun.set(true);
            cursor.put_slice(&piece);
            return Poll::Ready(Ok(()));
        }
        if !wire.readable.get() {
            return Poll::Pending;
        }
        let mut scratch = self.scratch.borrow_mut();
        let room = cursor.remaining().min(scratch.len());
        loop {
            return match (&wire.socket).read(&mut scratch[..room]) {
                Ok(count) => {
                    // A short read has emptied the kernel's buffer, so the next edge will be
                    // reported; except for an end of file whose edge came with these bytes.
                    if count < room && !wire.hangup.get() {
                        wire.readable.set(false);
                    }
                    if count == 0 {
                        wire.ended.set(true);
                    } else {
                        wire.head_begun.set(true);
                    }
                    cursor.put_slice(&scratch[..count]);
                    Poll::Ready(Ok(()))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wire.readable.set(false);
                    Poll::Pending
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    wire.ended.set(true);
                    Poll::Ready(Err(error))
                }
            };
        }
    }
}

/// The outcome of a non-blocking write.
fn written(wire: &Wire, mut write: impl FnMut() -> io::Result<usize>) -> Poll<io::Result<usize>> {
    if !wire.writable.get() {
        return Poll::Pending;
    }
    loop {
        return match write() {
            Ok(count) => Poll::Ready(Ok(count)),
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
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = &self.wire.socket;
        written(&self.wire, || socket.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = &self.wire.socket;
        let mut small = [0; SMALL_BYTES];
        match gather(slices, &mut small) {
            Some(bytes) => written(&self.wire, || socket.write(bytes)),
            None => written(&self.wire, || socket.write_vectored(slices)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
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
