//! The opening handshake (RFC 6455, section 4.2): what a client asks for, and our answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, Version};
use sha1::{Digest, Sha1};

use super::deflate::Agreement;
use crate::refusal::Refusal;

/// A client's wish to speak WebSocket.
#[derive(Debug)]
pub struct Handshake {
    accept: HeaderValue,
    pub(super) deflate: Option<(Agreement, HeaderValue)>,
    /// The subprotocols that the client offers, best first.
    pub subprotocols: Vec<String>,
}

const KEY_BYTES: usize = 16;
/// RFC 6455 names it, so that no other protocol's server gives this answer by accident.
const KEY_SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Handshake {
    /// The handshake in a request; `None` when it is none.
    pub(crate) fn among(head: &Parts, compression: bool) -> Option<Result<Self, Refusal>> {
        let is_one = head.method == Method::GET
            && head.version == Version::HTTP_11
            && has_token(&head.headers, &UPGRADE, "websocket")
            && has_token(&head.headers, &CONNECTION, "upgrade");
        is_one.then(|| Self::read(&head.headers, compression))
    }

    fn read(headers: &HeaderMap, compression: bool) -> Result<Self, Refusal> {
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Refusal::WebSocketVersion);
        }
        let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(Refusal::WebSocketKey);
        };
        if !STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_BYTES) {
            return Err(Refusal::WebSocketKey);
        }
        let digest = Sha1::new().chain_update(key).chain_update(KEY_SALT).finalize();
        let accept = HeaderValue::try_from(STANDARD.encode(digest));
        let offers = texts(headers, &SEC_WEBSOCKET_EXTENSIONS);
        let deflate = Agreement::among(&offers).filter(|_| compression);
        let deflate = deflate
            .and_then(|(agreement, answer)| Some((agreement, HeaderValue::try_from(answer).ok()?)));
        Ok(Self {
            accept: accept.map_err(|_| Refusal::WebSocketKey)?,
            deflate,
            subprotocols: texts(headers, &SEC_WEBSOCKET_PROTOCOL)
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
        })
    }

    /// Adds what makes a response the handshake's answer.
    pub(crate) fn answer(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some((_, answer)) = &self.deflate {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, answer.clone());
        }
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// All values of a field as one list; those that are no text are left out.
fn texts(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &'static str)]) -> Parts {
        let mut request = hyper::Request::new(());
        for (name, value) in fields {
            request
                .headers_mut()
                .append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_sample_of_the_specification_gets_its_answer() {
        let mut fields = GOOD.to_vec();
        fields.push(("sec-websocket-protocol", "chat, superchat"));
        fields.push(("sec-websocket-protocol", "news"));
        fields.push(("sec-websocket-extensions", "permessage-deflate"));
        let handshake = Handshake::among(&head(&fields), false).expect("one").expect("legal");
        assert_eq!(handshake.subprotocols, ["chat", "superchat", "news"]);
        let mut headers = HeaderMap::new();
        handshake.answer(&mut headers);
        assert_eq!(headers[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!headers.contains_key(SEC_WEBSOCKET_EXTENSIONS), "switched off");
    }

    #[test]
    fn what_is_no_handshake_is_an_ordinary_request() {
        assert!(Handshake::among(&head(&GOOD[..1]), true).is_none());
        assert!(Handshake::among(&head(&GOOD[1..]), true).is_none());
    }

    #[test]
    fn a_wrong_version_or_key_is_refused() {
        let refused = |fields: &[(&'static str, &'static str)]| {
            Handshake::among(&head(fields), true).expect("one").expect_err("wrong")
        };
        assert_eq!(refused(&GOOD[..2]), Refusal::WebSocketVersion);
        assert_eq!(refused(&GOOD[..3]), Refusal::WebSocketKey);
        let mut short = GOOD;
        short[3].1 = "dGhlIHNhbXBsZQ==";
        assert_eq!(refused(&short), Refusal::WebSocketKey);
    }
}
