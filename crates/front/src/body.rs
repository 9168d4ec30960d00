//! A request body, read to its end before the app runs: in memory while it is small, in an
//! unlinked temporary file when it is not. A slow upload costs no worker.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::rc::Rc;

use bytes::Bytes;

use crate::inbound::Inbound;

/// A request body.
#[derive(Debug)]
pub enum RequestBody {
    /// No body, or a small one.
    Memory(Bytes),
    /// A large one, positioned at its start. The file has no name any more.
    File {
        /// Open for reading.
        file: File,
        /// Its length in bytes.
        length: u64,
    },
    /// One that is still coming in; see [`Limits::stream_bodies`](crate::Limits).
    Stream(Rc<Inbound>),
}

impl RequestBody {
    /// Its length in bytes, 0 while it is coming in.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
            Self::Stream(_) => 0,
        }
    }
}

/// A body that is still coming in.
#[derive(Debug)]
pub(crate) enum Spool {
    Empty,
    /// One piece, kept as it came.
    Piece(Bytes),
    Memory(Vec<u8>),
    File {
        file: File,
        length: u64,
    },
}

impl Spool {
    /// Adds a piece; a body that grows above `memory_bytes_max` moves to a file.
    pub(crate) fn push(&mut self, piece: Bytes, memory_bytes_max: usize) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        match self {
            Self::Empty if piece.len() <= memory_bytes_max => *self = Self::Piece(piece),
            Self::Empty => *self = Self::in_file(&[&piece])?,
            Self::Piece(first) if first.len() + piece.len() <= memory_bytes_max => {
                let mut memory = Vec::with_capacity((first.len() + piece.len()) * 2);
                memory.extend_from_slice(first);
                memory.extend_from_slice(&piece);
                *self = Self::Memory(memory);
            }
            Self::Piece(first) => *self = Self::in_file(&[first, &piece])?,
            Self::Memory(memory) if memory.len() + piece.len() <= memory_bytes_max => {
                memory.extend_from_slice(&piece);
            }
            Self::Memory(memory) => *self = Self::in_file(&[memory, &piece])?,
            Self::File { file, length } => {
                file.write_all(&piece)?;
                *length += piece.len() as u64;
            }
        }
        Ok(())
    }

    fn in_file(pieces: &[&[u8]]) -> io::Result<Self> {
        let mut file = tempfile::tempfile()?;
        let mut length = 0;
        for piece in pieces {
            file.write_all(piece)?;
            length += piece.len() as u64;
        }
        Ok(Self::File { file, length })
    }

    /// The whole body, rewound.
    pub(crate) fn finish(self) -> io::Result<RequestBody> {
        Ok(match self {
            Self::Empty => RequestBody::Memory(Bytes::new()),
            Self::Piece(bytes) => RequestBody::Memory(bytes),
            Self::Memory(bytes) => RequestBody::Memory(bytes.into()),
            Self::File { mut file, length } => {
                file.seek(SeekFrom::Start(0))?;
                RequestBody::File { file, length }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn spooled(pieces: &[&'static [u8]], memory_bytes_max: usize) -> RequestBody {
        let mut spool = Spool::Empty;
        for piece in pieces {
            spool.push(Bytes::from_static(piece), memory_bytes_max).expect("spool");
        }
        spool.finish().expect("finish")
    }

    #[test]
    fn a_small_body_stays_in_memory() {
        let RequestBody::Memory(bytes) = spooled(&[b"ab", b"", b"cd", b"e"], 5) else {
            panic!("went to a file");
        };
        assert_eq!(bytes, "abcde");
    }

    #[test]
    fn a_large_body_goes_to_a_file_whole() {
        for pieces in [&[b"abcdef" as &[u8]][..], &[b"abc", b"def"], &[b"ab", b"cd", b"ef"]] {
            let RequestBody::File { mut file, length } = spooled(pieces, 5) else {
                panic!("stayed in memory");
            };
            let mut text = String::new();
            file.read_to_string(&mut text).expect("read");
            assert_eq!((text.as_str(), length), ("abcdef", 6));
        }
    }
}
