"""How large a request may be, and how it is refused: the same in every worker class."""

from __future__ import annotations

import socket

import pytest

from http_client import Client, Response, get
from serving import serving

CLASSES = ["sync", "gthread", "gevent", "asgi"]


def app_of(worker_class: str) -> str:
    return "echo_asgi:app" if worker_class == "asgi" else "lab:app"


@pytest.fixture(scope="module", params=CLASSES)
def server(request, tmp_path_factory):
    env = {
        "GUNICORN_WORKER_CLASS": request.param,
        "GUNICORN_LIMIT_REQUEST_LINE": "100",
        "GUNICORN_LIMIT_REQUEST_FIELDS": "5",
        "GUNICORN_LIMIT_REQUEST_FIELD_SIZE": "50",
        "GUNICORN_LIMIT_REQUEST_BODY": "1000",
        "GUNICORN_BODY_SPOOL_BYTES": "100",
    }
    folder = tmp_path_factory.mktemp(request.param)
    with serving(folder, app=app_of(request.param), env=env) as server:
        yield server


def exchange(port: int, sent: bytes) -> Response:
    with Client(port, timeout=10) as client:
        client.send(sent)
        return client.read()


def line_of(length: int) -> bytes:
    """A request line of so many bytes."""
    return b"GET /?" + b"x" * (length - len(b"GET /? HTTP/1.1")) + b" HTTP/1.1"


def test_request_line_is_counted_as_gunicorn_counts_it(server):
    rest = b"\r\nHost: x\r\n\r\n"
    assert exchange(server.port, line_of(100) + rest).status == 200
    answer = exchange(server.port, line_of(101) + rest)
    assert answer.status == 414
    assert "Request Line is too large (101 &gt; 100)" in answer.text
    assert exchange(server.port, b"GET /" + b"x" * 200).status == 414, "before its end has come"


def test_field_is_counted_with_name_colon_and_line_end(server):
    start = b"GET / HTTP/1.1\r\nHost: x\r\n"
    field = b"X-Field: " + b"y" * (50 - len(b"X-Field: \r\n"))
    assert exchange(server.port, start + field + b"\r\n\r\n").status == 200
    answer = exchange(server.port, start + field + b"y\r\n\r\n")
    assert (answer.status, answer.reason) == (431, "Request Header Fields Too Large")
    assert "limit request headers fields size" in answer.text
    assert exchange(server.port, start + b"X: " + b"y" * 200).status == 431, (
        "before its end has come"
    )


def test_fields_are_counted(server):
    def request(count: int) -> bytes:
        fields = b"".join(b"X-%d: y\r\n" % number for number in range(count - 1))
        return b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"

    assert exchange(server.port, request(5)).status == 200
    answer = exchange(server.port, request(6))
    assert answer.status == 431
    assert "limit request headers fields&#x27;" in answer.text


@pytest.mark.parametrize("size", [1000, 1001])
@pytest.mark.parametrize("chunked", [False, True])
def test_body_is_limited(server, size, chunked):
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
    with Client(server.port, timeout=10) as client:
        if chunked:
            client.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for start in range(0, size, 100):
                piece = b"x" * min(100, size - start)
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            client.send(head + b"Content-Length: %d\r\n\r\n" % size)
        if size == 1001:
            # At once: the end of the body has not come, or nothing of it.
            answer = client.read()
            assert (answer.status, answer.get("Connection")) == (413, "close")
            assert "more than 1000 bytes" in answer.text
            assert client.is_closed()
            return
        client.send(b"0\r\n\r\n" if chunked else b"x" * size)
        assert len(client.read().body) == 1000


