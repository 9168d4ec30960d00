//! From hyper's request to an exchange: refuse what is out of bounds, read the body ahead.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper::header::{EXPECT, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Method, Request, Response, Version};

use crate::arriving::Arriving;
use crate::body::Spool;
use crate::exchange::{Exchange, Held};
use crate::forwarded::Believed;
use crate::inbound::{Inbound, refusal_of};
use crate::refusal::Refusal;
use crate::reply::{ReplyBody, whole};
use crate::shared::Core;
use crate::turn::Turn;
use crate::uwsgi::Packet;
use crate::wire::Wire;
use crate::{Handshake, Limits, RequestBody};

/// Where the requests of one connection come in; hyper's service.
pub(crate) struct Ingress {
    pub(crate) core: Rc<Core>,
    pub(crate) wire: Rc<Wire>,
}

impl Service<Request<Incoming>> for Ingress {
    type Response = Response<ReplyBody>;
    type Error = io::Error;
    type Future = Handling;

    #[inline]
    fn call(&self, request: Request<Incoming>) -> Handling {
        self.wire.head_begun.set(false);
        self.wire.hyper_reads_head.set(false);
        let (mut head, incoming) = request.into_parts();
        let bytes = incoming.size_hint().lower();
        let believed = match self.wire.packet.get() {
            None => self.judge(&mut head, bytes),
            Some(packet) => self.judge_packet(&mut head, packet),
        };
        self.take(head, Arriving::Http1(incoming), believed)
    }
}

impl Ingress {
    /// Whether a request may reach the app, and what is believed of it. `bytes` are those that its
    /// body promises, if it does.
    pub(crate) fn judge(&self, head: &mut Parts, bytes: u64) -> Result<Believed, Refusal> {
        let limits = &self.core.limits;
        if let Some(refusal) = objection(head, limits).or_else(|| too_large(bytes, limits)) {
            return Err(refusal);
        }
        self.core.proxies.apply(&mut head.headers, self.wire.trusted)
    }

    /// The same for a request that has come by uwsgi: hyper knows nothing but its body, and its head
    /// is in the packet.
    #[cold]
    fn judge_packet(
        &self,
        head: &mut Parts,
        packet: &Cell<Option<Box<Packet>>>,
    ) -> Result<Believed, Refusal> {
        // A connection has one, and hyper takes one request from it.
        let packet = packet.take().ok_or(Refusal::Packet)?;
        let Packet { head: said, body_bytes, scheme } = *packet;
        *head = said;
        let limits = &self.core.limits;
        let refusal = out_of_bounds(head, limits)
            .or_else(|| objection(head, limits))
            .or_else(|| too_large(body_bytes, limits));
        // The sender may speak uwsgi, so it is believed; and by a variable, not by what a header
        // of the client's says. Its names have no underscores left.
        refusal.map_or(Ok(Believed { scheme, has_underscores: false }), Err)
    }

    /// Takes a request with its body to come, or refuses it.
    #[inline]
    pub(crate) fn take(
        &self,
        head: Parts,
        incoming: Arriving,
        believed: Result<Believed, Refusal>,
    ) -> Handling {
        let case = Case {
            core: self.core.clone(),
            wire: self.wire.clone(),
            turn: self.wire.begin_turn(),
            version: head.version,
        };
        let state = match believed {
            Ok(believed) => case.admit(head, incoming, believed),
            Err(refusal) => State::Refused(refusal),
        };
        Handling { case, state, over: false }
    }
}

/// A request on its way to the app and back.
struct Case {
    core: Rc<Core>,
    wire: Rc<Wire>,
    turn: Rc<Turn>,
    version: Version,
}

