//! A chunked body (RFC 9112 §7.1), followed to find its end. hyper decodes it; what hyper would
//! take although it is out of form is refused here.

use crate::refusal::Refusal;

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunks {
    at: At,
    /// Of the chunk that is read now.
    size: u64,
    /// Bytes of the current size line, or of all trailers.
    line_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Hexadecimal digits.
    Size,
    /// Blanks between the size and an extension.
    BeforeExtension,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// The begin of a line after the last chunk: a trailer, or the end.
    TrailerStart,
    Trailer,
    TrailerLineFeed,
    EndLineFeed,
    End,
}

/// Digits that fit into 64 bits; more are no size but an attack.
const SIZE_DIGITS_MAX: usize = 16;
/// Nobody uses extensions, and hyper wants less than 16 KiB of trailers.
const SIZE_LINE_BYTES_MAX: usize = 1024;
const TRAILER_BYTES_MAX: usize = 15 * 1024;

impl Chunks {
    pub(crate) fn new() -> Self {
        Self { at: At::Size, size: 0, line_bytes: 0 }
    }

    /// Follows the body through `bytes`; gives how many of them belong to it.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut used = 0;
        while used < bytes.len() && self.at != At::End {
            if self.at == At::Data {
                let piece = self.size.min((bytes.len() - used) as u64);
                self.size -= piece;
                used += usize::try_from(piece).unwrap_or(usize::MAX);
                if self.size == 0 {
                    self.at = At::DataReturn;
                }
            } else {
                self.step(bytes[used])?;
                used += 1;
            }
        }
        Ok(used)
    }

    /// Whether the last byte of the body was seen.
    pub(crate) fn is_over(&self) -> bool {
        self.at == At::End
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.add_digit(byte)?,
            // No size has no digits.
            (At::Size, _) if self.line_bytes == 0 => return Err(Refusal::Chunk),
            (At::Size, b' ' | b'\t') => At::BeforeExtension,
            (At::Size, b'\r') => At::SizeLineFeed,
            (At::Size | At::BeforeExtension, b';') => At::Extension,
            (At::BeforeExtension, b' ' | b'\t') => self.count(At::BeforeExtension)?,
            (At::Extension, b'\r') => At::SizeLineFeed,
            (At::Extension, _) if is_text(byte) => self.count(At::Extension)?,
            (At::SizeLineFeed, b'\n') => {
                self.line_bytes = 0;
                if self.size == 0 { At::TrailerStart } else { At::Data }
            }
            (At::DataReturn, b'\r') => At::DataLineFeed,
            (At::DataLineFeed, b'\n') => At::Size,
            (At::TrailerStart, b'\r') => At::EndLineFeed,
            (At::TrailerStart, b' ' | b'\t') => return Err(Refusal::ObsoleteFolding),
            (At::TrailerStart, _) if is_text(byte) => self.count(At::Trailer)?,
            (At::Trailer, b'\r') => At::TrailerLineFeed,
            (At::Trailer, _) if is_text(byte) => self.count(At::Trailer)?,
            (At::TrailerLineFeed, b'\n') => At::TrailerStart,
            (At::EndLineFeed, b'\n') => At::End,
            _ => return Err(Refusal::Chunk),
        };
        Ok(())
    }

    fn add_digit(&mut self, digit: u8) -> Result<At, Refusal> {
        self.line_bytes += 1;
        if self.line_bytes > SIZE_DIGITS_MAX {
            return Err(Refusal::Chunk);
        }
        let value = char::from(digit).to_digit(16).unwrap_or_default();
        self.size = self.size << 4 | u64::from(value);
        Ok(At::Size)
    }

    /// Counts a byte of an extension or a trailer.
    fn count(&mut self, next: At) -> Result<At, Refusal> {
        self.line_bytes += 1;
        match next {
            At::Trailer if self.line_bytes > TRAILER_BYTES_MAX => Err(Refusal::HeadSize),
            At::Extension | At::BeforeExtension if self.line_bytes > SIZE_LINE_BYTES_MAX => {
                Err(Refusal::Chunk)
            }
            _ => Ok(next),
        }
    }
}

/// What may stand in an extension or a trailer.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}
