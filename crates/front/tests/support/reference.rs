//! A second reading of a connection's bytes, written for strictness and nothing else: whole heads
//! at once, no state, no speed. What the front's executor gets must be exactly this.

use super::{Request, find};

/// How a connection's bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// After a whole message.
    Clean,
    /// Before the end of a message that may have become a good one.
    Incomplete,
    /// In something that no strict server answers.
    Refused,
}

/// What a strict server makes of a connection's bytes.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Whole requests, which it answers.
    pub(crate) requests: Vec<Request>,
    /// A last one, good so far, whose body is not complete or not in order.
    pub(crate) unfinished: Option<Request>,
    pub(crate) end: End,
}

pub(crate) fn read(mut bytes: &[u8]) -> Reading {
    let mut requests = Vec::new();
    loop {
        bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let end = |requests, unfinished, end| Reading { requests, unfinished, end };
        if bytes.is_empty() {
            return end(requests, None, End::Clean);
        }
        let head = match head(bytes) {
            Ok(head) => head,
            Err(how) => return end(requests, None, how),
        };
        let (body, rest) = match head.framing.body(head.rest) {
            Ok(body) => body,
            Err(how) => return end(requests, Some(head.request), how),
        };
        requests.push(Request { body, ..head.request });
        if head.closes {
            return end(requests, None, End::Clean);
        }
        bytes = rest;
    }
}

struct Head<'a> {
    request: Request,
    framing: Framing,
    /// It is the last of its connection.
    closes: bool,
    rest: &'a [u8],
}

enum Framing {
    Length(u64),
    Chunked,
}

fn head(bytes: &[u8]) -> Result<Head<'_>, End> {
    let end = find(bytes, b"\r\n\r\n").ok_or_else(|| incomplete_head(bytes))?;
    let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
    let mut lines = lines(head)?.into_iter();
    let (method, target, version) = request_line(lines.next().ok_or(End::Refused)?)?;
    let mut headers = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    let all = |name: &str| {
        let found = headers.iter().filter(|(given, _)| given == name);
        found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let is_host_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    let bad = all("host").len() > 1
        || version == 1 && all("host").is_empty()
        || !all("host").iter().flatten().all(is_host_byte)
        || all("content-type").len() > 1
        || all("expect").iter().any(|value| !value.eq_ignore_ascii_case(b"100-continue"));
    if bad {
        return Err(End::Refused);
    }
    let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
    let framing = match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Framing::Length(0),
        ([], [length]) => Framing::Length(content_length(length)?),
        ([coding], []) if version == 1 && coding.eq_ignore_ascii_case(b"chunked") => {
            Framing::Chunked
        }
        _ => return Err(End::Refused),
    };
    // hyper does not look into a line with other characters.
    let tokens: Vec<_> = all("connection").into_iter().filter(|line| line.is_ascii()).collect();
    let connection = tokens.join(&b","[..]).to_ascii_lowercase();
    let connection = String::from_utf8_lossy(&connection).into_owned();
    let says = |token: &str| connection.split(',').any(|given| given.trim() == token);
    let closes = says("close") || version == 0 && !says("keep-alive");
    let request = Request { method, target, headers, body: Vec::new() };
    Ok(Head { request, framing, closes, rest })
}

/// A head without an end: is there something in it already that cannot become good?
fn incomplete_head(bytes: &[u8]) -> End {
    let bare = bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r'));
    if bare { End::Refused } else { End::Incomplete }
}

fn lines(head: &[u8]) -> Result<Vec<&[u8]>, End> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    let is_clean = |line: &&[u8]| !line.contains(&b'\r') && !line.contains(&b'\n');
    if lines.iter().all(is_clean) { Ok(lines) } else { Err(End::Refused) }
}

fn request_line(line: &[u8]) -> Result<(String, String, u8), End> {
    let line = std::str::from_utf8(line).map_err(|_| End::Refused)?;
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else { return Err(End::Refused) };
    let is_method = (3..=20).contains(&method.len())
        && method.bytes().all(is_token)
        && !method.bytes().any(|byte| byte.is_ascii_lowercase() || byte == b'#')
        && method != "CONNECT";
    // Which characters a path may have is no matter of framing, so this is not read twice.
    let uri: remuda_front::http::Uri = target.parse().map_err(|_| End::Refused)?;
    let is_target = (target.starts_with('/') || target == "*" && method == "OPTIONS")
        && target.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    let version = match version {
        "HTTP/1.1" => 1,
        "HTTP/1.0" => 0,
        _ => return Err(End::Refused),
    };
    if !is_method || !is_target {
        return Err(End::Refused);
    }
    Ok((method.to_owned(), uri.to_string(), version))
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), End> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(End::Refused)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_value = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
    if name.is_empty() || !name.iter().copied().all(is_token) || !value.iter().all(is_value) {
        return Err(End::Refused);
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |at| at + 1);
    Ok((name, value[start..end].to_vec()))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

type Body<'a> = (Vec<u8>, &'a [u8]);

impl Framing {
    fn body(self, rest: &[u8]) -> Result<Body<'_>, End> {
        match self {
            Self::Length(length) => {
                let (body, rest) = rest.split_at_checked(length as usize).ok_or(End::Incomplete)?;
                Ok((body.to_vec(), rest))
            }
            Self::Chunked => by_chunks(rest),
        }
    }
}

fn content_length(value: &[u8]) -> Result<u64, End> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(End::Refused);
    }
    let length: u64 = String::from_utf8_lossy(value).parse().map_err(|_| End::Refused)?;
    if length > i64::MAX as u64 { Err(End::Refused) } else { Ok(length) }
}

fn by_chunks(mut rest: &[u8]) -> Result<Body<'_>, End> {
    let mut body = Vec::new();
    loop {
        let (line, after) = chunk_line(rest)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = line[digits..].trim_ascii_start();
        let has_blanks = line.len() - digits > extension.len();
        let is_extension = extension.first() == Some(&b';') || extension.is_empty() && !has_blanks;
        if digits == 0 || digits > 16 || !is_extension || !is_text(&line[digits..]) {
            return Err(End::Refused);
        }
        let size = u64::from_str_radix(&String::from_utf8_lossy(&line[..digits]), 16);
        let size = size.map_err(|_| End::Refused)?;
        if size == 0 {
            return Ok((body, trailers(after)?));
        }
        if (after.len() as u64) < size {
            return Err(End::Incomplete);
        }
        let (data, after) = after.split_at(size as usize);
        body.extend_from_slice(data);
        rest = match after {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Err(End::Incomplete),
            _ => return Err(End::Refused),
        };
    }
}

/// A line of a chunked body. One that has no end yet is judged by what there is of it.
fn chunk_line(bytes: &[u8]) -> Result<(&[u8], &[u8]), End> {
    match find(bytes, b"\r\n") {
        Some(end) => Ok((&bytes[..end], &bytes[end + 2..])),
        None => Err(End::Incomplete),
    }
}

/// Judged once all of them are there, as a head is.
fn trailers(mut rest: &[u8]) -> Result<&[u8], End> {
    let mut lines = Vec::new();
    loop {
        let (line, after) = chunk_line(rest)?;
        rest = after;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    lines.into_iter().try_for_each(|line| field(line).map(drop))?;
    Ok(rest)
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f)
}
