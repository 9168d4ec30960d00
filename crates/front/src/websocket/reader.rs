//! From a client's bytes to messages. No I/O: bytes go in piece by piece, however they are cut.

use bytes::Bytes;

use super::deflate::Deflate;
use super::frame::{HEAD_BYTES_MAX, Head, Opcode, unmask};
use super::{Message, Violation, WebSocket};

/// What a client has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Message(Message),
    Ping(Bytes),
    Pong,
    /// Its last word: code and reason; no code when it gave none.
    Close(Option<u16>, String),
}

pub(super) struct Reader {
    bytes_max: usize,
    deflates: bool,
    /// The beginning of a head.
    head: Vec<u8>,
    /// The frame under way, and how much of it has come.
    frame: Option<(Head, u64)>,
    control: Vec<u8>,
    message: Option<Unfinished>,
}

struct Unfinished {
    is_text: bool,
    compressed: bool,
    data: Vec<u8>,
    /// Bytes known to be UTF-8.
    checked: usize,
}

impl Reader {
    pub(super) fn new(bytes_max: usize, deflates: bool) -> Self {
        Self {
            bytes_max,
            deflates,
            head: Vec::new(),
            frame: None,
            control: Vec::new(),
            message: None,
        }
    }

    /// Takes bytes, which lose their mask in place; what they complete is pushed to `said`.
    pub(super) fn read(
        &mut self,
        mut bytes: &mut [u8],
        deflate: Option<&mut Deflate>,
        said: &mut Vec<Said>,
    ) -> Result<(), Violation> {
        let mut deflate = deflate;
        loop {
            let Some((frame, come)) = self.frame else {
                let Some(used) = self.read_head(bytes)? else { return Ok(()) };
                bytes = &mut bytes[used..];
                continue;
            };
            let missing = frame.length - come;
            let take = usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at_mut(take);
            unmask(payload, frame.mask, come);
            self.add(frame, payload)?;
            bytes = rest;
            if (take as u64) < missing {
                self.frame = Some((frame, come + take as u64));
                return Ok(());
            }
            self.frame = None;
            if let Some(one) = self.finish(frame, deflate.as_deref_mut())? {
                said.push(one);
            }
        }
    }

    /// How many bytes belonged to the head; `None` when more must come.
    fn read_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        let known = self.head.len();
        let more = bytes.len().min(HEAD_BYTES_MAX - known);
        self.head.extend_from_slice(&bytes[..more]);
        let Some((head, length)) = Head::parse(&self.head, self.deflates)? else { return Ok(None) };
        self.head.clear();
        self.begin(head)?;
        self.frame = Some((head, 0));
        Ok(Some(length - known))
    }

    fn begin(&mut self, head: Head) -> Result<(), Violation> {
        if head.opcode.is_control() {
            self.control.clear();
            return Ok(());
        }
        match (head.opcode, &self.message) {
            (Opcode::Continuation, None) => {
                return Err(Violation::protocol("continuation of no message"));
            }
            (Opcode::Continuation, Some(_)) => {}
            (_, Some(_)) => return Err(Violation::protocol("message within a message")),
            (opcode, None) => {
                self.message = Some(Unfinished {
                    is_text: opcode == Opcode::Text,
                    compressed: head.compressed,
                    data: Vec::new(),
                    checked: 0,
                });
            }
        }
        let come = self.message.as_ref().map_or(0, |message| message.data.len());
        if head.length > (self.bytes_max - come.min(self.bytes_max)) as u64 {
            return Err(Violation::TOO_LONG);
        }
        Ok(())
    }

    fn add(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if head.opcode.is_control() {
            self.control.extend_from_slice(payload);
        } else if let Some(message) = &mut self.message {
            message.data.extend_from_slice(payload);
            if message.is_text && !message.compressed {
                message.check(false)?;
            }
        }
        Ok(())
    }

    fn finish(
        &mut self,
        head: Head,
        deflate: Option<&mut Deflate>,
    ) -> Result<Option<Said>, Violation> {
        match head.opcode {
            Opcode::Ping => Ok(Some(Said::Ping(Bytes::copy_from_slice(&self.control)))),
            Opcode::Pong => Ok(Some(Said::Pong)),
            Opcode::Close => read_close(&self.control).map(Some),
            _ if !head.last => Ok(None),
            _ => {
                let Some(mut message) = self.message.take() else { return Ok(None) };
                if let (true, Some(deflate)) = (message.compressed, deflate) {
                    message.data = deflate.decompress(&message.data, self.bytes_max)?;
                }
                message.finish().map(|message| Some(Said::Message(message)))
            }
        }
    }
}

