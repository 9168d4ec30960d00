"""Shows a variable of the process environment."""

import os


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ.get(environ["PATH_INFO"].lstrip("/"), "").encode()]
