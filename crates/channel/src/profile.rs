//! The order to a worker to say what its memory grows by: a packet of its own kind, beside the words.

/// First bytes of such a packet; a number of seconds follows.
const HEAD: &[u8] = b"profile ";
/// Longest profile, in seconds: tracing slows a worker down.
pub const PROFILE_SECONDS_MAX: u16 = 3600;

/// The packet that asks for a profile of so many seconds.
#[must_use]
pub fn profile_packet(seconds: u16) -> Vec<u8> {
    [HEAD, seconds.to_string().as_bytes()].concat()
}

/// The seconds in such a packet; `None` when it is another one.
#[must_use]
pub fn profile_seconds(packet: &[u8]) -> Option<u16> {
    let seconds = std::str::from_utf8(packet.strip_prefix(HEAD)?).ok()?.parse().ok()?;
    (1..=PROFILE_SECONDS_MAX).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_survive_the_round_trip_and_others_are_refused() {
        for seconds in [1, 30, PROFILE_SECONDS_MAX] {
            assert_eq!(profile_seconds(&profile_packet(seconds)), Some(seconds));
        }
        let bad = [&b"profile"[..], b"profile 0", b"profile 3601", b"profile 1s", b"profile \xff"];
        for packet in bad {
            assert_eq!(profile_seconds(packet), None, "{}", packet.escape_ascii());
        }
    }
}