impl Unfinished {
    /// Refuses what cannot become UTF-8 any more; at the end, also a character that is cut.
    fn check(&mut self, ended: bool) -> Result<(), Violation> {
        match std::str::from_utf8(&self.data[self.checked..]) {
            Ok(_) => self.checked = self.data.len(),
            Err(error) if error.error_len().is_some() || ended => return Err(Violation::TEXT),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Message, Violation> {
        if !self.is_text {
            return Ok(Message::Binary(self.data.into()));
        }
        self.check(true)?;
        String::from_utf8(self.data).map(Message::Text).map_err(|_| Violation::TEXT)
    }
}

fn read_close(payload: &[u8]) -> Result<Said, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(Said::Close(None, String::new())),
            _ => Err(Violation::protocol("half of a close code")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !WebSocket::may_be_said(code) {
        return Err(Violation::protocol("close code that must not be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::TEXT)?;
    Ok(Said::Close(Some(code), reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::frame::head_of;

    const MASK: [u8; 4] = [7, 0, 0x80, 0x55];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = head_of(Opcode::Text, false, payload.len());
        frame[0] = first;
        frame[1] |= 0x80;
        frame.extend_from_slice(&MASK);
        let begun = frame.len();
        frame.extend_from_slice(payload);
        unmask(&mut frame[begun..], MASK, 0);
        frame
    }

    /// Reads in pieces of `size` bytes.
    fn read_cut(bytes: &[u8], size: usize) -> Result<Vec<Said>, Violation> {
        let (mut reader, mut said) = (Reader::new(1000, false), Vec::new());
        for piece in bytes.to_vec().chunks_mut(size) {
            reader.read(piece, None, &mut said)?;
        }
        Ok(said)
    }

    fn text(text: &str) -> Said {
        Said::Message(Message::Text(text.to_owned()))
    }

    #[test]
    fn fragments_and_control_frames_between_them_are_put_in_order() {
        let bytes = [
            frame(0x01, "Grüße".as_bytes()),
            frame(0x89, b"ping"),
            frame(0x00, b", "),
            frame(0x8a, b""),
            frame(0x80, "Wörld".as_bytes()),
            frame(0x82, &[0, 255]),
            frame(0x88, b"\x03\xe8bye"),
        ]
        .concat();
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(
                read_cut(&bytes, size).expect("legal"),
                [
                    Said::Ping(Bytes::from_static(b"ping")),
                    Said::Pong,
                    text("Grüße, Wörld"),
                    Said::Message(Message::Binary(Bytes::from_static(&[0, 255]))),
                    Said::Close(Some(1000), "bye".to_owned()),
                ],
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn violations_get_their_codes() {
        let code = |frames: &[Vec<u8>]| read_cut(&frames.concat(), 1000).expect_err("illegal").code;
        assert_eq!(code(&[frame(0x80, b"x")]), 1002, "a continuation of nothing");
        assert_eq!(code(&[frame(0x01, b"x"), frame(0x81, b"y")]), 1002, "two at once");
        assert_eq!(code(&[frame(0x88, b"\x03")]), 1002, "half a code");
        for reserved in [0u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert_eq!(code(&[frame(0x88, &reserved.to_be_bytes())]), 1002, "{reserved}");
        }
        assert_eq!(code(&[frame(0x88, b"\x03\xe8\xff")]), 1007, "a reason that is no text");
        assert_eq!(code(&[frame(0x81, b"\xff")]), 1007, "no UTF-8");
        assert_eq!(code(&[frame(0x81, b"\xe2\x82")]), 1007, "a character that is cut");
        assert_eq!(code(&[frame(0x01, b"\xed\xa0\x80")]), 1007, "already in the first fragment");
        assert_eq!(code(&[frame(0x82, &[0; 1001])]), 1009, "too long");
        assert_eq!(code(&[frame(0x02, &[0; 600]), frame(0x80, &[0; 600])]), 1009, "together");
    }

    #[test]
    fn a_limit_counts_what_comes_out_of_compression() {
        use crate::websocket::deflate::Agreement;
        let mut deflate = Deflate::new(Agreement::among("permessage-deflate").expect("one").0);
        let packed = deflate.compress(&[b'a'; 2000]);
        let mut bytes = frame(0xc1, &packed);
        let (mut reader, mut said) = (Reader::new(1000, true), Vec::new());
        let outcome = reader.read(&mut bytes, Some(&mut deflate), &mut said);
        assert_eq!(outcome, Err(Violation::TOO_LONG));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, size in 1..50_usize) {
            let _ = read_cut(&bytes, size);
        }
    }
}
