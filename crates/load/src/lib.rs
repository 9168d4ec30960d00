//! A load client that says of every request what became of it. For benchmarks and tests; it is
//! never shipped.
//!
//! ```text
//! arguments → Plan → Client: arrivals → Connection: write, read → Fate → Account → Report (JSON)
//! ```
//!
//! One thread, one epoll instance, loopback only. Two ways of asking:
//!
//! - *Closed loop*: each of N connections asks again as soon as it has its answer. Shows what a
//!   server can do. Its latencies flatter the server: while it stalls, nobody asks.
//! - *Open loop*: requests fall due at a constant rate, whatever the server does, and latency counts
//!   from the moment a request was *due*, not from when a connection was free to send it. So a
//!   stall shows in every request that it delayed (no coordinated omission).
//!
//! # What is counted
//!
//! Each request has exactly one fate ([`Fate`]), so the fates add up to the requests begun.
//! **Lost** are those that a server took and did not answer in full: connection reset or closed
//! before or within the response, no complete response in time, a response that is no HTTP or has
//! another length than it says or than was expected. Not lost, but counted: answers of any status;
//! refused connections (nobody took the request); requests never sent for reasons of our own.
//!
//! A server may close a *kept* connection while no request is on it. The client looks right before
//! it writes the next one, and then takes a new connection (`closed_while_idle`). The close can
//! still cross with the request: the race that every client with kept connections knows and answers
//! by asking again on a new connection (**`sent_again`**, no loss). It is accepted as that race only
//! if the connection had brought a response before, no byte of the next one has come, and the kernel
//! has proved that nobody read the request to its end: writing failed, or the connection was reset.
//! Linux resets when a socket is closed with bytes unread and when bytes reach a closed socket; a
//! process that has read everything and then exits, or is killed, ends the connection without one.
//!
//! A kept connection that ends *without* a reset after a request was written is a loss: the server
//! had the request, and somebody read it, be it only to throw it away. A server that half-closes
//! (`shutdown`) and then drains can do that to a request which comes in the same microseconds.
//! Such failures are listed with `kept: true`.
//!
//! A request is sent again at most once, on a new connection, and its latency still counts from the
//! beginning.
//!
//! Start reading at `client.rs`.

#![forbid(unsafe_code)]

pub mod account;
pub mod arguments;
mod arrivals;
mod books;
mod client;
mod connection;
pub mod plan;
pub mod report;
mod request;
pub mod response;

pub use account::Fate;
pub use client::{RunError, run};
pub use plan::Plan;
pub use report::Report;
