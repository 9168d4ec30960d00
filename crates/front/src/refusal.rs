//! What the front refuses by itself, in gunicorn's words and form.

use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_VERSION, SERVER};
use hyper::{Response, StatusCode};

/// Why a request is refused. The connection is closed after each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    RequestLine {
        bytes: usize,
        bytes_max: usize,
    },
    HeaderFields,
    HeaderFieldSize,
    /// Named twice, and differently.
    Host,
    /// Not what the PROXY protocol says.
    ProxyHeader,
    /// HTTP/1 where only HTTP/2 is expected.
    Preface,
    /// A PROXY header from somebody who may not send one.
    Forbidden,
    HeadTimeout,
    BodyTimeout,
    SpoolFull,
    WebSocketKey,
    WebSocketVersion,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::RequestLine { .. } => StatusCode::URI_TOO_LONG,
            Self::HeaderFields | Self::HeaderFieldSize => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Host | Self::ProxyHeader | Self::Preface => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::SpoolFull => StatusCode::SERVICE_UNAVAILABLE,
            Self::WebSocketKey => StatusCode::BAD_REQUEST,
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
        }
    }

    fn message(self) -> String {
        match self {
            Self::RequestLine { bytes, bytes_max } => {
                format!("Request Line is too large ({bytes} &gt; {bytes_max})")
            }
            Self::HeaderFields => {
                "Error parsing headers: &#x27;limit request headers fields&#x27;".into()
            }
            Self::HeaderFieldSize => {
                "Error parsing headers: &#x27;limit request headers fields size&#x27;".into()
            }
            Self::Host => "Invalid HTTP Header: &#x27;HOST&#x27;".into(),
            Self::ProxyHeader => "Invalid PROXY header".into(),
            Self::Preface => "Expected HTTP/2 connection preface".into(),
            Self::Forbidden => "Request forbidden".into(),
            Self::HeadTimeout => "The request head did not arrive in time".into(),
            Self::BodyTimeout => "The request body did not arrive in time".into(),
            Self::SpoolFull => "The server has no room for the request body".into(),
            Self::WebSocketKey => "The WebSocket key is missing or malformed".into(),
            Self::WebSocketVersion => "Only version 13 of WebSocket is spoken here".into(),
        }
    }

    fn page(self) -> String {
        let reason = self.status().canonical_reason().unwrap_or_default();
        let message = self.message();
        format!(
            "<html>\n  <head>\n    <title>{reason}</title>\n  </head>\n  <body>\n    \
             <h1><p>{reason}</p></h1>\n    {message}\n  </body>\n</html>\n"
        )
    }

    pub(crate) fn response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.page()));
        *response.status_mut() = self.status();
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
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let page = self.page();
        let status = self.status();
        format!(
            "HTTP/1.1 {status}\r\nServer: remuda\r\nConnection: close\r\n\
             Content-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_limit() {
        let refusal = Refusal::RequestLine { bytes: 5014, bytes_max: 4094 };
        let bytes = String::from_utf8(refusal.to_bytes()).expect("ascii");
        assert!(bytes.starts_with("HTTP/1.1 414 URI Too Long\r\n"), "{bytes}");
        assert!(bytes.contains("Request Line is too large (5014 &gt; 4094)"), "{bytes}");
    }
}
