//! The body of a request on its way in, by either version of HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame};
use hyper::body::Incoming;

#[derive(Debug)]
pub(crate) enum Arriving {
    Http1(Incoming),
    Http2(RecvStream),
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Http1(incoming) => {
                Pin::new(incoming).poll_frame(context).map_err(io::Error::other)
            }
            Self::Http2(stream) => poll_stream(stream, context).map_err(io::Error::other),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(stream) => stream.is_end_stream(),
        }
    }
}

/// A client that resets its stream has not sent all of it, whatever reason it gives.
#[inline(never)]
fn poll_stream(
    stream: &mut RecvStream,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
    if let Some(piece) = ready!(stream.poll_data(context)) {
        let piece = piece?;
        // Whoever asks for a piece has room for it, and so for as much again.
        stream.flow_control().release_capacity(piece.len())?;
        return Poll::Ready(Some(Ok(Frame::data(piece))));
    }
    // Nobody here reads them, but only behind them the request is complete.
    ready!(stream.poll_trailers(context))?;
    Poll::Ready(None)
}
