"""Cannot be compiled, on purpose."""

def app(environ, start_response:
    return []
