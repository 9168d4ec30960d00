//! The front: a client's bytes.
//!
//! ```text
//! listener → accept → opening (PROXY, TLS) → connection (screen → HTTP/1, or HTTP/2) → request → executor
//!                                                ▲                                                 │
//!                                                └────── response, written without blocking ───────┘
//! ```
//!
//! hyper, h2 and rustls do no I/O of their own: a connection is a future over a reader and a writer.
//! Here both work on a non-blocking socket and return `Pending` at `EAGAIN`; one epoll instance tells
//! which connection to poll next. There is no async runtime and no thread: whoever owns the worker's
//! loop calls [`Front::collect`] when the epoll descriptor is readable, takes complete requests
//! by [`Front::next_exchange`], and answers them by [`Exchange::reply`].
//!
//! The epoll descriptor can itself be watched ([`Front::fd`]), so gevent's hub can drive the
//! front as well as a blocking loop can.
//!
//! No Python and no fork here. Start reading at `front.rs`.

#![forbid(unsafe_code)]

mod accept;
mod access_log;
mod arriving;
mod body;
mod chunks;
mod claim;
mod connection;
mod driving;
mod exchange;
mod file;
mod forwarded;
mod front;
mod handover;
mod head;
mod http1;
mod http2;
mod inbound;
mod ingress;
mod layer;
mod lenience;
mod limits;
mod listener;
mod lookout;
mod opening;
mod overdue;
mod page;
mod parting;
mod poller;
mod pool;
mod proxy;
mod refusal;
mod refusals;
mod relay;
mod reply;
mod screen;
mod screened;
mod shared;
mod tls;
mod transport;
mod trouble;
mod turn;
mod websocket;
mod wire;

pub use access_log::{AccessFormat, AccessFormatError, AccessRecord, Measure};
pub use body::RequestBody;
pub use exchange::{Client, ConnectionId, Exchange, Watcher};
pub use file::FileContent;
pub use forwarded::{Proxies, Scheme, TrustedPeers, Underscores};
pub use front::{Awaited, Drain, Front, Setup};
pub use inbound::{Arrived, Inbound};
pub use lenience::Lenience;
pub use limits::{HEADER_FIELDS_MAX, Http2Limits, Limits};
pub use listener::Listener;
pub use opening::{CleartextHttp2, Protocols};
pub use page::error_page;
pub use poller::{Batch, Waiter};
pub use pool::Pool;
pub use proxy::{ProxyProtocol, Told};
pub use relay::{Relay, Siblings};
pub use reply::{Content, Reply, StreamClosed, StreamSink};
pub use shared::Notice;
pub use tls::{
    Certificates, ClientAuth, ClientCertificate, Pair, PemFile, TlsError, TlsFacts, TlsWish,
    Versions, suite_names,
};
pub use trouble::Shortage;
pub use websocket::{Handshake, Heard, Message, WebSocket, WebSocketLimits};
pub use wire::Peer;

pub use hyper::http;
