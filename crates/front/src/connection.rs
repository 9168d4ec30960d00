//! One connection, and how far it has come.

use std::rc::Rc;

use bytes::Bytes;

use crate::http1::Http1;
use crate::http2::Http2;
use crate::opening::Step;
use crate::websocket::WebSocket;
use crate::wire::Wire;

pub(crate) struct Connection {
    pub(crate) wire: Rc<Wire>,
    pub(crate) stage: Stage,
}

pub(crate) enum Stage {
    /// Before its first request, on a listener where something has to come before that.
    Opening(Step),
    /// Between two requests, or before the first: nothing is held but the socket. A client that
    /// keeps thousands of connections for later costs little that way.
    Parked,
    Http1(Box<Http1>),
    Http2(Box<Http2>),
    WebSocket(Rc<WebSocket>),
    /// Taken out, to be polled.
    Polled,
    /// Our last words are on their way.
    Parting(Bytes),
    /// Our last word is said; the client may close.
    Lingering,
}
