//! What comes before a connection's first request: a PROXY header, the TLS handshake, and the choice
//! between HTTP/1 and HTTP/2. Only listeners that ask for one of these have this stage.
//!
//! Bytes are looked at in the kernel's buffer, and stay there until it is known whose they are. So
//! nothing is held for a client that takes its time here, and nothing has to be handed on.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use nix::sys::socket::{MsgFlags, recv};

use crate::connection::Stage;
use crate::layer::Raw;
use crate::proxy::{ProxyProtocol, Seen, Told};
use crate::refusal::Refusal;
use crate::shared::Notice;
use crate::tls::Certificates;
use crate::tls::Renewal;
use crate::tls::{Session, Shaken};
use crate::wire::{Peer, Wire};
use crate::{Front, TrustedPeers};

/// What is spoken on the listeners beside plain HTTP/1.
#[derive(Debug, Default)]
pub struct Protocols {
    /// Which PROXY headers are read, and from whom.
    pub proxy: Option<(ProxyProtocol, TrustedPeers)>,
    /// What TLS is made with; `None` = plain.
    pub tls: Option<Arc<Certificates>>,
    /// HTTP/2 without TLS, from peers that are believed. With TLS the client chooses.
    pub cleartext_http2: CleartextHttp2,
    /// Who may speak uwsgi, which is then spoken in place of HTTP; `None` = nobody.
    pub uwsgi: Option<TrustedPeers>,
}

/// Whether HTTP/2 is spoken without TLS, by clients that know it beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CleartextHttp2 {
    /// No.
    #[default]
    Off,
    /// As well as HTTP/1.
    Also,
    /// And HTTP/1 is not, by those that could speak it.
    Only,
}

/// The same, with what changes while it is used.
pub(crate) struct Door {
    proxy: Option<(ProxyProtocol, TrustedPeers)>,
    renewal: Option<Renewal>,
    cleartext_http2: CleartextHttp2,
    uwsgi: Option<TrustedPeers>,
}

/// What a connection that is not open yet waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    ProxyHeader,
    /// The first byte of a handshake, which tells it from plain HTTP.
    Hello,
    Handshake,
    /// The first bytes of an HTTP/2 connection, or else of a request.
    Preface,
    /// Nothing: it may not speak uwsgi.
    Forbidden,
}

/// Where a step has led to.
enum Next {
    Step(Step),
    Wait,
    Http1,
    Http2,
    /// The client cannot be served; what it is told, if it can be told anything.
    Refused(String, Bytes),
    Gone,
}

/// What the kernel has of a client's first bytes.
enum Peeked {
    Bytes(usize),
    Wait,
    Gone,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of every TLS handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
const PLAIN_ON_TLS: &str = "This port speaks HTTPS, but the request came as plain HTTP.\n";

impl Door {
    pub(crate) fn new(protocols: Protocols) -> Self {
        Self {
            proxy: protocols.proxy,
            renewal: protocols.tls.map(Renewal::new),
            cleartext_http2: match protocols.uwsgi {
                Some(_) => CleartextHttp2::Off,
                None => protocols.cleartext_http2,
            },
            uwsgi: protocols.uwsgi,
        }
    }

    pub(crate) fn speaks_uwsgi(&self) -> bool {
        self.uwsgi.is_some()
    }

    /// Whether it may not speak what is spoken here. That is whoever has connected, and not in whose
    /// name.
    pub(crate) fn forbids(&self, peer: Peer) -> bool {
        self.uwsgi.as_ref().is_some_and(|allowed| !allowed.contains(peer))
    }

    /// What a new connection begins with.
    pub(crate) fn first_stage(&self, peer: Peer, trusted: bool) -> Stage {
        match self.proxy {
            _ if self.forbids(peer) => Stage::Opening(Step::Forbidden),
            Some(_) => Stage::Opening(Step::ProxyHeader),
            None => self.after_proxy(trusted).map_or(Stage::Parked, Stage::Opening),
        }
    }

    fn after_proxy(&self, trusted: bool) -> Option<Step> {
        if self.renewal.is_some() {
            Some(Step::Hello)
        } else if self.cleartext_http2 != CleartextHttp2::Off && trusted {
            Some(Step::Preface)
        } else {
            None
        }
    }

