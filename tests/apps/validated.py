"""An app between two validators: server and app must both keep to PEP 3333."""

from wsgiref.validate import validator


def inner(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length)
    environ["wsgi.errors"].flush()
    answer = b"valid " + body if body else b"valid"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


app = validator(inner)
