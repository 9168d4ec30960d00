//! What the front refuses by itself, in gunicorn's form, and in its words where it has some.
//!
//! Every refusal is a complete short response, and the last one of its connection: after bytes
//! that could be read in two ways nothing is read at all.

use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_VERSION, SERVER};
use hyper::{Response, StatusCode};

use crate::page::error_page;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// hyper could not read the head; what it says.
    NotHttp(&'static str),
    RequestLine,
    RequestLineLength {
        bytes: usize,
        bytes_max: usize,
    },
    Version,
    Method,
    Connect,
    Target,
    Authority,
    BareLineFeed,
    ObsoleteFolding,
    HeaderFields,
    HeaderName,
    HeaderValue,
    SchemeHeaders,
    HeaderFieldSize,
    /// Not what the PROXY protocol says.
    ProxyHeader,
    /// HTTP/1 where only HTTP/2 is expected.
    Preface,
    /// Not what uwsgi says.
    Packet,
    Variables,
    /// A packet that is no request.
    Modifier {
        modifier: u8,
    },
    HttpOnUwsgi,
    /// A PROXY header, or a word of uwsgi, from somebody who may not send one.
    Forbidden,
    HeadSize,
    /// Missing, malformed, or named twice and differently.
    Host,
    ContentType,
    ContentLength,
    ContentLengthAndCoding,
    TransferEncoding,
    TransferCoding,
    Expectation,
    BodySize {
        bytes_max: u64,
    },
    Chunk,
    HeadTimeout,
    BodyTimeout,
    SpoolFull,
    WebSocketKey,
    WebSocketVersion,
}

impl Refusal {
    /// What hyper's parser has said of a head.
    pub(crate) fn of_parser(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Self::HeadSize;
        }
        // hyper has no way to ask which part was bad, but it says so.
        Self::NotHttp(match error.to_string().as_str() {
            "invalid HTTP method parsed" => "Invalid HTTP method",
            "invalid URI" => "Invalid request target",
            "invalid HTTP version parsed" => "Invalid HTTP version",
            "invalid HTTP header parsed" => "Invalid HTTP header",
            _ => "Invalid HTTP request",
        })
    }

    fn status(self) -> StatusCode {
        match self {
            Self::RequestLineLength { .. } => StatusCode::URI_TOO_LONG,
            Self::HeaderFields | Self::HeaderFieldSize | Self::HeadSize => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TransferCoding | Self::Connect | Self::Modifier { .. } => {
                StatusCode::NOT_IMPLEMENTED
            }
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::BodySize { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::SpoolFull => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotHttp(_)
            | Self::RequestLine
            | Self::Method
            | Self::Target
            | Self::Authority
            | Self::BareLineFeed
            | Self::ObsoleteFolding
            | Self::HeaderName
            | Self::HeaderValue
            | Self::SchemeHeaders
            | Self::Host
            | Self::ContentType
            | Self::ContentLength
            | Self::ContentLengthAndCoding
            | Self::TransferEncoding
            | Self::Chunk
            | Self::ProxyHeader
            | Self::Packet
            | Self::Variables
            | Self::HttpOnUwsgi
            | Self::Preface
            | Self::WebSocketKey => StatusCode::BAD_REQUEST,
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
        }
    }

    /// What the client and the log are told.
    pub(crate) fn message(self) -> String {
        let text = match self {
            Self::RequestLineLength { bytes, bytes_max } => {
                return format!("Request Line is too large ({bytes} > {bytes_max})");
            }
            Self::BodySize { bytes_max } => {
                return format!("Request body is too large (more than {bytes_max} bytes)");
            }
            Self::Modifier { modifier } => {
                return format!("Unsupported uwsgi modifier1: {modifier}");
            }
            Self::NotHttp(what) => what,
            Self::RequestLine => "Invalid HTTP request line",
            Self::Version => "Invalid HTTP version",
            Self::Method => "Invalid HTTP method",
            Self::Connect => "This server is no proxy",
            Self::Target => "Invalid request target",
            Self::Authority => "Request target and Host disagree",
            Self::BareLineFeed => "Bare LF as line terminator",
            Self::ObsoleteFolding => "Obsolete line folding is unacceptable",
            Self::HeaderName => "Invalid HTTP header name",
            Self::HeaderValue => "Invalid HTTP header value",
            Self::SchemeHeaders => "Contradictory scheme headers",
            Self::HeaderFields => "Error parsing headers: 'limit request headers fields'",
            Self::HeaderFieldSize => "Error parsing headers: 'limit request headers fields size'",
            Self::HeadSize => "Error parsing headers: 'max buffer headers'",
            Self::Host => "Invalid HTTP Header: 'HOST'",
            Self::ContentType => "Invalid HTTP Header: 'CONTENT-TYPE'",
            Self::ContentLength => "Invalid HTTP Header: 'CONTENT-LENGTH'",
            Self::ContentLengthAndCoding => {
                "Invalid HTTP Header: 'CONTENT-LENGTH' beside 'TRANSFER-ENCODING'"
            }
            Self::TransferEncoding => "Invalid HTTP Header: 'TRANSFER-ENCODING'",
            Self::TransferCoding => "Unsupported transfer coding",
            Self::Expectation => "Unable to comply with expectation",
            Self::Chunk => "Invalid chunk",
            Self::ProxyHeader => "Invalid PROXY header",
            Self::Packet => "Invalid uwsgi packet",
            Self::Variables => "Invalid uwsgi packet: too many variables",
            Self::HttpOnUwsgi => "This port speaks uwsgi, but the request came as HTTP",
            Self::Preface => "Expected HTTP/2 connection preface",
            Self::Forbidden => "Request forbidden",
            Self::HeadTimeout => "The request head did not arrive in time",
            Self::BodyTimeout => "The request body did not arrive in time",
            Self::SpoolFull => "The server has no room for the request body",
            Self::WebSocketKey => "The WebSocket key is missing or malformed",
            Self::WebSocketVersion => "Only version 13 of WebSocket is spoken here",
        };
        text.to_owned()
    }

    pub(crate) fn response(self) -> Response<Bytes> {
        let status = self.status();
        let mut response = Response::new(Bytes::from(error_page(status, &self.message())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("remuda"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        if self == Self::WebSocketVersion {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }

    /// The same as bytes, for a moment at which hyper has no request to answer.
    pub(crate) fn to_bytes(self) -> Bytes {
        let status = self.status();
        let page = error_page(status, &self.message());
        let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
        let length = page.len();
        format!(
            "HTTP/1.1 {status}\r\nServer: remuda\r\nDate: {date}\r\nConnection: close\r\n\
             Content-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}"
        )
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_limit() {
        let refusal = Refusal::RequestLineLength { bytes: 5014, bytes_max: 4094 };
        let bytes = String::from_utf8(refusal.to_bytes().to_vec()).expect("ascii");
        assert!(bytes.starts_with("HTTP/1.1 414 URI Too Long\r\n"), "{bytes}");
        assert!(bytes.contains("Request Line is too large (5014 &gt; 4094)"), "{bytes}");
    }

    #[test]
    fn a_refusal_has_what_every_response_has() {
        let bytes = String::from_utf8(Refusal::Host.to_bytes().to_vec()).expect("ascii");
        let (head, page) = bytes.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("\r\nContent-Length: {}", page.len())), "{head}");
        for field in ["\r\nServer: remuda\r\n", "\r\nConnection: close\r\n", " GMT\r\n"] {
            assert!(head.contains(field), "{head}");
        }
    }
}
