//! The PROXY protocol: who the client of a proxy is, said before the connection's first byte.
//!
//! `ppp` reads the header; how much of it has come, and how much may come, is decided here.

use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};

/// Which versions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
    /// Either.
    Auto,
}

/// What a PROXY header has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// `TCP4`, `TCP6`; or without addresses `LOCAL`, `UNKNOWN`, `UNSPEC`.
    pub protocol: &'static str,
    /// Client, and where it had connected to; `None` when the proxy speaks for itself.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Something else.
    Absent,
    /// The beginning of a header.
    Partial,
    /// A header of so many bytes.
    Header(Told, usize),
    Malformed(String),
}

/// The longest header of version 1, line end included.
const V1_BYTES_MAX: usize = 107;
/// Version 2 may carry much that nobody here reads.
const V2_BYTES_MAX: usize = 4096;
const V2_FIXED_BYTES: usize = 16;

impl ProxyProtocol {
    /// Looks at the first bytes of a connection.
    pub(crate) fn look(self, bytes: &[u8]) -> Seen {
        if self != Self::V2 && begins(bytes, b"PROXY ") {
            return look_v1(bytes);
        }
        if self != Self::V1 && begins(bytes, v2::PROTOCOL_PREFIX) {
            return look_v2(bytes);
        }
        Seen::Absent
    }
}

/// Whether the bytes begin with `mark`, as far as they have come.
fn begins(bytes: &[u8], mark: &[u8]) -> bool {
    let length = bytes.len().min(mark.len());
    length > 0 && bytes[..length] == mark[..length]
}

fn look_v1(bytes: &[u8]) -> Seen {
    let head = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        if bytes.len() < V1_BYTES_MAX {
            return Seen::Partial;
        }
        return Seen::Malformed(format!("no line end within {V1_BYTES_MAX} bytes"));
    };
    let length = end + 2;
    // A sign is no digit, though numbers may have one elsewhere.
    if head[..length].contains(&b'+') {
        return Seen::Malformed("a port is no number".to_owned());
    }
    let (protocol, addresses) = match v1::Header::try_from(&head[..length]) {
        Ok(header) => match header.addresses {
            v1::Addresses::Tcp4(ip) => ("TCP4", Some(pair_v4(&ip))),
            v1::Addresses::Tcp6(ip) => ("TCP6", Some(pair_v6(&ip))),
            v1::Addresses::Unknown => ("UNKNOWN", None),
        },
        Err(error) => return Seen::Malformed(error.to_string()),
    };
    Seen::Header(Told { protocol, addresses }, length)
}

fn look_v2(bytes: &[u8]) -> Seen {
    if bytes.len() < V2_FIXED_BYTES {
        return Seen::Partial;
    }
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > V2_BYTES_MAX {
        return Seen::Malformed(format!("{length} bytes are more than {V2_BYTES_MAX}"));
    }
    // What is wrong in the fixed part is known before the rest has come.
    match v2::Header::try_from(&bytes[..bytes.len().min(length)]) {
        Ok(header) => Seen::Header(told_v2(&header), length),
        Err(v2::ParseError::Incomplete(_) | v2::ParseError::Partial(..)) => Seen::Partial,
        Err(error) => Seen::Malformed(error.to_string()),
    }
}

fn told_v2(header: &v2::Header<'_>) -> Told {
    let unknown = |protocol| Told { protocol, addresses: None };
    match (header.command, header.protocol, header.addresses) {
        // A health check of the proxy's own.
        (v2::Command::Local, _, _) => unknown("LOCAL"),
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
            Told { protocol: "TCP4", addresses: Some(pair_v4(&ip)) }
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
            Told { protocol: "TCP6", addresses: Some(pair_v6(&ip)) }
        }
        (v2::Command::Proxy, _, _) => unknown("UNSPEC"),
    }
}

fn pair_v4(ip: &v1::IPv4) -> (SocketAddr, SocketAddr) {
    (
        (IpAddr::from(ip.source_address), ip.source_port).into(),
        (IpAddr::from(ip.destination_address), ip.destination_port).into(),
    )
}

