//! Texts to values: numbers, seconds, bytes, switches, lists. Pure, and the same for each source.

use std::time::Duration;

use crate::MemorySize;
use crate::declare::Zero;

/// Longest time that can be asked for: about 31 years. Some write 999999999 for "never".
const MILLIS_MAX: f64 = 1e12;

/// 1 PiB.
const MEMORY_MAX: f64 = (1_u64 << 50) as f64;
/// Whoever gives less without a unit has forgotten it.
const MEMORY_PLAIN_MIN: f64 = (1_u64 << 20) as f64;

/// Why a text is not a value, without the setting's name, which the caller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Why; empty where "must be …, but is …" says it all.
    pub(crate) why: String,
    /// What the reader can do now.
    pub(crate) hint: Option<String>,
}

impl Misfit {
    /// Nothing to add to "must be …, but is …".
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Reads `true` or `false` in the spellings that dashboards and Python use.
pub(crate) fn switch(text: &str) -> Result<bool, Misfit> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "on" => Ok(true),
        "false" | "0" | "no" | "n" | "off" => Ok(false),
        _ => Err(Misfit::plain()),
    }
}

/// Reads a whole number; `0x`, `0o` and `0b` are known, as in gunicorn's file.
pub(crate) fn whole(text: &str, min: u64, max: u64) -> Result<u64, Misfit> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, radix) = match text.get(..2) {
        Some("0x") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        Some("0b") => (&text[2..], 2),
        _ => (text.as_str(), 10),
    };
    let number = u64::from_str_radix(digits, radix).map_err(|_| Misfit::plain())?;
    if number < min || number > max { Err(Misfit::plain()) } else { Ok(number) }
}

/// Reads a number of workers; `None` for `auto`.
pub(crate) fn workers(text: &str, max: u64) -> Result<Option<u16>, Misfit> {
    if text.trim().eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    whole(text, 1, max).map(|number| u16::try_from(number).ok())
}

/// Reads permission bits: octal where a zero leads, as in C and in gunicorn's flags.
pub(crate) fn mode(text: &str) -> Result<u32, Misfit> {
    let text = text.trim().to_ascii_lowercase();
    let is_octal = text.len() > 1 && text.starts_with('0') && text.as_bytes()[1].is_ascii_digit();
    let text = if is_octal { format!("0o{text}") } else { text };
    whole(&text, 0, 0o777).map(|bits| bits as u32)
}

/// Reads seconds: whole or fractional, bare or with `ms`, `s`, `m` or `h`.
pub(crate) fn seconds(text: &str, zero: Zero) -> Result<Duration, Misfit> {
    let text = text.trim().to_ascii_lowercase();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number = number.trim();
    // `f64` also reads signs, which no length of time has.
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(Misfit::plain());
    }
    let number: f64 = number.parse().map_err(|_| Misfit::plain())?;
    let millis = match unit {
        "ms" => number,
        "" | "s" => number * 1e3,
        "m" => number * 60e3,
        "h" => number * 3600e3,
        _ => return Err(Misfit::because(format!("`{unit}` is no unit; there are ms, s, m and h"))),
    };
    if millis > MILLIS_MAX {
        return Err(Misfit::because("it is longer than 1000000000 seconds"));
    }
    // Nothing is timed finer than a millisecond, and whole milliseconds are exact in an `f64`.
    // What is above zero must not become zero, which means "no limit" elsewhere.
    // The cast cannot wrap: the sign was refused above, and so was what is too long.
    let whole_millis = if millis > 0.0 { millis.round().max(1.0) } else { 0.0 };
    let duration = Duration::from_millis(whole_millis as u64);
    match zero {
        Zero::Refused if duration.is_zero() => Err(Misfit::plain()),
        _ => Ok(duration),
    }
}

/// Reads a number of bytes: bare or with `k`, `m` or `g` (powers of 1024), also `kb` and `kib`.
pub(crate) fn bytes(text: &str, max: u64) -> Result<u64, Misfit> {
    let text = text.trim().to_ascii_lowercase();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale: u64 = match unit {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(Misfit::because(format!("`{unit}` is no unit; there are k, m and g"))),
    };
    let number = whole(number, 0, u64::MAX)?;
    number.checked_mul(scale).filter(|bytes| *bytes <= max).ok_or_else(Misfit::plain)
}

