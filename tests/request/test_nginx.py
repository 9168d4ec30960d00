"""Behind a real nginx that speaks uwsgi: what its clients see, and what the app is told."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import ExitStack

import pytest
from websockets.sync.client import connect

from http_client import Client, get
from nginx import needs_nginx, nginx


@pytest.fixture(autouse=True)
def _nginx() -> None:
    needs_nginx()


@pytest.fixture
def behind(serve, tmp_path):
    """Start a server and nginx before it; gives both when it is called."""
    with ExitStack() as stack:

        def start(worker_class: str, app: str = "lab:app", more: str = "", **env: str):
            path = tmp_path / "u.sock"
            env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_BIND": f"unix:{path}", **env}
            server = stack.enter_context(serve("--protocol", "uwsgi", app=app, env=env))
            location = f"uwsgi_pass unix:{path}; {more}"
            server.port = stack.enter_context(nginx(tmp_path / "nginx", location))
            return server

        yield start


def test_an_app_is_told_of_the_client_s_request(behind, worker_class):
    app = "scope:app" if worker_class == "asgi" else "lab:app"
    server = behind(worker_class, app, more="uwsgi_param HTTPS on; uwsgi_param HTTP_X_REAL_IP 7;")
    with Client(server.port) as client:
        for path in ["/environ?a=%20b", "/%65nviron?a=%20b", "//environ?a=%20b"]:
            shown = json.loads(client.request(path, headers={"X-Real-Ip": "8", "X-A": "b"}).text)
            if worker_class == "asgi":
                headers = dict(map(tuple, shown["headers"]))
                assert (shown["path"], shown["scheme"]) == ("/environ", "https")
                assert (headers["host"], headers["x-real-ip"], headers["x-a"]) == (
                    "localhost",
                    "7",
                    "b",
                )
                assert "content-length" not in headers
                continue
            assert (shown["PATH_INFO"], shown["QUERY_STRING"]) == ("/environ", "a=%20b")
            # As the client has written it, unless nginx has changed more than its form.
            assert shown["RAW_URI"] == path.replace("//", "/")
            assert (shown["wsgi.url_scheme"], shown["HTTP_HOST"]) == ("https", "localhost")
            assert (shown["HTTP_X_REAL_IP"], shown["HTTP_X_A"]) == ("7", "b")
            assert "CONTENT_LENGTH" not in shown and "CONTENT_TYPE" not in shown


def test_a_path_is_decoded_once(behind, wsgi_class):
    server = behind(wsgi_class)
    for path, seen in [("/a%2541", "/a%41"), ("/%C3%A9%3F%23%25", "/\u00c3\u00a9?#%")]:
        get(server.port, path)
        assert json.loads(get(server.port, "/seen").text)[-2] == seen


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_small_and_large(behind, worker_class, chunked):
    server = behind(worker_class)
    with Client(server.port) as client:
        for size in (1, 100_000, 3_000_000):
            body = b"0123456789" * (size // 10) + b"x"
            if chunked:
                client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                client.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
                answer = client.read()
            else:
                answer = client.request("/echo", "POST", body=body)
            assert (answer.status, answer.body == body) == (200, True)


def test_a_body_that_nginx_passes_on_as_it_comes(behind, worker_class):
    server = behind(worker_class, more="uwsgi_request_buffering off;")
    with Client(server.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
        client.send(b"56789")
        assert client.read().body == b"0123456789"


def test_a_body_that_nginx_keeps_to_itself(behind, worker_class):
    """As for `auth_request`; the length stands in the packet twice, and the last one counts."""
    server = behind(
        worker_class, more='uwsgi_pass_request_body off; uwsgi_param CONTENT_LENGTH "";'
    )
    with Client(server.port) as client:
        answer = client.request("/echo", "POST", body=b"for nginx only")
        assert (answer.status, answer.body) == (200, b"")


def test_answers_come_through_whole(behind, worker_class):
    server = behind(worker_class)
    with Client(server.port) as client:
        assert client.request("/stream").text == "piece 0\npiece 1\npiece 2\n"
        assert len(client.request("/big").body) >= 1 << 20
        assert client.request("/pid", "HEAD").status == 200
        assert client.request("/no-content").status == 204
        assert client.request("/missing").status == 404


def test_a_thousand_requests_and_two_reloads_without_an_error(behind, worker_class):
    server = behind(worker_class, GUNICORN_WORKERS="2")
    statuses: list[int] = []

    def ask() -> None:
        with Client(server.port) as client:
            statuses.extend(client.request("/pid").status for _ in range(250))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for count in (1, 2):
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done", count)
    for client in clients:
        client.join()
    assert statuses == [200] * 1000


def test_websocket(behind):
    server = behind("asgi", "lab_websocket:app")
    with connect(f"ws://127.0.0.1:{server.port}/echo") as websocket:
        for message in ["hello", b"\x00\xff", "x" * 200_000]:
            websocket.send(message)
            assert websocket.recv(timeout=30) == message


def test_encrypted(serve, tmp_path, tls):
    env = {"GUNICORN_CERTFILE": str(tls.cert), "GUNICORN_KEYFILE": str(tls.key)}
    with serve("--protocol", "uwsgi", app="lab:app", env=env) as server:
        with nginx(tmp_path / "nginx", f"uwsgi_pass suwsgi://127.0.0.1:{server.port};") as port:
            shown = json.loads(get(port, "/environ").text)
            assert (shown["wsgi.url_scheme"], shown["REMOTE_ADDR"]) == ("https", "127.0.0.1")
