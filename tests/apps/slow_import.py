"""Takes its time to import."""

import os
import sys
import time

print("importing slowly", file=sys.stderr, flush=True)
time.sleep(float(os.environ.get("SLOW_IMPORT_S", "60")))


def app(environ, start_response):
    start_response("200 OK", [])
    return []
