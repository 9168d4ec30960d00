"""One callable for every worker class: WSGI when called with two arguments, ASGI with three."""


def either(wsgi, asgi):
    def app(*args):
        return wsgi(*args) if len(args) == 2 else asgi(*args)

    return app


def asgi_text(text):
    """The smallest ASGI app: it answers ``text()``."""

    async def app(scope, receive, send):
        assert scope["type"] == "http", scope["type"]
        body = text().encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
