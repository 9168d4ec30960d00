//! The master's ends of its channels: packets in and out, without ever blocking the master.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use remuda_channel::MESSAGE_BYTES_MAX;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

/// The master's end of a channel. tokio has no name for `SOCK_SEQPACKET`, but its datagram socket
/// makes the same calls: one `recv` is one packet, and nothing is the end.
///
/// It is closed when the last clone is dropped, which is how the other side is told to leave.
#[derive(Clone)]
pub(crate) struct Wire {
    socket: Rc<UnixDatagram>,
    reader: Rc<Reader>,
}

/// The task that reads. It holds the socket as well, so it has to end with the wire.
#[derive(Default)]
struct Reader(RefCell<Option<AbortHandle>>);

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// What came in on a channel.
#[derive(Debug)]
pub(crate) enum Incoming {
    Packet(Vec<u8>),
    /// The other side is gone.
    End,
}

/// The two ends of a new channel.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

impl Wire {
    /// A new channel: the master's end, and the end to give away.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = pair()?;
        Ok((Self::adopt(ours)?, theirs))
    }

    /// The master's end of a channel that there is already.
    pub(crate) fn adopt(ours: OwnedFd) -> io::Result<Self> {
        let ours = std::os::unix::net::UnixDatagram::from(ours);
        ours.set_nonblocking(true)?;
        Ok(Self { socket: Rc::new(UnixDatagram::from_std(ours)?), reader: Rc::default() })
    }

    /// Sends a packet, with a descriptor if need be. A full or dead channel loses it: the
    /// deadline of whatever was asked for takes care of that.
    pub(crate) fn send(&self, packet: &[u8], fd: Option<&OwnedFd>) -> io::Result<()> {
        let fds: Vec<i32> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let fd = self.socket.as_raw_fd();
        loop {
            return match sendmsg::<()>(fd, &[IoSlice::new(packet)], control, flags, None) {
                Ok(_) => Ok(()),
                Err(Errno::EINTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// A packet that has come already, without waiting.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let mut packet = vec![0; MESSAGE_BYTES_MAX];
        match recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            Ok(length) if length > 0 => {
                packet.truncate(length);
                Some(packet)
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// Reads packets until the other side is gone, and hands them on as `name`'s.
    pub(crate) fn listen<N: Copy + 'static>(&self, name: N, to: UnboundedSender<(N, Incoming)>) {
        let socket = self.socket.clone();
        let task = tokio::task::spawn_local(async move {
            let mut packet = vec![0; MESSAGE_BYTES_MAX];
            loop {
                let incoming = match socket.recv(&mut packet).await {
                    Ok(length) if length > 0 => Incoming::Packet(packet[..length].to_vec()),
                    Ok(_) | Err(_) => Incoming::End,
                };
                let ended = matches!(incoming, Incoming::End);
                if to.send((name, incoming)).is_err() || ended {
                    return;
                }
            }
        });
        self.reader.0.replace(Some(task.abort_handle()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::socket::send;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_other_side_sees_the_end_when_the_wire_is_dropped_while_it_is_listened_to() {
        let tasks = tokio::task::LocalSet::new();
        tasks
            .run_until(async {
                let (wire, theirs) = Wire::pair().expect("a socket pair");
                let (inbox, mut letters) = unbounded_channel();
                wire.listen(1, inbox);
                send(theirs.as_raw_fd(), b"hello", MsgFlags::empty()).expect("sent");
                let letter = letters.recv().await;
                assert!(
                    matches!(letter, Some((1, Incoming::Packet(packet))) if packet == b"hello")
                );
                drop(wire);
                // The task ends when the loop comes round.
                tokio::time::timeout(Duration::from_secs(5), letters.recv()).await.expect("ended");
                let end = recv(theirs.as_raw_fd(), &mut [0; 8], MsgFlags::MSG_DONTWAIT);
                assert_eq!(end, Ok(0));
            })
            .await;
    }
}
