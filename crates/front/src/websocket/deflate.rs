//! Compressed messages: `permessage-deflate` (RFC 7692).
//!
//! A window costs memory for the whole life of a connection: 256 KiB for ours at full size. So we
//! ask for 4 KiB windows where the client allows it, as the package `websockets` does, too.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Violation;

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    server_forgets: bool,
    client_forgets: bool,
    server_window_bits: u8,
    client_window_bits: u8,
}

const WINDOW_BITS_WANTED: u8 = 12;
const WINDOW_BITS_MAX: u8 = 15;
/// zlib has no window of 8 bits for raw streams.
const WINDOW_BITS_MIN: u8 = 9;
const NAME: &str = "permessage-deflate";

impl Agreement {
    /// Takes the first offer in a `Sec-WebSocket-Extensions` header that can be kept; what is to
    /// be answered.
    pub(super) fn among(offers: &str) -> Option<(Self, String)> {
        offers.split(',').find_map(Self::from_offer)
    }

    fn from_offer(offer: &str) -> Option<(Self, String)> {
        let mut parts = offer.split(';').map(str::trim);
        if parts.next()? != NAME {
            return None;
        }
        let mut agreement = Self {
            server_forgets: false,
            client_forgets: false,
            server_window_bits: WINDOW_BITS_WANTED,
            client_window_bits: WINDOW_BITS_MAX,
        };
        let mut seen = Vec::new();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (part, None),
            };
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            match (name, value) {
                ("server_no_context_takeover", None) => agreement.server_forgets = true,
                ("client_no_context_takeover", None) => agreement.client_forgets = true,
                ("server_max_window_bits", Some(bits)) => {
                    let bits = window_bits(bits).filter(|bits| *bits >= WINDOW_BITS_MIN)?;
                    agreement.server_window_bits = bits.min(WINDOW_BITS_WANTED);
                }
                ("client_max_window_bits", None) => {
                    agreement.client_window_bits = WINDOW_BITS_WANTED;
                }
                ("client_max_window_bits", Some(bits)) => {
                    agreement.client_window_bits = window_bits(bits)?.min(WINDOW_BITS_WANTED);
                }
                _ => return None,
            }
        }
        let answer = agreement.answer(&seen);
        Some((agreement, answer))
    }

    fn answer(&self, asked: &[&str]) -> String {
        let mut answer = NAME.to_owned();
        if self.server_forgets {
            answer.push_str("; server_no_context_takeover");
        }
        if self.client_forgets {
            answer.push_str("; client_no_context_takeover");
        }
        answer.push_str(&format!("; server_max_window_bits={}", self.server_window_bits));
        // Only a client that has said so understands a limit for itself.
        if asked.contains(&"client_max_window_bits") {
            answer.push_str(&format!("; client_max_window_bits={}", self.client_window_bits));
        }
        answer
    }
}

fn window_bits(text: &str) -> Option<u8> {
    let bits = text.parse().ok().filter(|bits| (8..=WINDOW_BITS_MAX).contains(bits))?;
    (!text.starts_with(['0', '+'])).then_some(bits)
}

/// Both directions of a connection. What they need is made at their first message.
pub(super) struct Deflate {
    agreement: Agreement,
    compress: Option<Compress>,
    decompress: Option<Decompress>,
}

/// What each compressed message ends with, and what is not sent.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

impl Deflate {
    pub(super) fn new(agreement: Agreement) -> Self {
        Self { agreement, compress: None, decompress: None }
    }

    pub(super) fn compress(&mut self, message: &[u8]) -> Vec<u8> {
        let bits = self.agreement.server_window_bits;
        let compress = self.compress.get_or_insert_with(|| {
            Compress::new_with_window_bits(Compression::default(), false, bits)
        });
        let mut packed = Vec::with_capacity(message.len() / 2 + 64);
        let begun = compress.total_in();
        loop {
            let used = (compress.total_in() - begun) as usize;
            // Fails only for states that cannot occur here.
            let outcome = compress.compress_vec(&message[used..], &mut packed, FlushCompress::Sync);
            let is_complete = (compress.total_in() - begun) as usize == message.len()
                && packed.len() < packed.capacity();
            if is_complete || outcome.is_err() {
                break;
            }
            packed.reserve(packed.capacity().max(64));
        }
        if packed.ends_with(&TAIL) {
            packed.truncate(packed.len() - TAIL.len());
        }
        if self.agreement.server_forgets {
            compress.reset();
        }
        packed
    }

