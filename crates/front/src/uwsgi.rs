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
        [REQUEST] | [REQUEST, _] => Ok(None),
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
        let is_same = percent_decode(written).eq(path.iter().copied());
        let mut target = if path == b"*" {
            path.to_vec()
        } else if is_same && is_clean(written) {
            written.to_vec()
        } else {
            percent_encode(path, NOT_IN_PATH).to_string().into_bytes()
        };
        if !self.query.is_empty() {
            target.push(b'?');
            target.extend_from_slice(self.query);
        }
        // A fragment would vanish.
        if self.query.contains(&b'#') {
            return Err(Refusal::Target);
        }
        PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Refusal::Target)
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

/// Whether nothing of a path has to be encoded that is not encoded yet.
fn is_clean(path: &[u8]) -> bool {
    const NOT_IN_TARGET: &AsciiSet = &NOT_IN_PATH.remove(b'%');
    percent_encode(path, NOT_IN_TARGET).map(str::len).sum::<usize>() == path.len()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(variables: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = vec![0; PREFIX_BYTES];
        for text in variables.iter().flat_map(|(key, value)| [key, value]) {
            bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        let size = (bytes.len() - PREFIX_BYTES) as u16;
        bytes[1..3].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn request(variables: &[(&str, &str)]) -> Packet {
        read(&packet(variables)).expect("a request")
    }

    fn refusal(variables: &[(&str, &str)]) -> Refusal {
        read(&packet(variables)).err().expect("a refusal")
    }

    fn headers(variables: &[(&str, &str)]) -> Vec<String> {
        let headers = request(variables).head.headers;
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect()
    }

    #[test]
    fn a_packet_is_as_long_as_it_says() {
        assert_eq!(length(b""), Ok(None));
        assert_eq!(length(b"\0\x02"), Ok(None));
        assert_eq!(length(b"\0\x02\x01"), Ok(Some(4 + 258)));
        assert_eq!(length(b"\0\xff\xff\x07and more"), Ok(Some(4 + 65535)));
        assert_eq!(length(b"\x05"), Err(Refusal::Modifier { modifier: 5 }));
        assert_eq!(length(b"GET / HTTP/1.1\r\n"), Err(Refusal::HttpOnUwsgi));
    }

    #[test]
    fn a_request_has_what_its_variables_say() {
        let Packet { head, body_bytes, scheme } = request(&[
            ("REQUEST_METHOD", "POST"),
            ("PATH_INFO", "/a b"),
            ("REQUEST_URI", "/a%20b?c=%20"),
            ("QUERY_STRING", "c=%20"),
            ("CONTENT_LENGTH", "5"),
            ("HTTPS", "on"),
            ("REMOTE_ADDR", "192.0.2.7"),
        ]);
        assert_eq!((head.method, head.version), (Method::POST, Version::HTTP_11));
        assert_eq!(head.uri, "/a%20b?c=%20");
        assert_eq!((body_bytes, scheme), (5, Some(Scheme::Https)));
        assert_eq!(head.headers.len(), 1);
        assert_eq!(head.headers[CONTENT_LENGTH], "5");
    }

    #[test]
    fn without_variables_it_is_a_request_for_the_root() {
        let Packet { head, body_bytes, scheme } = request(&[]);
        assert_eq!((head.method, head.uri.to_string()), (Method::GET, "/".to_owned()));
        assert_eq!((head.headers.len(), body_bytes, scheme), (0, 0, None));
    }

    #[test]
    fn of_variables_that_come_twice_the_last_one_counts_and_headers_are_joined() {
        let twice = [("CONTENT_LENGTH", "5"), ("PATH_INFO", "/a"), ("HTTP_HOST", "a")];
        let again = [("CONTENT_LENGTH", ""), ("PATH_INFO", "/b"), ("HTTP_HOST", "b")];
        let Packet { head, body_bytes, .. } = request(&[twice, again].concat());
        assert_eq!((head.uri.path(), body_bytes), ("/b", 0));
        assert_eq!(head.headers.get_all(HOST).iter().collect::<Vec<_>>(), ["b"]);
        assert_eq!(headers(&[("HTTP_VIA", "a"), ("HTTP_VIA", "b")]), ["via: a", "via: b"]);
    }

    #[test]
    fn the_body_is_what_content_length_says_and_nothing_else() {
        assert_eq!(headers(&[("HTTP_CONTENT_LENGTH", "7")]), [""; 0]);
        assert_eq!(request(&[("HTTP_CONTENT_LENGTH", "7")]).body_bytes, 0);
        let chunked = [("HTTP_TRANSFER_ENCODING", "chunked"), ("CONTENT_LENGTH", "3")];
        assert_eq!(headers(&chunked), ["content-length: 3"]);
        for junk in ["+3", "-3", " 3", "3_0", "0x3", "three", "3, 3"] {
            assert_eq!(refusal(&[("CONTENT_LENGTH", junk)]), Refusal::ContentLength, "{junk}");
        }
        let huge = refusal(&[("CONTENT_LENGTH", "9223372036854775808")]);
        assert!(matches!(huge, Refusal::BodySize { .. }), "{huge:?}");
    }

    #[test]
    fn an_empty_length_or_type_is_none() {
        assert_eq!(headers(&[("CONTENT_LENGTH", ""), ("CONTENT_TYPE", "")]), [""; 0]);
        let of_client = ("HTTP_CONTENT_TYPE", "text/html");
        assert_eq!(headers(&[of_client]), ["content-type: text/html"]);
        assert_eq!(headers(&[of_client, ("CONTENT_TYPE", "a/b")]), ["content-type: a/b"]);
        assert_eq!(headers(&[("CONTENT_TYPE", ""), of_client]), [""; 0]);
    }

    #[test]
    fn a_path_that_the_proxy_has_changed_is_read_once() {
        let uri = |path, target, query| {
            let variables = [("PATH_INFO", path), ("REQUEST_URI", target), ("QUERY_STRING", query)];
            request(&variables).head.uri.to_string()
        };
        assert_eq!(uri("/a%41", "/a%2541", ""), "/a%2541");
        assert_eq!(uri("/a%41", "", ""), "/a%2541");
        assert_eq!(uri("/b", "/a/../b?c", "c"), "/b?c");
        assert_eq!(uri("/é?#", "/%C3%A9%3f%23", ""), "/%C3%A9%3f%23");
        assert_eq!(uri("/é?#", "/é?#", ""), "/%C3%A9%3F%23");
        assert_eq!(uri("/new", "/old?x=1", "x=1&y"), "/new?x=1&y");
        assert_eq!(uri("/a", "http://x/a", ""), "/a");
        assert_eq!(uri("*", "", ""), "*");
        assert_eq!(uri("", "", ""), "/");
        for query in ["a b", "a#b", "a\r\nb"] {
            assert_eq!(refusal(&[("QUERY_STRING", query)]), Refusal::Target, "{query}");
        }
    }

    #[test]
    fn the_scheme_is_what_a_variable_says_and_not_a_header() {
        let scheme = |key, value| request(&[(key, value)]).scheme;
        for yes in ["on", "ON", "1", "true"] {
            assert_eq!(scheme("HTTPS", yes), Some(Scheme::Https));
        }
        assert_eq!(scheme("HTTPS", "off"), None);
        assert_eq!(scheme("wsgi.url_scheme", "https"), Some(Scheme::Https));
        assert_eq!(scheme("wsgi.url_scheme", "http"), Some(Scheme::Http));
        assert_eq!(scheme("wsgi.url_scheme", "gopher"), None);
        assert_eq!(scheme("HTTP_X_FORWARDED_PROTO", "https"), None);
    }

    #[test]
    fn what_is_no_http_is_refused() {
        assert_eq!(refusal(&[("HTTP_", "a")]), Refusal::HeaderName);
        assert_eq!(refusal(&[("HTTP_A B", "a")]), Refusal::HeaderName);
        assert_eq!(refusal(&[("HTTP_A", "b\r\nc: d")]), Refusal::HeaderValue);
        assert_eq!(refusal(&[("HTTP_HOST", "a/b")]), Refusal::Host);
        assert_eq!(refusal(&[("CONTENT_TYPE", "a\nb")]), Refusal::ContentType);
        assert_eq!(refusal(&[("REQUEST_METHOD", "")]), Refusal::Method);
        assert_eq!(refusal(&[("REQUEST_METHOD", "GE T")]), Refusal::Method);
    }

    #[test]
    fn a_thousand_variables_and_no_more() {
        let variables = vec![("A", "b"); VARIABLES_MAX + 1];
        assert!(read(&packet(&variables[1..])).is_ok());
        assert_eq!(refusal(&variables), Refusal::Variables);
    }

    #[test]
    fn a_packet_that_ends_early_is_none() {
        let whole = packet(&[("PATH_INFO", "/a"), ("HTTP_HOST", "b")]);
        let ends = [PREFIX_BYTES, PREFIX_BYTES + 15, whole.len()];
        for end in 0..whole.len() {
            let is_whole = ends.contains(&end);
            assert_eq!(read(&whole[..end]).is_ok(), is_whole, "{end}");
        }
    }

    #[test]
    fn hyper_learns_no_more_than_it_needs() {
        let told = |variables| request(variables).for_hyper();
        let post = [("REQUEST_METHOD", "PATCH"), ("CONTENT_LENGTH", "03"), ("HTTP_A", "b")];
        assert_eq!(told(&post), "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n");
        let head = [("REQUEST_METHOD", "HEAD")];
        assert_eq!(told(&head), "HEAD / HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = length(&bytes);
            let _ = read(&bytes);
        }

        #[test]
        fn a_path_comes_through_as_it_was_given(path in "/\\PC{0,20}", target in "/[%a-f0-9/.]{0,20}") {
            for variables in [
                &[("PATH_INFO", path.as_str())][..],
                &[("PATH_INFO", &path), ("REQUEST_URI", &target)],
                &[("PATH_INFO", &path), ("REQUEST_URI", &path)],
            ] {
                let uri = request(variables).head.uri;
                let read: Vec<u8> = percent_decode(uri.path().as_bytes()).collect();
                prop_assert_eq!(&read, path.as_bytes());
                prop_assert_eq!(uri.query(), None);
            }
        }

        #[test]
        fn what_stands_in_a_packet_is_read(
            variables in prop::collection::vec(("[A-Z_]{0,9}", "[ -~]{0,9}"), 0..9),
        ) {
            let variables: Vec<_> = variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let bytes = packet(&variables);
            prop_assert_eq!(length(&bytes), Ok(Some(bytes.len())));
            let mut rest = &bytes[PREFIX_BYTES..];
            for (key, value) in variables {
                prop_assert_eq!(text(&mut rest), Ok(key.as_bytes()));
                prop_assert_eq!(text(&mut rest), Ok(value.as_bytes()));
            }
            prop_assert!(rest.is_empty());
        }
    }
}
