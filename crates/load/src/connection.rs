//! One connection: a request goes out, its response comes in, and what ended it is told apart.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::account::Fate;
use crate::plan::{Slow, SlowWhat};
use crate::request::Request;
use crate::response::{Answer, ResponseReader};

/// A connected, or connecting, non-blocking socket.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// It has brought a response, so the server may have closed it meanwhile.
    kept: bool,
    head: Vec<u8>,
    /// Of head and body.
    written: usize,
    reader: ResponseReader,
}

/// How far a request has come.
#[derive(Debug)]
pub(crate) enum Step {
    Waiting,
    Answered(Answer),
    /// The connection was closed while it was idle; the request was not read.
    Unread,
    Failed(Fate),
}

/// What an event on an idle connection meant.
pub(crate) enum Idle {
    Nothing,
    Closed,
}

/// A small receive buffer, so that a server notices a slow reader.
const SLOW_BUFFER_BYTES: usize = 4096;

impl Connection {
    /// Begins to connect; `slow` readers offer little room.
    pub(crate) fn open(address: SocketAddr, slow: Option<Slow>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        if slow.is_some_and(|slow| slow.what == SlowWhat::Read) {
            socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
        }
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
            _ => Ok(Self {
                stream: socket.into(),
                kept: false,
                head: Vec::new(),
                written: 0,
                reader: ResponseReader::default(),
            }),
        }
    }

    /// Whether the server has closed a connection that was kept. To be asked right before the next
    /// request is written: an end that comes later was sent by somebody who may have read it.
    pub(crate) fn has_ended(&self) -> bool {
        self.kept
            && match self.stream.peek(&mut [0; 1]) {
                Ok(length) => length == 0,
                Err(error) => !is_for_later(&error),
            }
    }

    /// Takes the next request; nothing is written yet.
    pub(crate) fn begin(&mut self, request: &Request, number: u64) {
        request.write_head(number, &mut self.head);
        self.written = 0;
        self.reader.restart(request.bodiless);
    }

    /// Whether a byte of the request went out.
    pub(crate) fn has_sent(&self) -> bool {
        self.written > 0
    }

    /// Writes what the socket takes.
    pub(crate) fn send(&mut self, request: &Request, scratch: &mut [u8]) -> Step {
        match self.write(request, usize::MAX) {
            Ok(()) => Step::Waiting,
            Err(error) => self.broken(&error, scratch),
        }
    }

    /// Reads what has come, and writes what is left.
    pub(crate) fn ready(&mut self, request: &Request, scratch: &mut [u8]) -> Step {
        if self.written < self.head.len() + request.body.len()
            && let Err(error) = self.write(request, usize::MAX)
        {
            return self.broken(&error, scratch);
        }
        self.receive(scratch, usize::MAX)
    }

    /// One step of a slow client.
    pub(crate) fn step(&mut self, request: &Request, slow: Slow, scratch: &mut [u8]) -> Step {
        if self.written < self.head.len() + request.body.len() {
            let allowance = match slow.what {
                SlowWhat::Read => usize::MAX,
                SlowWhat::Body if self.written < self.head.len() => self.head.len(),
                SlowWhat::Head | SlowWhat::Body => slow.bytes,
            };
            return match self.write(request, allowance) {
                Ok(()) => Step::Waiting,
                Err(error) => self.broken(&error, scratch),
            };
        }
        let limit = if slow.what == SlowWhat::Read { slow.bytes } else { usize::MAX };
        self.receive(scratch, limit)
    }

    /// Whether it has brought a response.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// The connection will take another request.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// Something happened while no request was under way.
    pub(crate) fn idle(&mut self, scratch: &mut [u8]) -> Idle {
        match self.stream.read(scratch) {
            Err(error) if is_for_later(&error) => Idle::Nothing,
            // Bytes that nobody asked for are as good as an end.
            _ => Idle::Closed,
        }
    }

    fn write(&mut self, request: &Request, mut allowance: usize) -> io::Result<()> {
        let total = self.head.len() + request.body.len();
        while self.written < total && allowance > 0 {
            let head = &self.head[self.written.min(self.head.len())..];
            let body = &request.body[self.written.saturating_sub(self.head.len())..];
            let head = &head[..head.len().min(allowance)];
            let body = &body[..body.len().min(allowance - head.len())];
            let result = if body.is_empty() {
                self.stream.write(head)
            } else if head.is_empty() {
                self.stream.write(body)
            } else {
                self.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
            };
            match result {
                Ok(written) => {
                    self.written += written;
                    allowance -= written;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, scratch: &mut [u8], limit: usize) -> Step {
        let limit = limit.min(scratch.len());
        loop {
            match self.stream.read(&mut scratch[..limit]) {
                Ok(0) => return self.ended(false),
                Ok(length) => match self.reader.feed(&scratch[..length]) {
                    Ok(None) if limit < scratch.len() => return Step::Waiting,
                    Ok(None) => {}
                    Ok(Some(answer)) => return Step::Answered(answer),
                    Err(reason) => return Step::Failed(Fate::Invalid(reason.to_string())),
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => return Step::Waiting,
                Err(error) => return self.broken_off(&error),
            }
        }
    }

    /// Writing failed. A response may have come all the same, before the request was read.
    fn broken(&mut self, error: &io::Error, scratch: &mut [u8]) -> Step {
        if self.written == 0 && !self.kept {
            return self.broken_off(error);
        }
        match self.receive(scratch, usize::MAX) {
            Step::Waiting => self.broken_off(error),
            step => step,
        }
    }

    fn broken_off(&self, error: &io::Error) -> Step {
        if self.written > 0 || self.kept {
            return self.ended(true);
        }
        Step::Failed(match error.kind() {
            ErrorKind::ConnectionRefused => Fate::Refused,
            ErrorKind::TimedOut => Fate::ConnectTimedOut,
            // The server had accepted, or the kernel for it.
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Fate::Reset { within: false },
            _ => Fate::NotSent(error.to_string()),
        })
    }

    fn ended(&self, reset: bool) -> Step {
        if !reset && let Some(answer) = self.reader.end() {
            return Step::Answered(answer);
        }
        let within = self.reader.begun();
        // A reset that came after the end is kept by the kernel, and not given to `read`.
        let reset = reset || matches!(self.stream.take_error(), Ok(Some(_)) | Err(_));
        if self.kept && !within && reset {
            return Step::Unread;
        }
        Step::Failed(if reset { Fate::Reset { within } } else { Fate::ClosedEarly { within } })
    }
}

fn is_for_later(error: &io::Error) -> bool {
    // A socket that is still connecting answers `read` with the latter.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
