"""Factories, good and bad."""

NOT_CALLABLE = 7


def make():
    return None


def greet(word, mark="?"):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [(word + mark).encode()]

    return app


class site:
    greet = staticmethod(greet)
    app = staticmethod(greet("nested"))
