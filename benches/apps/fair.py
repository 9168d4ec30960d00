"""The app of `make bench-fair`: `/ms` takes a millisecond, `/s` a second, all else says hello."""

from __future__ import annotations

import asyncio
import time

TAKES_S = {"/ms": 0.001, "/s": 1.0}
BODY = b"Hello, World!"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]


def wsgi(environ, start_response):
    """WSGI. Waits, since two cores have no room for four workers that compute."""
    if takes := TAKES_S.get(environ["PATH_INFO"]):
        time.sleep(takes)
    start_response("200 OK", HEADERS)
    return [BODY]


async def asgi(scope, receive, send):
    """ASGI."""
    if scope["type"] != "http":
        return
    if takes := TAKES_S.get(scope["path"]):
        await asyncio.sleep(takes)
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})
