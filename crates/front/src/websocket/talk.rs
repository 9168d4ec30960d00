//! One connection: messages in both directions, pings, and its end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::deflate::Deflate;
use super::frame::{self, Opcode};
use super::reader::{Reader, Said};
use super::{Handshake, Heard, Message, WebSocketLimits};
use crate::exchange::Watcher;
use crate::wire::{Phase, Wire};

/// RFC 6455: the client gave no code.
const NO_CODE: u16 = 1005;
/// RFC 6455: the connection ended without a close frame.
const ABNORMAL: u16 = 1006;
/// The registered code for "come back, to another process perhaps".
const SERVICE_RESTART: u16 = 1012;
/// What a close frame has room for.
const REASON_BYTES_MAX: usize = 123;
/// Bytes of messages that wait for the app before the client has to wait.
const UNHEARD_BYTES_MAX: usize = 256 * 1024;
/// Shorter ones would not become shorter.
const COMPRESSED_BYTES_MIN: usize = 64;

/// One connection, shared by the front and whoever has accepted it.
pub struct WebSocket {
    wire: Rc<Wire>,
    limits: WebSocketLimits,
    reader: RefCell<Reader>,
    deflate: RefCell<Option<Deflate>>,
    heard: RefCell<VecDeque<Message>>,
    heard_bytes: Cell<usize>,
    /// Why there will be no message any more.
    end: RefCell<Option<(u16, String)>>,
    unsent: RefCell<VecDeque<Bytes>>,
    unsent_bytes: Cell<usize>,
    /// Our close frame is among what was sent or waits for it.
    close_said: Cell<bool>,
    /// Nothing more is read: the client has said its last word, or broken the rules.
    deaf: Cell<bool>,
    /// A ping is not answered.
    pinged: Cell<bool>,
    /// When the client was last heard: nanoseconds of the loop's clock.
    heard_at: Cell<u64>,
    watcher: RefCell<Option<Rc<dyn Watcher>>>,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    GoesOn,
    /// Both sides have said their last word.
    Over,
    /// The client is gone.
    Lost,
}

impl WebSocket {
    pub(crate) fn new(
        wire: Rc<Wire>,
        handshake: Handshake,
        limits: WebSocketLimits,
        watcher: Rc<dyn Watcher>,
        now: u64,
    ) -> Self {
        let deflate = handshake.deflate.map(|(agreement, _)| Deflate::new(agreement));
        Self {
            wire,
            limits,
            reader: RefCell::new(Reader::new(limits.message_bytes, deflate.is_some())),
            deflate: RefCell::new(deflate),
            heard: RefCell::default(),
            heard_bytes: Cell::new(0),
            end: RefCell::default(),
            unsent: RefCell::default(),
            unsent_bytes: Cell::new(0),
            close_said: Cell::new(false),
            deaf: Cell::new(false),
            pinged: Cell::new(false),
            heard_at: Cell::new(now),
            watcher: RefCell::new(Some(watcher)),
        }
    }

    /// What the app can hear now. Once it has heard the end, it hears that again and again.
    pub fn hear(&self) -> Option<Heard> {
        if let Some(message) = self.heard.borrow_mut().pop_front() {
            self.heard_bytes.set(self.heard_bytes.get() - message.length());
            return Some(Heard::Message(message));
        }
        let end = self.end.borrow();
        end.as_ref().map(|(code, reason)| Heard::Closed(*code, reason.clone()))
    }

    /// Gives a message to be sent; nothing is written until the connection is polled. False when
    /// nobody will read it.
    pub fn say(&self, message: Message) -> bool {
        if self.is_ended() || self.close_said.get() {
            return false;
        }
        let (opcode, bytes) = match message {
            Message::Text(text) => (Opcode::Text, Bytes::from(text)),
            Message::Binary(bytes) => (Opcode::Binary, bytes),
        };
        match &mut *self.deflate.borrow_mut() {
            Some(deflate) if bytes.len() >= COMPRESSED_BYTES_MIN => {
                self.push(opcode, true, deflate.compress(&bytes).into());
            }
            _ => self.push(opcode, false, bytes),
        }
        true
    }

    /// Whether a close code may be sent: the registered ones, and the ranges for libraries and
    /// apps. The others mean something that cannot be said, such as "no code".
    #[must_use]
    pub fn may_be_said(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Closes our side. A reason that is longer than a close frame is cut.
    pub fn close(&self, code: u16, reason: &str) {
        if !self.close_said.replace(true) {
            let room = reason.len().min(REASON_BYTES_MAX);
            let end = (0..=room).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
            let mut payload = code.to_be_bytes().to_vec();
            payload.extend_from_slice(&reason.as_bytes()[..end]);
            self.push(Opcode::Close, false, payload.into());
        }
    }

    /// Bytes that wait for the client.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes.get()
    }

    /// Whether the connection has ended, in whatever way.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Has nobody told of changes any more.
    pub fn forget_watcher(&self) {
        self.watcher.take();
    }

    fn push(&self, opcode: Opcode, compressed: bool, payload: Bytes) {
        let head = frame::head_of(opcode, compressed, payload.len());
        self.unsent_bytes.set(self.unsent_bytes.get() + head.len() + payload.len());
        let mut unsent = self.unsent.borrow_mut();
        if payload.len() < 1024 {
            unsent.push_back([&head[..], &payload].concat().into());
        } else {
            unsent.push_back(head.into());
            unsent.push_back(payload);
        }
    }