    /// Applies what has changed outside.
    pub(crate) fn look(&self, now: u64) -> Option<Notice> {
        self.renewal.as_ref()?.look(now)
    }

    fn in_plain(&self, refusal: Refusal) -> Bytes {
        // Under TLS nobody would understand it.
        if self.renewal.is_some() { Bytes::new() } else { refusal.to_bytes() }
    }
}

impl Front {
    /// Goes on with a connection that is not open yet.
    #[inline(never)]
    pub(crate) fn open(&self, wire: &Rc<Wire>, mut step: Step) {
        loop {
            let next = match step {
                Step::ProxyHeader => self.read_proxy_header(wire),
                Step::Hello => self.begin_handshake(wire),
                Step::Handshake => shake_hands(wire),
                Step::Preface => self.look_for_preface(wire),
                Step::Forbidden => {
                    let reason = "it may not speak uwsgi, see `uwsgi_allow_ips`".to_owned();
                    Ok(Next::Refused(reason, self.door.in_plain(Refusal::Forbidden)))
                }
            };
            match next.unwrap_or(Next::Gone) {
                Next::Step(next) => step = next,
                Next::Wait => return self.keep(wire, Stage::Opening(step)),
                Next::Http1 => {
                    wire.head_begun.set(false);
                    return self.drive(self.begin_http1(wire), wire);
                }
                Next::Http2 => {
                    wire.head_begun.set(false);
                    return self.drive_http2(self.begin_http2(wire), wire);
                }
                Next::Refused(reason, words) => return self.turn_away(wire, reason, &words),
                // What it has sent is read first: else its end would look like a fault of ours.
                Next::Gone => {
                    wire.readable.set(true);
                    return self.close(wire);
                }
            }
        }
    }

    /// A client that did not come through the door in time.
    pub(crate) fn close_door(&self, wire: &Rc<Wire>, step: Step) {
        if !wire.head_begun.get() {
            // It has said nothing: a browser that keeps a connection for later, or a port scan.
            return self.remove(wire.id);
        }
        let (reason, words) = match step {
            Step::Hello | Step::Handshake => {
                ("the TLS handshake did not end in time", Bytes::new())
            }
            Step::ProxyHeader => {
                ("the PROXY header did not end in time", self.door.in_plain(Refusal::HeadTimeout))
            }
            Step::Preface => {
                ("the HTTP/2 preface did not end in time", self.door.in_plain(Refusal::HeadTimeout))
            }
            // It is turned away at its first turn.
            Step::Forbidden => return self.remove(wire.id),
        };
        self.turn_away(wire, reason.to_owned(), &words);
    }

    fn turn_away(&self, wire: &Rc<Wire>, reason: String, words: &[u8]) {
        self.core.note_refusal(wire.peer.get(), || reason);
        // A client that does not read will not miss it.
        let _ = Raw(wire).write(words);
        wire.readable.set(true);
        self.close(wire);
    }

    /// Looks at what the client has sent, and leaves it where it is.
    fn peek(&self, wire: &Wire) -> Peeked {
        if !wire.readable.get() {
            return Peeked::Wait;
        }
        let mut scratch = self.scratch.borrow_mut();
        loop {
            return match recv(wire.socket().as_raw_fd(), &mut scratch, MsgFlags::MSG_PEEK) {
                Ok(0) => Peeked::Gone,
                Ok(count) => {
                    wire.head_begun.set(true);
                    Peeked::Bytes(count)
                }
                Err(nix::Error::EAGAIN) => {
                    wire.readable.set(false);
                    Peeked::Wait
                }
                Err(nix::Error::EINTR) => continue,
                Err(_) => Peeked::Gone,
            };
        }
    }

    /// More must come before anything can be decided; the kernel will say when it does.
    fn wait_for_more(&self, wire: &Wire) -> Next {
        if wire.hangup.get() {
            return Next::Gone;
        }
        wire.readable.set(false);
        Next::Wait
    }

