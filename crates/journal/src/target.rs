//! Where lines go: a standard stream, or a file that can be opened again by its name.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{dup2_stderr, dup2_stdout, dup3, write};

/// A log file that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {path}: {source}")]
pub struct OpenError {
    /// The name as it was given.
    pub path: String,
    /// What the kernel said.
    pub source: io::Error,
}

/// How long a writer waits for a reader that is slow, before it takes it for stuck.
const PATIENCE_MS: u16 = 100;

#[derive(Debug)]
pub(crate) struct Target {
    fd: Mutex<OwnedFd>,
    /// `None` for a standard stream, which cannot be opened again.
    path: Option<String>,
    /// Standard output and error are duplicates of it.
    captures: AtomicBool,
    lost: AtomicU64,
    reader: Option<Reader>,
}

/// Somebody who reads a pipe, a terminal or a socket, and may stop doing so.
#[derive(Debug)]
struct Reader {
    kind: Kind,
    /// It did not read when it was waited for: nobody waits again until it does.
    is_stuck: AtomicBool,
    /// The last text was cut off; the next one begins with a line break.
    is_torn: AtomicBool,
}

#[derive(Debug)]
enum Kind {
    /// The same pipe or terminal, opened once more: so that it does not block here, and does as
    /// before for everybody else who has the stream.
    Own(OwnedFd),
    /// Asked call by call not to block.
    Socket,
    /// It cannot be opened again: looked at before each call.
    Shared,
}

fn append(path: &str) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().append(true).create(true).open(path)?.into())
}

impl Target {
    pub(crate) fn file(path: &str) -> Result<Self, OpenError> {
        let fd = append(path).map_err(|source| OpenError { path: path.to_owned(), source })?;
        Ok(Self::new(fd, Some(path.to_owned())))
    }

    /// A duplicate of a standard stream, so that closing it here does not close it there.
    pub(crate) fn stream(stream: impl AsFd, name: &str) -> Result<Self, OpenError> {
        let fd = stream
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| OpenError { path: name.to_owned(), source })?;
        Ok(Self::new(fd, None))
    }

    fn new(fd: OwnedFd, path: Option<String>) -> Self {
        let reader = Reader::of(&fd);
        let captures = AtomicBool::new(false);
        Self { fd: Mutex::new(fd), path, captures, lost: AtomicU64::new(0), reader }
    }

    fn lock(&self) -> MutexGuard<'_, OwnedFd> {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.lock().as_raw_fd()
    }

    /// Writes a text at once. A full disk, or a reader that is gone or stuck, loses it, and nothing
    /// else. Returns how many texts were lost before this one, if this one was not.
    pub(crate) fn write(&self, text: &[u8]) -> u64 {
        let fd = self.lock();
        let written = match &self.reader {
            Some(reader) => reader.write(&fd, text),
            None => write_whole(&fd, text),
        };
        match written {
            Ok(()) => self.lost.swap(0, Ordering::Relaxed),
            Err(_) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                0
            }
        }
    }

    /// Texts lost so far that nobody was told of.
    #[cfg(test)]
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Opens the file again by its name, into the same descriptor: whoever was given that
    /// (faulthandler, `wsgi.errors`) goes on writing to the right place.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let fresh = append(path)?;
        dup3(&fresh, &mut self.lock(), OFlag::O_CLOEXEC)?;
        if self.captures.load(Ordering::Relaxed) { self.capture() } else { Ok(()) }
    }

    /// Makes standard output and error duplicates of a file; of a standard stream it does nothing.
    pub(crate) fn capture(&self) -> io::Result<()> {
        if self.path.is_none() {
            return Ok(());
        }
        self.captures.store(true, Ordering::Relaxed);
        let fd = self.lock();
        dup2_stdout(&*fd)?;
        Ok(dup2_stderr(&*fd)?)
    }
}

impl Reader {
    /// `None`: a file, which takes whatever comes, or fails.
    fn of(fd: &OwnedFd) -> Option<Self> {
        let kind = match SFlag::from_bits_truncate(fstat(fd).ok()?.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFSOCK => Kind::Socket,
            SFlag::S_IFIFO => open_again(fd),
            SFlag::S_IFCHR if fd.as_fd().is_terminal() => open_again(fd),
            _ => return None,
        };
        Some(Self { kind, is_stuck: AtomicBool::new(false), is_torn: AtomicBool::new(false) })
    }

