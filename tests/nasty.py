"""Requests that two servers could read in two ways, and what must become of each.

Most of them are known from attacks on proxies and the servers behind them. Each case is a name, the
bytes, and the statuses of the answers in order; after the last one the server closes. ``{tail}``
stands for a request that must never be seen: whatever comes behind a bad message is not read.
"""

from __future__ import annotations

from typing import NamedTuple

TAIL = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


class Case(NamedTuple):
    """What is sent, and the statuses that must come back."""

    name: str
    sent: bytes
    statuses: tuple[int, ...]


def head(*fields: str, line: str = "POST / HTTP/1.1", host: str | None = "Host: x") -> bytes:
    """A head of these fields."""
    lines = [line, *([host] if host else []), *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def bad(name: str, sent: bytes, status: int = 400) -> Case:
    """A message that is refused, with a tail behind it."""
    return Case(name, sent + TAIL, (status,))


def good(name: str, sent: bytes, *statuses: int) -> Case:
    """A message that is answered, and the end of the connection behind it."""
    end = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    return Case(name, sent + end, (*(statuses or (200,)), 200))


CHUNKED = "Transfer-Encoding: chunked"


def chunked(body: str) -> bytes:
    """A chunked request with this body."""
    return head(CHUNKED) + body.encode("latin-1")


LENGTHS = [
    bad("length-twice-equal", head("Content-Length: 5", "Content-Length: 5") + b"hello"),
    bad("length-twice-different", head("Content-Length: 5", "Content-Length: 0") + b"hello"),
    bad("length-list", head("Content-Length: 5, 5") + b"hello"),
    bad("length-plus", head("Content-Length: +5") + b"hello"),
    bad("length-minus", head("Content-Length: -5") + b"hello"),
    bad("length-underscore", head("Content-Length: 1_0") + b"0123456789"),
    bad("length-hex", head("Content-Length: 0x5") + b"hello"),
    bad("length-fraction", head("Content-Length: 5.0") + b"hello"),
    bad("length-with-blank", head("Content-Length: 1 0") + b"0123456789"),
    bad("length-empty", head("Content-Length:")),
    bad("length-of-other-digits", head("Content-Length: \xb2") + b"hi"),
    bad("length-of-64-bits", head("Content-Length: 18446744073709551616"), 413),
    bad("length-beyond-files", head("Content-Length: 9223372036854775808"), 413),
    bad("length-of-a-thousand-digits", head("Content-Length: " + "9" * 1000), 413),
    good("length-with-zeros", head("Content-Length: 0005") + b"hello"),
    good("length-in-blanks", head("Content-Length: \t 5 \t ") + b"hello"),
    good("length-in-capitals", head("CONTENT-LENGTH: 5") + b"hello"),
    good("length-on-get", head("Content-Length: 5", line="GET / HTTP/1.1") + b"hello"),
]

CODINGS = [
    bad("coding-after-length", head("Content-Length: 5", CHUNKED) + b"0\r\n\r\n"),
    bad("coding-before-length", head(CHUNKED, "Content-Length: 5") + b"0\r\n\r\n"),
    bad("coding-and-length-zero", head(CHUNKED, "Content-Length: 0") + b"0\r\n\r\n"),
    bad("coding-on-1.0", head(CHUNKED, line="POST / HTTP/1.0") + b"0\r\n\r\n"),
    bad("coding-twice", head(CHUNKED, CHUNKED) + b"0\r\n\r\n"),
    bad("coding-twice-in-a-list", head("Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n"),
    bad("coding-not-last", head("Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n"),
    bad(
        "coding-chunked-then-identity", head("Transfer-Encoding: chunked, identity") + b"0\r\n\r\n"
    ),
    bad("coding-without-chunked", head("Transfer-Encoding: gzip") + b"hello"),
    bad(
        "coding-identity-alone", head("Transfer-Encoding: identity", "Content-Length: 5") + b"hello"
    ),
    bad("coding-in-two-lines", head("Transfer-Encoding: gzip", CHUNKED) + b"0\r\n\r\n", 501),
    bad("coding-not-undone", head("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501),
    bad("coding-identity-first", head("Transfer-Encoding: identity, chunked") + b"0\r\n\r\n", 501),
    bad("coding-unknown", head("Transfer-Encoding: xchunked") + b"0\r\n\r\n", 501),
    bad("coding-with-parameter", head("Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n", 501),
    bad("coding-in-quotes", head('Transfer-Encoding: "chunked"') + b"0\r\n\r\n", 501),
    bad("coding-empty", head("Transfer-Encoding:") + b"0\r\n\r\n", 501),
    bad("coding-behind-comma", head("Transfer-Encoding: ,chunked") + b"0\r\n\r\n", 501),
    bad("coding-with-vertical-tab", head("Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n", 501),
    bad("coding-with-newline-in-name", head("Transfer-Encoding\n: chunked") + b"0\r\n\r\n"),
    bad("coding-with-blank-before-colon", head("Transfer-Encoding : chunked") + b"0\r\n\r\n"),
    bad("coding-folded", head("Transfer-Encoding:", " chunked") + b"0\r\n\r\n", 501),
    bad("coding-hidden-in-a-fold", head("X: y", " Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    bad("coding-behind-bare-cr", head("X: y\rTransfer-Encoding: chunked") + b"0\r\n\r\n"),
    bad("coding-behind-bare-lf", head("X: y\nTransfer-Encoding: chunked") + b"0\r\n\r\n"),
    good("coding-in-capitals", head("TRANSFER-ENCODING: CHUNKED") + b"0\r\n\r\n"),
    good("coding-behind-tab", head("Transfer-Encoding:\tchunked") + b"0\r\n\r\n"),
]

CHUNKS = [
    bad("chunk-of-no-digit", chunked("\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-of-bad-digit", chunked("5g\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-with-0x", chunked("0x5\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-with-plus", chunked("+5\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-with-minus", chunked("-5\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-with-underscore", chunked("0_5\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-with-blank-before", chunked(" 5\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-with-blank-behind", chunked("5 \r\nhello\r\n0\r\n\r\n")),
    bad("chunk-of-65-bits", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-of-many-zeros", chunked("0" * 1000 + "5\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-line-ends-in-lf", chunked("5\nhello\r\n0\r\n\r\n")),
    bad("chunk-line-ends-in-cr", chunked("5\rhello\r\n0\r\n\r\n")),
    bad("chunk-line-with-cr-cr-lf", chunked("5\r\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-too-long", chunked("5\r\nhello!\r\n0\r\n\r\n")),
    bad("chunk-too-short", chunked("5\r\nhell\r\n0\r\n\r\n")),
    bad("chunk-ends-in-lf", chunked("5\r\nhello\n0\r\n\r\n")),
    bad("chunk-ends-in-two-bytes", chunked("5\r\nhelloXX0\r\n\r\n")),
    bad("chunk-extension-with-lf", chunked("5;a\nhello\r\n0\r\n\r\n")),
    bad("chunk-extension-with-cr", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-extension-with-nul", chunked("5;a\x00b\r\nhello\r\n0\r\n\r\n")),
    bad("chunk-extension-without-end", chunked("5;" + "a" * 2000)),
    bad("trailer-with-lf", chunked("0\r\nX: y\n\r\n")),
    bad("trailer-with-nul", chunked("0\r\nX: \x00\r\n\r\n")),
    bad("trailer-folded", chunked("0\r\n X: y\r\n\r\n")),
    bad("trailer-without-colon", chunked("0\r\nX\r\n\r\n")),
    bad("trailer-without-end", chunked("0\r\nX: " + "y" * 20000), 431),
    bad("end-of-lf-only", chunked("5\r\nhello\r\n0\n\n")),
    good("chunk-extension", chunked('5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n')),
    good("chunk-extension-behind-blank", chunked("5 ;a=b\r\nhello\r\n0\r\n\r\n")),
    good("chunk-in-capitals", chunked("0000A\r\n0123456789\r\n0\r\n\r\n")),
    good("trailer", chunked("5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n")),
]

LINES = [
    bad("line-ends-in-lf", b"GET / HTTP/1.1\nHost: x\r\n\r\n"),
    bad("field-ends-in-lf", b"GET / HTTP/1.1\r\nHost: x\n\r\n"),
    bad("head-ends-in-lf", b"GET / HTTP/1.1\r\nHost: x\r\n\n"),
    bad("all-lf", b"GET / HTTP/1.1\nHost: x\n\n"),
    bad("field-ends-in-cr", b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n"),
    bad("two-cr-before-lf", b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n"),
    bad("two-empty-lines-first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("lf-first", b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("blank-first", b" GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("fold", head("X: y", " z", line="GET / HTTP/1.1")),
    bad("fold-with-tab", head("X: y", "\tz", line="GET / HTTP/1.1")),
    bad("fold-before-any-field", b"GET / HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n"),
    good("one-empty-line-first", b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    good("empty-line-behind-a-body", head("Content-Length: 5") + b"hello\r\n"),
]

FIELDS = [
    bad("no-host", head(host=None, line="GET / HTTP/1.1")),
    bad("host-twice", head("Host: x", line="GET / HTTP/1.1")),
    bad("host-twice-different", head("Host: y", line="GET / HTTP/1.1")),
    bad("host-list", head(host="Host: x, y", line="GET / HTTP/1.1")),
    bad("host-with-path", head(host="Host: x/y", line="GET / HTTP/1.1")),
    bad("host-with-user", head(host="Host: a@x", line="GET / HTTP/1.1")),
    bad("host-with-blank-before-colon", head(host="Host : x", line="GET / HTTP/1.1")),
    bad("name-with-blank", head("X Y: z", line="GET / HTTP/1.1")),
    bad("name-with-blank-before-colon", head("X : z", line="GET / HTTP/1.1")),
    bad("name-with-nul", head("X\x00: z", line="GET / HTTP/1.1")),
    bad("name-with-paren", head("X(: z", line="GET / HTTP/1.1")),
    bad("name-with-high-byte", head("X\xe9: z", line="GET / HTTP/1.1")),
    bad("name-empty", head(": z", line="GET / HTTP/1.1")),
    bad("no-colon", head("X", line="GET / HTTP/1.1")),
    bad("value-with-nul", head("X: y\x00z", line="GET / HTTP/1.1")),
    bad("value-with-escape", head("X: y\x1bz", line="GET / HTTP/1.1")),
    bad("value-with-delete", head("X: y\x7fz", line="GET / HTTP/1.1")),
    bad("content-type-twice", head("Content-Type: a/b", "Content-Type: c/d", "Content-Length: 0")),
    bad("other-expectation", head("Expect: a-miracle", "Content-Length: 5") + b"hello", 417),
    good("no-host-on-1.0", head("Connection: keep-alive", host=None, line="GET / HTTP/1.0")),
    good("host-empty", head(host="Host:", line="GET / HTTP/1.1")),
    good("value-with-high-byte", head("X: \xe9", line="GET / HTTP/1.1")),
    good("value-empty", head("X:", line="GET / HTTP/1.1")),
]

REQUEST_LINES = [
    bad("method-in-small-letters", head(line="get / HTTP/1.1")),
    bad("method-mixed", head(line="Get / HTTP/1.1")),
    bad("method-of-two-letters", head(line="GO / HTTP/1.1")),
    bad("method-of-21-letters", head(line="A" * 21 + " / HTTP/1.1")),
    bad("method-without-end", b"A" * 100),
    bad("method-with-number-sign", head(line="X#YZ / HTTP/1.1")),
    bad("method-with-colon", head(line="GET: / HTTP/1.1")),
    bad("method-empty", head(line=" / HTTP/1.1")),
    bad("connect", head(line="CONNECT x:80 HTTP/1.1", host="Host: x:80"), 501),
    bad("target-empty", head(line="GET  HTTP/1.1")),
    bad("target-without-slash", head(line="GET foo HTTP/1.1")),
    bad("target-of-authority-form", head(line="GET x:80 HTTP/1.1")),
    bad("target-star-on-get", head(line="GET * HTTP/1.1")),
    bad("target-with-blank", head(line="GET /a b HTTP/1.1")),
    bad("target-with-tab", head(line="GET /a\tb HTTP/1.1")),
    bad("target-with-nul", head(line="GET /a\x00b HTTP/1.1")),
    bad("target-with-high-byte", head(line="GET /\xc3\xa9 HTTP/1.1")),
    bad("target-of-other-scheme", head(line="GET ftp://x/ HTTP/1.1")),
    bad("target-of-other-host", head(line="GET http://y/ HTTP/1.1")),
    bad("target-of-other-port", head(line="GET http://x:81/ HTTP/1.1")),
    bad("target-with-user", head(line="GET http://a@x/ HTTP/1.1")),
    bad("version-missing", head(line="GET /")),
    bad("version-in-small-letters", head(line="GET / http/1.1")),
    bad("version-with-blank-behind", head(line="GET / HTTP/1.1 ")),
    bad("version-without-dot", head(line="GET / HTTP/11")),
    bad("version-of-two-digits", head(line="GET / HTTP/1.10")),
    bad("version-0.9", head(line="GET / HTTP/0.9"), 505),
    bad("version-1.2", head(line="GET / HTTP/1.2"), 505),
    bad("version-2.0", head(line="GET / HTTP/2.0"), 505),
    bad("http2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    bad("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    good("options-star", head(line="OPTIONS * HTTP/1.1"), 404),
    good("target-of-this-host", head(line="GET http://X:80/ HTTP/1.1")),
    good("method-unknown", head(line="PURGE / HTTP/1.1")),
    good(
        "upgrade-h2c",
        head(
            "Upgrade: h2c",
            "Connection: Upgrade",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            line="GET / HTTP/1.1",
        ),
    ),
    good(
        "upgrade-with-body",
        head("Upgrade: h2c", "Connection: Upgrade", "Content-Length: 5") + b"hello",
    ),
    good(
        "upgrade-to-nonsense",
        head("Upgrade: TLS/1.0, nonsense", "Connection: Upgrade", line="GET / HTTP/1.1"),
    ),
]

CASES = [*LENGTHS, *CODINGS, *CHUNKS, *LINES, *FIELDS, *REQUEST_LINES]
