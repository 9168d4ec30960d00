//! How much and how long a client may.

use std::time::Duration;

use crate::WebSocketLimits;

/// How much and how long a client may. Counts are inclusive.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; at the limit idle ones are closed, then the backlog has to wait.
    pub connections: usize,
    /// Idle time between two requests; zero closes after each response.
    pub keepalive: Duration,
    /// From the first byte of a head (or from accept) to its last.
    pub head: Duration,
    /// Pause within a request body.
    pub body_pause: Duration,
    /// Pause while a client reads a response.
    pub write_pause: Duration,
    /// Bytes of the request line.
    pub request_line: usize,
    /// Header fields of a request.
    pub header_fields: usize,
    /// Bytes of one header field, name and line end included.
    pub header_field_bytes: usize,
    /// Bodies above this many bytes go to a temporary file.
    pub body_spool_bytes: usize,
    /// Whether requests go to the executor before their body has come, which then takes it piece by
    /// piece; else they wait until it is whole.
    pub stream_bodies: bool,
    /// What WebSocket connections may; `None` where nobody speaks it.
    pub websocket: Option<WebSocketLimits>,
    /// Whether sibling processes accept from the same listeners.
    pub has_siblings: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            keepalive: Duration::from_secs(75),
            head: Duration::from_secs(30),
            body_pause: Duration::from_secs(60),
            write_pause: Duration::from_secs(60),
            request_line: 4094,
            header_fields: 100,
            header_field_bytes: 8190,
            body_spool_bytes: 1 << 20,
            stream_bodies: false,
            websocket: None,
            has_siblings: false,
        }
    }
}
