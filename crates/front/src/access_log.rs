//! One line a request, in gunicorn's %-format, made after the response has left; and for metrics, how
//! each request ended.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, REFERER, USER_AGENT};
use hyper::http::Version;
use hyper::http::request::Parts;

use crate::{Peer, Reply};

/// What is noted of each request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessFormat {
    /// `None` = no line.
    pieces: Option<Vec<Piece>>,
    /// Names of `%({name}e)s`, for which the executor is asked.
    environ: Vec<String>,
    measures: bool,
    /// Whether the executor wants to know of each request, and writes no lines.
    records: bool,
}

/// A request that is over, for an executor that writes its own lines.
#[derive(Clone, Debug)]
pub struct AccessRecord {
    /// As it was served.
    pub head: Parts,
    /// The client.
    pub peer: Peer,
    /// Of the response.
    pub status: u16,
    /// Of the response.
    pub headers: HeaderMap,
    /// What the executor has found of the format's `%({name}e)s`.
    pub environ: Vec<String>,
    /// Of the response's body.
    pub sent_bytes: u64,
    /// From the executor's start to the last byte.
    pub took: Duration,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Of the response.
    pub status: u16,
    /// From the executor's start to the last byte.
    pub took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Atom(Atom),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Atom {
    Host,
    User,
    Time,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    Bytes,
    Referer,
    UserAgent,
    Seconds,
    Micros,
    Millis,
    DecimalSeconds,
    Pid,
    RequestHeader(HeaderName),
    ResponseHeader(HeaderName),
    /// Index of what the executor has found.
    Environ(usize),
    /// Unknown, or not known here: `-`.
    Dash,
}

/// A format that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`%` at column {column} is not followed by `(atom)s`, `(atom)d` or `%`")]
pub struct AccessFormatError {
    /// Counted from 1.
    pub column: usize,
}

impl AccessFormat {
    /// Reads gunicorn's format: `%(atom)s`, `%(atom)d`, `%%`; unknown atoms become `-`.
    ///
    /// # Errors
    ///
    /// The column of a `%` that begins nothing known.
    pub fn parse(format: &str) -> Result<Self, AccessFormatError> {
        let (mut pieces, mut environ) = (Vec::new(), Vec::new());
        let mut text = String::new();
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            let column = format.len() - rest.len() + at + 1;
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (name, after) = after
                .strip_prefix('(')
                .and_then(|after| after.split_once(')'))
                .ok_or(AccessFormatError { column })?;
            rest = after.strip_prefix(['s', 'd']).ok_or(AccessFormatError { column })?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            let atom = match environ_name(name) {
                Some(name) => {
                    environ.push(name.to_owned());
                    Atom::Environ(environ.len() - 1)
                }
                None => Atom::named(name),
            };
            pieces.push(Piece::Atom(atom));
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Ok(Self { pieces: Some(pieces), environ, ..Self::default() })
    }

    /// Whether metrics are wanted, with or without lines.
    #[must_use]
    pub fn measuring(self, measures: bool) -> Self {
        Self { measures, ..self }
    }

    /// Hands requests over as they were, in place of lines.
    #[must_use]
    pub fn recording(self) -> Self {
        Self { pieces: None, records: true, ..self }
    }

