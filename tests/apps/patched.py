"""Whether gevent had patched the standard library when this was imported."""

import socket

PATCHED = socket.socket.__module__.startswith("gevent")


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"patched at import: {PATCHED}".encode()]
