//! A front on a socket of its own, driven by the test's thread, and a client that feeds it bytes.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod fuzzing;
pub(crate) mod reference;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use bytes::Bytes;
use remuda_front::http::Response;
use remuda_front::{
    Arrived, Content, Exchange, Front, Limits, Listener, Notice, Protocols, Proxies, RequestBody,
    Setup, Underscores,
};

/// A request as the executor got it. Headers stand in the order of their names: a `HeaderMap` keeps
/// the order within a name only, which is all that HTTP asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// What came of one connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) requests: Vec<Request>,
    pub(crate) responses: Vec<Answer>,
    /// Bytes behind the last whole response.
    pub(crate) rest: Vec<u8>,
}

/// A response, its interim ones left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Without `Date`, which changes.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) has_date: bool,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// When the executor answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Once it has read the whole body.
    #[default]
    AfterBody,
    /// At once, without a look at the body.
    AtOnce,
}

/// A front and its address.
pub(crate) struct Bench {
    pub(crate) front: Front,
    pub(crate) answers: Answers,
    pub(crate) path: PathBuf,
    pub(crate) _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::speaking(limits, Protocols::default())
    }

    pub(crate) fn speaking(limits: Limits, protocols: Protocols) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("front.sock");
        let listener = UnixListener::bind(&path).expect("bind");
        listener.set_nonblocking(true).expect("flag");
        let listener = Listener::new(listener.into(), path.display().to_string(), None);
        let watched: OwnedFd = std::os::unix::net::UnixDatagram::unbound().expect("socket").into();
        let proxies = Proxies { underscores: Underscores::Dangerous, ..Proxies::default() };
        let setup =
            Setup { listeners: vec![listener], limits, proxies, protocols, ..Setup::default() };
        let front = Front::new(setup, watched);
        let front = front.expect("front");
        Self { front, answers: Answers::default(), path, _folder: folder }
    }

    /// Feeds one connection piece by piece, and then closes its writing side.
    pub(crate) fn feed<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let mut client = UnixStream::connect(&self.path).expect("connect");
        client.set_nonblocking(true).expect("flag");
        let mut executor = Executor { answers: self.answers, ..Executor::default() };
        let mut answered = Vec::new();
        for piece in pieces {
            let mut rest = piece;
            while !rest.is_empty() {
                match client.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // Refused and closed; what it has said before is what counts.
                    Err(_) => break,
                }
                executor.run(&self.front);
                read_available(&mut client, &mut answered);
            }
        }
        // The front may have closed it already.
        let _ = client.shutdown(Shutdown::Write);
        for _ in 0..1000 {
            executor.run(&self.front);
            if read_available(&mut client, &mut answered) && self.front.connections() == 0 {
                break;
            }
        }
        assert_eq!(self.front.connections(), 0, "the connection is still there");
        let (responses, rest) = read_answers(&answered, &executor.requests);
        Outcome { requests: executor.requests, responses, rest }
    }

    pub(crate) fn refusals(&self) -> Option<(String, u64)> {
        self.front.take_notices().into_iter().find_map(|notice| match notice {
            Notice::InvalidRequest { reason, more, .. } => Some((reason, more)),
            _ => None,
        })
    }
}

/// Answers each request with the length of its body.
#[derive(Default)]
struct Executor {
    answers: Answers,
    requests: Vec<Request>,
    /// With a body that is still coming in.
    waiting: VecDeque<(Exchange, Vec<u8>)>,
}

impl Executor {
    fn run(&mut self, front: &Front) {
        loop {
            front.collect().expect("collect");
            while let Some(exchange) = front.next_exchange() {
                self.waiting.push_back((exchange, Vec::new()));
            }
            let before = self.waiting.len();
            for _ in 0..before {
                if let Some((exchange, body)) = self.waiting.pop_front() {
                    self.advance(front, exchange, body);
                }
            }
            if !front.has_work() && self.waiting.len() == before {
                return;
            }
        }
    }

    fn advance(&mut self, front: &Front, mut exchange: Exchange, mut body: Vec<u8>) {
        let nothing = RequestBody::Memory(Bytes::new());
        match std::mem::replace(&mut exchange.body, nothing) {
            _ if self.answers == Answers::AtOnce => {}
            RequestBody::Memory(bytes) => body.extend_from_slice(&bytes),
            RequestBody::File { mut file, .. } => drop(file.read_to_end(&mut body).expect("file")),
            RequestBody::Stream(inbound) => loop {
                match inbound.take() {
                    Arrived::Piece(piece, last) => {
                        body.extend_from_slice(&piece);
                        if last {
                            break;
                        }
                    }
                    // A real app would be told; its request counts as not made.
                    Arrived::Failed => return,
                    Arrived::Nothing => {
                        inbound.want(true);
                        front.poll_connection(exchange.connection());
                        let arrived = inbound.take();
                        inbound.want(arrived == Arrived::Nothing);
                        match arrived {
                            Arrived::Piece(piece, last) => {
                                body.extend_from_slice(&piece);
                                if last {
                                    break;
                                }
                            }
                            Arrived::Failed => return,
                            Arrived::Nothing => {
                                exchange.body = RequestBody::Stream(inbound);
                                return self.waiting.push_back((exchange, body));
                            }
                        }
                    }
                }
            },
        }
        let head = &exchange.head;
        let mut headers: Vec<_> =
            head.headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
        headers.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.requests.push(Request {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            headers,
            body: body.clone(),
        });
        let text = format!("{} bytes", body.len());
        exchange.reply(front, Response::new(Content::Whole(text.into())));
    }
}

/// True at the end.
fn read_available(client: &mut UnixStream, answered: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 64 * 1024];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => answered.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// Responses in order, those to HEAD without a body, and what stands behind them.
fn read_answers(mut bytes: &[u8], requests: &[Request]) -> (Vec<Answer>, Vec<u8>) {
    let mut answers = Vec::new();
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let head = std::str::from_utf8(&bytes[..end]).expect("our heads are ASCII");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        assert!(status_line.starts_with("HTTP/1."), "{status_line}");
        let status = status_line[9..12].parse().expect("a status");
        let mut headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a field"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        bytes = &bytes[end + 4..];
        if (100..200).contains(&status) {
            continue;
        }
        let has_date = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date"));
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
        let mut answer = Answer { status, headers, has_date, body: Vec::new() };
        // A request that was refused may have been one for a head, too.
        let is_head = requests.get(answers.len()).map_or(bytes.is_empty(), |r| r.method == "HEAD");
        if !is_head {
            let length = answer.header("content-length").expect("a length");
            let length: usize = length.parse().expect("a number");
            let (body, rest) = bytes.split_at_checked(length).expect("the whole body");
            answer.body = body.to_vec();
            bytes = rest;
        }
        answers.push(answer);
    }
    (answers, bytes.to_vec())
}

pub(crate) fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
