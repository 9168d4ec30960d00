//! Which proxy headers are believed, and from whom.

use std::net::IpAddr;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::Peer;
use crate::refusal::Refusal;

/// Peers whose scheme and forwarder headers are believed: gunicorn's `forwarded_allow_ips`.
#[derive(Clone, Debug)]
pub enum TrustedPeers {
    /// `*`
    Everyone,
    /// Addresses and networks; a unix socket's peer is always trusted.
    Networks(Vec<IpNet>),
}

impl TrustedPeers {
    /// Reads `*`, addresses or networks; what is none of them is returned as the error.
    ///
    /// # Errors
    ///
    /// The first entry that is neither an address nor a network.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        let mut networks = Vec::new();
        for entry in entries {
            let entry = entry.trim();
            if entry == "*" {
                return Ok(Self::Everyone);
            }
            let network = entry
                .parse::<IpNet>()
                .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| entry.to_owned())?;
            networks.push(network);
        }
        Ok(Self::Networks(networks))
    }

    /// The client in a list of the form `client, proxy, proxy`: each proxy has added whom it saw,
    /// so the last that is not trusted is the one that can be believed.
    #[must_use]
    pub fn client_among<'a>(&self, named: &'a str) -> Option<&'a str> {
        let mut hosts = named.split(',').map(str::trim).filter(|host| !host.is_empty());
        match self {
            Self::Everyone => hosts.next(),
            Self::Networks(networks) => {
                let is_trusted = |host: &str| {
                    host.parse::<IpAddr>().is_ok_and(|ip| networks.iter().any(|n| n.contains(&ip)))
                };
                let first = hosts.clone().next();
                hosts.rfind(|host| !is_trusted(host)).or(first)
            }
        }
    }

    /// Whether this peer is believed.
    #[must_use]
    pub fn contains(&self, peer: Peer) -> bool {
        match (self, peer) {
            (Self::Everyone, _) | (_, Peer::Unix) => true,
            (Self::Networks(networks), Peer::Inet(ip, _)) => {
                networks.iter().any(|network| network.contains(&ip))
            }
        }
    }
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain, or a proxy that says so.
    Http,
    /// The front has seen TLS, or a trusted proxy has.
    Https,
}

/// What becomes of a header with underscores that no trusted proxy may send: to an app
/// `X_Forwarded_For` looks like `X-Forwarded-For`, which a proxy may have checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// It is left out.
    #[default]
    Drop,
    /// The request is refused.
    Refuse,
    /// It goes through.
    Dangerous,
}

/// Who is believed about a client, and what.
#[derive(Clone, Debug)]
pub struct Proxies {
    /// Those who are believed.
    pub trusted: TrustedPeers,
    /// Headers with underscores that they may send; `None` = all.
    pub forwarder_headers: Option<Vec<HeaderName>>,
    /// What becomes of other headers with underscores.
    pub underscores: Underscores,
    /// A header that is there says https when it has this value, and http otherwise.
    pub scheme_headers: Vec<(HeaderName, HeaderValue)>,
}

impl Default for Proxies {
    fn default() -> Self {
        let secure = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        Self {
            trusted: TrustedPeers::Networks(Vec::new()),
            forwarder_headers: Some(vec![HeaderName::from_static("script_name")]),
            underscores: Underscores::Drop,
            scheme_headers: vec![
                secure("x-forwarded-protocol", "ssl"),
                secure("x-forwarded-proto", "https"),
                secure("x-forwarded-ssl", "on"),
            ],
        }
    }
}

/// What a request's headers have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Believed {
    /// What a trusted peer says; `None` when it says nothing.
    pub(crate) scheme: Option<Scheme>,
    /// Headers with underscores are left.
    pub(crate) has_underscores: bool,
}

impl Proxies {
    /// Takes out what this peer may not send, and reads what it says of the scheme.
    pub(crate) fn apply(
        &self,
        headers: &mut HeaderMap,
        trusted: bool,
    ) -> Result<Believed, Refusal> {
        let mut believed = Believed { scheme: None, has_underscores: false };
        for (name, value) in &*headers {
            believed.has_underscores |= has_underscore(name.as_str().as_bytes());
            if trusted && let Some(scheme) = self.scheme_in(name, value) {
                if believed.scheme.is_some_and(|said| said != scheme) {
                    return Err(Refusal::SchemeHeaders);
                }
                believed.scheme = Some(scheme);
            }
        }
        if believed.has_underscores {
            believed.has_underscores = self.take_out_underscores(headers, trusted)?;
        }
        Ok(believed)
    }

    fn scheme_in(&self, name: &HeaderName, value: &HeaderValue) -> Option<Scheme> {
        let (_, secure) = self.scheme_headers.iter().find(|(known, _)| known == name)?;
        Some(if value == secure { Scheme::Https } else { Scheme::Http })
    }

    fn take_out_underscores(
        &self,
        headers: &mut HeaderMap,
        trusted: bool,
    ) -> Result<bool, Refusal> {
        let may_send = |name: &HeaderName| {
            let named = self.forwarder_headers.as_ref().is_none_or(|names| names.contains(name));
            trusted && named || self.underscores == Underscores::Dangerous
        };
        let with_underscores = headers.keys().filter(|name| name.as_str().contains('_'));
        let (kept, others): (Vec<_>, Vec<_>) = with_underscores.cloned().partition(may_send);
        if !others.is_empty() && self.underscores == Underscores::Refuse {
            return Err(Refusal::HeaderName);
        }
        others.iter().for_each(|name| drop(headers.remove(name)));
        Ok(!kept.is_empty())
    }
}

