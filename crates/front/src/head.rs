//! One request head, read strictly: where it ends, how long its body is, and nothing that two
//! servers could read in two ways.
//!
//! Only what decides about that is looked at, line by line. Whether names, values and the target
//! consist of the right characters is hyper's to say, which reads the same bytes next.

use memchr::memchr;

use crate::Limits;
use crate::limits::{HEAD_BYTES_MAX, HEADER_FIELDS_MAX, REQUEST_LINE_MAX};
use crate::refusal::Refusal;

/// How the body that follows a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes; 0 = there is no body.
    Length(u64),
    Chunked,
}

/// A head, as far as it has been read.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Where the line begins whose end has not come.
    line_start: usize,
    /// Up to where that end was looked for.
    searched: usize,
    empty_line_skipped: bool,
    version: Option<Version>,
    fields: usize,
    /// Of the last field.
    field_bytes: usize,
    content_length: Option<u64>,
    coding: Coding,
    has_host: bool,
    has_content_type: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// What `Transfer-Encoding` has said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    Chunked,
    /// One that exists, but that we do not undo, and no `chunked` yet.
    Foreign,
}

/// No method is that long.
const METHOD_BYTES_MAX: usize = 64;

impl Head {
    /// Reads on. `bytes` is all of the head that has come, what was read before included.
    ///
    /// Gives the length of the head once its end has come.
    pub(crate) fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        while let Some(at) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + at;
            if end == self.line_start || bytes[end - 1] != b'\r' {
                return Err(Refusal::BareLineFeed);
            }
            let line = &bytes[self.line_start..end - 1];
            self.searched = end + 1;
            self.line_start = end + 1;
            if self.version.is_none() {
                self.request_line(line, limits)?;
            } else if line.is_empty() {
                return self.check_whole().map(|()| Some(end + 1));
            } else {
                self.field(line, limits)?;
            }
        }
        self.searched = bytes.len();
        self.check_rest(&bytes[self.line_start..], limits)?;
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(Refusal::HeadSize);
        }
        Ok(None)
    }

    /// Nothing but the empty line has come that some clients send after a body.
    pub(crate) fn is_untouched(&self, bytes: &[u8]) -> bool {
        self.version.is_none() && self.line_start == bytes.len()
    }

    /// Forgets it, but not that it has come.
    pub(crate) fn forget_empty_line(&mut self) {
        (self.line_start, self.searched) = (0, 0);
    }

    /// How the body is delimited, of a head that was read to its end.
    pub(crate) fn framing(&self) -> Framing {
        match self.coding {
            Coding::None => Framing::Length(self.content_length.unwrap_or(0)),
            Coding::Chunked | Coding::Foreign => Framing::Chunked,
        }
    }

    fn request_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        if line.is_empty() {
            // RFC 9112 §2.2 asks for this much patience.
            return match std::mem::replace(&mut self.empty_line_skipped, true) {
                false => Ok(()),
                true => Err(Refusal::RequestLine),
            };
        }
        check_request_line_length(line.len(), limits)?;
        check_method(line)?;
        let (_, version) = line.split_last_chunk::<9>().ok_or(Refusal::RequestLine)?;
        self.version = Some(match version {
            b" HTTP/1.1" => Version::Http11,
            b" HTTP/1.0" => Version::Http10,
            [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Refusal::Version);
            }
            _ => return Err(Refusal::RequestLine),
        });
        Ok(())
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        if matches!(line[0], b' ' | b'\t') {
            return self.fold(line, limits);
        }
        self.field_bytes = line.len() + "\r\n".len();
        if self.field_bytes > limits.header_field_bytes {
            return Err(Refusal::HeaderFieldSize);
        }
        self.fields += 1;
        if self.fields > limits.header_fields.min(HEADER_FIELDS_MAX) {
            return Err(Refusal::HeaderFields);
        }
        // Most fields say nothing about framing, and their first letter is enough to see it.
        match line[0] {
            b'C' | b'c' => {
                if let Some(value) = value_of(line, "content-length", limits) {
                    self.content_length(value)?;
                } else if value_of(line, "content-type", limits).is_some()
                    && std::mem::replace(&mut self.has_content_type, true)
                {
                    return Err(Refusal::ContentType);
                }
            }
            b'T' | b't' => {
                if let Some(value) = value_of(line, "transfer-encoding", limits) {
                    self.transfer_encoding(value)?;
                }
            }
            b'H' | b'h' => {
                if let Some(value) = value_of(line, "host", limits)
                    && (!is_host(value) || std::mem::replace(&mut self.has_host, true))
                {
                    return Err(Refusal::Host);
                }
            }
            b'E' | b'e' => {
                if let Some(value) = value_of(line, "expect", limits)
                    && !value.eq_ignore_ascii_case(b"100-continue")
                {
                    return Err(Refusal::Expectation);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A field that goes on. What decides about framing was read from its first line, and hyper,
    /// which gets the two as one, reads the same or refuses.
    fn fold(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        self.field_bytes += line.len() + "\r\n".len();
        if self.fields == 0 || !limits.lenience.obsolete_folding {
            return Err(Refusal::ObsoleteFolding);
        }
        match self.field_bytes > limits.header_field_bytes {
            true => Err(Refusal::HeaderFieldSize),
            false => Ok(()),
        }
    }

    /// A second one is refused even if it says the same: whoever joins the two reads another
    /// number, or none.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.content_length.is_some() {
            return Err(Refusal::ContentLength);
        }
        self.content_length = Some(content_length(value)?);
        Ok(())
    }

    /// `chunked`, once and last, is all that can be undone here (RFC 9112 §6.1 and §6.3).
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for name in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let known: &[&[u8]] =
                &[b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress", b"identity"];
            self.coding = match self.coding {
                Coding::None if name.eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
                Coding::Chunked if name.eq_ignore_ascii_case(b"chunked") => {
                    return Err(Refusal::TransferEncoding);
                }
                coding if known.iter().any(|known| name.eq_ignore_ascii_case(known)) => {
                    match coding {
                        Coding::None | Coding::Foreign => Coding::Foreign,
                        Coding::Chunked => return Err(Refusal::TransferEncoding),
                    }
                }
                // Unknown; or `chunked` behind another: its end could be found, but not its text.
                _ => return Err(Refusal::TransferCoding),
            };
        }
        Ok(())
    }

    fn check_whole(&self) -> Result<(), Refusal> {
        match (self.coding, self.version) {
            (Coding::None, _) => {}
            (_, Some(Version::Http10)) | (Coding::Foreign, _) => {
                return Err(Refusal::TransferEncoding);
            }
            (Coding::Chunked, _) if self.content_length.is_some() => {
                return Err(Refusal::ContentLengthAndCoding);
            }
            (Coding::Chunked, _) => {}
        }
        if self.version == Some(Version::Http11) && !self.has_host {
            return Err(Refusal::Host);
        }
        Ok(())
    }

    /// A line without an end: refused as soon as it cannot become a good one.
    fn check_rest(&self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        if self.version.is_some() {
            return match line.len() > limits.header_field_bytes {
                true => Err(Refusal::HeaderFieldSize),
                false => Ok(()),
            };
        }
        check_request_line_length(line.len().saturating_sub("\r\n".len()), limits)?;
        // Perhaps half of an empty line.
        if line == b"\r" { Ok(()) } else { check_method(line) }
    }
}

