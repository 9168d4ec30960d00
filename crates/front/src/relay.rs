//! Connections on their way from a worker that cannot serve them now to one that can.
//!
//! All workers of a service share one socket pair: whoever is busy sends a connection in at one
//! end, and whoever is idle finds it at the other, as in an accept queue. Nobody has to know who
//! is idle; the kernel wakes one that waits. What lies in the queue outlives its sender.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::Socket;

/// One process's hold on both ends.
pub struct Relay {
    give: OwnedFd,
    take: OwnedFd,
    siblings: Box<dyn Siblings>,
}

/// The workers that share a relay.
pub trait Siblings: Send + Sync {
    /// This worker holds so many connections.
    fn hold(&self, connections: usize);
    /// This worker takes no more.
    fn leave(&self);
    /// The fewest connections that another one holds; `None` when nobody else takes any.
    fn fewest(&self) -> Option<usize>;
}

/// A connection that somebody has passed on, with no byte of its next request read.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) socket: Socket,
    /// The listener that it came by.
    pub(crate) listener: usize,
    /// It has had requests.
    pub(crate) served: bool,
    /// How often it was passed on since it was served; at the limit its client waits.
    pub(crate) hops: u8,
}

/// Listener, whether it was served, and hops: one byte each.
const NOTE_BYTES: usize = 3;

impl Relay {
    /// `give` and `take` are the two ends of a `SOCK_SEQPACKET` pair, so that packets stay whole.
    #[must_use]
    pub fn new(give: OwnedFd, take: OwnedFd, siblings: Box<dyn Siblings>) -> Self {
        Self { give, take, siblings }
    }

    pub(crate) fn siblings(&self) -> &dyn Siblings {
        &*self.siblings
    }

    /// Sends a connection in; the caller still has to close its own descriptor.
    ///
    /// # Errors
    ///
    /// The queue is full, or the kernel has no room for a descriptor in flight. Nothing was sent.
    pub(crate) fn give(
        &self,
        socket: &Socket,
        listener: usize,
        served: bool,
        hops: u8,
    ) -> io::Result<()> {
        let note = [u8::try_from(listener).map_err(io::Error::other)?, u8::from(served), hops];
        let fds = [socket.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.give, &[IoSlice::new(&note)], &mut control, flags)?;
        Ok(())
    }

    /// Takes one out; `None` when nothing waits.
    ///
    /// # Errors
    ///
    /// There is no room for its descriptor. It stays where it is: the kernel would drop it.
    pub(crate) fn take(&self) -> io::Result<Option<Passed>> {
        drop(rustix::io::fcntl_dupfd_cloexec(&self.take, 0)?);
        loop {
            let mut note = [0; NOTE_BYTES];
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            match recvmsg(&self.take, &mut [IoSliceMut::new(&mut note)], &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Ok(None),
                Ok(received) if received.bytes == 0 => return Ok(None),
                Ok(_) => {
                    let fds = control.drain().find_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                        _ => None,
                    });
                    // Another thread was quicker: the kernel has dropped it, and closed it.
                    let Some(fd) = fds else { continue };
                    let [listener, served, hops] = note;
                    let (listener, served) = (usize::from(listener), served == 1);
                    return Ok(Some(Passed { socket: fd.into(), listener, served, hops }));
                }
            }
        }
    }

    /// Nothing waits to be taken; true as well when the kernel does not say.
    pub(crate) fn is_empty(&self) -> bool {
        rustix::io::ioctl_fionread(&self.take).unwrap_or(0) == 0
    }

    /// What is watched for connections to take.
    pub(crate) fn waiting(&self) -> BorrowedFd<'_> {
        self.take.as_fd()
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("give", &self.give)
            .field("take", &self.take)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    struct Alone;

    impl Siblings for Alone {
        fn hold(&self, _: usize) {}
        fn leave(&self) {}
        fn fewest(&self) -> Option<usize> {
            None
        }
    }

    fn relay() -> Relay {
        let flags = SocketFlags::CLOEXEC;
        let (give, take) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("pair");
        Relay::new(give, take, Box::new(Alone))
    }

    #[test]
    fn connections_come_out_in_order_and_alive() {
        let relay = relay();
        assert!(relay.take().expect("room").is_none());
        let (mut client, server) = UnixStream::pair().expect("pair");
        let (_other, second) = UnixStream::pair().expect("pair");
        relay.give(&Socket::from(OwnedFd::from(server)), 3, true, 0).expect("give");
        relay.give(&Socket::from(OwnedFd::from(second)), 0, false, 2).expect("give");
        // Our own descriptors are closed by now.
        let passed = relay.take().expect("room").expect("the first");
        assert_eq!((passed.listener, passed.served), (3, true));
        assert!(!relay.is_empty());
        client.write_all(b"hello").expect("write");
        let mut text = [0; 5];
        (&passed.socket).read_exact(&mut text).expect("read");
        assert_eq!(&text, b"hello");
        let passed = relay.take().expect("room").expect("the second");
        assert_eq!((passed.listener, passed.served, passed.hops), (0, false, 2));
        assert!(relay.take().expect("room").is_none() && relay.is_empty());
    }

    #[test]
    fn a_full_queue_says_so_and_loses_nothing() {
        let relay = relay();
        let (_client, server) = UnixStream::pair().expect("pair");
        let server = Socket::from(OwnedFd::from(server));
        let given = (0..100_000).take_while(|_| relay.give(&server, 0, true, 0).is_ok()).count();
        assert!(given > 10 && given < 100_000, "{given}");
        let taken = std::iter::from_fn(|| relay.take().expect("room")).count();
        assert_eq!(taken, given);
    }
}
