"""Keeps what ``/leak/<number>`` has brought, as WSGI and as ASGI; other pages keep nothing."""

from __future__ import annotations

KEPT: list[bytes] = []
LEAK_BYTES = 200_000


def visit(path: str) -> bytes:
    if path.startswith("/leak/"):
        KEPT.append(b"x" * LEAK_BYTES)  # the line that leaks
    return b"ok"


def app(environ, start_response):
    body = visit(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP")
    body = visit(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
