//! One request on an HTTP/2 connection, from its head to the last byte of its response.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http_body::Body;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri};

use crate::arriving::Arriving;
use crate::forwarded::Believed;
use crate::ingress::{Handling, Ingress, out_of_bounds};
use crate::refusal::Refusal;
use crate::reply::{Pieces, ReplyBody};
use crate::turn::Turn;

pub(crate) struct Stream {
    turn: Rc<Turn>,
    respond: SendResponse<Bytes>,
    state: State,
    is_head: bool,
}

enum State {
    Handling(Handling),
    Sending(Sending),
}

/// How a poll ended.
pub(crate) enum Streamed {
    Pending,
    Over,
    /// The client wants no (more) response, but the app may still be at work.
    TakenBack(Orphan),
}

/// A request without a client.
pub(crate) struct Orphan {
    turn: Rc<Turn>,
    pieces: Option<Rc<Pieces>>,
}

impl Orphan {
    /// Whether the app is done with it: nobody else holds a part of it.
    pub(crate) fn is_over(&self) -> bool {
        Rc::strong_count(&self.turn) == 1
            && self.pieces.as_ref().is_none_or(|pieces| Rc::strong_count(pieces) == 1)
    }
}

/// Bytes that are asked room for at once.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

impl Stream {
    pub(crate) fn begin(
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        ingress: &Ingress,
    ) -> Self {
        let (mut head, incoming) = request.into_parts();
        let believed = judge(&mut head, ingress);
        if believed.is_ok() && !incoming.is_end_stream() && expects_continue(&head.headers) {
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            // A client that has left meanwhile is noticed below.
            let _ = respond.send_informational(go_on);
        }
        let is_head = head.method == Method::HEAD;
        let handling = ingress.take(head, Arriving::Http2(incoming), believed);
        Self { turn: handling.turn().clone(), respond, state: State::Handling(handling), is_head }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>, now: u64) -> Streamed {
        if let State::Handling(handling) = &mut self.state {
            if self.respond.poll_reset(context).is_ready() {
                return self.taken_back(None);
            }
            send_hints(&self.turn, &mut self.respond);
            match Pin::new(handling).poll(context) {
                Poll::Pending => return Streamed::Pending,
                Poll::Ready(Err(_)) => return self.cut(Reason::INTERNAL_ERROR),
                Poll::Ready(Ok(response)) => match self.send_head(response) {
                    Some(sending) => self.state = State::Sending(sending),
                    None => return Streamed::Over,
                },
            }
        }
        let State::Sending(sending) = &mut self.state else { return Streamed::Pending };
        if self.turn.is_given_up() {
            return self.cut(Reason::CANCEL);
        }
        match sending.poll(context, &self.turn, now) {
            Poll::Pending => Streamed::Pending,
            Poll::Ready(Ok(())) => Streamed::Over,
            Poll::Ready(Err(Cut::Ours(reason))) => self.cut(reason),
            Poll::Ready(Err(Cut::Theirs)) => {
                let pieces = sending.body.pieces();
                self.taken_back(pieces)
            }
        }
    }

    fn taken_back(&self, pieces: Option<Rc<Pieces>>) -> Streamed {
        self.turn.reset();
        Streamed::TakenBack(Orphan { turn: self.turn.clone(), pieces })
    }

    fn cut(&mut self, reason: Reason) -> Streamed {
        self.respond.send_reset(reason);
        Streamed::Over
    }

    /// Sends the head; `None` when there is no body to follow, or nobody to send to.
    fn send_head(&mut self, response: Response<ReplyBody>) -> Option<Sending> {
        let (mut head, body) = response.into_parts();
        let left = prepare(&mut head.headers, head.status, &body, self.is_head);
        let is_empty = body.is_end_stream() && left.is_none_or(|left| left == 0);
        let is_over = self.is_head || has_no_body(head.status) || is_empty;
        let stream = self.respond.send_response(Response::from_parts(head, ()), is_over).ok()?;
        (!is_over).then(|| Sending { stream, body, piece: Bytes::new(), left })
    }
}

/// A response body on its way out.
struct Sending {
    stream: SendStream<Bytes>,
    body: ReplyBody,
    /// What the app gave and the client has no room for yet.
    piece: Bytes,
    /// Bytes that the head has promised and that have not been sent.
    left: Option<u64>,
}

/// Why a response ends before its end.
enum Cut {
    Ours(Reason),
    /// The client has left, or wants no more.
    Theirs,
}

