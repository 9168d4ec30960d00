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
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Request, Response};

use crate::body::Spool;
use crate::connection::Wire;
use crate::exchange::{Exchange, Slot};
use crate::front::{Core, Notice};
use crate::refusal::Refusal;
use crate::reply::{ReplyBody, whole};
use crate::{Limits, RequestBody};

/// hyper's service of one connection.
pub(crate) struct Ingress {
    pub(crate) core: Rc<Core>,
    pub(crate) wire: Rc<Wire>,
}

impl Service<Request<Incoming>> for Ingress {
    type Response = Response<ReplyBody>;
    type Error = io::Error;
    type Future = Handling;

    fn call(&self, request: Request<Incoming>) -> Handling {
        self.wire.head_begun.set(false);
        self.wire.in_flight.set(true);
        let (head, incoming) = request.into_parts();
        if let Some(refusal) = out_of_bounds(&head, &self.core.limits) {
            return Handling::Refused(Some(whole(refusal.response(), self.wire.clone())));
        }
        let slot = Rc::new(Slot::default());
        if incoming.is_end_stream() {
            self.core.arrive(self.exchange(head, RequestBody::Memory(Bytes::new()), slot.clone()));
            return Handling::Waiting(slot);
        }
        self.wire.body_pending.set(true);
        Handling::Reading(Box::new(Reading {
            ingress: Ingress { core: self.core.clone(), wire: self.wire.clone() },
            incoming,
            head: Some(head),
            spool: Spool::Empty,
            slot,
        }))
    }
}

impl Ingress {
    fn exchange(&self, head: Parts, body: RequestBody, slot: Rc<Slot>) -> Exchange {
        Exchange {
            head,
            body,
            wire: self.wire.clone(),
            slot,
            core: self.core.clone(),
            handed_over: self.core.access.is_some().then(Instant::now),
        }
    }
}

/// The limits that hyper does not know.
fn out_of_bounds(head: &Parts, limits: &Limits) -> Option<Refusal> {
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

/// What hyper polls until there is a response.
pub(crate) enum Handling {
    Refused(Option<Response<ReplyBody>>),
    Reading(Box<Reading>),
    Waiting(Rc<Slot>),
}

pub(crate) struct Reading {
    ingress: Ingress,
    incoming: Incoming,
    head: Option<Parts>,
    spool: Spool,
    slot: Rc<Slot>,
}

impl Future for Handling {
    type Output = io::Result<Response<ReplyBody>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match &mut *self {
                Self::Refused(response) => {
                    let gone = || io::Error::other("polled after its response was taken");
                    return Poll::Ready(response.take().ok_or_else(gone));
                }
                Self::Waiting(slot) => return waited(slot),
                Self::Reading(reading) => match reading.poll(context) {
                    Poll::Ready(Ok(next)) => next,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
            };
            *self = next;
        }
    }
}

fn waited(slot: &Slot) -> Poll<io::Result<Response<ReplyBody>>> {
    if let Some(response) = slot.response.borrow_mut().take() {
        // The exchange must not take its reply for lost when it is dropped.
        slot.abandoned.set(true);
        return Poll::Ready(Ok(response));
    }
    if slot.abandoned.get() {
        return Poll::Ready(Err(io::Error::other("the executor dropped the request")));
    }
    Poll::Pending
}

impl Reading {
    /// Reads on; ready with what comes next.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Handling>> {
        let core = &self.ingress.core;
        let wire = &self.ingress.wire;
        loop {
            if wire.body_late.get() {
                return self.refuse(Refusal::BodyTimeout);
            }
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return self.arrived(),
                Poll::Ready(Some(Ok(frame))) => {
                    wire.since.set(core.now.get());
                    let Ok(piece) = frame.into_data() else { continue };
                    if let Err(error) = self.spool.push(piece, core.limits.body_spool_bytes) {
                        core.notices.borrow_mut().push(Notice::SpoolFailed(error));
                        return self.refuse(Refusal::SpoolFull);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    wire.body_pending.set(false);
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
        }
    }

    fn arrived(&mut self) -> Poll<io::Result<Handling>> {
        let spool = std::mem::replace(&mut self.spool, Spool::Empty);
        let (Some(head), Ok(body)) = (self.head.take(), spool.finish()) else {
            return self.refuse(Refusal::SpoolFull);
        };
        let core = &self.ingress.core;
        self.ingress.wire.body_pending.set(false);
        core.arrive(self.ingress.exchange(head, body, self.slot.clone()));
        Poll::Ready(Ok(Handling::Waiting(self.slot.clone())))
    }

    fn refuse(&mut self, refusal: Refusal) -> Poll<io::Result<Handling>> {
        let wire = &self.ingress.wire;
        wire.body_pending.set(false);
        let response = whole(refusal.response(), wire.clone());
        Poll::Ready(Ok(Handling::Refused(Some(response))))
    }
}
