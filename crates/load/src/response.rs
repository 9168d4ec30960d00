//! Reads a response from pieces as they come: where does it end, and is it what it says it is?
//!
//! No socket here. Bodies are counted, not kept.

use std::mem::MaybeUninit;

use httparse::{ParserConfig, Status};

/// A whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Bytes of its body, without chunk framing.
    pub body_bytes: u64,
    /// Whether the connection can take another request.
    pub reusable: bool,
}

/// Why bytes are no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No head that a parser accepts.
    #[error("the head is no HTTP")]
    Head,
    /// A head that does not end.
    #[error("the head is longer than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// Two lengths that differ, or a length beside chunks.
    #[error("the head gives contradictory lengths")]
    Lengths,
    /// Chunk framing is broken.
    #[error("the chunks are broken")]
    Chunks,
    /// More bytes than one response has.
    #[error("bytes follow the response")]
    Surplus,
}

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
const CHUNK_LINE_BYTES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
enum Expect {
    Head,
    Sized { left: u64 },
    ChunkSize,
    ChunkData { left: u64 },
    ChunkEnd,
    Trailer,
    Close,
}

/// Reads one response after another.
#[derive(Debug)]
pub struct ResponseReader {
    expect: Expect,
    /// The beginning of a head or of a line whose end has not come.
    pending: Vec<u8>,
    answer: Answer,
    begun: bool,
    /// The request was HEAD.
    bodiless: bool,
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self::new(false)
    }
}

impl ResponseReader {
    /// Waits for the response to a request; `bodiless` when that is HEAD.
    #[must_use]
    pub fn new(bodiless: bool) -> Self {
        let answer = Answer { status: 0, body_bytes: 0, reusable: false };
        Self { expect: Expect::Head, pending: Vec::new(), answer, begun: false, bodiless }
    }

    /// Waits for the next response on the same connection.
    pub fn restart(&mut self, bodiless: bool) {
        self.expect = Expect::Head;
        self.pending.clear();
        self.begun = false;
        self.bodiless = bodiless;
    }

    /// Whether a byte of the response has come.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// Takes the next bytes; the answer once it is whole.
    ///
    /// # Errors
    ///
    /// When they are no response to one request.
    pub fn feed(&mut self, mut input: &[u8]) -> Result<Option<Answer>, Invalid> {
        self.begun |= !input.is_empty();
        loop {
            let done = match self.expect {
                Expect::Head => match self.read_head(&mut input)? {
                    Some(done) => done,
                    None => return Ok(None),
                },
                Expect::Sized { mut left } => {
                    self.skip(&mut input, &mut left);
                    self.expect = Expect::Sized { left };
                    left == 0
                }
                Expect::Close => {
                    self.answer.body_bytes += input.len() as u64;
                    return Ok(None);
                }
                Expect::ChunkData { mut left } => {
                    self.skip(&mut input, &mut left);
                    self.expect =
                        if left == 0 { Expect::ChunkEnd } else { Expect::ChunkData { left } };
                    false
                }
                Expect::ChunkSize | Expect::ChunkEnd | Expect::Trailer => {
                    if !self.take_line(&mut input)? {
                        return Ok(None);
                    }
                    self.read_line()?
                }
            };
            if done {
                return if input.is_empty() {
                    Ok(Some(self.answer))
                } else {
                    Err(Invalid::Surplus)
                };
            }
            if input.is_empty() {
                return Ok(None);
            }
        }
    }

    /// The connection has ended; the answer if that is where it was to end.
    #[must_use]
    pub fn end(&self) -> Option<Answer> {
        matches!(self.expect, Expect::Close).then_some(self.answer)
    }

    fn skip(&mut self, input: &mut &[u8], left: &mut u64) {
        let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
        self.answer.body_bytes += taken as u64;
        *left -= taken as u64;
        *input = &input[taken..];
    }

    /// `Some(true)` when the head is all there is, `None` when it has not come to its end.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<Option<bool>, Invalid> {
        let parsed = if self.pending.is_empty() {
            Head::parse(input)?
        } else {
            self.pending.extend_from_slice(input);
            Head::parse(&self.pending)?
        };
        let Some(head) = parsed else {
            if self.pending.is_empty() {
                self.pending.extend_from_slice(input);
            }
            if self.pending.len() > HEAD_BYTES_MAX {
                return Err(Invalid::HeadTooLong);
            }
            return Ok(None);
        };
        // Of what is pending, the end of the head and all after it came with this input.
        let before = self.pending.len().saturating_sub(input.len());
        *input = &input[head.length - before..];
        self.pending.clear();
        if (100..200).contains(&head.status) && head.status != 101 {
            return Ok(if input.is_empty() { None } else { Some(false) });
        }
        self.answer = Answer { status: head.status, body_bytes: 0, reusable: head.keep_alive };
        let bodiless = self.bodiless || matches!(head.status, 101 | 204 | 304);
        self.expect = match (head.chunked, head.content_length) {
            _ if bodiless => return Ok(Some(true)),
            (true, Some(_)) => return Err(Invalid::Lengths),
            (true, None) => Expect::ChunkSize,
            (false, Some(left)) => Expect::Sized { left },
            (false, None) => {
                self.answer.reusable = false;
                Expect::Close
            }
        };
        Ok(Some(matches!(self.expect, Expect::Sized { left: 0 })))
    }

    /// Moves a line into `pending`; false when its end has not come.
    fn take_line(&mut self, input: &mut &[u8]) -> Result<bool, Invalid> {
        let end = input.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(input.len(), |end| end + 1);
        if self.pending.len() + taken > CHUNK_LINE_BYTES_MAX {
            return Err(Invalid::Chunks);
        }
        self.pending.extend_from_slice(&input[..taken]);
        *input = &input[taken..];
        if end.is_some() && !self.pending.ends_with(b"\r\n") {
            return Err(Invalid::Chunks);
        }
        Ok(end.is_some())
    }

    /// Reads the pending line; true when it was the last of the response.
    fn read_line(&mut self) -> Result<bool, Invalid> {
        let empty = self.pending == b"\r\n";
        let done = match self.expect {
            Expect::ChunkSize => {
                let Ok(Status::Complete((_, size))) = httparse::parse_chunk_size(&self.pending)
                else {
                    return Err(Invalid::Chunks);
                };
                self.expect =
                    if size == 0 { Expect::Trailer } else { Expect::ChunkData { left: size } };
                false
            }
            Expect::ChunkEnd if empty => {
                self.expect = Expect::ChunkSize;
                false
            }
            Expect::ChunkEnd => return Err(Invalid::Chunks),
            _ => empty,
        };
        self.pending.clear();
        Ok(done)
    }
}