/// Reads an amount of memory: bytes with a unit, fractions included, or a share of what there is.
pub(crate) fn memory(text: &str) -> Result<MemorySize, Misfit> {
    let text = text.trim().to_ascii_lowercase();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number = number.trim();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(Misfit::plain());
    }
    let number: f64 = number.parse().map_err(|_| Misfit::plain())?;
    let scale: u64 = match unit {
        "%" if number <= 100.0 => return Ok(MemorySize::Percent((number * 100.0).round() as u32)),
        "%" => return Err(Misfit::because("it is more than there is")),
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(Misfit::because(format!("`{unit}` is no unit; there are k, m, g and %"))),
    };
    let bytes = number * scale as f64;
    if bytes > MEMORY_MAX {
        return Err(Misfit::because("it is more than a machine can have"));
    }
    if unit.is_empty() && bytes > 0.0 && bytes < MEMORY_PLAIN_MIN {
        let why = format!("a worker cannot live in {number} bytes");
        return Err(Misfit::because(why).hint(format!("write `{number}M` for MiB")));
    }
    Ok(MemorySize::Bytes(bytes.round() as u64))
}

/// Reads a share from 0 to 1, in millionths.
pub(crate) fn share(text: &str) -> Result<u32, Misfit> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(Misfit::plain());
    }
    let share: f64 = text.parse().map_err(|_| Misfit::plain())?;
    if share > 1.0 { Err(Misfit::plain()) } else { Ok((share * 1e6).round() as u32) }
}

/// Reads one of these words.
pub(crate) fn choice(text: &str, words: &[&str]) -> Result<String, Misfit> {
    let text = text.trim().to_ascii_lowercase();
    if words.contains(&text.as_str()) { Ok(text) } else { Err(Misfit::plain()) }
}

/// Reads a level's name; `None` for one that is unknown.
pub(crate) fn level(text: &str) -> Option<&'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "debug" => Some("debug"),
        "info" => Some("info"),
        "warning" | "warn" => Some("warning"),
        "error" => Some("error"),
        "critical" | "fatal" => Some("critical"),
        _ => None,
    }
}