impl Case {
    #[inline]
    fn admit(&self, head: Parts, incoming: Arriving, believed: Believed) -> State {
        if incoming.is_end_stream() {
            let limits = &self.core.limits.websocket;
            let websocket = limits.and_then(|limits| Handshake::among(&head, limits.compression));
            let body = RequestBody::Memory(Bytes::new());
            return match websocket.transpose() {
                Ok(websocket) => self.arrive(head, body, believed, websocket),
                Err(refusal) => State::Refused(refusal),
            };
        }
        if self.core.limits.stream_bodies {
            let is_held = head.version != Version::HTTP_2 && head.headers.contains_key(EXPECT);
            let bytes_max = self.core.limits.body_bytes_max();
            let inbound = Rc::new(Inbound::new(incoming, is_held, bytes_max));
            self.turn.set_inbound(inbound.clone());
            self.wire.streams_in.set(true);
            return self.arrive(head, RequestBody::Stream(inbound), believed, None);
        }
        self.turn.reading.set(true);
        State::Reading(Box::new(Reading {
            incoming,
            head: Some(head),
            believed,
            spool: Spool::Empty,
            bytes: 0,
        }))
    }

    /// The app takes the body piece by piece, and the rest will not come.
    fn is_cut_short(&self) -> bool {
        self.turn.refusal().is_some() && self.turn.inbound().is_some()
    }

    fn arrive(
        &self,
        head: Parts,
        body: RequestBody,
        believed: Believed,
        websocket: Option<Handshake>,
    ) -> State {
        self.core.arrive(Exchange(Box::new(Held {
            head,
            body,
            believed,
            websocket,
            wire: self.wire.clone(),
            turn: self.turn.clone(),
            core: self.core.clone(),
            handed_over: self.core.access.is_some().then(Instant::now),
            environ: Vec::new(),
        })));
        State::Waiting
    }
}

/// The limits that a screened head has met already.
pub(crate) fn out_of_bounds(head: &Parts, limits: &Limits) -> Option<Refusal> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    // Method, two spaces and the version stand on the line as well.
    let line = head.method.as_str().len() + target + " HTTP/1.1 ".len();
    if limits.request_line > 0 && line > limits.request_line {
        return Some(Refusal::RequestLineLength { bytes: line, bytes_max: limits.request_line });
    }
    if head.headers.len() > limits.header_fields {
        return Some(Refusal::HeaderFields);
    }
    let field_bytes_max = limits.header_field_bytes;
    let too_long = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len() > field_bytes_max
    };
    head.headers.iter().any(too_long).then_some(Refusal::HeaderFieldSize)
}

/// What speaks against a head that is HTTP, in any version of it.
#[inline(always)] // It has two callers, and one of them sees each request.
fn objection(head: &mut Parts, limits: &Limits) -> Option<Refusal> {
    if head.method == Method::CONNECT {
        return Some(Refusal::Connect);
    }
    if !limits.lenience.unconventional_method && !is_conventional(&head.method) {
        return Some(Refusal::Method);
    }
    let path = head.uri.path();
    let is_path = path.starts_with('/') || path == "*" && head.method == Method::OPTIONS;
    let is_ascii = head.uri.path_and_query().is_some_and(|target| target.as_str().is_ascii());
    if !is_path || !is_ascii {
        return Some(Refusal::Target);
    }
    head.uri.authority().is_some().then(|| settle_host(head))?
}

/// A registered method has three letters at least, and no small ones; so say gunicorn's rules.
fn is_conventional(method: &Method) -> bool {
    let is_common = matches!(
        *method,
        Method::GET | Method::POST | Method::HEAD | Method::PUT | Method::PATCH | Method::DELETE
    );
    let name = method.as_str();
    is_common
        || (3..=20).contains(&name.len())
            && !name.bytes().any(|byte| byte.is_ascii_lowercase() || byte == b'#')
}

/// A target that names its host itself. Apps look at the Host field, so the two must not differ:
/// whoever has let this request through may have looked at the other one.
fn settle_host(head: &mut Parts) -> Option<Refusal> {
    let scheme = head.uri.scheme_str();
    let (Some("http" | "https"), Some(authority)) = (scheme, head.uri.authority()) else {
        return Some(Refusal::Target);
    };
    let default_port = if scheme == Some("https") { ":443" } else { ":80" };
    let bare = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_ascii_lowercase();
    match head.headers.get(HOST) {
        Some(host) => {
            let same = host.to_str().is_ok_and(|host| bare(host) == bare(authority.as_str()));
            (!same).then_some(Refusal::Authority)
        }
        None => {
            let host = HeaderValue::from_str(authority.as_str()).ok()?;
            head.headers.insert(HOST, host);
            None
        }
    }
}

