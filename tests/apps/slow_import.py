"""Takes its time to import."""

import sys
import time

print("importing slowly", file=sys.stderr, flush=True)
time.sleep(60)


def app(environ, start_response):
    start_response("200 OK", [])
    return []
