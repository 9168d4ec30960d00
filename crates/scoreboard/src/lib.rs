//! Shared memory that workers write and the master reads.
//!
//! One line of 512 bytes for each living worker, in a memfd that the master creates and all
//! processes inherit. A line has a single writer, and its words are plain atomics: nobody ever
//! locks, so a writer that dies anywhere blocks nobody. The oldest and the latest request in
//! flight, with method and path, stand behind seqlocks (`block`).
//!
//! The master trusts nothing it reads: any bytes make some [`LineView`], never a panic.
//!
//! Under `--cfg loom` only `block` is built, and every interleaving of its writer and its reader is
//! tried (`make test-loom`).

#![deny(unsafe_code)]
#![cfg_attr(loom, expect(dead_code, reason = "only the seqlock is built"))]

mod block;
mod sync;

#[cfg(not(loom))]
mod board;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod crowd;
#[cfg(not(loom))]
mod in_flight;
#[cfg(not(loom))]
mod line;

pub use block::RequestView;
#[cfg(not(loom))]
pub use {
    board::Board,
    clock::now_ns,
    crowd::Crowd,
    in_flight::Ticket,
    line::{LineView, LineWriter, WorkerState},
};