/// A body that says itself that it is too large.
fn too_large(bytes: u64, limits: &Limits) -> Option<Refusal> {
    let bytes_max = limits.body_bytes_max()?;
    (bytes > bytes_max).then_some(Refusal::BodySize { bytes_max })
}

/// What is polled until there is a response. Dropped before, its client has left.
pub(crate) struct Handling {
    case: Case,
    state: State,
    /// There was a response, whose end is the turn's.
    over: bool,
}

impl Handling {
    pub(crate) fn turn(&self) -> &Rc<Turn> {
        &self.case.turn
    }
}

enum State {
    Refused(Refusal),
    Reading(Box<Reading>),
    Waiting,
}

impl Future for Handling {
    type Output = io::Result<Response<ReplyBody>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { case, state, over } = &mut *self;
        loop {
            *state = match state {
                State::Refused(refusal) => {
                    *over = true;
                    case.turn.reading.set(false);
                    if *refusal != Refusal::SpoolFull {
                        case.core.note_refusal(case.wire.peer.get(), || refusal.message());
                    }
                    let mut response = refusal.response();
                    if case.version == Version::HTTP_10 {
                        // Else hyper would add to `close` that it could be kept.
                        *response.version_mut() = case.version;
                    }
                    return Poll::Ready(Ok(whole(response, case.turn.clone(), case.wire.clone())));
                }
                State::Reading(reading) => match reading.poll(case, context) {
                    Poll::Ready(next) => next?,
                    Poll::Pending => return Poll::Pending,
                },
                State::Waiting if case.turn.is_denied() => {
                    return Poll::Ready(Err(io::Error::other("the executor dropped the request")));
                }
                State::Waiting if case.is_cut_short() => {
                    // The app has it already, and learns that there is no more to it.
                    case.turn.leave();
                    State::Refused(case.turn.refusal().unwrap_or(Refusal::Chunk))
                }
                State::Waiting => {
                    return match case.turn.take_response() {
                        Some(response) => {
                            *over = true;
                            Poll::Ready(Ok(response))
                        }
                        None => Poll::Pending,
                    };
                }
            };
        }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        if !self.over {
            self.case.turn.leave();
            self.case.wire.end_turn(&self.case.turn);
        }
    }
}

/// A body that is read ahead of the app.
struct Reading {
    incoming: Arriving,
    head: Option<Parts>,
    believed: Believed,
    spool: Spool,
    /// Bytes that have come.
    bytes: u64,
}

impl Reading {
    /// Reads on; ready with what comes next.
    fn poll(&mut self, case: &Case, context: &mut Context<'_>) -> Poll<io::Result<State>> {
        loop {
            if let Some(refusal) = case.turn.refusal() {
                return Poll::Ready(Ok(State::Refused(refusal)));
            }
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(self.arrived(case))),
                Poll::Ready(Some(Ok(frame))) => {
                    case.turn.since.set(case.core.now.get());
                    let Ok(piece) = frame.into_data() else { continue };
                    self.bytes += piece.len() as u64;
                    if let Some(bytes_max) = case.core.limits.body_bytes_max()
                        && self.bytes > bytes_max
                    {
                        return Poll::Ready(Ok(State::Refused(Refusal::BodySize { bytes_max })));
                    }
                    if let Err(error) = self.spool.push(piece, case.core.limits.body_spool_bytes) {
                        return Poll::Ready(Ok(spool_failed(case, error)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(match refusal_of(&error) {
                        Some(refusal) => Ok(State::Refused(refusal)),
                        None => Err(error),
                    });
                }
            }
        }
    }

    fn arrived(&mut self, case: &Case) -> State {
        case.turn.reading.set(false);
        match (self.head.take(), std::mem::replace(&mut self.spool, Spool::Empty).finish()) {
            (Some(head), Ok(body)) => case.arrive(head, body, self.believed, None),
            (None, _) => State::Waiting,
            (_, Err(error)) => spool_failed(case, error),
        }
    }
}

fn spool_failed(case: &Case, error: io::Error) -> State {
    case.core.spool_trouble.fail(error, case.core.now.get());
    State::Refused(Refusal::SpoolFull)
}