impl Sending {
    fn poll(&mut self, context: &mut Context<'_>, turn: &Turn, now: u64) -> Poll<Result<(), Cut>> {
        loop {
            if self.piece.is_empty() {
                turn.stalled.set(false);
                match Pin::new(&mut self.body).poll_frame(context) {
                    Poll::Pending => return self.watch(context),
                    Poll::Ready(None) => return Poll::Ready(self.end(None)),
                    Poll::Ready(Some(Err(_))) => {
                        return Poll::Ready(Err(Cut::Ours(Reason::INTERNAL_ERROR)));
                    }
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(piece) => match piece.into_bytes() {
                            Some(piece) => self.piece = self.as_promised(piece),
                            None => return Poll::Ready(Err(Cut::Ours(Reason::INTERNAL_ERROR))),
                        },
                        Err(frame) => {
                            return Poll::Ready(self.end(frame.into_trailers().ok()));
                        }
                    },
                }
                continue;
            }
            let Poll::Ready(room) = self.room(context)? else {
                turn.stalled.set(true);
                return self.watch(context);
            };
            turn.since.set(now);
            let piece = self.piece.split_to(room.min(self.piece.len()));
            if let Some(left) = &mut self.left {
                *left -= piece.len() as u64;
            }
            let is_last = self.piece.is_empty() && self.is_complete();
            self.stream.send_data(piece, is_last).map_err(|_| Cut::Theirs)?;
            if is_last {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Bytes that the client has room for.
    fn room(&mut self, context: &mut Context<'_>) -> Result<Poll<usize>, Cut> {
        self.stream.reserve_capacity(self.piece.len().min(RESERVED_BYTES_MAX));
        match self.stream.capacity() {
            0 => match self.stream.poll_capacity(context) {
                Poll::Ready(Some(Ok(room))) => Ok(Poll::Ready(room)),
                Poll::Ready(_) => Err(Cut::Theirs),
                Poll::Pending => Ok(Poll::Pending),
            },
            room => Ok(Poll::Ready(room)),
        }
    }

    /// Waits, unless the client wants no more.
    fn watch(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        self.stream.poll_reset(context).map(|_| Err(Cut::Theirs))
    }

    /// No more than the head has said.
    fn as_promised(&self, mut piece: Bytes) -> Bytes {
        if let Some(left) = self.left {
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        piece
    }

    /// Nothing will follow that the client could use.
    fn is_complete(&self) -> bool {
        match self.left {
            Some(0) => !self.body.has_trailers(),
            Some(_) => false,
            None => self.body.is_end_stream(),
        }
    }

    fn is_short(&self) -> bool {
        self.left.is_some_and(|left| left > 0)
    }

    /// The app has given all: the client must see it when that is less than the head has said.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Cut> {
        if self.is_short() {
            return Err(Cut::Ours(Reason::INTERNAL_ERROR));
        }
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        }
        .map_err(|_| Cut::Theirs)
    }
}

/// What HTTP/1's requests have behind them when they come to this point, and then the rest.
fn judge(head: &mut Parts, ingress: &Ingress) -> Result<Believed, Refusal> {
    normalise(head)?;
    match out_of_bounds(head, &ingress.core.limits) {
        Some(refusal) => Err(refusal),
        None => {
            // h2 has made sure that it is a number, if there is one, and true.
            let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
            let bytes = length.and_then(|length| length.parse().ok()).unwrap_or_default();
            ingress.judge(head, bytes)
        }
    }
}

/// Gives a request the form it has in HTTP/1: a target without the host, which has its own field,
/// and one `Cookie`. Refuses a host that is named twice.
fn normalise(head: &mut Parts) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, other) = (hosts.next(), hosts.next());
    if other.is_some() {
        return Err(Refusal::Host);
    }
    if let Some(authority) = head.uri.authority() {
        let is_same = |host: &HeaderValue| {
            host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        };
        if authority.as_str().contains('@') || !host.is_none_or(is_same) {
            return Err(Refusal::Host);
        }
        if host.is_none() {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::Host)?;
            head.headers.insert(HOST, host);
        }
    }
    join_cookies(&mut head.headers);
    if head.method != Method::CONNECT {
        let target = head.uri.path_and_query().cloned();
        head.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    Ok(())
}

/// HTTP/2 lets clients take the field apart, for better compression.
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn send_hints(turn: &Turn, respond: &mut SendResponse<Bytes>) {
    let fields = turn.take_hints();
    if fields.is_empty() {
        return;
    }
    let mut hints = Response::new(());
    *hints.status_mut() = StatusCode::EARLY_HINTS;
    for (name, value) in fields {
        hints.headers_mut().append(name, value);
    }
    // Hints are only hints; a client that has left is noticed elsewhere.
    let _ = respond.send_informational(hints);
}

fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Fields of HTTP/1's connections, which have no meaning here.
const OF_CONNECTIONS: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Makes a head fit to be sent, as hyper does for HTTP/1; the length that it then promises.
fn prepare(
    headers: &mut HeaderMap,
    status: StatusCode,
    body: &ReplyBody,
    is_head: bool,
) -> Option<u64> {
    for name in OF_CONNECTIONS {
        headers.remove(name);
    }
    if !headers.contains_key(DATE) {
        let date = httpdate::fmt_http_date(SystemTime::now());
        if let Ok(date) = HeaderValue::from_str(&date) {
            headers.insert(DATE, date);
        }
    }
    if has_no_body(status) {
        return None;
    }
    if let Some(length) = headers.get(CONTENT_LENGTH) {
        return length.to_str().ok()?.parse().ok();
    }
    let length = body.size_hint().exact()?;
    if length > 0 || !is_head {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, fields: &[(&'static str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("request").into_parts().0
    }

    #[test]
    fn a_request_looks_as_it_would_in_http1() {
        let mut head = head("https://example.org/a?b=1", &[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(normalise(&mut head), Ok(()));
        assert_eq!(head.uri, "/a?b=1");
        assert_eq!(head.headers[HOST], "example.org");
        assert_eq!(head.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn a_host_is_named_once() {
        let same = head("https://example.org/", &[("host", "Example.org")]);
        assert_eq!(normalise(&mut { same }), Ok(()));
        for (uri, fields) in [
            ("https://example.org/", &[("host", "other.org")][..]),
            ("https://me@example.org/", &[]),
            ("/", &[("host", "a"), ("host", "a")]),
        ] {
            assert_eq!(normalise(&mut head(uri, fields)), Err(Refusal::Host), "{uri}");
        }
    }
}