fn pair_v6(ip: &v1::IPv6) -> (SocketAddr, SocketAddr) {
    (
        (IpAddr::from(ip.source_address).to_canonical(), ip.source_port).into(),
        (IpAddr::from(ip.destination_address).to_canonical(), ip.destination_port).into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(protocol: &'static str, client: &str, server: &str) -> Told {
        let address = |text: &str| text.parse().expect("address");
        Told { protocol, addresses: Some((address(client), address(server))) }
    }

    fn look(bytes: &[u8]) -> Seen {
        ProxyProtocol::Auto.look(bytes)
    }

    fn v2(version_command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = v2::PROTOCOL_PREFIX.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

    #[test]
    fn both_versions_name_the_client() {
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\nGET /";
        let expected = told("TCP4", "192.0.2.7:8080", "10.0.0.1:80");
        assert_eq!(look(line), Seen::Header(expected.clone(), 39));
        let mut bytes = v2(0x21, 0x11, &V4);
        bytes.extend(b"GET /");
        assert_eq!(look(&bytes), Seen::Header(expected, 28));
        let line = b"PROXY TCP6 2001:db8::7 ::1 8080 80\r\n";
        assert_eq!(look(line), Seen::Header(told("TCP6", "[2001:db8::7]:8080", "[::1]:80"), 36));
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_nobody() {
        let nobody = |protocol| Told { protocol, addresses: None };
        assert_eq!(look(b"PROXY UNKNOWN\r\n"), Seen::Header(nobody("UNKNOWN"), 15));
        let line = b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n";
        assert_eq!(look(line), Seen::Header(nobody("UNKNOWN"), line.len()));
        assert_eq!(look(&v2(0x20, 0x00, &[])), Seen::Header(nobody("LOCAL"), 16));
        assert_eq!(look(&v2(0x20, 0x11, &V4)), Seen::Header(nobody("LOCAL"), 28));
        assert_eq!(look(&v2(0x21, 0x00, &[])), Seen::Header(nobody("UNSPEC"), 16));
        assert_eq!(look(&v2(0x21, 0x31, &[0; 216])), Seen::Header(nobody("UNSPEC"), 232));
        assert_eq!(look(&v2(0x21, 0x12, &V4)), Seen::Header(nobody("UNSPEC"), 28));
    }

    #[test]
    fn what_follows_the_addresses_is_skipped() {
        let mut payload = V4.to_vec();
        payload.extend([0x04, 0, 1, 0xff]);
        let Seen::Header(told, length) = look(&v2(0x21, 0x11, &payload)) else { panic!() };
        assert_eq!((told.protocol, length), ("TCP4", 32));
    }

    #[test]
    fn every_beginning_of_a_header_is_waited_for() {
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n";
        let binary = v2(0x21, 0x11, &V4);
        for whole in [&line[..], &binary] {
            for length in 1..whole.len() {
                assert_eq!(look(&whole[..length]), Seen::Partial, "{length}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_left_alone() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PROXYS", b"P0", b"\r\n\r\nG", b"\x16\x03\x01"] {
            assert_eq!(look(bytes), Seen::Absent);
        }
        assert_eq!(ProxyProtocol::V2.look(b"PROXY TCP4"), Seen::Absent);
        assert_eq!(ProxyProtocol::V1.look(&v2(0x21, 0x11, &V4)), Seen::Absent);
    }

    #[test]
    fn what_is_malformed_is_said_at_once() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        let lines: [&[u8]; 6] = [
            b"PROXY TCP4 192.0.2.7 10.0.0.1 8080\r\n",
            b"PROXY TCP4 192.0.2.700 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            &long,
        ];
        for line in lines {
            assert!(matches!(look(line), Seen::Malformed(_)), "{}", line.escape_ascii());
        }
        for bytes in [v2(0x31, 0x11, &V4), v2(0x22, 0x11, &V4), v2(0x21, 0x11, &V4[..4])] {
            assert!(matches!(look(&bytes[..16]), Seen::Malformed(_)), "{bytes:?}");
        }
        let mut endless = v2(0x21, 0x11, &V4);
        endless[14..16].copy_from_slice(&[0xff, 0xff]);
        assert!(matches!(look(&endless), Seen::Malformed(_)));
    }
}
