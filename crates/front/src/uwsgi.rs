//! uwsgi, the binary protocol of nginx's `uwsgi_pass`: one packet of variables, then the body.
//!
//! What a packet says of its request becomes the head that a request of HTTP has, so that nothing
//! behind this room knows the difference. Which variables count, and for what, is gunicorn's choice;
//! see `docs/design/043-uwsgi-protocol.md`.

use bytes::Bytes;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri, Version};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use crate::forwarded::Scheme;
use crate::head;
use crate::refusal::Refusal;

/// A request as a packet gives it.
pub(crate) struct Packet {
    pub(crate) head: Parts,
    pub(crate) body_bytes: u64,
    /// How the client came to whoever has sent the packet; `None` when it does not say.
    pub(crate) scheme: Option<Scheme>,
}

/// `modifier1`, the size of the variables, `modifier2`.
const PREFIX_BYTES: usize = 4;
/// The only `modifier1` that is a request for an app; others ask a uWSGI server for other things.
const REQUEST: u8 = 0;
/// As many as gunicorn reads.
const VARIABLES_MAX: usize = 1000;

/// What stands for itself in the path of a target.
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b':')
    .remove(b'@')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// The bytes of the packet that begins here, without the body; `None` until that is known.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    match *bytes {
        [] => Ok(None),
        [REQUEST] | [REQUEST, _] | [REQUEST, _, _] => Ok(None),
        [REQUEST, low, high, ..] => {
            Ok(Some(PREFIX_BYTES + usize::from(u16::from_le_bytes([low, high]))))
        }
        [letter, ..] if letter.is_ascii_uppercase() => Err(Refusal::HttpOnUwsgi),
        [modifier, ..] => Err(Refusal::Modifier { modifier }),
    }
}

/// Reads a whole packet.
pub(crate) fn read(packet: &[u8]) -> Result<Packet, Refusal> {
    let mut rest = packet.get(PREFIX_BYTES..).ok_or(Refusal::Packet)?;
    let mut said = Said::default();
    let mut count = 0;
    while !rest.is_empty() {
        count += 1;
        if count > VARIABLES_MAX {
            return Err(Refusal::Variables);
        }
        let key = text(&mut rest)?;
        let value = text(&mut rest)?;
        said.note(key, value)?;
    }
    said.packet()
}

/// A text behind its length.
fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Refusal> {
    let (length, behind) = rest.split_first_chunk().ok_or(Refusal::Packet)?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (text, behind) = behind.split_at_checked(length).ok_or(Refusal::Packet)?;
    *rest = behind;
    Ok(text)
}

/// What variables say. A variable that comes again says something new, as it does in gunicorn and in
/// uWSGI: configurations include a file of them and then set some otherwise.
#[derive(Default)]
struct Said<'a> {
    method: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    query: &'a [u8],
    target: &'a [u8],
    content_length: &'a [u8],
    content_type: Option<&'a [u8]>,
    https: &'a [u8],
    scheme: &'a [u8],
    fields: HeaderMap,
}

impl<'a> Said<'a> {
    fn note(&mut self, key: &'a [u8], value: &'a [u8]) -> Result<(), Refusal> {
        match key {
            b"REQUEST_METHOD" => self.method = Some(value),
            b"PATH_INFO" => self.path = Some(value),
            b"QUERY_STRING" => self.query = value,
            b"REQUEST_URI" => self.target = value,
            b"CONTENT_LENGTH" => self.content_length = value,
            b"CONTENT_TYPE" => self.content_type = Some(value),
            b"HTTPS" => self.https = value,
            b"wsgi.url_scheme" => self.scheme = value,
            _ => {
                if let Some(name) = key.strip_prefix(b"HTTP_") {
                    self.field(name, value)?;
                }
            }
        }
        Ok(())
    }

