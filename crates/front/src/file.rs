//! A file as a response body: the kernel sends it, and its bytes never enter the process.
//!
//! hyper has no notion of that. It gets pieces that are as long as stretches of the file and that
//! show, where it looks for their bytes, a placeholder; so it counts, frames and waits as for any
//! body. The transport knows the placeholder by its address, and sends the file in its stead.

use std::any::Any;
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use nix::sys::sendfile::sendfile64;

/// A stretch of a regular file, to be sent as it is.
pub struct FileContent {
    file: OwnedFd,
    /// Where the next byte to be sent stands.
    offset: Cell<i64>,
    length: u64,
    /// Bytes that were not sent yet.
    left: Cell<u64>,
    /// Dropped once all is sent, or the client has gone.
    _owner: Box<dyn Any>,
}

impl FileContent {
    /// `length` bytes from `offset` on. `owner` is dropped once they are sent, or will not be.
    #[must_use]
    pub fn new(file: OwnedFd, offset: u64, length: u64, owner: Box<dyn Any>) -> Self {
        let offset = Cell::new(i64::try_from(offset).unwrap_or(i64::MAX));
        Self { file, offset, length, left: Cell::new(length), _owner: owner }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.left.get() == 0
    }

    /// Sends up to `count` bytes; `WouldBlock` when the socket takes none.
    pub(crate) fn send_to(&self, socket: impl AsFd, count: usize) -> io::Result<usize> {
        let mut offset = self.offset.get();
        let sent = sendfile64(socket, &self.file, Some(&mut offset), count)?;
        if sent == 0 {
            // Somebody has cut it since its length was read: the rest will never come.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset.set(offset);
        self.left.set(self.left.get().saturating_sub(sent as u64));
        Ok(sent)
    }
}

/// What hyper sees of a response body.
pub(crate) enum Piece {
    Bytes(Bytes),
    /// Bytes of a file that are left to be sent; the file lives at least as long.
    Stretch(usize, #[expect(dead_code, reason = "held, not read")] Rc<FileContent>),
}

impl Piece {
    /// The bytes; `None` when they are still in the file.
    pub(crate) fn into_bytes(self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Stretch(..) => None,
        }
    }
}

/// Bytes of a piece, and of one system call: others get their turn between two of them.
pub(crate) const STRETCH_BYTES: usize = 512 * 1024;

/// Never read: its pages are not even there.
static PLACEHOLDER: [u8; STRETCH_BYTES] = [0; STRETCH_BYTES];

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Stretch(left, _) => *left,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Stretch(left, _) => &PLACEHOLDER[..*left],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::Stretch(left, _) => *left -= count,
        }
    }
}

/// How many slices come before a file's.
pub(crate) fn slices_before_file(slices: &[IoSlice<'_>]) -> Option<usize> {
    slices.iter().position(|slice| std::ptr::eq(slice.as_ptr(), PLACEHOLDER.as_ptr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_known_by_its_address() {
        let file: OwnedFd = tempfile::tempfile().expect("file").into();
        let content = Rc::new(FileContent::new(file, 0, 10, Box::new(())));
        let mut piece = Piece::Stretch(10, content);
        piece.advance(4);
        let zeros = [0; 6];
        let slices = [IoSlice::new(&zeros), IoSlice::new(piece.chunk())];
        assert_eq!(slices[1].len(), 6);
        assert_eq!(slices_before_file(&slices), Some(1));
        assert_eq!(slices_before_file(&slices[..1]), None);
    }
}
