"""An app that writes down which requests are inside it, for whoever kills its process.

Each process appends to a file of its own in the folder ``LEDGER``: ``+client number`` when a
request comes to the app, ``-client number`` when the app is done. What has no ``-`` was inside.
"""

import asyncio
import os
import time

from either import either

LEDGER = os.environ["LEDGER"]
LARGE = b"0123456789abcdef" * (1 << 14)
# Now and then a request takes its time, so that there is something to wait for.
PAUSE_S = 0.02
PAUSE_EVERY = 16

_files = {}


def note(sign, who):
    """One write, so that a process that is killed has written it or not."""
    pid = os.getpid()
    if pid not in _files:
        _files.clear()
        path = os.path.join(LEDGER, str(pid))
        _files[pid] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(_files[pid], f"{sign}{who}\n".encode())


def body_of(path, length):
    return LARGE if path == "/large" else str(length).encode()


def is_slow(number):
    return number.isdigit() and int(number) % PAUSE_EVERY == 0


def wsgi(environ, start_response):
    number = environ.get("HTTP_X_NUMBER", "")
    who = f"{environ.get('HTTP_X_CLIENT', '')} {number}"
    note("+", who)
    length = len(environ["wsgi.input"].read())
    if is_slow(number):
        time.sleep(PAUSE_S)
    body = body_of(environ["PATH_INFO"], length)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    note("-", who)
    return [body]


async def asgi(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    headers = dict(scope["headers"])
    number = headers.get(b"x-number", b"").decode()
    who = f"{headers.get(b'x-client', b'').decode()} {number}"
    note("+", who)
    length, more = 0, True
    while more:
        event = await receive()
        length += len(event.get("body", b""))
        more = event.get("more_body", False)
    if is_slow(number):
        await asyncio.sleep(PAUSE_S)
    body = body_of(scope["path"], length)
    size = str(len(body)).encode()
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", size)]}
    await send(head)
    note("-", who)
    await send({"type": "http.response.body", "body": body})


app = either(wsgi, asgi)