/// Looks at eight bytes at a time: this runs for every header of every request.
fn has_underscore(name: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    const UNDERSCORES: u64 = ONES * b'_' as u64;
    let (words, rest) = name.as_chunks::<8>();
    // A byte that is an underscore becomes zero, and only zeros borrow with their high bit clear.
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS != 0;
    words.iter().any(|word| has_zero(u64::from_ne_bytes(*word) ^ UNDERSCORES))
        || rest.contains(&b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(entries: &[&str]) -> TrustedPeers {
        let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
        TrustedPeers::parse(&entries).expect("entries")
    }

    #[test]
    fn trust_covers_addresses_networks_and_unix_sockets() {
        let inside = Peer::Inet("10.1.2.3".parse().expect("ip"), 1);
        let outside = Peer::Inet("11.1.2.3".parse().expect("ip"), 1);
        assert!(peers(&["10.0.0.0/8"]).contains(inside));
        assert!(peers(&["::1", "10.1.2.3"]).contains(inside));
        assert!(!peers(&["10.0.0.0/8"]).contains(outside));
        assert!(peers(&["*"]).contains(outside));
        assert!(peers(&[]).contains(Peer::Unix));
        assert_eq!(
            TrustedPeers::parse(&["10.0.0.0/99".into()]).err().as_deref(),
            Some("10.0.0.0/99")
        );
    }

    #[test]
    fn the_client_is_the_last_who_is_not_trusted() {
        let some = peers(&["10.0.0.0/8"]);
        assert_eq!(some.client_among("6.6.6.6, 1.2.3.4, 10.0.0.1"), Some("1.2.3.4"));
        assert_eq!(some.client_among("10.0.0.2, 10.0.0.1"), Some("10.0.0.2"));
        assert_eq!(some.client_among("unknown"), Some("unknown"));
        assert_eq!(some.client_among(" , "), None);
        assert_eq!(peers(&["*"]).client_among("6.6.6.6, 1.2.3.4"), Some("6.6.6.6"));
    }

    #[test]
    fn an_underscore_is_found_wherever_it_stands() {
        for length in 0..40 {
            let name = vec![b'^'; length];
            assert!(!has_underscore(&name));
            for at in 0..length {
                let mut name = vec![b'a'; length];
                name[at] = b'_';
                assert!(has_underscore(&name), "{at} of {length}");
            }
        }
    }

    fn apply(
        proxies: &Proxies,
        trusted: bool,
        given: &[(&str, &str)],
    ) -> Result<(Option<Scheme>, Vec<String>), Refusal> {
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).expect("name");
        let value = |value: &str| HeaderValue::from_str(value).expect("value");
        let mut headers: HeaderMap = given.iter().map(|(n, v)| (name(n), value(v))).collect();
        let believed = proxies.apply(&mut headers, trusted)?;
        let left: Vec<String> = headers.keys().map(ToString::to_string).collect();
        assert_eq!(believed.has_underscores, left.iter().any(|name| name.contains('_')));
        Ok((believed.scheme, left))
    }

    #[test]
    fn a_trusted_peer_says_the_scheme_and_must_not_contradict_itself() {
        let scheme = |trusted, given: &[(&str, &str)]| {
            apply(&Proxies::default(), trusted, given).map(|(scheme, _)| scheme)
        };
        assert_eq!(scheme(true, &[]), Ok(None));
        assert_eq!(scheme(true, &[("x-forwarded-proto", "https")]), Ok(Some(Scheme::Https)));
        assert_eq!(scheme(false, &[("x-forwarded-proto", "https")]), Ok(None));
        assert_eq!(scheme(true, &[("x-forwarded-proto", "https,http")]), Ok(Some(Scheme::Http)));
        let both = [("x-forwarded-proto", "https"), ("x-forwarded-ssl", "on")];
        assert_eq!(scheme(true, &both), Ok(Some(Scheme::Https)));
        let both = [("x-forwarded-proto", "https"), ("x-forwarded-ssl", "off")];
        assert_eq!(scheme(true, &both), Err(Refusal::SchemeHeaders));
        assert_eq!(scheme(false, &both), Ok(None));
    }

    #[test]
    fn headers_with_underscores_come_from_trusted_peers_that_may_send_them() {
        let given = [("script_name", "/a"), ("x_b", "c"), ("host", "d")];
        let left = |proxies: &Proxies, trusted| {
            apply(proxies, trusted, &given).map(|(_, left)| left.join(" "))
        };
        let default = Proxies::default();
        assert_eq!(left(&default, true).as_deref(), Ok("script_name host"));
        assert_eq!(left(&default, false).as_deref(), Ok("host"));
        let all = Proxies { forwarder_headers: None, ..default.clone() };
        assert_eq!(left(&all, true).as_deref(), Ok("script_name x_b host"));
        assert_eq!(left(&all, false).as_deref(), Ok("host"));
        let refuse = Proxies { underscores: Underscores::Refuse, ..default.clone() };
        assert_eq!(left(&refuse, true), Err(Refusal::HeaderName));
        let dangerous = Proxies { underscores: Underscores::Dangerous, ..default };
        assert_eq!(left(&dangerous, false).as_deref(), Ok("script_name x_b host"));
    }
}
