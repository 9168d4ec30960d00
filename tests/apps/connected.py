"""Opens a connection when it is imported."""

import os
import socket

connection = socket.create_connection(("127.0.0.1", int(os.environ["PEER_PORT"])))


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(connection.getsockname()[1]).encode()]
