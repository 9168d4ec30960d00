//! WebSocket on a connection that has been one of HTTP: RFC 6455 and RFC 7692.
//!
//! The front reads and writes frames, answers pings and closes; whoever has accepted the handshake
//! takes messages and gives messages. Neither ever blocks: a client that sends faster than the app
//! takes is not read from, and an app that sends faster than the client reads is told how much
//! waits.

mod deflate;
mod frame;
mod handshake;
mod reader;
mod talk;

use std::time::Duration;

use bytes::Bytes;

pub use handshake::Handshake;
pub(crate) use talk::Course;
pub use talk::WebSocket;

/// What WebSocket connections may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketLimits {
    /// Bytes of a message, at most, counted after decompression.
    pub message_bytes: usize,
    /// Whether messages may be compressed.
    pub compression: bool,
    /// Silence after which a client is asked for a sign of life; zero = never.
    pub ping_interval: Duration,
}

/// A message in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text, which is UTF-8.
    Text(String),
    /// Anything.
    Binary(Bytes),
}

impl Message {
    fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// What the app hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message has come.
    Message(Message),
    /// There will be none any more: code and reason.
    Closed(u16, String),
}

/// A client that breaks the rules: the close code that it gets, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    code: u16,
    reason: &'static str,
}

impl Violation {
    const TEXT: Self = Self { code: 1007, reason: "text is not UTF-8" };
    const TOO_LONG: Self = Self { code: 1009, reason: "message too long" };

    const fn protocol(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }

    const fn data(reason: &'static str) -> Self {
        Self { code: 1007, reason }
    }
}
