//! HTTP/2: its connections (`connection.rs`), and the requests on them (`stream.rs`).

mod connection;
mod stream;

pub(crate) use connection::Http2;
