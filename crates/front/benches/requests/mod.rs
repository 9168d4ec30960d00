//! The requests of the micro-benchmarks, here and in `crates/python/benches`.

const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";
const BROWSER: &[u8] = b"GET /articulo/17/?page=2 HTTP/1.1\r\nHost: example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: es,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://example.org/\r\nConnection: keep-alive\r\n\
    Cookie: sessionid=0123456789abcdef0123456789abcdef; csrftoken=fedcba9876543210\r\n\
    Upgrade-Insecure-Requests: 1\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
    X-Request-Id: 6f1c2f52-5d0c-4b0b-9a55-0c1f5c1f9b1e\r\n\r\n";
const UPLOAD: &[u8] = b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1024\r\n\r\n";

pub(crate) fn requests() -> [(&'static str, Vec<u8>); 3] {
    [
        ("plain GET", PLAIN.to_vec()),
        ("browser's GET, 12 headers", BROWSER.to_vec()),
        ("POST of 1 KiB", [UPLOAD, &[b'x'; 1024]].concat()),
    ]
}