    /// Unpacks a message of at most `bytes_max` bytes: a few bytes can stand for gigabytes.
    pub(super) fn decompress(
        &mut self,
        packed: &[u8],
        bytes_max: usize,
    ) -> Result<Vec<u8>, Violation> {
        let bits = self.agreement.client_window_bits.max(WINDOW_BITS_MIN);
        let decompress =
            self.decompress.get_or_insert_with(|| Decompress::new_with_window_bits(false, bits));
        let mut message = Vec::with_capacity((packed.len() * 3).clamp(64, bytes_max.max(64)));
        for mut part in [packed, &TAIL] {
            loop {
                let before = decompress.total_in();
                let status = decompress
                    .decompress_vec(part, &mut message, FlushDecompress::Sync)
                    .map_err(|_| Violation::data("compressed data cannot be read"))?;
                part = &part[(decompress.total_in() - before) as usize..];
                if message.len() > bytes_max {
                    return Err(Violation::TOO_LONG);
                }
                if status == Status::StreamEnd {
                    // A message may end its stream; the next one begins another.
                    decompress.reset(false);
                    if part.is_empty() {
                        break;
                    }
                } else if part.is_empty() && message.len() < message.capacity() {
                    break;
                } else {
                    message.reserve(message.capacity().clamp(64, 1 << 20));
                }
            }
        }
        if self.agreement.client_forgets {
            decompress.reset(false);
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(offer: &str) -> Deflate {
        Deflate::new(Agreement::among(offer).expect("an agreement").0)
    }

    #[test]
    fn offers_are_answered_as_the_specification_says() {
        let answer = |offer| Agreement::among(offer).map(|(_, answer)| answer);
        assert_eq!(
            answer("permessage-deflate").as_deref(),
            Some("permessage-deflate; server_max_window_bits=12")
        );
        assert_eq!(
            answer("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits").as_deref(),
            Some("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12")
        );
        assert_eq!(
            answer(
                "permessage-deflate; server_max_window_bits=10; client_max_window_bits=\"9\"; \
                 server_no_context_takeover; client_no_context_takeover"
            )
            .as_deref(),
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=10; client_max_window_bits=9"
            )
        );
        // The first that cannot be kept is passed over for one that can.
        assert_eq!(
            answer("permessage-deflate; server_max_window_bits=8, permessage-deflate").as_deref(),
            Some("permessage-deflate; server_max_window_bits=12")
        );
        for bad in [
            "permessage-bzip2",
            "permessage-deflate; unknown",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=07",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
        ] {
            assert_eq!(answer(bad), None, "{bad}");
        }
    }

    #[test]
    fn messages_of_every_size_survive_the_round_trip() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ] {
            let mut deflate = agreed(offer);
            for length in [0, 1, 5, 64, 1000, 65_536, 1 << 20] {
                let message: Vec<u8> =
                    (0..length).map(|n: u32| (n.wrapping_mul(n) / 7) as u8).collect();
                let packed = deflate.compress(&message);
                let unpacked = deflate.decompress(&packed, 1 << 20).expect("readable");
                assert!(unpacked == message, "{length} bytes");
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let mut deflate = agreed("permessage-deflate");
        let packed = deflate.compress(&vec![0; 20 << 20]);
        assert!(packed.len() < 100_000);
        assert_eq!(deflate.decompress(&packed, 1 << 20), Err(Violation::TOO_LONG));
    }

    #[test]
    fn garbage_is_refused() {
        let mut deflate = agreed("permessage-deflate");
        assert!(deflate.decompress(b"\xff\xff\xff\xff garbage", 1000).is_err());
    }
}