struct Head {
    length: usize,
    status: u16,
    content_length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Invalid> {
        let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let status = ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, bytes, &mut fields)
            .map_err(|_| Invalid::Head)?;
        let Status::Complete(length) = status else { return Ok(None) };
        let mut head = Self {
            length,
            status: response.code.ok_or(Invalid::Head)?,
            content_length: None,
            chunked: false,
            keep_alive: response.version == Some(1),
        };
        for field in response.headers.iter() {
            head.see(field.name, field.value)?;
        }
        Ok(Some(head))
    }

    fn see(&mut self, name: &str, value: &[u8]) -> Result<(), Invalid> {
        // Few names have these lengths, so most are not compared at all.
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => {
                if has_token(value, b"close") {
                    self.keep_alive = false;
                } else if has_token(value, b"keep-alive") {
                    self.keep_alive = true;
                }
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let length = number(value).ok_or(Invalid::Lengths)?;
                if self.content_length.is_some_and(|known| known != length) {
                    return Err(Invalid::Lengths);
                }
                self.content_length = Some(length);
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                self.chunked = has_token(value, b"chunked");
            }
            _ => {}
        }
        Ok(())
    }
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], piece: usize) -> Result<Option<Answer>, Invalid> {
        let mut reader = ResponseReader::default();
        let mut last = Ok(None);
        for piece in bytes.chunks(piece.max(1)) {
            if let Ok(Some(_)) = last {
                return Err(Invalid::Surplus);
            }
            last = reader.feed(piece);
            last?;
        }
        last
    }

    const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
    const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nConnection: close\r\n\r\n";

    #[test]
    fn a_response_is_the_same_in_whatever_pieces_it_comes() {
        let answer =
            |status, body_bytes, reusable| Ok(Some(Answer { status, body_bytes, reusable }));
        for piece in 1..=SIZED.len().max(CHUNKED.len()).max(INTERIM.len()) {
            assert_eq!(read(SIZED, piece), answer(200, 5, true), "pieces of {piece}");
            assert_eq!(read(CHUNKED, piece), answer(200, 11, true), "pieces of {piece}");
            assert_eq!(read(INTERIM, piece), answer(404, 0, false), "pieces of {piece}");
        }
    }

    #[test]
    fn a_short_body_is_no_answer_and_its_end_is_early() {
        for whole in [SIZED, CHUNKED] {
            for length in 1..whole.len() {
                let mut reader = ResponseReader::default();
                assert_eq!(reader.feed(&whole[..length]), Ok(None), "{length} bytes");
                assert_eq!(reader.end(), None, "{length} bytes");
                assert!(reader.begun());
            }
        }
    }

    #[test]
    fn without_a_length_the_body_ends_with_the_connection() {
        let mut reader = ResponseReader::default();
        assert_eq!(reader.feed(b"HTTP/1.0 200 OK\r\n\r\nabc"), Ok(None));
        assert_eq!(reader.feed(b"de"), Ok(None));
        assert_eq!(reader.end(), Some(Answer { status: 200, body_bytes: 5, reusable: false }));
    }

    #[test]
    fn what_a_head_request_or_204_gets_has_no_body() {
        let mut reader = ResponseReader::new(true);
        let answer = reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(answer, Ok(Some(Answer { status: 200, body_bytes: 0, reusable: true })));
        assert_eq!(
            read(b"HTTP/1.1 204 No Content\r\n\r\n", 100),
            Ok(Some(Answer { status: 204, body_bytes: 0, reusable: true }))
        );
    }

    #[test]
    fn lies_about_length_are_found() {
        let cases: [(&[u8], Invalid); 8] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", Invalid::Surplus),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n", Invalid::Surplus),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
                Invalid::Lengths,
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n", Invalid::Lengths),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
                Invalid::Lengths,
            ),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Invalid::Chunks),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", Invalid::Chunks),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Invalid::Head),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(bytes, 1000), Err(expected), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            prefix in 0..5_usize,
            piece in 1..50_usize,
        ) {
            let heads: [&[u8]; 5] = [b"", b"HTTP/1.1 200 OK\r\n", &SIZED[..36], &CHUNKED[..47], CHUNKED];
            let _ = read(&[heads[prefix], &bytes].concat(), piece);
        }
    }
}
