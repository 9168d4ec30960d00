"""Frees much memory in a way that malloc keeps it: the last piece stays, and it is on top."""

import asyncio

PIECES, PIECE_BYTES = 400, 100_000
kept = []


def use_memory():
    pieces = [bytes(PIECE_BYTES) + b"." for _ in range(PIECES)]
    kept.append(pieces[-1])


def wsgi(environ, start_response):
    use_memory()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        use_memory()
        await asyncio.sleep(0)
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
