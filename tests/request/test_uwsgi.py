"""uwsgi: what nginx's ``uwsgi_pass`` speaks, in each worker class."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import threading

import pytest

from http_client import Client
from serving import wait_until
from uwsgi_client import ask, packet, request


def env(worker_class: str = "sync", **more: str) -> dict[str, str]:
    return {"GUNICORN_PROTOCOL": "uwsgi", "GUNICORN_WORKER_CLASS": worker_class, **more}


def test_an_app_gets_what_the_packet_says(serve, worker_class):
    sent = request(
        "/environ?a=%20b",
        ("PATH_INFO", "/environ"),
        ("CONTENT_TYPE", "text/x"),
        ("HTTPS", "on"),
        ("HTTP_X_FORWARDED_FOR", "192.0.2.9"),
        ("HTTP_X_TWO", "1"),
        ("HTTP_X_TWO", "2"),
        ("SCRIPT_NAME", "/shop"),
        ("UWSGI_SCRIPT", "shop"),
    )
    app = "scope:app" if worker_class == "asgi" else "lab:app"
    with serve(app=app, env=env(worker_class)) as server:
        answer = ask(server.port, sent)
        assert answer.status == 200
        shown = json.loads(answer.text)
        if worker_class == "asgi":
            assert (shown["method"], shown["path"]) == ("GET", "/environ")
            assert (shown["scheme"], shown["http_version"]) == ("https", "1.1")
            # As in gunicorn, the client is who has connected, whatever a client says.
            assert shown["client"][0] == "127.0.0.1"
            assert sorted(map(tuple, shown["headers"])) == [
                ("content-type", "text/x"),
                ("host", "shop.example"),
                ("x-forwarded-for", "192.0.2.9"),
                ("x-two", "1"),
                ("x-two", "2"),
            ]
            return
        assert (shown["PATH_INFO"], shown["QUERY_STRING"]) == ("/environ", "a=%20b")
        assert shown["RAW_URI"] == "/environ?a=%20b"
        assert (shown["wsgi.url_scheme"], shown["SERVER_PROTOCOL"]) == ("https", "HTTP/1.1")
        assert (shown["CONTENT_TYPE"], shown["HTTP_X_TWO"]) == ("text/x", "1,2")
        assert (shown["REMOTE_ADDR"], shown["SERVER_NAME"]) == ("127.0.0.1", "127.0.0.1")
        assert (shown["SCRIPT_NAME"], shown["HTTP_HOST"]) == ("", "shop.example")
        for name in ("UWSGI_SCRIPT", "DOCUMENT_ROOT", "HTTPS", "REQUEST_URI", "CONTENT_LENGTH"):
            assert name not in shown


@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_a_body_comes_whole(serve, worker_class, size):
    body = bytes(range(256)) * (size // 256 + 1)
    with serve(app="lab:app", env=env(worker_class)) as server:
        answer = ask(server.port, request("/echo", method="POST", body=body))
        assert (answer.status, answer.body) == (200, body)


def test_an_answer_has_no_chunks(serve, worker_class):
    with serve(app="lab:app", env=env(worker_class)) as server:
        answer = ask(server.port, request("/stream"))
        assert answer.get("transfer-encoding") is None
        assert answer.text == "piece 0\npiece 1\npiece 2\n"
        for path, status in [("/no-content", 204), ("/missing", 404)]:
            assert ask(server.port, request(path)).status == status
        answer = ask(server.port, request("/pid", method="HEAD"), head_only=True)
        assert answer.status == 200


def test_an_answer_that_breaks_off_does_not_look_whole(serve, worker_class):
    path = "/error-in-the-middle" if worker_class == "asgi" else "/close-after-error"
    with serve(app="lab:app", env=env(worker_class)) as server:
        with Client(server.port) as client:
            client.send(request(path))
            with pytest.raises(ConnectionResetError):
                client.read_to_end()
        assert ask(server.port, request("/pid")).status == 200


def test_a_connection_has_one_request(serve, worker_class):
    with serve(app="lab:app", env=env(worker_class)) as server:
        sent = request("/echo", ("HTTP_CONNECTION", "keep-alive"), method="POST", body=b"one")
        assert ask(server.port, sent + request("/pid")).text == "one"
        assert ask(server.port, sent + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").text == "one"


def test_a_slow_packet_and_a_slow_body_get_408(serve, worker_class):
    limits = {"GUNICORN_HEAD_TIMEOUT": "1", "GUNICORN_BODY_TIMEOUT": "1"}
    whole = request("/echo", method="POST", body=b"0123456789")
    with serve(app="lab:app", env=env(worker_class, **limits)) as server:
        for sent in (whole[:2], whole[:100], whole[:-1]):
            with Client(server.port) as client:
                client.send(sent)
                assert client.read().status == 408
                assert client.is_closed()


REFUSED = [
    (packet([], modifier1=5), 501, "Unsupported uwsgi modifier1: 5"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "the request came as HTTP"),
    (b"\0\x03\0\0\x09\0a", 400, "Invalid uwsgi packet"),
    (packet([("A", "")] * 1001), 400, "too many variables"),
    (request("/", ("CONTENT_LENGTH", "+3")), 400, "CONTENT-LENGTH"),
    (request("/", ("CONTENT_LENGTH", "99999999999999999999")), 413, "body is too large"),
    (request("/", ("CONTENT_LENGTH", "2000")), 413, "more than 1000 bytes"),
    (request("/", ("HTTP_A", "b\r\nc: d")), 400, "header value"),
    (request("/", ("HTTP_A B", "")), 400, "header name"),
    (request("/", ("HTTP_HOST", "a/b")), 400, "HOST"),
    (request("/", ("REQUEST_METHOD", "get")), 400, "method"),
    (request("/", ("PATH_INFO", "nowhere")), 400, "target"),
    (request("/?" + "x" * 5000), 414, "Request Line is too large"),
    (request("/", ("HTTP_A", "x" * 9000)), 431, "fields size"),
    (request("/", *[(f"HTTP_A{n}", "") for n in range(100)]), 431, "fields"),
]


def test_what_is_no_request_is_refused_with_a_reason(serve, worker_class):
    more = {"GUNICORN_LIMIT_REQUEST_BODY": "1000"}
    with serve(app="lab:app", env=env(worker_class, **more)) as server:
        for sent, status, reason in REFUSED:
            answer = ask(server.port, sent)
            assert (answer.status, answer.get("connection")) == (status, "close"), sent
            assert reason.replace("'", "&#x27;") in answer.text
            server.wait_for_refusals(reason, 1)
        assert ask(server.port, request("/pid")).status == 200


def test_who_may_not_speak_uwsgi_is_told_so(serve, worker_class):
    with serve(
        app="lab:app", env=env(worker_class, GUNICORN_UWSGI_ALLOW_IPS="10.0.0.0/8")
    ) as server:
        with Client(server.port) as client:
            # Before a word of its own.
            assert client.read().status == 403
        server.wait_for_refusals("it may not speak uwsgi, see `uwsgi_allow_ips`", 1)
    with serve(app="lab:app", env=env(worker_class, GUNICORN_UWSGI_ALLOW_IPS="*")) as server:
        assert ask(server.port, request("/pid")).status == 200


def test_on_a_unix_socket_everybody_may(serve, worker_class, tmp_path):
    path = str(tmp_path / "u.sock")
    more = {"GUNICORN_BIND": f"unix:{path}", "GUNICORN_UWSGI_ALLOW_IPS": "10.0.0.1"}
    with serve(app="lab:app", env=env(worker_class, **more)):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(request("/echo", method="POST", body=b"here"))
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nhere")


def test_encrypted(serve, worker_class, tls):
    more = {"GUNICORN_CERTFILE": str(tls.cert), "GUNICORN_KEYFILE": str(tls.key)}
    with serve(app="lab:app", env=env(worker_class, **more)) as server:
        context = ssl.create_default_context(cafile=str(tls.ca))
        with Client(server.port, context=context) as client:
            client.send(request("/echo", method="POST", body=b"secret"))
            assert client.read().text == "secret"
        with Client(server.port) as client:
            client.send(request("/pid"))
            # In the words of TLS.
            assert client.read_to_end()[:1] == b"\x15", "an alert"
        server.wait_for_refusals("TLS handshake", 1)


def test_behind_a_proxy_header_the_connecting_peer_is_asked(serve):
    header = b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 443\r\n"
    with serve(app="lab:app", env=env(GUNICORN_PROXY_PROTOCOL="v1")) as server:
        for opening, address in [(header, "192.0.2.7"), (b"", "127.0.0.1")]:
            shown = json.loads(ask(server.port, opening + request("/environ")).text)
            assert shown["REMOTE_ADDR"] == address
    more = {"GUNICORN_PROXY_PROTOCOL": "v1", "GUNICORN_UWSGI_ALLOW_IPS": "192.0.2.7"}
    with serve(app="lab:app", env=env(**more)) as server:
        assert ask(server.port, header + request("/environ")).status == 403


def test_headers_of_the_clients_do_not_say_the_scheme(serve, wsgi_class):
    with serve(app="lab:app", env=env(wsgi_class)) as server:
        sent = request("/environ", ("HTTP_X_FORWARDED_PROTO", "https"))
        shown = json.loads(ask(server.port, sent).text)
        assert shown["wsgi.url_scheme"] == "http"
        assert shown["HTTP_X_FORWARDED_PROTO"] == "https"


def test_access_lines_are_those_of_http(serve, worker_class):
    more = {"GUNICORN_ACCESS_LOG_FORMAT": "%(h)s %(r)s %(s)s %(B)s %({x-a}i)s"}
    with serve("--access-logfile", "-", app="lab:app", env=env(worker_class, **more)) as server:
        ask(server.port, request("/echo?a=b", ("HTTP_X_A", "c"), method="POST", body=b"four"))
        line = "127.0.0.1 POST /echo?a=b HTTP/1.1 200 4 c\n"
        wait_until(lambda: line in server.stdout(), line)


def test_hints_that_nginx_would_take_for_the_answer_are_not_sent(serve, worker_class):
    path, app = ("/hint", "scope:app") if worker_class == "asgi" else ("/hints", "lab:app")
    with serve(app=app, env=env(worker_class)) as server:
        assert ask(server.port, request(path)).status == 200


def test_a_request_under_way_is_finished_before_the_end(serve, worker_class):
    with serve(app="lab:app", env=env(worker_class)) as server:
        with Client(server.port) as client, Client(server.port):
            client.send(request("/stream"))
            client.read_head()
            server.send(signal.SIGTERM)
            assert client.read_to_end().endswith(b"piece 2\n")
        assert server.wait() == 0


def test_all_requests_are_answered_while_code_is_loaded_again(serve, worker_class):
    answers: list[int] = []
    done = threading.Event()

    def ask_on() -> None:
        while not done.is_set():
            answers.append(ask(server.port, request("/pid")).status)

    with serve("--workers", "2", app="lab:app", env=env(worker_class)) as server:
        asking = threading.Thread(target=ask_on)
        asking.start()
        try:
            for count in (1, 2):
                server.send(signal.SIGHUP)
                server.wait_for_log("Reload done", count)
        finally:
            done.set()
            asking.join()
        assert set(answers) == {200}


def test_websocket(serve):
    handshake = [
        ("HTTP_UPGRADE", "websocket"),
        ("HTTP_CONNECTION", "Upgrade"),
        ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
        ("HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    with serve(app="lab_websocket:app", env=env("asgi")) as server, Client(server.port) as client:
        # What comes right behind the handshake belongs to the conversation.
        hello = b"\x81\x85\0\0\0\0hello"
        client.send(request("/echo", *handshake) + hello)
        answer = client.read_head()
        assert answer.status == 101
        assert answer.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        client.send(hello)
        assert client.read_exactly(14) == b"\x81\x05hello" * 2
        client.send(b"\x88\x82\0\0\0\0\x03\xe8")
        assert client.read_to_end() == b"\x88\x02\x03\xe8"
