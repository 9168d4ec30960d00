//! Frames on the wire (RFC 6455, section 5.2): their heads, and the mask of a client.

use super::Violation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The last frame of its message.
    pub(super) last: bool,
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    /// Bytes of the payload.
    pub(super) length: u64,
}

const LAST: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;
/// Longest head of a client's frame.
pub(super) const HEAD_BYTES_MAX: usize = 14;
const CONTROL_BYTES_MAX: u64 = 125;

impl Head {
    /// Reads a client's head and its length in bytes; `None` while it is not complete.
    pub(super) fn parse(bytes: &[u8], deflate: bool) -> Result<Option<(Self, usize)>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::of(first & 0x0f).ok_or(Violation::protocol("unknown opcode"))?;
        let head = Self {
            last: first & LAST != 0,
            compressed: first & COMPRESSED != 0,
            opcode,
            mask: [0; 4],
            length: u64::from(second & !MASKED),
        };
        head.check(first, second, deflate)?;
        let (length, rest) = match head.length {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (length, rest),
        };
        if length > i64::MAX as u64 {
            return Err(Violation::protocol("length has its highest bit set"));
        }
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some((Self { mask: *mask, length, ..head }, bytes.len() - rest.len())))
    }

    fn check(&self, first: u8, second: u8, deflate: bool) -> Result<(), Violation> {
        if first & RESERVED != 0 || self.compressed && !deflate {
            return Err(Violation::protocol("reserved bit set"));
        }
        if second & MASKED == 0 {
            return Err(Violation::protocol("frame of a client without mask"));
        }
        if self.opcode.is_control() {
            if !self.last || self.compressed {
                return Err(Violation::protocol("fragmented or compressed control frame"));
            }
            if self.length > CONTROL_BYTES_MAX {
                return Err(Violation::protocol("control frame too long"));
            }
        }
        if self.opcode == Opcode::Continuation && self.compressed {
            return Err(Violation::protocol("compression announced in the middle of a message"));
        }
        Ok(())
    }
}

/// The head of a frame of ours: last of its message, without mask.
pub(super) fn head_of(opcode: Opcode, compressed: bool, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(10);
    head.push(LAST | if compressed { COMPRESSED } else { 0 } | opcode as u8);
    match length {
        0..=125 => head.push(length as u8),
        126..=0xffff => {
            head.push(126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head
}

/// Takes the mask off; `at` is the place of the first byte within its payload.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4], at: u64) {
    let turned: [u8; 4] = std::array::from_fn(|place| mask[(place + (at % 4) as usize) % 4]);
    let wide = u64::from(u32::from_ne_bytes(turned)) * 0x1_0000_0001;
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let bytes: [u8; 8] = (&*chunk).try_into().expect("chunks of eight");
        chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
    }
    for (byte, place) in chunks.into_remainder().iter_mut().zip(0..) {
        *byte ^= turned[place % 4_usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let bytes = [0x81, 0xfe, 0x01, 0x00, 1, 2, 3, 4, b'x'];
        for length in 0..8 {
            assert_eq!(Head::parse(&bytes[..length], false), Ok(None), "{length} bytes");
        }
        let (head, used) = Head::parse(&bytes, false).expect("legal").expect("complete");
        assert_eq!(
            (head.opcode, head.length, head.mask, used),
            (Opcode::Text, 256, [1, 2, 3, 4], 8)
        );
        assert!(head.last && !head.compressed);
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        for (first, second) in [
            (0x83, 0x80), // unknown opcode
            (0x91, 0x80), // reserved bit
            (0xc1, 0x80), // compressed, though nobody agreed to that
            (0x81, 0x00), // no mask
            (0x09, 0x80), // fragmented ping
            (0x89, 0xfe), // ping of more than 125 bytes
        ] {
            assert!(Head::parse(&[first, second, 0, 126, 0, 0, 0, 0], false).is_err(), "{first:x}");
        }
        assert!(Head::parse(&[0xc9, 0x80, 0, 0, 0, 0], true).is_err(), "compressed ping");
        let endless = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(Head::parse(&endless, false).is_err());
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(head_of(Opcode::Text, false, 125), [0x81, 125]);
        assert_eq!(head_of(Opcode::Binary, true, 126), [0xc2, 126, 0, 126]);
        assert_eq!(head_of(Opcode::Binary, false, 65_536)[..6], [0x82, 127, 0, 0, 0, 0]);
    }

    #[test]
    fn the_mask_comes_off_wherever_a_piece_begins() {
        let mask = [0x11, 0x22, 0x33, 0x44];
        let plain: Vec<u8> = (0..100).collect();
        for cut in 0..plain.len() {
            let mut masked: Vec<u8> =
                plain.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            let (first, second) = masked.split_at_mut(cut);
            unmask(first, mask, 0);
            unmask(second, mask, cut as u64);
            assert_eq!(masked, plain, "cut at {cut}");
        }
    }
}
