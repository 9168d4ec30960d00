"""Says who imports it."""

import os
import sys

print(f"imported by {os.getpid()}", file=sys.stderr, flush=True)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