    fn notify(&self) {
        let watcher = self.watcher.borrow().clone();
        if let Some(watcher) = watcher {
            watcher.changed();
        }
    }

    /// Says that no message comes any more; the first reason counts.
    pub(crate) fn end(&self, code: u16, reason: &str) {
        let mut end = self.end.borrow_mut();
        if end.is_none() {
            *end = Some((code, reason.to_owned()));
            drop(end);
            self.notify();
        }
    }

    /// The client is gone without a word.
    pub(crate) fn lose(&self) {
        self.end(ABNORMAL, "");
    }

    /// The worker leaves: the client shall connect again, to another one.
    pub(crate) fn finish(&self) {
        self.close(SERVICE_RESTART, "");
        self.end(SERVICE_RESTART, "");
    }

    /// Takes bytes that were read together with the end of the handshake.
    pub(crate) fn take_ahead(&self, ahead: &Bytes, now: u64) {
        if !ahead.is_empty() {
            self.read(&mut ahead.to_vec(), now);
        }
    }

    /// Reads and writes as far as the socket allows.
    pub(crate) fn poll(&self, scratch: &mut [u8], now: u64) -> Course {
        let course = self.exchange_bytes(scratch, now);
        if course == Course::Lost {
            self.lose();
        }
        self.settle(now);
        course
    }

    fn exchange_bytes(&self, scratch: &mut [u8], now: u64) -> Course {
        loop {
            if !self.write() {
                return Course::Lost;
            }
            if self.deaf.get() {
                let all_said = self.unsent.borrow().is_empty();
                return if all_said { Course::Over } else { Course::GoesOn };
            }
            let has_room = self.heard_bytes.get() < UNHEARD_BYTES_MAX;
            if !has_room || !self.wire.readable.get() {
                return Course::GoesOn;
            }
            match (&self.wire.socket).read(scratch) {
                Ok(0) => return Course::Lost,
                Ok(count) => self.read(&mut scratch[..count], now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wire.readable.set(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Course::Lost,
            }
        }
    }

    /// Writes what the socket takes; false when it is broken.
    fn write(&self) -> bool {
        let had_unsent = self.unsent_bytes.get() > 0;
        let mut unsent = self.unsent.borrow_mut();
        while self.wire.writable.get()
            && let Some(first) = unsent.front_mut()
        {
            match (&self.wire.socket).write(first) {
                Ok(count) => {
                    self.unsent_bytes.set(self.unsent_bytes.get() - count);
                    drop(first.split_to(count));
                    if first.is_empty() {
                        unsent.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wire.writable.set(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        drop(unsent);
        if had_unsent {
            // The app may have waited for room.
            self.notify();
        }
        true
    }

    fn read(&self, bytes: &mut [u8], now: u64) {
        self.heard_at.set(now);
        let mut said = Vec::new();
        let outcome =
            self.reader.borrow_mut().read(bytes, self.deflate.borrow_mut().as_mut(), &mut said);
        for one in said {
            self.answer(one);
        }
        if let Err(violation) = outcome {
            self.deaf.set(true);
            self.close(violation.code, violation.reason);
            self.end(violation.code, violation.reason);
        }
    }

    fn answer(&self, said: Said) {
        if self.deaf.get() {
            return;
        }
        match said {
            // Nobody listens any more.
            Said::Message(_) if self.close_said.get() => {}
            Said::Message(message) => {
                self.heard_bytes.set(self.heard_bytes.get() + message.length());
                self.heard.borrow_mut().push_back(message);
                self.notify();
            }
            // One that floods us with pings and reads no pong gets no more of them.
            Said::Ping(payload) if self.unsent_bytes.get() < UNHEARD_BYTES_MAX => {
                if !self.close_said.get() {
                    self.push(Opcode::Pong, false, payload);
                }
            }
            Said::Ping(_) => {}
            Said::Pong => self.pinged.set(false),
            Said::Close(code, reason) => {
                self.deaf.set(true);
                self.close(code.unwrap_or(1000), "");
                self.end(code.unwrap_or(NO_CODE), &reason);
            }
        }
    }

    /// Asks a client that has long been silent for a sign of life; one that gave none is lost.
    pub(crate) fn beat(&self, now: u64) -> Course {
        let interval = self.limits.ping_interval;
        let silence = Duration::from_nanos(now.saturating_sub(self.heard_at.get()));
        if interval.is_zero() || silence < interval || self.close_said.get() {
            return Course::GoesOn;
        }
        if !self.pinged.replace(true) {
            self.push(Opcode::Ping, false, Bytes::new());
        } else if silence >= interval * 2 {
            self.lose();
            return Course::Lost;
        }
        Course::GoesOn
    }

    fn settle(&self, now: u64) {
        let phase = if !self.wire.writable.get() {
            Phase::Writing
        } else if self.close_said.get() {
            Phase::Linger
        } else {
            Phase::App
        };
        if phase != self.wire.phase.replace(phase) {
            self.wire.since.set(now);
        }
    }
}
