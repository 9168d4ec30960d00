//! What hyper gets to see: one message at a time, and none that a proxy before us could have read
//! in another way.
//!
//! hyper is as lenient as RFC 9112 lets a server be: a bare LF ends a line, a second
//! Content-Length vanishes, and so does one beside Transfer-Encoding. Request smuggling is made of
//! that. So every byte passes here first. A head is kept until it is whole (most come whole), is
//! read strictly, and goes on to hyper only then; its body is followed to know where the next head
//! begins. What is refused never reaches hyper, nor does anything behind it. See
//! `docs/design/006-a-screen-before-hyper.md`.

use bytes::Bytes;

use crate::Limits;
use crate::chunks::Chunks;
use crate::head::{Framing, Head};
use crate::refusal::Refusal;
use crate::uwsgi::{self, Packet};

#[derive(Default)]
pub(crate) struct Screen {
    state: State,
    /// A head whose end has not come.
    held: Vec<u8>,
    /// A head that was held, on its way to hyper.
    passed: Bytes,
    /// What stands behind it, where uwsgi is spoken.
    packet: Option<Box<Packet>>,
}

#[derive(Debug)]
enum State {
    Head(Head),
    /// Bytes of a body that are to follow.
    Length(u64),
    Chunked(Chunks),
    /// uwsgi: one packet,
    Packet,
    /// and what follows: its body, whose end hyper knows, and nothing that could be a request.
    BehindPacket,
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

/// What becomes of bytes that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// So many of them are a whole head, and may go on to hyper.
    Head(usize),
    /// So many of them belong to a body, and may go on to hyper.
    Body(usize),
    /// So many were kept; [`Screen::take_passed`] has them once the head is whole.
    Kept(usize),
}

/// Why a connection is refused, and at what point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Between two messages: no request is under way.
    Head(Refusal),
    /// In the middle of a request that hyper knows of.
    Body(Refusal),
}

impl Screen {
    /// For a connection that speaks uwsgi.
    pub(crate) fn of_uwsgi() -> Self {
        Self { state: State::Packet, ..Self::default() }
    }

    /// Looks at bytes, at least one.
    pub(crate) fn look(&mut self, bytes: &[u8], limits: &Limits) -> Result<Seen, Refused> {
        match &mut self.state {
            State::Head(head) => {
                let passed = match self.held.is_empty() && !limits.lenience.rewrites() {
                    true => head.read(bytes, limits).map_err(Refused::Head)?,
                    false => None,
                };
                match passed {
                    Some(length) => {
                        self.state = State::after(head);
                        Ok(Seen::Head(length))
                    }
                    None => self.keep(bytes, limits).map_err(Refused::Head),
                }
            }
            State::Length(left) => {
                let piece = (*left).min(bytes.len() as u64);
                *left -= piece;
                if *left == 0 {
                    self.state = State::default();
                }
                Ok(Seen::Body(usize::try_from(piece).unwrap_or(usize::MAX)))
            }
            State::Chunked(chunks) => {
                let used = chunks.follow(bytes).map_err(Refused::Body)?;
                if chunks.is_over() {
                    self.state = State::default();
                }
                Ok(Seen::Body(used))
            }
            State::Packet => self.keep_packet(bytes).map_err(Refused::Head),
            State::BehindPacket => Ok(Seen::Body(bytes.len())),
        }
    }

    /// Keeps bytes of a packet until it is whole.
    #[cold]
    #[inline(never)]
    fn keep_packet(&mut self, bytes: &[u8]) -> Result<Seen, Refusal> {
        let kept_before = self.held.len();
        self.held.extend_from_slice(bytes);
        let Some(length) = uwsgi::length(&self.held)?.filter(|length| *length <= self.held.len())
        else {
            return Ok(Seen::Kept(bytes.len()));
        };
        let packet = uwsgi::read(&std::mem::take(&mut self.held)[..length])?;
        self.state = State::BehindPacket;
        self.passed = packet.for_hyper();
        self.packet = Some(Box::new(packet));
        Ok(Seen::Kept(length - kept_before))
    }

    /// The packet that was kept, once.
    pub(crate) fn take_packet(&mut self) -> Option<Box<Packet>> {
        self.packet.take()
    }

    /// Keeps bytes of a head that is not whole, or has to be written anew.
    fn keep(&mut self, bytes: &[u8], limits: &Limits) -> Result<Seen, Refusal> {
        let State::Head(head) = &mut self.state else { return Ok(Seen::Kept(0)) };
        let kept_before = self.held.len();
        self.held.extend_from_slice(bytes);
        if let Some(length) = head.read(&self.held, limits)? {
            self.state = State::after(head);
            self.held.truncate(length);
            let mut whole = std::mem::take(&mut self.held);
            limits.lenience.rewrite(&mut whole);
            self.passed = whole.into();
            return Ok(Seen::Kept(length - kept_before));
        }
        if head.is_untouched(&self.held) {
            head.forget_empty_line();
            self.held.clear();
        }
        Ok(Seen::Kept(bytes.len()))
    }

    /// A piece of what was kept and may go on to hyper; empty when there is none.
    pub(crate) fn take_passed(&mut self, bytes_max: usize) -> Bytes {
        self.passed.split_to(self.passed.len().min(bytes_max))
    }

    /// Bytes of a head have come, and more are to follow.
    pub(crate) fn is_within_head(&self) -> bool {
        !self.held.is_empty()
    }
}

impl State {
    fn after(head: &Head) -> Self {
        match head.framing() {
            Framing::Length(0) => Self::default(),
            Framing::Length(bytes) => Self::Length(bytes),
            Framing::Chunked => Self::Chunked(Chunks::new()),
        }
    }
}
