"""The smallest app."""

from either import asgi_text, either


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]


app = application = either(wsgi, asgi_text(lambda: "Hello, World!"))