/// Who speaks another protocol is told so by its first bytes, and does not wait for a line end.
fn check_method(line: &[u8]) -> Result<(), Refusal> {
    match line.iter().take(METHOD_BYTES_MAX).position(|byte| !TOKEN[usize::from(*byte)]) {
        Some(end) if line[end] == b' ' => Ok(()),
        None if line.len() < METHOD_BYTES_MAX => Ok(()),
        _ => Err(Refusal::RequestLine),
    }
}

fn check_request_line_length(bytes: usize, limits: &Limits) -> Result<(), Refusal> {
    let bytes_max = match limits.request_line {
        0 => REQUEST_LINE_MAX,
        limit => limit.min(REQUEST_LINE_MAX),
    };
    match bytes > bytes_max {
        true => Err(Refusal::RequestLineLength { bytes, bytes_max }),
        false => Ok(()),
    }
}

/// The value of a line, if this is its field's name.
fn value_of<'a>(line: &'a [u8], name: &str, limits: &Limits) -> Option<&'a [u8]> {
    let (given, mut rest) = line.split_at_checked(name.len())?;
    if limits.lenience.header_spaces {
        rest = rest.trim_ascii_start();
    }
    let value = rest.strip_prefix(b":")?;
    given.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
}

/// What `Content-Length` says.
#[inline(always)] // Another caller, which is seldom, must not cost HTTP a call.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::ContentLength);
    }
    // No body is that long, and one that claims it is no body that will ever be read.
    const BYTES_MAX: u64 = i64::MAX as u64;
    let length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    let length = length.filter(|length| *length <= BYTES_MAX);
    length.ok_or(Refusal::BodySize { bytes_max: BYTES_MAX })
}

/// Whether a `Host` can be one: a name, an address or nothing, and perhaps a port.
#[inline(always)] // As above.
pub(crate) fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| HOST[usize::from(*byte)])
}

static TOKEN: [bool; 256] = letters_digits_and(b"!#$%&'*+-.^_`|~");
static HOST: [bool; 256] = letters_digits_and(b"-.:[]_~%!$&'()*+,;=");

const fn letters_digits_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}