/// Splits at commas; blanks around the parts and empty parts are dropped.
pub(crate) fn commas(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Reads addresses and networks separated by commas, or `*`.
pub(crate) fn networks(text: &str) -> Result<Vec<String>, Misfit> {
    let parts = commas(text);
    for part in parts.iter().filter(|part| *part != "*") {
        if part.parse::<std::net::IpAddr>().is_ok() {
            continue;
        }
        let network: ipnet::IpNet = part.parse().map_err(|_| {
            Misfit::because(format!("`{part}` is neither an IP address nor a network"))
        })?;
        if network.trunc() != network {
            let why = format!("`{part}` has bits set behind its prefix");
            let hint = format!("write `{}` for the network", network.trunc());
            return Err(Misfit::because(why).hint(hint));
        }
    }
    Ok(parts)
}

/// Reads one `NAME=value` pair. The text may be a secret, or the rest of one behind a comma, so
/// the reason does not repeat it.
pub(crate) fn pair(text: &str) -> Result<(String, String), Misfit> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        Some(_) => Err(Misfit::because("one of them has nothing before its `=`")),
        None => Err(Misfit::because("one of them has no `=`")
            .hint("a variable is split at commas; give values with a comma by flag or file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn switches_are_read_in_every_spelling() {
        assert_eq!(switch(" True "), Ok(true));
        assert_eq!(switch("on"), Ok(true));
        assert_eq!(switch("0"), Ok(false));
        assert_eq!(switch("No"), Ok(false));
        assert_eq!(switch("maybe"), Err(Misfit::plain()));
        assert_eq!(switch(""), Err(Misfit::plain()));
    }

    #[test]
    fn whole_numbers_keep_their_range() {
        assert_eq!(whole(" 5 ", 1, 512), Ok(5));
        assert_eq!(whole("0x10", 0, 512), Ok(16));
        assert_eq!(whole("512", 1, 512), Ok(512));
        for text in ["0", "513", "-3", "2.5", "two", "", "1e3", "99999999999999999999"] {
            assert_eq!(whole(text, 1, 512), Err(Misfit::plain()), "{text}");
        }
    }

    #[test]
    fn workers_are_counted_or_left_to_us() {
        assert_eq!(workers("4", 512), Ok(Some(4)));
        assert_eq!(workers(" Auto ", 512), Ok(None));
        for text in ["0", "513", "", "many", "-1"] {
            assert_eq!(workers(text, 512), Err(Misfit::plain()), "{text}");
        }
    }

    #[test]
    fn permission_bits_are_octal_behind_a_zero() {
        for text in ["0022", "022", "0o22", "18", "0x12"] {
            assert_eq!(mode(text), Ok(0o22), "{text}");
        }
        assert_eq!(mode("0"), Ok(0));
        for text in ["0o1000", "088", "rwx", ""] {
            assert_eq!(mode(text), Err(Misfit::plain()), "{text}");
        }
    }

    #[test]
    fn seconds_are_read_with_and_without_unit() {
        assert_eq!(seconds("0.5", Zero::Refused), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("30", Zero::Refused), Ok(MINUTE / 2));
        assert_eq!(seconds("30s", Zero::Refused), Ok(MINUTE / 2));
        assert_eq!(seconds("2 m", Zero::Refused), Ok(2 * MINUTE));
        assert_eq!(seconds("1H", Zero::Refused), Ok(60 * MINUTE));
        assert_eq!(seconds("250ms", Zero::Refused), Ok(MINUTE / 240));
        assert_eq!(seconds("0", Zero::Never), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "-1", "abc", "inf", "nan", "1e3", "3d", "1.2.3", "99999999999", "+3"] {
            assert!(seconds(text, Zero::Never).is_err(), "{text}");
        }
        assert!(seconds("0", Zero::Refused).is_err());
    }

    #[test]
    fn bytes_are_read_with_and_without_unit() {
        assert_eq!(bytes("65536", u64::MAX), Ok(65536));
        assert_eq!(bytes("512k", u64::MAX), Ok(512 << 10));
        assert_eq!(bytes("1 MiB", u64::MAX), Ok(1 << 20));
        assert_eq!(bytes("2g", 1 << 30), Err(Misfit::plain()));
        assert_eq!(bytes("99999999999g", u64::MAX), Err(Misfit::plain()));
        assert!(bytes("1.5m", u64::MAX).is_err());
        assert!(bytes("1t", u64::MAX).is_err());
    }

    #[test]
    fn amounts_of_memory_have_units_fractions_and_shares() {
        assert_eq!(memory("512M"), Ok(MemorySize::Bytes(512 << 20)));
        assert_eq!(memory("1.5G"), Ok(MemorySize::Bytes(3 << 29)));
        assert_eq!(memory(" 300 MiB "), Ok(MemorySize::Bytes(300 << 20)));
        assert_eq!(memory("80%"), Ok(MemorySize::Percent(8000)));
        assert_eq!(memory("12.5%"), Ok(MemorySize::Percent(1250)));
        assert_eq!(memory("536870912"), Ok(MemorySize::Bytes(512 << 20)));
        assert_eq!(memory("0"), Ok(MemorySize::Bytes(0)));
        for text in ["", "-1", "%", "G", "512X", "120%", "1e9", "512", "9999999G", "nan"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_between_nothing_and_all() {
        assert_eq!(share("0.01"), Ok(10_000));
        assert_eq!(share("1"), Ok(1_000_000));
        assert_eq!(share(" 0 "), Ok(0));
        for text in ["", "1.1", "-0.5", "1%", "1e-3", "."] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_strict_as_in_gunicorn() {
        let read = networks("127.0.0.1, ::1,10.0.0.0/8,*");
        assert_eq!(read, Ok(["127.0.0.1", "::1", "10.0.0.0/8", "*"].map(str::to_owned).into()));
        assert_eq!(networks(""), Ok(Vec::new()));
        let misfit = networks("10.0.0.1/8").expect_err("host bits");
        assert_eq!(misfit.hint.as_deref(), Some("write `10.0.0.0/8` for the network"));
        assert!(networks("proxy.local").is_err());
    }

    #[test]
    fn pairs_keep_what_follows_the_first_equals_sign() {
        assert_eq!(pair("A=b=c "), Ok(("A".to_owned(), "b=c ".to_owned())));
        assert!(pair("A").is_err());
        assert!(pair("=b").is_err());
    }

    proptest! {
        #[test]
        fn a_printed_time_reads_back(millis in 0..=1_000_000_000_000_u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(seconds(&format!("{millis}ms"), Zero::Never), Ok(duration));
            let whole = Duration::from_secs(millis / 1000);
            prop_assert_eq!(seconds(&whole.as_secs().to_string(), Zero::Never), Ok(whole));
        }

        #[test]
        fn a_printed_number_reads_back(number: u64) {
            prop_assert_eq!(whole(&number.to_string(), 0, u64::MAX), Ok(number));
            prop_assert_eq!(whole(&format!("{number:#x}"), 0, u64::MAX), Ok(number));
            prop_assert_eq!(bytes(&number.to_string(), u64::MAX), Ok(number));
        }

        #[test]
        fn kibibytes_are_1024_bytes(number in 0..=1_u64 << 40) {
            prop_assert_eq!(bytes(&format!("{number}k"), u64::MAX), Ok(number << 10));
        }

        #[test]
        fn joined_parts_read_back(parts in proptest::collection::vec("[a-z0-9./:-]{1,9}", 0..6)) {
            prop_assert_eq!(commas(&parts.join(", ")), parts);
        }

        #[test]
        fn no_text_breaks_a_parser(text in ".{0,24}") {
            let length = seconds(&text, Zero::Never).unwrap_or_default();
            prop_assert!(length <= Duration::from_secs(1_000_000_000));
            prop_assert!(whole(&text, 0, 9).unwrap_or(0) <= 9);
            prop_assert!(bytes(&text, 9).unwrap_or(0) <= 9);
            prop_assert!(networks(&text).unwrap_or_default().iter().all(|part| !part.is_empty()));
            prop_assert!(pair(&text).is_err() || text.contains('='));
        }
    }
}
