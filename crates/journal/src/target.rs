//! Where lines go: a standard stream, or a file that can be opened again by its name.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::OFlag;
use nix::unistd::{dup2_stderr, dup2_stdout, dup3};

/// A log file that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {path}: {source}")]
pub struct OpenError {
    /// The name as it was given.
    pub path: String,
    /// What the kernel said.
    pub source: io::Error,
}

#[derive(Debug)]
pub(crate) struct Target {
    fd: Mutex<OwnedFd>,
    /// `None` for a standard stream, which cannot be opened again.
    path: Option<String>,
    /// Standard output and error are duplicates of it.
    captures: AtomicBool,
    lost: AtomicU64,
}

fn append(path: &str) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().append(true).create(true).open(path)?.into())
}

impl Target {
    fn new(fd: OwnedFd, path: Option<String>) -> Self {
        Self { fd: Mutex::new(fd), path, captures: AtomicBool::new(false), lost: AtomicU64::new(0) }
    }

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

    fn lock(&self) -> MutexGuard<'_, OwnedFd> {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.lock().as_raw_fd()
    }

    /// Writes a text at once. A full disk or a reader that is gone loses it, and nothing else.
    /// Returns how many texts were lost before this one, if this one was not.
    pub(crate) fn write(&self, text: &[u8]) -> u64 {
        match write_whole(&self.lock(), text) {
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

/// All of it, in one call to the kernel unless that takes less.
fn write_whole(fd: &OwnedFd, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match nix::unistd::write(fd, text) {
            Ok(count) => text = &text[count..],
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
