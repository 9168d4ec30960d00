//! How much and how long a client may.

use std::time::Duration;

use crate::{Lenience, WebSocketLimits};

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
    /// Bytes of the request line without its end; 0 = as many as fit into a head.
    pub request_line: usize,
    /// Header fields of a request, at most [`HEADER_FIELDS_MAX`].
    pub header_fields: usize,
    /// Bytes of one header field, name and line end included.
    pub header_field_bytes: usize,
    /// Bytes of a request body; 0 = as many as come.
    pub body_bytes: u64,
    /// What is accepted although it is out of date or out of form.
    pub lenience: Lenience,
    /// Bodies above this many bytes go to a temporary file.
    pub body_spool_bytes: usize,
    /// Whether requests go to the executor before their body has come, which then takes it piece by
    /// piece; else they wait until it is whole.
    pub stream_bodies: bool,
    /// Whether response headers are written `Like-This`; else as the executor gives them.
    pub title_case: bool,
    /// What WebSocket connections may; `None` where nobody speaks it.
    pub websocket: Option<WebSocketLimits>,
    /// Whether sibling processes accept from the same listeners.
    pub has_siblings: bool,
    /// A front that was not come back to for so long has its requests answered 504; `None` = never.
    pub stuck: Option<Duration>,
    /// What HTTP/2 has beyond that.
    pub http2: Http2Limits,
}

/// How much a client may on an HTTP/2 connection.
#[derive(Clone, Debug)]
pub struct Http2Limits {
    /// Requests at the same time; at least 1.
    pub streams: u32,
    /// Bytes of a request body that may be under way, up to 2^31-1.
    pub window_bytes: u32,
    /// Bytes of a frame, from 16384 to 2^24-1.
    pub frame_bytes: u32,
    /// Bytes of all header fields of a request, decoded; 0 = as many as the other limits allow.
    pub header_list_bytes: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self { streams: 100, window_bytes: 65_535, frame_bytes: 16_384, header_list_bytes: 65_536 }
    }
}

/// More fields than this do not fit into the map that holds them.
pub const HEADER_FIELDS_MAX: usize = 24_000;

/// Bytes of a whole head. hyper holds no more of a connection's requests either.
pub(crate) const HEAD_BYTES_MAX: usize = 256 * 1024;

/// A longer request target does not fit into a URI.
pub(crate) const REQUEST_LINE_MAX: usize = 65_000;

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
            body_bytes: 0,
            lenience: Lenience::default(),
            body_spool_bytes: 1 << 20,
            stream_bodies: false,
            title_case: true,
            websocket: None,
            has_siblings: false,
            stuck: None,
            http2: Http2Limits::default(),
        }
    }
}

impl Limits {
    pub(crate) fn body_bytes_max(&self) -> Option<u64> {
        (self.body_bytes > 0).then_some(self.body_bytes)
    }
}
