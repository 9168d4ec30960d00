//! One epoll instance. nix instead of mio, because listeners shared by several workers need
//! `EPOLLEXCLUSIVE`, which mio does not offer.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// What a descriptor stands for in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Listener(usize),
    /// Connections that siblings have passed on.
    Relay,
    Watched,
    /// Somebody has rung.
    Bell,
    /// The time is over that was asked for last.
    Alarm,
    /// Place in the slab, and a serial number: an event that was waited for without the
    /// interpreter's lock may come after its connection's end, when another has that place.
    Connection(usize, u32),
}

const LISTENER: u64 = 1 << 62;
const WATCHED: u64 = 1 << 63;
const RELAY: u64 = LISTENER | WATCHED;
const BELL: u64 = WATCHED | 1;
const ALARM: u64 = WATCHED | 2;
/// Bits of a serial number; behind them stands the place.
const SERIAL_BITS: u32 = 32;

impl Token {
    fn to_bits(self) -> u64 {
        match self {
            Self::Listener(index) => LISTENER | index as u64,
            Self::Relay => RELAY,
            Self::Watched => WATCHED,
            Self::Bell => BELL,
            Self::Alarm => ALARM,
            Self::Connection(id, serial) => (id as u64) << SERIAL_BITS | u64::from(serial),
        }
    }

    fn from_bits(bits: u64) -> Self {
        if bits & RELAY == RELAY {
            Self::Relay
        } else if bits & WATCHED != 0 {
            match bits {
                BELL => Self::Bell,
                ALARM => Self::Alarm,
                _ => Self::Watched,
            }
        } else if bits & LISTENER != 0 {
            Self::Listener((bits & !LISTENER) as usize)
        } else {
            Self::Connection((bits >> SERIAL_BITS) as usize, bits as u32)
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
pub(crate) struct Poller {
    epoll: Epoll,
    /// Edge-triggered: each ring is an event, and nobody has to read it.
    bell: EventFd,
    /// The same. A loop that watches this instance from outside has no timeout of ours.
    alarm: TimerFd,
}

/// Events taken from the kernel at once.
const BATCH: usize = 256;

/// Waits for a front's events. Unlike the front it may go to another thread, so a loop can wait
/// with the interpreter's lock given up; what came is then handed to [`crate::Front::take`].
#[derive(Clone, Debug)]
pub struct Waiter(pub(crate) Arc<Poller>);

/// Room for events, and those that came.
#[derive(Debug)]
pub struct Batch {
    events: Box<[EpollEvent]>,
    count: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { events: vec![EpollEvent::empty(); BATCH].into_boxed_slice(), count: 0 }
    }
}

impl Waiter {
    /// Waits until something is ready, for at most `timeout`; nothing when a signal interrupts.
    ///
    /// This must be epoll's own wait: while nobody waits in it, the kernel does not count a worker
    /// among those that could take a connection, and wakes all of them (`EPOLLEXCLUSIVE`).
    ///
    /// # Errors
    ///
    /// What epoll says; an interruption by a signal is no error.
    pub fn wait(&self, batch: &mut Batch, timeout: Duration) -> io::Result<()> {
        self.0.wait(batch, timeout)
    }
}

impl Batch {
    /// There may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.count == self.events.len()
    }

    pub(crate) fn ready(&self) -> impl Iterator<Item = Ready> {
        self.events[..self.count].iter().map(|event| {
            let flags = event.events();
            let hangup = flags
                .intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            Ready {
                token: Token::from_bits(event.data()),
                readable: hangup || flags.contains(EpollFlags::EPOLLIN),
                writable: flags
                    .intersects(EpollFlags::EPOLLOUT | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
                hangup,
            }
        })
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&bell, EpollEvent::new(flags, Token::Bell.to_bits()))?;
        let alarm_flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let alarm = TimerFd::new(ClockId::CLOCK_MONOTONIC, alarm_flags)?;
        epoll.add(&alarm, EpollEvent::new(flags, Token::Alarm.to_bits()))?;
        Ok(Self { epoll, bell, alarm })
    }

    /// Ends the wait of whoever waits, or else the next one.
    pub(crate) fn ring(&self) {
        // Full after 2^64 rings.
        let _ = self.bell.write(1);
    }

    /// Gives one event after a time, in place of one that was asked for before.
    pub(crate) fn wake_after(&self, time: Duration) -> io::Result<()> {
        let once = Expiration::OneShot(TimeSpec::from_duration(time));
        Ok(self.alarm.set(once, TimerSetTimeFlags::empty())?)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.epoll.0.as_raw_fd()
    }

    /// Watches a listener, level-triggered. With siblings the kernel wakes one of them, not all.
    pub(crate) fn add_listener(&self, fd: impl AsFd, index: usize, shared: bool) -> io::Result<()> {
        let exclusive = if shared { EpollFlags::EPOLLEXCLUSIVE } else { EpollFlags::empty() };
        let event =
            EpollEvent::new(EpollFlags::EPOLLIN | exclusive, Token::Listener(index).to_bits());
        Ok(self.epoll.add(fd, event)?)
    }

    /// Watches a connection, edge-triggered and once for its whole life.
    pub(crate) fn add_connection(&self, fd: impl AsFd, id: usize, serial: u32) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        Ok(self.epoll.add(fd, EpollEvent::new(flags, Token::Connection(id, serial).to_bits()))?)
    }

    /// Watches the queue of what siblings pass on, as a listener that all share.
    pub(crate) fn add_relay(&self, fd: impl AsFd) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        Ok(self.epoll.add(fd, EpollEvent::new(flags, Token::Relay.to_bits()))?)
    }

    /// Watches one more descriptor for reading, level-triggered.
    pub(crate) fn add_watched(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, Token::Watched.to_bits()))?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    pub(crate) fn wait(&self, batch: &mut Batch, timeout: Duration) -> io::Result<()> {
        batch.count = 0;
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX);
        match self.epoll.wait(&mut batch.events, timeout) {
            Ok(count) => batch.count = count,
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip() {
        for token in [
            Token::Listener(3),
            Token::Relay,
            Token::Watched,
            Token::Bell,
            Token::Alarm,
            Token::Connection(77, u32::MAX),
        ] {
            assert_eq!(Token::from_bits(token.to_bits()), token);
        }
    }
}
