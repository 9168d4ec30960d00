//! One epoll instance. nix instead of mio, because listeners shared by several workers need
//! `EPOLLEXCLUSIVE`, which mio does not offer.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What a descriptor stands for in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Listener(usize),
    Watched,
    Connection(usize),
}

const LISTENER: u64 = 1 << 62;
const WATCHED: u64 = 1 << 63;

impl Token {
    fn to_bits(self) -> u64 {
        match self {
            Self::Listener(index) => LISTENER | index as u64,
            Self::Watched => WATCHED,
            Self::Connection(id) => id as u64,
        }
    }

    fn from_bits(bits: u64) -> Self {
        if bits & WATCHED != 0 {
            Self::Watched
        } else if bits & LISTENER != 0 {
            Self::Listener((bits & !LISTENER) as usize)
        } else {
            Self::Connection(bits as usize)
        }
    }
}

/// What became ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed at least its writing side.
    pub(crate) hangup: bool,
}

#[derive(Debug)]
pub(crate) struct Poller(Epoll);

/// Events taken from the kernel at once.
const BATCH: usize = 256;

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }

    /// Watches a listener, level-triggered. With siblings the kernel wakes one of them, not all.
    pub(crate) fn add_listener(&self, fd: impl AsFd, index: usize, shared: bool) -> io::Result<()> {
        let exclusive = if shared { EpollFlags::EPOLLEXCLUSIVE } else { EpollFlags::empty() };
        let event =
            EpollEvent::new(EpollFlags::EPOLLIN | exclusive, Token::Listener(index).to_bits());
        Ok(self.0.add(fd, event)?)
    }

    /// Watches a connection, edge-triggered and once for its whole life.
    pub(crate) fn add_connection(&self, fd: impl AsFd, id: usize) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        Ok(self.0.add(fd, EpollEvent::new(flags, Token::Connection(id).to_bits()))?)
    }

    /// Watches one more descriptor for reading, level-triggered.
    pub(crate) fn add_watched(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, Token::Watched.to_bits()))?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.0.delete(fd)?)
    }

    /// Takes what is ready, waiting for at most `timeout_ms`; nothing when a signal interrupts.
    pub(crate) fn wait(&self, timeout_ms: u16, mut each: impl FnMut(Ready)) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.0.wait(&mut events, EpollTimeout::from(timeout_ms)) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            let flags = event.events();
            let hangup = flags
                .intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            each(Ready {
                token: Token::from_bits(event.data()),
                readable: hangup || flags.contains(EpollFlags::EPOLLIN),
                writable: flags
                    .intersects(EpollFlags::EPOLLOUT | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
                hangup,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip() {
        for token in [Token::Listener(3), Token::Watched, Token::Connection(77)] {
            assert_eq!(Token::from_bits(token.to_bits()), token);
        }
    }
}
