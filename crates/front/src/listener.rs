//! A bound socket that the master owns and all workers share.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{SockAddr, Socket};

use crate::wire::Peer;

/// A listening socket, and the address that applications see as theirs.
///
/// The descriptor is shared with the master and the siblings: it is only ever closed here, never
/// shut down, and its flags are never changed, since both would reach every process.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// Host of the bound address, or the path of a unix socket: `SERVER_NAME`.
    pub host: String,
    /// Port of the bound address; `None` for a unix socket.
    pub port: Option<u16>,
}

/// What `accept` came to.
pub(crate) enum Accepted {
    One(Socket, Peer),
    /// Nothing waits.
    None,
    /// This process or the machine has no room for another descriptor.
    Exhausted(io::Error),
}

impl Listener {
    /// Takes over a listening, non-blocking descriptor.
    #[must_use]
    pub fn new(fd: OwnedFd, host: String, port: Option<u16>) -> Self {
        Self { socket: Socket::from(fd), host, port }
    }

    pub(crate) fn accept(&self) -> Accepted {
        loop {
            match self.socket.accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
                Ok((socket, address)) => {
                    if self.port.is_some() {
                        // A failure only costs latency.
                        let _ = socket.set_tcp_nodelay(true);
                    }
                    return Accepted::One(socket, peer_of(&address));
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Accepted::None,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        return Accepted::Exhausted(error);
                    }
                    // The connection died in the queue; accept(2) lists more of the kind.
                    _ => {}
                },
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

pub(crate) fn peer_of(address: &SockAddr) -> Peer {
    match address.as_socket() {
        // A dual-stack listener sees IPv4 clients as ::ffff:a.b.c.d; nobody else writes them so.
        Some(address) => Peer::Inet(address.ip().to_canonical(), address.port()),
        None => Peer::Unix,
    }
}