    /// Names of the values of an app's environ that lines show.
    #[must_use]
    pub fn environ(&self) -> &[String] {
        &self.environ
    }
}

/// The name within `{name}e`.
fn environ_name(name: &str) -> Option<&str> {
    name.strip_prefix('{')?.strip_suffix("}e")
}

impl Atom {
    fn named(name: &str) -> Self {
        if let Some((header, direction)) =
            name.strip_prefix('{').and_then(|name| name.split_once('}'))
        {
            return match (HeaderName::try_from(header), direction) {
                (Ok(header), "i") => Self::RequestHeader(header),
                (Ok(header), "o") => Self::ResponseHeader(header),
                _ => Self::Dash,
            };
        }
        match name {
            "h" => Self::Host,
            "u" => Self::User,
            "t" => Self::Time,
            "r" => Self::RequestLine,
            "m" => Self::Method,
            "U" => Self::Path,
            "q" => Self::Query,
            "H" => Self::Protocol,
            "s" => Self::Status,
            "b" | "B" => Self::Bytes,
            "f" => Self::Referer,
            "a" => Self::UserAgent,
            "T" => Self::Seconds,
            "D" => Self::Micros,
            "M" => Self::Millis,
            "L" => Self::DecimalSeconds,
            "p" => Self::Pid,
            _ => Self::Dash,
        }
    }
}

/// The format, and the lines that wait to be written.
#[derive(Debug)]
pub(crate) struct AccessLines {
    format: AccessFormat,
    waiting: RefCell<String>,
    measured: RefCell<Vec<Measure>>,
    records: RefCell<Vec<AccessRecord>>,
}

impl AccessLines {
    pub(crate) fn new(format: AccessFormat) -> Self {
        Self {
            format,
            waiting: RefCell::default(),
            measured: RefCell::default(),
            records: RefCell::default(),
        }
    }

    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut self.waiting.borrow_mut())
    }

    pub(crate) fn take_measured(&self) -> Vec<Measure> {
        self.measured.take()
    }

    pub(crate) fn take_records(&self) -> Vec<AccessRecord> {
        self.records.take()
    }

    pub(crate) fn environ(&self) -> &[String] {
        self.format.environ()
    }
}

/// What a line needs to know of an exchange until it is over.
#[derive(Debug)]
pub(crate) struct Entry {
    lines: Rc<AccessLines>,
    head: Parts,
    peer: Peer,
    status: u16,
    response_headers: HeaderMap,
    environ: Vec<String>,
    started: Instant,
}

impl Entry {
    pub(crate) fn new(
        lines: Rc<AccessLines>,
        head: Parts,
        peer: Peer,
        reply: &Reply,
        environ: Vec<String>,
        started: Instant,
    ) -> Self {
        let wanted = |piece: &Piece| matches!(piece, Piece::Atom(Atom::ResponseHeader(_)));
        let wants_all = lines.format.records || lines.format.pieces.iter().flatten().any(wanted);
        let response_headers = if wants_all { reply.headers().clone() } else { HeaderMap::new() };
        let status = reply.status().as_u16();
        Self { lines, head, peer, status, response_headers, environ, started }
    }

