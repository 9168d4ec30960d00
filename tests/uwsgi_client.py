"""A client of uwsgi that shows every byte: one packet of variables, and what comes back."""

from __future__ import annotations

import struct

from http_client import Client, Response

Variables = list[tuple[str, str]]


def packet(variables: Variables, modifier1: int = 0, modifier2: int = 0) -> bytes:
    """The bytes of a packet, without a body."""
    texts = [text.encode() for variable in variables for text in variable]
    block = b"".join(struct.pack("<H", len(text)) + text for text in texts)
    return struct.pack("<BHB", modifier1, len(block), modifier2) + block


def request(path: str, *more: tuple[str, str], method: str = "GET", body: bytes = b"") -> bytes:
    """A request as nginx sends it, with its usual ``uwsgi_params``; ``more`` is set after them."""
    path, _, query = path.partition("?")
    variables = [
        ("QUERY_STRING", query),
        ("REQUEST_METHOD", method),
        ("CONTENT_TYPE", ""),
        ("CONTENT_LENGTH", str(len(body)) if body else ""),
        ("REQUEST_URI", path + ("?" + query if query else "")),
        ("PATH_INFO", path),
        ("DOCUMENT_ROOT", "/usr/share/nginx/html"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_SCHEME", "http"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "5555"),
        ("SERVER_PORT", "80"),
        ("SERVER_NAME", "proxy.example"),
        ("HTTP_HOST", "shop.example"),
        *more,
    ]
    return packet(variables) + body


def ask(port: int, sent: bytes, head_only: bool = False) -> Response:
    """Send it on a connection of its own; what comes back, up to the connection's end."""
    with Client(port) as client:
        client.send(sent)
        response = client.read(head_only=head_only)
        assert client.read_to_end() == b"", "something stands behind the response"
        return response
