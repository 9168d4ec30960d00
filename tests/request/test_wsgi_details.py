"""What apps find in their environ beyond PEP 3333: early hints, the socket, bodies in every way."""

from __future__ import annotations

import json

import pytest

from http_client import Client, get
from serving import serving

CLASSES = ["sync", "gthread", "gevent"]


@pytest.fixture(scope="module", params=CLASSES)
def lab(request, tmp_path_factory):
    env = {"GUNICORN_WORKER_CLASS": request.param, "GUNICORN_BODY_SPOOL_BYTES": "1000"}
    with serving(tmp_path_factory.mktemp(request.param), app="lab:app", env=env) as server:
        yield server


def test_early_hints_come_before_the_response(lab):
    with Client(lab.port) as client:
        client.send(b"GET /hints HTTP/1.1\r\nHost: x\r\n\r\n")
        first, second = client.read_head(), client.read_head()
        assert (first.status, first.reason) == (103, "Early Hints")
        assert (first.get("Link"), first.get("X-Hint")) == ("</style.css>; rel=preload", "one")
        assert second.get("Link") == "</script.js>; rel=preload"
        third = client.read_head()
        assert (third.status, third.get("Link")) == (103, "</late.css>"), "nothing was sent yet"
        assert client.read().text == "ok"
        assert client.request("/pid").status == 200


def test_early_hints_are_not_sent_where_they_would_break_something(lab):
    with Client(lab.port) as client:
        client.send(b"GET /hints HTTP/1.0\r\n\r\n")
        assert client.read().status == 200, "HTTP/1.0 knows no interim responses"
    assert get(lab.port, "/hints-after").body == b"abcd"
    answer = get(lab.port, "/bad-hints")
    assert (answer.status, answer.get("Injected")) == (500, None)
    assert "Invalid response header" in lab.log()


LINES = [b"x" * length + b"\n" for length in (0, 1, 5, 80, 300)] + [b"no end"]


@pytest.mark.parametrize("copies", [1, 40], ids=["memory", "spooled"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("method", "argument"),
    [
        ("read", ""),
        ("read", "7"),
        ("read", "-1"),
        ("readline", ""),
        ("readline", "7"),
        ("readlines", ""),
        ("readlines", "100"),
        ("iterate", ""),
    ],
)
def test_body_can_be_read_in_every_way(lab, copies, chunked, method, argument):
    body = b"".join(LINES) * copies
    expected = expected_pieces(body, method, int(argument) if argument else None)
    with Client(lab.port) as client:
        path = f"/read-input?{method}:{argument}"
        if chunked:
            client.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode())
            client.send(b"Transfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 333):
                piece = body[start : start + 333]
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            client.send(b"0\r\n\r\n")
            answer = client.read()
        else:
            answer = client.request(path, method="POST", body=body)
    assert json.loads(answer.text) == {
        "lengths": [len(piece) for piece in expected][:50],
        "total": sum(map(len, expected)),
    }


def expected_pieces(body: bytes, method: str, argument: int | None) -> list[bytes]:
    """What ``io.BytesIO`` gives, which is what PEP 3333 describes."""
    import io

    stream = io.BytesIO(body)
    arguments = [] if argument is None else [argument]
    if method == "iterate":
        return list(stream)
    if method == "readlines":
        return stream.readlines(*arguments)
    return list(iter(lambda: getattr(stream, method)(*arguments), b""))


def test_spooled_body_is_closed_after_its_request(lab):
    get(lab.port, "/read-input?read:", method="POST", body=b"x" * 5000)
    assert json.loads(get(lab.port, "/held-closed").text)[-1] is True


def test_environ_is_a_dict_and_has_no_socket_unless_it_is_asked_for(lab):
    assert get(lab.port, "/socket").text == "none"


@pytest.mark.parametrize("worker_class", CLASSES)
def test_socket_in_environ_is_a_duplicate(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_SOCKET_IN_ENVIRON": "true"}
    with serve(app="lab:app", env=env) as server:
        with Client(server.port) as client:
            module, port = json.loads(client.request("/socket").text)
            assert module == ("gevent._socket3" if worker_class == "gevent" else "socket")
            assert port == client.socket.getsockname()[1]
            assert client.request("/pid").status == 200, "the connection goes on"


def test_socket_in_environ_is_closed_after_its_request(serve):
    with serve("--socket-in-environ", app="lab:app") as server:
        import os

        (worker,) = server.workers()
        for _ in range(50):
            assert get(server.port, "/socket").status == 200
        assert len(os.listdir(f"/proc/{worker}/fd")) < 40