    fn write(&self, fd: &OwnedFd, text: &[u8]) -> io::Result<()> {
        let mended;
        let text = if self.is_torn.load(Ordering::Relaxed) {
            mended = [b"\n", text].concat();
            &mended[..]
        } else {
            text
        };
        let mut rest = text;
        while !rest.is_empty() {
            match self.try_write(fd, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.waits(fd) => {}
                Err(error) => {
                    if rest.len() < text.len() {
                        self.is_torn.store(true, Ordering::Relaxed);
                    }
                    return Err(error.into());
                }
            }
        }
        self.is_stuck.store(false, Ordering::Relaxed);
        self.is_torn.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn try_write(&self, fd: &OwnedFd, text: &[u8]) -> Result<usize, Errno> {
        match &self.kind {
            Kind::Own(own) => write(own, text),
            Kind::Socket => {
                send(fd.as_raw_fd(), text, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            }
            // What a pipe surely takes when it takes anything.
            Kind::Shared if has_room(fd, 0) => write(fd, &text[..text.len().min(PIPE_BUF)]),
            Kind::Shared => Err(Errno::EAGAIN),
        }
    }

    /// Waits for a reader that is only slow; true when it has made room.
    fn waits(&self, fd: &OwnedFd) -> bool {
        if self.is_stuck.load(Ordering::Relaxed) {
            return false;
        }
        let has_room = has_room(fd, PATIENCE_MS);
        self.is_stuck.store(!has_room, Ordering::Relaxed);
        has_room
    }
}

/// What one write to a pipe never splits.
const PIPE_BUF: usize = 4096;

fn has_room(fd: &OwnedFd, wait_ms: u16) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, wait_ms).is_ok_and(|ready| ready > 0)
}

fn open_again(fd: &OwnedFd) -> Kind {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let again = OpenOptions::new().append(true).custom_flags(flags.bits()).open(path);
    again.map_or(Kind::Shared, |file| Kind::Own(file.into()))
}

/// All of it, in one call to the kernel unless that takes less.
fn write_whole(fd: &OwnedFd, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match write(fd, text) {
            Ok(count) => text = &text[count..],
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use super::*;

    /// Fills what nobody reads; the writer is never held up for long, and loses what does not fit.
    fn is_never_held_up(target: &Target) -> u64 {
        let line = [b'x'; 1000];
        let began = Instant::now();
        for _ in 0..5_000 {
            target.write(&line);
        }
        // Not a speed: a writer that blocks never comes here at all.
        assert!(began.elapsed() < Duration::from_secs(60));
        let lost = target.lost();
        assert!((1_000..5_000).contains(&lost), "{lost}");
        lost
    }

    fn drain(mut from: impl Read) {
        let mut bytes = [0; 65_536];
        while from.read(&mut bytes).is_ok_and(|length| length > 0) {}
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_works_again_when_somebody_does() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let target = Target::stream(&writer, "a pipe").expect("open");
        assert!(matches!(target.reader.as_ref().expect("a reader").kind, Kind::Own(_)));
        let lost = is_never_held_up(&target);
        let flags = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETFL).expect("flags");
        assert_eq!(flags & OFlag::O_NONBLOCK.bits(), 0, "others may block in it as before");
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
        drain(&reader);
        assert_eq!(target.write(b"again\n"), lost);
        assert_eq!(target.lost(), 0);
    }

    #[test]
    fn a_socket_that_nobody_reads_holds_nobody_up() {
        let (reader, writer) = UnixStream::pair().expect("a pair");
        let target = Target::stream(&writer, "a socket").expect("open");
        let lost = is_never_held_up(&target);
        reader.set_nonblocking(true).expect("set");
        drain(&reader);
        assert_eq!(target.write(b"again\n"), lost);
    }

    #[test]
    fn a_pipe_that_cannot_be_opened_again_holds_nobody_up_either() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut target = Target::stream(&writer, "a pipe").expect("open");
        target.reader.as_mut().expect("a reader").kind = Kind::Shared;
        is_never_held_up(&target);
        drop(reader);
    }

    #[test]
    fn a_reader_that_is_gone_loses_lines_and_nothing_else() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let target = Target::stream(&writer, "a pipe").expect("open");
        drop(reader);
        target.write(b"one\n");
        target.write(b"two\n");
        assert_eq!(target.lost(), 2);
    }

    #[test]
    fn what_follows_a_text_that_was_cut_off_stands_in_a_line_of_its_own() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let target = Target::stream(&writer, "a pipe").expect("open");
        target.write(&[b'x'; 1 << 20]);
        assert_eq!(target.lost(), 1);
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
        drain(&reader);
        target.write(b"whole\n");
        let mut text = [0; 64];
        let length = (&reader).read(&mut text).expect("read");
        assert_eq!(&text[..length], b"\nwhole\n");
    }
}