    /// Writes the line once the last byte was handed to the kernel, or the client is gone.
    pub(crate) fn finish(self: Box<Self>, sent_bytes: u64) {
        let took = self.started.elapsed();
        if self.lines.format.measures {
            self.lines.measured.borrow_mut().push(Measure { status: self.status, took });
        }
        if self.lines.format.records {
            let Self { lines, head, peer, status, response_headers: headers, environ, .. } = *self;
            let record = AccessRecord { head, peer, status, headers, environ, sent_bytes, took };
            lines.records.borrow_mut().push(record);
            return;
        }
        let Some(pieces) = &self.lines.format.pieces else { return };
        let mut line = self.lines.waiting.borrow_mut();
        for piece in pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Atom(atom) => self.write_atom(&mut line, atom, sent_bytes, took),
            }
        }
        line.push('\n');
    }

    fn write_atom(&self, line: &mut String, atom: &Atom, sent_bytes: u64, took: Duration) {
        let uri = &self.head.uri;
        // Writing to a string cannot fail.
        let _ = match atom {
            Atom::Host => match self.peer {
                Peer::Inet(ip, _) => write!(line, "{ip}"),
                Peer::Unix => Ok(()),
            },
            Atom::User => line.write_str(&self.user().unwrap_or_else(|| "-".into())),
            Atom::Time => write!(line, "{}", chrono::Local::now().format("[%d/%b/%Y:%H:%M:%S %z]")),
            Atom::RequestLine => {
                write!(
                    line,
                    "{} {} {}",
                    self.head.method,
                    escaped(&uri.to_string()),
                    self.protocol()
                )
            }
            Atom::Method => line.write_str(self.head.method.as_str()),
            Atom::Path => line.write_str(&escaped(&decoded(uri.path()))),
            Atom::Query => line.write_str(&escaped(uri.query().unwrap_or_default())),
            Atom::Protocol => line.write_str(self.protocol()),
            Atom::Status => write!(line, "{}", self.status),
            Atom::Bytes => write!(line, "{sent_bytes}"),
            Atom::Referer => line.write_str(&header(&self.head.headers, &REFERER)),
            Atom::UserAgent => line.write_str(&header(&self.head.headers, &USER_AGENT)),
            Atom::Seconds => write!(line, "{}", took.as_secs()),
            Atom::Micros => write!(line, "{}", took.as_micros()),
            Atom::Millis => write!(line, "{}", took.as_millis()),
            Atom::DecimalSeconds => write!(line, "{:.6}", took.as_secs_f64()),
            Atom::Pid => write!(line, "<{}>", std::process::id()),
            Atom::RequestHeader(name) => line.write_str(&header(&self.head.headers, name)),
            Atom::ResponseHeader(name) => line.write_str(&header(&self.response_headers, name)),
            Atom::Environ(index) => {
                let found = self.environ.get(*index).cloned();
                let value = found.unwrap_or_else(|| self.as_environ(*index));
                line.write_str(&escaped(&value))
            }
            Atom::Dash => line.write_str("-"),
        };
    }

    /// What the environ of a WSGI app would hold, where there is none, as with ASGI.
    fn as_environ(&self, index: usize) -> String {
        let name = self.lines.format.environ[index].to_ascii_uppercase();
        let uri = &self.head.uri;
        let value = match name.as_str() {
            "REQUEST_METHOD" => Some(self.head.method.to_string()),
            "RAW_URI" => Some(uri.to_string()),
            "PATH_INFO" => Some(decoded(uri.path())),
            "QUERY_STRING" => Some(uri.query().unwrap_or_default().to_owned()),
            "SERVER_PROTOCOL" => Some(self.protocol().to_owned()),
            "REMOTE_ADDR" => Some(self.peer.ip().map_or(String::new(), |ip| ip.to_string())),
            "REMOTE_PORT" => match self.peer {
                Peer::Inet(_, port) => Some(port.to_string()),
                Peer::Unix => None,
            },
            name => self.header_of_environ(name),
        };
        value.unwrap_or_else(|| "-".to_owned())
    }

    fn header_of_environ(&self, name: &str) -> Option<String> {
        let name = match name {
            "CONTENT_TYPE" | "CONTENT_LENGTH" => name,
            name => name.strip_prefix("HTTP_")?,
        };
        let name = HeaderName::try_from(name.replace('_', "-")).ok()?;
        let value = self.head.headers.get(name)?;
        Some(value.as_bytes().iter().map(|byte| char::from(*byte)).collect())
    }

    fn protocol(&self) -> &'static str {
        match self.head.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        }
    }

    /// The user of basic authentication.
    fn user(&self) -> Option<String> {
        let value = self.head.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (kind, secret) = value.split_once(' ')?;
        if !kind.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(decode_base64(secret.trim())?).ok()?;
        let user = decoded.split_once(':')?.0;
        (!user.is_empty()).then(|| escaped(user).into_owned())
    }
}

/// A path as an app sees it: each byte is a character.
fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).map(char::from).collect()
}

/// Quotes and control characters must not break the line open.
fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(|c: char| c == '"' || c.is_control()) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '"' => safe.push_str("\\\""),
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe.into()
}