def test_body_that_is_refused_is_read_no_further(server):
    with Client(server.port, timeout=10) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
        client.send(b"x" * 100_000)
        assert client.read().status == 413, "the answer is not lost although bytes were unread"
        client.send(b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.is_closed()
    assert "/smuggled" not in get(server.port, "/seen").text


def test_no_100_continue_before_a_413(server):
    with Client(server.port, timeout=10) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n")
        client.send(b"Expect: 100-continue\r\n\r\n")
        assert client.read().status == 413


def test_refused_spooled_body_leaves_no_file_behind(serve):
    env = {"GUNICORN_LIMIT_REQUEST_BODY": "1000", "GUNICORN_BODY_SPOOL_BYTES": "100"}
    with serve(app="lab:app", env=env) as server:
        (worker,) = server.workers()
        before = descriptors(worker)
        for _ in range(20):
            with Client(server.port, timeout=10) as client:
                client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                client.send(b"1f4\r\n" + b"x" * 500 + b"\r\n")
                client.send(b"1f5\r\n" + b"x" * 501 + b"\r\n")
                assert client.read().status == 413
        assert get(server.port, "/pid").status == 200
        assert len(descriptors(worker)) <= len(before) + 2


def descriptors(pid: int) -> list[str]:
    import os

    return os.listdir(f"/proc/{pid}/fd")


@pytest.mark.parametrize("worker_class", CLASSES)
def test_most_fields_that_fit_are_served_and_more_are_refused(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_LIMIT_REQUEST_FIELDS": "0"}
    with serve(app=app_of(worker_class), env=env) as server:
        for count, status in ((24_000, 200), (24_001, 431), (32_768, 431), (60_000, 431)):
            fields = b"".join(b"%x:\r\n" % number for number in range(count - 1))
            sent = b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"
            assert exchange(server.port, sent).status == status, count
        assert len(server.workers()) == 1
        assert "Booting worker" in server.log() and server.log().count("Booting worker") == 1


def test_head_is_limited_as_a_whole(serve):
    env = {"GUNICORN_LIMIT_REQUEST_FIELD_SIZE": "1000000"}
    with serve(app="lab:app", env=env) as server:
        head = b"GET / HTTP/1.1\r\nHost: x\r\nX: "
        assert exchange(server.port, head + b"y" * 250_000 + b"\r\n\r\n").status == 200
        answer = exchange(server.port, head + b"y" * 300_000)
        assert answer.status == 431
        assert "max buffer headers" in answer.text


def test_request_line_without_limit_is_limited_by_what_a_target_can_be(serve):
    with serve("--limit-request-line", "0", app="lab:app") as server:
        assert exchange(server.port, line_of(60_000) + b"\r\nHost: x\r\n\r\n").status == 200
        assert exchange(server.port, line_of(70_000) + b"\r\nHost: x\r\n\r\n").status == 414


@pytest.mark.parametrize("worker_class", CLASSES)
def test_what_was_out_of_form_can_be_permitted(serve, worker_class):
    env = {
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_PERMIT_OBSOLETE_FOLDING": "true",
        "GUNICORN_STRIP_HEADER_SPACES": "true",
        "GUNICORN_CASEFOLD_HTTP_METHOD": "true",
    }
    with serve(app=app_of(worker_class), env=env) as server:
        sent = (
            b"pOSt /echo HTTP/1.1\r\nHost : x\r\nX: a\r\n\tb\r\nContent-Length \t: 5\r\n\r\nhello"
        )
        assert exchange(server.port, sent).body == b"hello"
        # What decides where a message ends is not unfolded, and two lengths stay two.
        for fields in (
            b"Transfer-Encoding:\r\n chunked\r\n",
            b"Content-Length:\r\n 5\r\n",
            b"Content-Length : 5\r\nContent-Length: 5\r\n",
            b"Content-Length: 5\r\n 5\r\n",
            b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n",
        ):
            sent = b"POST /echo HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\nhello"
            assert exchange(server.port, sent).status in (400, 501), fields


@pytest.mark.parametrize("worker_class", CLASSES)
def test_unconventional_methods_can_be_permitted(serve, worker_class):
    env = {
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_PERMIT_UNCONVENTIONAL_HTTP_METHOD": "true",
    }
    with serve(app=app_of(worker_class), env=env) as server:
        for method in (b"get", b"GO", b"X#Y", b"A" * 40):
            assert exchange(server.port, method + b" / HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
        assert exchange(server.port, b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n").status == 400


@pytest.mark.parametrize("worker_class", CLASSES)
def test_half_a_head_and_half_a_body_get_408(serve, worker_class):
    env = {
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_HEAD_TIMEOUT": "1",
        "GUNICORN_BODY_TIMEOUT": "1",
    }
    with serve(app=app_of(worker_class), env=env) as server:
        for sent in (
            b"GET / HTTP/1.1\r\nHo",
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
        ):
            with Client(server.port, timeout=20) as client:
                client.send(sent)
                answer = client.read()
                assert (answer.status, answer.get("Connection")) == (408, "close")
                assert answer.get("Date")
                assert client.is_closed()


def test_idle_connection_behind_a_late_body_is_idle(serve):
    """Not within a head: it is closed in silence, and not told that its head was late."""
    env = {"GUNICORN_HEAD_TIMEOUT": "1", "GUNICORN_KEEPALIVE": "2"}
    with serve(app="lab:app", env=env) as server, Client(server.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        assert not client.has_answer()
        client.send(b"body")
        assert client.read().body == b"body"
        client.send(b"\r\n")
        assert client.is_closed()


def test_connections_of_a_flood_of_refusals_are_not_kept(serve):
    env = {"GUNICORN_WORKER_CONNECTIONS": "20"}
    with serve(app="lab:app", env=env) as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(15)]
        for connection in held:
            connection.sendall(b"\x00" * 100)
        for _ in range(20):
            assert get(server.port, "/pid").status == 200
        for connection in held:
            connection.close()
