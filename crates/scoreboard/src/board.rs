//! The mapped memory, as words.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use crate::crowd::Crowd;
use crate::line::{LINE_WORDS, LineView, LineWriter};

/// The whole scoreboard.
#[derive(Clone, Debug)]
pub struct Board {
    map: Arc<MmapRaw>,
}

const WORD_BYTES: usize = size_of::<u64>();

impl Board {
    /// Creates a scoreboard of `lines` lines, all zero, and the descriptor to hand on.
    ///
    /// # Errors
    ///
    /// What `memfd_create` or `mmap` says.
    pub fn create(lines: u16) -> io::Result<(Self, OwnedFd)> {
        let name = CString::from(c"remuda-scoreboard");
        let fd = memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC)?;
        let bytes = usize::from(lines) * LINE_WORDS * WORD_BYTES;
        ftruncate(fd.as_fd(), i64::try_from(bytes).map_err(io::Error::other)?)?;
        Ok((Self::map(fd.as_raw_fd())?, fd))
    }

    /// Maps an inherited scoreboard.
    ///
    /// # Errors
    ///
    /// What `mmap` says.
    pub fn attach(fd: RawFd) -> io::Result<Self> {
        Self::map(fd)
    }

    fn map(fd: RawFd) -> io::Result<Self> {
        Ok(Self { map: Arc::new(MmapOptions::new().map_raw(fd)?) })
    }

    /// Number of lines.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.map.len() / (LINE_WORDS * WORD_BYTES)
    }

    /// The words of a line; `None` when there is no such line.
    #[expect(unsafe_code, reason = "the one place where shared memory becomes words")]
    pub(crate) fn words(&self, line: u16) -> Option<&[AtomicU64; LINE_WORDS]> {
        if usize::from(line) >= self.lines() {
            return None;
        }
        // SAFETY: the line lies inside the mapping, which lives as long as `self` and is aligned
        // to a page; every process touches it through atomics only, and any bits are a valid u64.
        Some(unsafe {
            &*self
                .map
                .as_ptr()
                .cast::<u64>()
                .add(usize::from(line) * LINE_WORDS)
                .cast::<[AtomicU64; LINE_WORDS]>()
        })
    }

    /// The writer of a line; `None` when there is no such line.
    #[must_use]
    pub fn writer(&self, line: u16) -> Option<LineWriter> {
        self.words(line)?;
        Some(LineWriter::new(self.clone(), line))
    }

    /// A worker's place among its siblings; `serial`: each of them serves one request at a time.
    #[must_use]
    pub fn crowd(&self, line: u16, serial: bool) -> Crowd {
        Crowd::new(self.clone(), line, serial)
    }

    /// What stands in a line now; all zero when there is no such line.
    #[must_use]
    pub fn read(&self, line: u16) -> LineView {
        self.words(line).map_or_else(LineView::default, LineView::read)
    }

    /// Empties a line, before a new worker gets it.
    pub fn clear(&self, line: u16) {
        if let Some(words) = self.words(line) {
            for word in words {
                word.store(0, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }
}