fn header(headers: &HeaderMap, name: &HeaderName) -> String {
    match headers.get_all(name).iter().next_back() {
        Some(value) => escaped(&String::from_utf8_lossy(value.as_bytes())).into_owned(),
        None => "-".into(),
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let mut bits = 0u32;
    let mut count = 0;
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::{Request, Response};

    use super::*;
    use crate::reply::Content;

    fn line(format: &str) -> String {
        line_with(format, vec!["told".to_owned()])
    }

    fn line_with(format: &str, environ: Vec<String>) -> String {
        let lines = Rc::new(AccessLines::new(AccessFormat::parse(format).expect("format")));
        let request = Request::builder()
            .uri("/a%20b?c=1")
            .header("referer", "from \"here\"")
            .header("authorization", "Basic YWxhZGRpbjpvcGVu")
            .body(())
            .expect("request");
        let mut reply = Response::new(Content::Whole(Bytes::new()));
        reply.headers_mut().insert("x-id", "7".parse().expect("value"));
        let peer = Peer::Inet("1.2.3.4".parse().expect("ip"), 5);
        let entry = Entry::new(
            lines.clone(),
            request.into_parts().0,
            peer,
            &reply,
            environ,
            Instant::now(),
        );
        Box::new(entry).finish(12);
        lines.take()
    }

    #[test]
    fn atoms_are_filled_in() {
        assert_eq!(
            line(r#"%(h)s %(l)s %(u)s "%(r)s" %(s)s %(b)d "%(f)s" "%(a)s" %(U)s %(q)s 100%%"#),
            "1.2.3.4 - aladdin \"GET /a%20b?c=1 HTTP/1.1\" 200 12 \"from \\\"here\\\"\" \"-\" /a b c=1 100%\n"
        );
        assert_eq!(line("%({x-id}o)s %({Referer}i)s %(nonsense)s"), "7 from \\\"here\\\" -\n");
        assert_eq!(line("%({app.user}e)s %({app.role}e)s"), "told -\n");
    }

    #[test]
    fn without_an_environ_the_request_says_what_it_would_hold() {
        let format = "%({request_method}e)s %({PATH_INFO}e)s %({RAW_URI}e)s %({REMOTE_PORT}e)s \
                      %({HTTP_REFERER}e)s %({HTTP_HOST}e)s %({app.user}e)s";
        let expected = "GET /a b /a%20b?c=1 5 from \\\"here\\\" - -\n";
        assert_eq!(line_with(format, Vec::new()), expected);
    }

    #[test]
    fn requests_can_be_recorded_in_place_of_lines() {
        let format = AccessFormat::parse("%({app.user}e)s").expect("format").recording();
        let lines = Rc::new(AccessLines::new(format));
        let (head, ()) = Request::builder().uri("/a").body(()).expect("request").into_parts();
        let mut reply = Response::new(Content::Whole(Bytes::new()));
        reply.headers_mut().insert("x-id", "7".parse().expect("value"));
        let environ = vec!["me".to_owned()];
        let entry = Entry::new(lines.clone(), head, Peer::Unix, &reply, environ, Instant::now());
        Box::new(entry).finish(12);
        assert_eq!(lines.take(), "");
        let [record] = &lines.take_records()[..] else { panic!("one record") };
        assert_eq!((record.head.uri.path(), record.status, record.sent_bytes), ("/a", 200, 12));
        assert_eq!(
            (&record.headers["x-id"], &record.environ[..]),
            (&"7".parse().expect("value"), &["me".to_owned()][..])
        );
    }

    #[test]
    fn requests_can_be_measured_without_lines() {
        let lines = Rc::new(AccessLines::new(AccessFormat::default().measuring(true)));
        let (head, ()) = Request::new(()).into_parts();
        let reply = Response::new(Content::Whole(Bytes::new()));
        let entry = Entry::new(lines.clone(), head, Peer::Unix, &reply, Vec::new(), Instant::now());
        Box::new(entry).finish(0);
        assert_eq!(lines.take(), "");
        assert_eq!(lines.take_measured().iter().map(|m| m.status).collect::<Vec<_>>(), [200]);
        assert_eq!(lines.take_measured(), []);
    }

    #[test]
    fn a_broken_format_names_the_column() {
        assert_eq!(AccessFormat::parse("ab %h"), Err(AccessFormatError { column: 4 }));
        assert_eq!(AccessFormat::parse("%(h)x"), Err(AccessFormatError { column: 1 }));
    }
}