    fn read_proxy_header(&self, wire: &Wire) -> io::Result<Next> {
        let count = match self.peek(wire) {
            Peeked::Bytes(count) => count,
            Peeked::Wait => return Ok(Next::Wait),
            Peeked::Gone => return Ok(Next::Gone),
        };
        let Some((protocol, allowed)) = &self.door.proxy else { return Ok(Next::Http1) };
        let seen = protocol.look(&self.scratch.borrow()[..count]);
        let peer = wire.peer.get();
        if !matches!(seen, Seen::Absent | Seen::Partial) && !allowed.contains(peer) {
            let reason = "it may not send PROXY headers, see `proxy_allow_ips`";
            return Ok(Next::Refused(reason.to_owned(), self.door.in_plain(Refusal::Forbidden)));
        }
        match seen {
            Seen::Partial => return Ok(self.wait_for_more(wire)),
            Seen::Malformed(why) => {
                let reason = format!("Invalid PROXY header: {why}");
                return Ok(Next::Refused(reason, self.door.in_plain(Refusal::ProxyHeader)));
            }
            Seen::Absent => {}
            Seen::Header(told, length) => {
                Raw(wire).read_exact(&mut self.scratch.borrow_mut()[..length])?;
                believe(wire, told);
            }
        }
        Ok(self.door.after_proxy(wire.trusted).map_or(Next::Http1, Next::Step))
    }

    fn begin_handshake(&self, wire: &Wire) -> io::Result<Next> {
        let first = match self.peek(wire) {
            Peeked::Bytes(_) => self.scratch.borrow()[0],
            Peeked::Wait => return Ok(Next::Wait),
            Peeked::Gone => return Ok(Next::Gone),
        };
        if first != HANDSHAKE_RECORD && first.is_ascii_uppercase() {
            let reason = "plain HTTP on a port that speaks TLS".to_owned();
            return Ok(Next::Refused(reason, plain_text_400(PLAIN_ON_TLS)));
        }
        let Some(renewal) = &self.door.renewal else { return Ok(Next::Http1) };
        let session = Session::new(renewal.current()).map_err(io::Error::other)?;
        let _ = wire.tls.set(Box::new(session));
        Ok(Next::Step(Step::Handshake))
    }

    fn look_for_preface(&self, wire: &Wire) -> io::Result<Next> {
        let count = match self.peek(wire) {
            Peeked::Bytes(count) => count,
            Peeked::Wait => return Ok(Next::Wait),
            Peeked::Gone => return Ok(Next::Gone),
        };
        let scratch = self.scratch.borrow();
        let bytes = &scratch[..count.min(PREFACE.len())];
        if bytes == PREFACE {
            return Ok(Next::Http2);
        }
        if PREFACE.starts_with(bytes) {
            return Ok(self.wait_for_more(wire));
        }
        if self.door.cleartext_http2 == CleartextHttp2::Only {
            let reason =
                format!("Expected HTTP/2 connection preface, got '{}'", bytes.escape_ascii());
            return Ok(Next::Refused(reason, Refusal::Preface.to_bytes()));
        }
        Ok(Next::Http1)
    }
}

fn shake_hands(wire: &Wire) -> io::Result<Next> {
    let Some(session) = wire.tls.get() else { return Ok(Next::Gone) };
    match session.shake_hands(wire) {
        Ok(Shaken::NotYet) => Ok(Next::Wait),
        Ok(Shaken::Done) if session.chose_http2() => Ok(Next::Http2),
        Ok(Shaken::Done) => Ok(Next::Http1),
        // rustls has told the client already, in the words of TLS.
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Ok(Next::Refused(format!("TLS handshake: {error}"), Bytes::new()))
        }
        Err(_) => Ok(Next::Gone),
    }
}

/// From now on the connection is its client's, and not its proxy's. Whether its headers are
/// believed was decided by who has connected, and stays so.
fn believe(wire: &Wire, told: Told) {
    if let Some((client, _)) = told.addresses {
        wire.peer.set(Peer::Inet(client.ip(), client.port()));
    }
    // A connection has one such header.
    let _ = wire.told.set(Box::new(told));
}

fn plain_text_400(text: &str) -> Bytes {
    format!(
        "HTTP/1.1 400 Bad Request\r\nServer: remuda\r\nConnection: close\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into()
}
