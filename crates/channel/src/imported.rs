//! What a worker says of the modules that it has imported after the fork: a packet of its own kind,
//! beside the words.

/// First bytes of such a packet; names follow, separated by blanks.
const HEAD: &[u8] = b"imported ";
/// Longest name that is believed, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// Names are gathered up to this many bytes, so that the zygote can be told of all in one packet.
pub const IMPORTED_BYTES_MAX: usize = 32 * 1024;

/// The packet that tells of these modules; what does not fit any more is left out.
#[must_use]
pub fn imported_packet<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut packet = HEAD.to_vec();
    for name in names.into_iter().filter(|name| is_module(name)) {
        if packet.len() + name.len() >= IMPORTED_BYTES_MAX {
            break;
        }
        packet.extend_from_slice(name.as_bytes());
        packet.push(b' ');
    }
    packet
}

/// The names in such a packet; `None` when it is another one.
#[must_use]
pub fn imported_names(packet: &[u8]) -> Option<Vec<&str>> {
    let names = std::str::from_utf8(packet.strip_prefix(HEAD)?).ok()?;
    Some(names.split(' ').filter(|name| is_module(name)).collect())
}

/// Whether Python could import it by this name: parts separated by dots, none of them empty.
fn is_module(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|first: char| first.is_ascii_digit())
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip_and_what_is_no_name_does_not() {
        let names = ["json.decoder", "a b", "", "..x", "más", "1a", "os\n", &"x".repeat(201)];
        let packet = imported_packet(names);
        assert_eq!(imported_names(&packet), Some(vec!["json.decoder", "más"]));
    }

    #[test]
    fn words_are_no_such_packet() {
        assert_eq!(imported_names(b"ready"), None);
        assert_eq!(imported_names(b"imported"), None);
        assert_eq!(imported_names(b"imported \xff"), None);
        assert_eq!(imported_names(b"imported "), Some(Vec::new()));
    }

    #[test]
    fn a_packet_never_gets_too_long() {
        let name = "x".repeat(150);
        let packet = imported_packet(std::iter::repeat_n(name.as_str(), 10_000));
        assert!(packet.len() <= IMPORTED_BYTES_MAX);
    }
}
