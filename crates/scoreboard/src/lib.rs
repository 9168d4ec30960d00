//! Shared memory that workers write and the master reads.
//!
//! One line of 256 bytes for each living worker, in a memfd that the master creates and all
//! processes inherit. A line has a single writer, and its words are plain atomics: nobody ever
//! locks, so a writer that dies anywhere blocks nobody. Method and path stand behind a seqlock.
//!
//! The master trusts nothing it reads: any bytes make some [`LineView`], never a panic.

#![deny(unsafe_code)]

mod board;
mod clock;
mod line;

pub use board::Board;
pub use clock::now_ns;
pub use line::{LineView, LineWriter, WorkerState};
