//! The bytes of a request, made once and sent many times.

use std::io::Write;

/// What a request is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// `GET`, `POST` …
    pub method: String,
    /// The Host header.
    pub host: String,
    /// More header lines, without line ends.
    pub headers: Vec<String>,
    /// Bytes of its body.
    pub body_bytes: usize,
    /// Send the body in chunks instead of with its length.
    pub chunked: bool,
    /// Leave the connection open afterwards.
    pub keep_alive: bool,
    /// A header that gives each request a number of its own.
    pub number_header: Option<String>,
}

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: Vec<u8>,
    /// Where in the head the number goes.
    number_at: Option<usize>,
    /// With its framing.
    pub(crate) body: Vec<u8>,
    /// Its response has no body.
    pub(crate) bodiless: bool,
}

const CHUNK_BYTES: usize = 16 * 1024;
const NUMBER_DIGITS: usize = 12;

impl Request {
    pub(crate) fn new(path: &str, shape: &Shape) -> Self {
        let mut head = format!("{} {path} HTTP/1.1\r\nHost: {}\r\n", shape.method, shape.host);
        for line in &shape.headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        if !shape.keep_alive {
            head.push_str("Connection: close\r\n");
        }
        let number_at = shape.number_header.as_ref().map(|name| {
            head.push_str(&format!("{name}: {:0NUMBER_DIGITS$}\r\n", 0));
            head.len() - 2 - NUMBER_DIGITS
        });
        if shape.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if shape.body_bytes > 0 || matches!(shape.method.as_str(), "POST" | "PUT" | "PATCH")
        {
            head.push_str(&format!("Content-Length: {}\r\n", shape.body_bytes));
        }
        if shape.body_bytes > 0 {
            head.push_str("Content-Type: application/octet-stream\r\n");
        }
        head.push_str("\r\n");
        let body = vec![b'x'; shape.body_bytes];
        Self {
            head: head.into_bytes(),
            number_at,
            body: if shape.chunked { chunks(&body) } else { body },
            bodiless: shape.method == "HEAD",
        }
    }

    /// Writes the head of request `number` over what is in `head`.
    pub(crate) fn write_head(&self, number: u64, head: &mut Vec<u8>) {
        head.clear();
        head.extend_from_slice(&self.head);
        if let Some(at) = self.number_at {
            // A plan has fewer requests than twelve digits can count.
            let _ = write!(&mut head[at..at + NUMBER_DIGITS], "{number:0NUMBER_DIGITS$}");
        }
    }
}

fn chunks(body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(body.len() + body.len() / CHUNK_BYTES * 8 + 32);
    for chunk in body.chunks(CHUNK_BYTES) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            method: "GET".into(),
            host: "127.0.0.1:8000".into(),
            headers: vec!["Accept: */*".into()],
            body_bytes: 0,
            chunked: false,
            keep_alive: true,
            number_header: None,
        }
    }

    fn head(shape: &Shape, number: u64) -> String {
        let mut head = Vec::new();
        Request::new("/a?b=1", shape).write_head(number, &mut head);
        String::from_utf8(head).expect("ASCII")
    }

    #[test]
    fn a_plain_request_has_nothing_that_was_not_asked_for() {
        assert_eq!(
            head(&shape(), 7),
            "GET /a?b=1 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: */*\r\n\r\n"
        );
    }

    #[test]
    fn each_request_can_carry_its_number() {
        let shape = Shape { number_header: Some("X-Number".into()), keep_alive: false, ..shape() };
        for number in [0, 7, 123_456_789_012] {
            assert!(
                head(&shape, number)
                    .ends_with(&format!("Connection: close\r\nX-Number: {number:012}\r\n\r\n"))
            );
        }
    }

    #[test]
    fn a_body_goes_with_its_length_or_in_chunks() {
        let with_length = Shape { method: "POST".into(), body_bytes: 20_000, ..shape() };
        assert!(head(&with_length, 0).contains("\r\nContent-Length: 20000\r\n"));
        assert_eq!(Request::new("/", &with_length).body.len(), 20_000);

        let chunked = Shape { chunked: true, ..with_length };
        assert!(head(&chunked, 0).contains("\r\nTransfer-Encoding: chunked\r\n"));
        assert!(!head(&chunked, 0).contains("Content-Length"));
        let body = Request::new("/", &chunked).body;
        assert!(body.starts_with(b"4000\r\nxxx") && body.ends_with(b"xxx\r\n0\r\n\r\n"));
        assert_eq!(body.iter().filter(|&&byte| byte == b'x').count(), 20_000);
    }
}