    /// A header of the client's, or one that its proxy has made.
    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let dashed: Vec<u8> = name.iter().map(|b| if *b == b'_' { b'-' } else { *b }).collect();
        let name = HeaderName::from_bytes(&dashed).map_err(|_| Refusal::HeaderName)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Refusal::HeaderValue)?;
        match name {
            // How the body came to the proxy is no matter of ours: `CONTENT_LENGTH` says how it comes.
            CONTENT_LENGTH | TRANSFER_ENCODING => {}
            HOST if !head::is_host(value.as_bytes()) => return Err(Refusal::Host),
            HOST => drop(self.fields.insert(name, value)),
            // The variable without `HTTP_` is the one that counts.
            CONTENT_TYPE => drop(self.fields.insert(name, value)),
            _ => drop(self.fields.append(name, value)),
        }
        Ok(())
    }

    fn packet(mut self) -> Result<Packet, Refusal> {
        let body_bytes = self.body_bytes()?;
        if !self.content_length.is_empty() {
            self.fields.insert(CONTENT_LENGTH, body_bytes.into());
        }
        // nginx sends the two with every request; empty, there is none.
        if let Some(kind) = self.content_type {
            self.fields.remove(CONTENT_TYPE);
            if !kind.is_empty() {
                let kind = HeaderValue::from_bytes(kind).map_err(|_| Refusal::ContentType)?;
                self.fields.insert(CONTENT_TYPE, kind);
            }
        }
        let (mut head, ()) = Request::new(()).into_parts();
        let method = self.method.unwrap_or(b"GET");
        head.method = Method::from_bytes(method).map_err(|_| Refusal::Method)?;
        head.uri = Uri::from(self.path_and_query()?);
        head.version = Version::HTTP_11;
        let scheme = self.scheme();
        head.headers = self.fields;
        Ok(Packet { head, body_bytes, scheme })
    }

    fn body_bytes(&self) -> Result<u64, Refusal> {
        match self.content_length {
            [] => Ok(0),
            digits => head::content_length(digits),
        }
    }

    /// The target: its path as the client has written it, where the proxy says that and has not
    /// changed it; else so that it is read as the path that the proxy gives, once and not twice.
    fn path_and_query(&self) -> Result<PathAndQuery, Refusal> {
        let path = self.path.filter(|path| !path.is_empty()).unwrap_or(b"/");
        let end = self.target.iter().position(|byte| *byte == b'?');
        let written = &self.target[..end.unwrap_or(self.target.len())];
        let mut target: Vec<u8> =
            if is_readable(written) && percent_decode(written).eq(path.iter().copied()) {
                written.to_vec()
            } else if path == b"*" {
                path.to_vec()
            } else {
                percent_encode(path, NOT_IN_PATH).to_string().into_bytes()
            };
        if !self.query.is_empty() {
            target.push(b'?');
            target.extend_from_slice(self.query);
        }
        // A fragment would vanish.
        match is_readable(self.query) {
            true => {
                PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Refusal::Target)
            }
            false => Err(Refusal::Target),
        }
    }

    fn scheme(&self) -> Option<Scheme> {
        let is = |text: &[u8], other: &[u8]| text.eq_ignore_ascii_case(other);
        if [&b"on"[..], b"1", b"true"].iter().any(|yes| is(self.https, yes))
            || is(self.scheme, b"https")
        {
            return Some(Scheme::Https);
        }
        is(self.scheme, b"http").then_some(Scheme::Http)
    }
}

/// Whether it can stand in a target as it is.
fn is_readable(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

impl Packet {
    /// What hyper is told of it: no more than it needs to read the body and to write the response.
    /// An answer in HTTP/1.0 has no chunks, which whoever speaks uwsgi would take for content, and
    /// ends with the connection.
    pub(crate) fn for_hyper(&self) -> Bytes {
        let method = if self.head.method == Method::HEAD { "HEAD" } else { "POST" };
        format!("{method} / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", self.body_bytes).into()
    }
}
