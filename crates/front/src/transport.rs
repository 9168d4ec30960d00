//! The reader and writer that h2 works on: a connection's layer, in its words.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::Wire;

/// Bytes taken from the kernel at once.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

/// One buffer for all connections of a front: reads end in it, then hyper or h2 takes what it wants.
/// The copy is small beside the system call, and an idle connection holds no buffer of ours.
pub(crate) type Scratch = Rc<RefCell<Box<[u8]>>>;

pub(crate) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()))
}

pub(crate) struct Transport {
    pub(crate) wire: Rc<Wire>,
    pub(crate) scratch: Scratch,
}

/// A head and a small body: copying them together costs less than a vectored system call, and
/// makes one record of TLS.
const SMALL_BYTES: usize = 2048;

/// Copies the slices together, if they are small enough.
fn gather<'a>(slices: &[io::IoSlice<'_>], small: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut length = 0;
    for slice in slices {
        small.get_mut(length..length + slice.len())?.copy_from_slice(slice);
        length += slice.len();
    }
    Some(&small[..length])
}

/// Sends several slices, with one copy or one system call.
pub(crate) fn send_slices(
    wire: &Wire,
    scratch: &Scratch,
    slices: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    // A buffer of its own would have to be zeroed for each response.
    let mut scratch = scratch.borrow_mut();
    match gather(slices, &mut scratch[..SMALL_BYTES]) {
        Some(bytes) => wire.transmit(bytes),
        None => wire.transmit_vectored(slices),
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut scratch = self.scratch.borrow_mut();
        let room = buffer.remaining().min(scratch.len());
        let count = ready!(self.wire.receive(&mut scratch[..room]))?;
        buffer.put_slice(&scratch[..count]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.transmit(bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        send_slices(&self.wire, &self.scratch, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.flush()
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.flush()
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
