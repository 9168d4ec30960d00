"""Frees much memory in a way that malloc keeps it: the last piece stays, and it is on top."""

import os

PIECES, PIECE_BYTES = 400, 100_000
kept = []


def use_memory():
    pieces = [bytes(PIECE_BYTES) + b"." for _ in range(PIECES)]
    kept.append(pieces[-1])


def resident_kib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def wsgi(environ, start_response):
    use_memory()
    text = str(resident_kib()).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text]


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        use_memory()
        text = str(resident_kib()).encode()
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})
