//! A connection's bytes in and out: straight through the socket, or encrypted.
//!
//! Everything here is non-blocking. Whoever is told `Pending` is polled again when epoll has news of
//! the connection.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::task::Poll;

use socket2::Socket;

use crate::file::FileContent;
use crate::wire::Wire;

impl Wire {
    /// Reads from the socket, with the notes that edge-triggered events ask for.
    #[inline]
    fn read_socket(&self, room: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.readable.get() {
            return Poll::Pending;
        }
        loop {
            return match self.socket().read(room) {
                Ok(count) => {
                    // A short read has emptied the kernel's buffer, so the next edge will be
                    // reported; except for an end of file whose edge came with these bytes.
                    if count < room.len() && !self.hangup.get() {
                        self.readable.set(false);
                    }
                    if count == 0 {
                        self.ended.set(true);
                    }
                    Poll::Ready(Ok(count))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable.set(false);
                    Poll::Pending
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.ended.set(true);
                    Poll::Ready(Err(error))
                }
            };
        }
    }

    #[inline]
    fn write_socket(
        &self,
        mut write: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if !self.writable.get() || self.budget.get() == 0 {
            return Poll::Pending;
        }
        loop {
            return match write(self.socket()) {
                Ok(count) => {
                    self.budget.set(self.budget.get().saturating_sub(count));
                    Poll::Ready(Ok(count))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.writable.set(false);
                    Poll::Pending
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Poll::Ready(Err(error)),
            };
        }
    }
}

/// The socket under a connection, for those who want the traits of the standard library.
pub(crate) struct Raw<'a>(pub(crate) &'a Wire);

fn or_would_block(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(done) => done,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

fn or_pending<T>(done: io::Result<T>) -> Poll<io::Result<T>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl Read for Raw<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        or_would_block(self.0.read_socket(room))
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(self.0.write_socket(|mut socket| socket.write(bytes)))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(self.0.write_socket(|mut socket| socket.write_vectored(slices)))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire {
    /// Reads what the client has said; 0 at its end.
    #[inline]
    pub(crate) fn receive(&self, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut ahead = self.ahead.borrow_mut();
        if !ahead.is_empty() {
            let count = ahead.len().min(room.len());
            room[..count].copy_from_slice(&ahead.split_to(count));
            return Poll::Ready(Ok(count));
        }
        drop(ahead);
        self.receive_new(room)
    }

    /// The same without what was read before.
    #[inline]
    pub(crate) fn receive_new(&self, room: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.budget.get() == 0 {
            return Poll::Pending;
        }
        let received = match self.tls.get() {
            None => self.read_socket(room),
            Some(session) => or_pending(session.receive(self, room)),
        };
        if let Poll::Ready(Ok(count)) = received {
            self.budget.set(self.budget.get().saturating_sub(count));
        }
        received
    }

    /// Sends as much as there is room for.
    #[inline]
    pub(crate) fn transmit(&self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.tls.get() {
            None => self.write_socket(|mut socket| socket.write(bytes)),
            Some(session) => or_pending(session.transmit(self, bytes)),
        }
    }

    /// The same from several places.
    pub(crate) fn transmit_vectored(&self, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.tls.get() {
            None => self.write_socket(|mut socket| socket.write_vectored(slices)),
            Some(session) => or_pending(session.transmit_vectored(self, slices)),
        }
    }

    /// The same on a plain connection, when a file follows at once.
    pub(crate) fn transmit_before_more(&self, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.write_socket(|socket| socket.send_vectored_with_flags(slices, libc::MSG_MORE))
    }

    /// Sends the next bytes of a file on a plain connection.
    pub(crate) fn transmit_file(
        &self,
        file: &FileContent,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        self.write_socket(|socket| file.send_to(socket, count))
    }

    /// Done when nothing of what was sent is held back here.
    #[inline]
    pub(crate) fn flush(&self) -> Poll<io::Result<()>> {
        match self.tls.get() {
            None => Poll::Ready(Ok(())),
            Some(session) => or_pending(session.flush(self)),
        }
    }

    /// Says, where TLS can, that what has come was all: a connection that breaks off looks otherwise.
    pub(crate) fn say_goodbye(&self) {
        if let Some(session) = self.tls.get() {
            session.say_goodbye(self);
        }
    }

    /// Says that nothing more will come.
    pub(crate) fn finish_sending(&self) {
        self.say_goodbye();
        // The peer may be gone already, and then there is nothing left to say to it.
        let _ = self.socket().shutdown(Shutdown::Write);
    }
}
