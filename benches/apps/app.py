"""The app of every scenario but Django's, as WSGI and as ASGI: the same pages, the same bytes.

`/` says hello, `/upload` counts what it is sent, `/download` gives 1 MiB, `/upstream` asks another
server, `/wait` sleeps 10 ms and then asks it.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import time

HELLO = b"Hello, World!"
DOWNLOAD = bytes(1024 * 1024)
UPSTREAM_PORT = int(os.environ.get("UPSTREAM_PORT", "0"))
WAIT_S = 0.01
READ_BYTES = 64 * 1024


def wsgi(environ, start_response):
    """WSGI; under gevent the standard library is patched, so waiting there blocks nobody."""
    body = PAGES.get(environ["PATH_INFO"], hello)(environ)
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def hello(environ):
    return HELLO


def upload(environ):
    stream, count = environ["wsgi.input"], 0
    left = int(environ.get("CONTENT_LENGTH") or 0)
    while left > 0 and (piece := stream.read(min(left, READ_BYTES))):
        count += len(piece)
        left -= len(piece)
    return b"%08d" % count


def download(environ):
    return DOWNLOAD


def upstream(environ):
    connection = http.client.HTTPConnection("127.0.0.1", UPSTREAM_PORT, timeout=30)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def wait(environ):
    time.sleep(WAIT_S)
    return upstream(environ)


PAGES = {"/upload": upload, "/download": download, "/upstream": upstream, "/wait": wait}


async def asgi(scope, receive, send):
    """ASGI."""
    if scope["type"] != "http":
        return
    page = ASYNC_PAGES.get(scope["path"])
    body = await page(receive) if page else HELLO
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def async_upload(receive):
    count, more = 0, True
    while more:
        message = await receive()
        count += len(message.get("body", b""))
        more = message.get("more_body", False)
    return b"%08d" % count


async def async_download(receive):
    return DOWNLOAD


async def async_upstream(receive):
    reader, writer = await asyncio.open_connection("127.0.0.1", UPSTREAM_PORT)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return await reader.readexactly(length)
    finally:
        writer.close()


async def async_wait(receive):
    await asyncio.sleep(WAIT_S)
    return await async_upstream(receive)


ASYNC_PAGES = {
    "/upload": async_upload,
    "/download": async_download,
    "/upstream": async_upstream,
    "/wait": async_wait,
}
