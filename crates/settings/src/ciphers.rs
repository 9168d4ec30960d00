//! OpenSSL's cipher lists, applied to the few suites that rustls has.

use crate::value::Misfit;

/// A suite, and the words that stand for it and others of its kind.
struct Suite {
    name: &'static str,
    words: &'static [&'static str],
}

const fn suite(name: &'static str, words: &'static [&'static str]) -> Suite {
    Suite { name, words }
}

#[rustfmt::skip] // One line each, so that the list can be read as a table.
const TLS_1_3: [Suite; 3] = [
    suite("TLS_AES_256_GCM_SHA384", &[]),
    suite("TLS_AES_128_GCM_SHA256", &[]),
    suite("TLS_CHACHA20_POLY1305_SHA256", &[]),
];

#[rustfmt::skip]
const TLS_1_2: [Suite; 6] = [
    suite("ECDHE-ECDSA-AES256-GCM-SHA384", &["ECDSA", "aECDSA", "AES256", "AESGCM", "AES", "SHA384"]),
    suite("ECDHE-ECDSA-AES128-GCM-SHA256", &["ECDSA", "aECDSA", "AES128", "AESGCM", "AES", "SHA256"]),
    suite("ECDHE-ECDSA-CHACHA20-POLY1305", &["ECDSA", "aECDSA", "CHACHA20"]),
    suite("ECDHE-RSA-AES256-GCM-SHA384", &["RSA", "aRSA", "AES256", "AESGCM", "AES", "SHA384"]),
    suite("ECDHE-RSA-AES128-GCM-SHA256", &["RSA", "aRSA", "AES128", "AESGCM", "AES", "SHA256"]),
    suite("ECDHE-RSA-CHACHA20-POLY1305", &["RSA", "aRSA", "CHACHA20"]),
];

/// Words that stand for every suite of TLS 1.2 that is left today.
const EVERY: [&str; 11] = [
    "ALL", "DEFAULT", "HIGH", "SECURE", "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH", "TLSv1.2",
    "AEAD",
];

impl Suite {
    fn is_meant_by(&self, word: &str) -> bool {
        // `A+B` is what is both A and B.
        self.name == word
            || word.split('+').all(|part| EVERY.contains(&part) || self.words.contains(&part))
    }
}

/// The suites that a list selects, in its order; none when the list is empty, for "all".
pub(crate) fn parse(list: &str) -> Result<Vec<String>, Misfit> {
    let words = list.split([':', ',', ' ']).map(str::trim).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let mut chosen: Vec<&'static str> = Vec::new();
    let mut forbidden: Vec<&'static str> = Vec::new();
    for word in words {
        let meant = |word: &str| {
            let all = TLS_1_3.iter().chain(&TLS_1_2);
            all.filter(|suite| suite.is_meant_by(word)).map(|suite| suite.name).collect::<Vec<_>>()
        };
        if word.starts_with('@') {
            // Of the strength of keys and the like; nothing weak is here.
        } else if let Some(word) = word.strip_prefix('!') {
            forbidden.extend(meant(word));
        } else if let Some(word) = word.strip_prefix('-') {
            let removed = meant(word);
            chosen.retain(|name| !removed.contains(name));
        } else if let Some(word) = word.strip_prefix('+') {
            let moved = meant(word);
            chosen.sort_by_key(|name| moved.contains(name));
        } else {
            let mut new = meant(word);
            new.retain(|name| !chosen.contains(name));
            chosen.append(&mut new);
        }
    }
    chosen.retain(|name| !forbidden.contains(name));
    if chosen.is_empty() {
        return Err(Misfit::because("none of the suites that it names is safe enough to be here")
            .hint("leave it out, or name some of those that `remuda --help` lists"));
    }
    let is_of_tls_1_3 = |name: &&str| TLS_1_3.iter().any(|suite| suite.name == *name);
    if !chosen.iter().any(is_of_tls_1_3) {
        // As with OpenSSL, whose lists are about TLS 1.2.
        let kept = TLS_1_3.iter().map(|suite| suite.name);
        chosen.splice(0..0, kept.filter(|name| !forbidden.contains(name)).collect::<Vec<_>>());
    }
    Ok(chosen.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls_1_2(list: &str) -> Vec<String> {
        let chosen = parse(list).expect(list);
        assert!(chosen.iter().take(3).all(|name| name.starts_with("TLS_")), "{chosen:?}");
        chosen[3..].to_vec()
    }

    #[test]
    fn names_are_taken_in_their_order_and_those_of_others_are_skipped() {
        let list = "ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-GCM-SHA384";
        let expected = ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"];
        assert_eq!(tls_1_2(list), expected);
    }

    #[test]
    fn words_stand_for_all_of_their_kind() {
        assert_eq!(tls_1_2("HIGH:!aNULL:!MD5").len(), 6);
        assert_eq!(tls_1_2("ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aDSS").len(), 6);
        let expected = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"];
        assert_eq!(tls_1_2("AES256"), expected);
        assert_eq!(tls_1_2("EECDH+aRSA+AES256"), expected[1..]);
        assert_eq!(tls_1_2("HIGH:!ECDSA:-CHACHA20:@STRENGTH").len(), 2);
        assert_eq!(tls_1_2("ALL:+AES").first().map(|name| name.ends_with("POLY1305")), Some(true));
    }

    #[test]
    fn suites_of_tls_1_3_are_replaced_only_by_such() {
        assert_eq!(parse("TLS_AES_128_GCM_SHA256"), Ok(vec!["TLS_AES_128_GCM_SHA256".to_owned()]));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn a_list_that_selects_nothing_is_refused() {
        for list in ["RC4-SHA", "HIGH:!ECDHE", "aNULL", ":!HIGH", "é", "!"] {
            assert!(parse(list).is_err(), "{list}");
        }
    }
}
