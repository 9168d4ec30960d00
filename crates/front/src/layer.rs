//! A connection's bytes in and out: straight through the socket, or encrypted.
//!
//! Everything here is non-blocking, and says `WouldBlock` where somebody else's turn has come.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;

use crate::wire::Wire;

/// The socket under a connection, with the notes that edge-triggered events ask for.
pub(crate) struct Raw<'a>(pub(crate) &'a Wire);

impl Read for Raw<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let wire = self.0;
        if !wire.readable.get() {
            return Err(ErrorKind::WouldBlock.into());
        }
        loop {
            return match (&wire.socket).read(room) {
                Ok(count) => {
                    // A short read has emptied the kernel's buffer, so the next edge will be
                    // reported; except for an end of file whose edge came with these bytes.
                    if count < room.len() && !wire.hangup.get() {
                        wire.readable.set(false);
                    }
                    if count == 0 {
                        wire.ended.set(true);
                    }
                    Ok(count)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wire.readable.set(false);
                    Err(error)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    wire.ended.set(true);
                    Err(error)
                }
            };
        }
    }
}

impl Raw<'_> {
    fn send(&self, mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        if !self.0.writable.get() {
            return Err(ErrorKind::WouldBlock.into());
        }
        loop {
            return match write() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.0.writable.set(false);
                    Err(error)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => done,
            };
        }
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket = &self.0.socket;
        self.send(|| socket.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut socket = &self.0.socket;
        self.send(|| socket.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire {
    /// Reads what the client has said; 0 at its end.
    pub(crate) fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut ahead = self.ahead.borrow_mut();
        if !ahead.is_empty() {
            let count = ahead.len().min(room.len());
            room[..count].copy_from_slice(&ahead.split_to(count));
            return Ok(count);
        }
        if self.budget.get() == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = match self.tls.get() {
            None => Raw(self).read(room),
            Some(session) => session.receive(self, room),
        }?;
        self.budget.set(self.budget.get().saturating_sub(count));
        Ok(count)
    }

    /// Sends as much as there is room for.
    pub(crate) fn transmit(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.tls.get() {
            None => Raw(self).write(bytes),
            Some(session) => session.transmit(self, bytes),
        }
    }

    /// The same from several places.
    pub(crate) fn transmit_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.tls.get() {
            None => Raw(self).write_vectored(slices),
            Some(session) => session.transmit_vectored(self, slices),
        }
    }

    /// Done when nothing of what was sent is held back here.
    pub(crate) fn flush(&self) -> io::Result<()> {
        match self.tls.get() {
            None => Ok(()),
            Some(session) => session.flush(self),
        }
    }

    /// Says that nothing more will come.
    pub(crate) fn finish_sending(&self) {
        if let Some(session) = self.tls.get() {
            session.say_goodbye(self);
        }
        // The peer may be gone already, and then there is nothing left to say to it.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}
