//! From hyper's request to an exchange: refuse what is out of bounds, read the body ahead.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper::header::EXPECT;
use hyper::http::Version;
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Request, Response};

use crate::arriving::Arriving;
use crate::body::Spool;
use crate::exchange::Exchange;
use crate::front::{Core, Notice};
use crate::inbound::Inbound;
use crate::refusal::Refusal;
use crate::reply::{ReplyBody, whole};
use crate::turn::Turn;
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
        let (head, incoming) = request.into_parts();
        let refusal = out_of_bounds(&head, &self.core.limits);
        self.take(head, Arriving::Http1(incoming), refusal)
    }
}

impl Ingress {
    /// Takes a request with its body to come, or refuses it.
    #[inline]
    pub(crate) fn take(
        &self,
        head: Parts,
        incoming: Arriving,
        refusal: Option<Refusal>,
    ) -> Handling {
        let case =
            Case { core: self.core.clone(), wire: self.wire.clone(), turn: self.wire.begin_turn() };
        let state = match refusal {
            Some(refusal) => State::Refused(refusal),
            None => case.admit(head, incoming),
        };
        Handling { case, state, over: false }
    }
}

/// A request on its way to the app and back.
struct Case {
    core: Rc<Core>,
    wire: Rc<Wire>,
    turn: Rc<Turn>,
}

impl Case {
    #[inline]
    fn admit(&self, head: Parts, incoming: Arriving) -> State {
        if incoming.is_end_stream() {
            let limits = &self.core.limits.websocket;
            let websocket = limits.and_then(|limits| Handshake::among(&head, limits.compression));
            return match websocket.transpose() {
                Ok(websocket) => self.arrive(head, RequestBody::Memory(Bytes::new()), websocket),
                Err(refusal) => State::Refused(refusal),
            };
        }
        if self.core.limits.stream_bodies {
            let is_held = head.version != Version::HTTP_2 && head.headers.contains_key(EXPECT);
            let inbound = Rc::new(Inbound::new(incoming, is_held));
            self.turn.set_inbound(inbound.clone());
            self.wire.streams_in.set(true);
            return self.arrive(head, RequestBody::Stream(inbound), None);
        }
        self.turn.reading.set(true);
        State::Reading(Box::new(Reading { incoming, head: Some(head), spool: Spool::Empty }))
    }

    fn arrive(&self, head: Parts, body: RequestBody, websocket: Option<Handshake>) -> State {
        self.core.arrive(Exchange {
            head,
            body,
            websocket,
            wire: self.wire.clone(),
            turn: self.turn.clone(),
            core: self.core.clone(),
            handed_over: self.core.access.is_some().then(Instant::now),
        });
        State::Waiting
    }
}

/// The limits that hyper does not know.
#[inline]
pub(crate) fn out_of_bounds(head: &Parts, limits: &Limits) -> Option<Refusal> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    // Method, two spaces and the version stand on the line as well.
    let line = head.method.as_str().len() + target + " HTTP/1.1 ".len();
    if limits.request_line > 0 && line > limits.request_line {
        return Some(Refusal::RequestLine { bytes: line, bytes_max: limits.request_line });
    }
    if head.headers.len() > limits.header_fields {
        return Some(Refusal::HeaderFields);
    }
    let field_bytes_max = limits.header_field_bytes;
    let too_long = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len() > field_bytes_max
    };
    head.headers.iter().any(too_long).then_some(Refusal::HeaderFieldSize)
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

    /// Its body is being read, so that a refusal can still be said.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading(_))
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
                    let response = refusal.response();
                    return Poll::Ready(Ok(whole(response, case.turn.clone(), case.wire.clone())));
                }
                State::Reading(reading) => match reading.poll(case, context) {
                    Poll::Ready(next) => next?,
                    Poll::Pending => return Poll::Pending,
                },
                State::Waiting if case.turn.is_denied() => {
                    return Poll::Ready(Err(io::Error::other("the executor dropped the request")));
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
    spool: Spool,
}

impl Reading {
    /// Reads on; ready with what comes next.
    fn poll(&mut self, case: &Case, context: &mut Context<'_>) -> Poll<io::Result<State>> {
        loop {
            if case.turn.take_given_up() {
                return Poll::Ready(Ok(State::Refused(Refusal::BodyTimeout)));
            }
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(self.arrived(case))),
                Poll::Ready(Some(Ok(frame))) => {
                    case.turn.since.set(case.core.now.get());
                    let Ok(piece) = frame.into_data() else { continue };
                    if let Err(error) = self.spool.push(piece, case.core.limits.body_spool_bytes) {
                        return Poll::Ready(Ok(spool_failed(case, error)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn arrived(&mut self, case: &Case) -> State {
        case.turn.reading.set(false);
        match (self.head.take(), std::mem::replace(&mut self.spool, Spool::Empty).finish()) {
            (Some(head), Ok(body)) => case.arrive(head, body, None),
            (None, _) => State::Waiting,
            (_, Err(error)) => spool_failed(case, error),
        }
    }
}

fn spool_failed(case: &Case, error: io::Error) -> State {
    case.core.notices.borrow_mut().push(Notice::SpoolFailed(error));
    State::Refused(Refusal::SpoolFull)
}
