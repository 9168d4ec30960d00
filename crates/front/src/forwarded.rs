//! Which proxy headers are believed, and from whom.

use std::net::IpAddr;

use hyper::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::Peer;

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

/// Collects what a trusted peer says of the scheme, in one pass over its headers.
///
/// gunicorn's defaults for `secure_scheme_headers`: a header that is present says https when it
/// has its secure value, and http otherwise.
#[derive(Debug, Default)]
pub struct SchemeHeaders {
    said: Option<bool>,
    contradiction: bool,
}

impl SchemeHeaders {
    /// Looks at one header.
    pub fn see(&mut self, name: &HeaderName, value: &HeaderValue) {
        // Checked by length first: this runs for every header of every request.
        let secure_value: &[u8] = match name.as_str() {
            "x-forwarded-proto" => b"https",
            "x-forwarded-protocol" => b"ssl",
            "x-forwarded-ssl" => b"on",
            _ => return,
        };
        let secure = value.as_bytes() == secure_value;
        self.contradiction |= self.said.is_some_and(|said| said != secure);
        self.said = Some(secure);
    }

    /// The scheme, `own` when no header says one; `None` when two headers disagree.
    #[must_use]
    pub fn scheme(&self, own: Scheme) -> Option<Scheme> {
        match (self.contradiction, self.said) {
            (true, _) => None,
            (false, None) => Some(own),
            (false, Some(true)) => Some(Scheme::Https),
            (false, Some(false)) => Some(Scheme::Http),
        }
    }
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

    fn scheme(headers: &[(&'static str, &'static str)]) -> Option<Scheme> {
        let mut seen = SchemeHeaders::default();
        for (name, value) in headers {
            seen.see(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        seen.scheme(Scheme::Http)
    }

    #[test]
    fn what_nobody_says_is_what_the_front_has_seen() {
        let mut seen = SchemeHeaders::default();
        assert_eq!(seen.scheme(Scheme::Https), Some(Scheme::Https));
        seen.see(&HeaderName::from_static("x-forwarded-proto"), &HeaderValue::from_static("http"));
        assert_eq!(seen.scheme(Scheme::Https), Some(Scheme::Http));
    }

    #[test]
    fn a_contradiction_is_neither_scheme() {
        assert_eq!(scheme(&[]), Some(Scheme::Http));
        assert_eq!(scheme(&[("x-forwarded-proto", "https")]), Some(Scheme::Https));
        assert_eq!(scheme(&[("x-forwarded-proto", "https,http")]), Some(Scheme::Http));
        assert_eq!(
            scheme(&[("x-forwarded-proto", "https"), ("x-forwarded-ssl", "on")]),
            Some(Scheme::Https)
        );
        assert_eq!(scheme(&[("x-forwarded-proto", "https"), ("x-forwarded-ssl", "off")]), None);
    }
}
