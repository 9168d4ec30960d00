"""ASGI 3 over HTTP: scope, bodies in both directions, disconnects, mistakes of apps, lifespan."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from http_client import Client, get
from load import Load
from serving import serving, wait_until

ASGI = {"GUNICORN_WORKER_CLASS": "asgi"}


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def lab(tmp_path, event_loop):
    """Start the lab on either event loop."""
    env = {**ASGI, "GUNICORN_ASGI_LOOP": event_loop}

    def start(**more: str):
        return serving(tmp_path, app="lab_asgi:app", env={**env, **more})

    return start


def test_scope_says_what_the_specification_says(lab):
    with lab(GUNICORN_ROOT_PATH="/mount") as server:
        with Client(server.port) as client:
            client_port = client.socket.getsockname()[1]
            headers = {"X-One": "1", "Cookie": "a=1"}
            path = "/sc%C3%B6pe%20%E2%82%AC?q=%20&q=2"
            shown = json.loads(client.request(path, headers=headers).text)
        assert shown["type"] == "http"
        assert shown["asgi"] == {"version": "3.0", "spec_version": "2.4"}
        assert shown["http_version"] == "1.1"
        assert shown["method"] == "GET"
        assert shown["scheme"] == "http"
        assert shown["path"] == "/sc\xf6pe \u20ac"
        assert shown["raw_path"] == "/sc%C3%B6pe%20%E2%82%AC"
        assert shown["query_string"] == "q=%20&q=2"
        assert shown["root_path"] == "/mount"
        assert shown["client"] == ["127.0.0.1", client_port]
        assert shown["server"] == ["127.0.0.1", server.port]
        assert shown["headers"] == [["host", "localhost"], ["x-one", "1"], ["cookie", "a=1"]]
        assert shown["types"]["raw_path"] == shown["types"]["query_string"] == "bytes"
        assert shown["types"]["client"] == "tuple"
        assert shown["extensions"] == [
            "http.response.early_hint",
            "http.response.trailers",
            "remuda.extend_timeout",
        ]


def test_a_trusted_proxy_names_the_client_and_the_scheme(lab):
    headers = {"X-Forwarded-For": "192.0.2.7, 127.0.0.1", "X-Forwarded-Proto": "https"}
    with lab() as server:
        shown = json.loads(get(server.port, "/scope", headers=headers).text)
        assert (shown["client"], shown["scheme"]) == (["192.0.2.7", 0], "https")
    with lab(GUNICORN_FORWARDED_ALLOW_IPS="192.0.2.1") as server:
        shown = json.loads(get(server.port, "/scope", headers=headers).text)
        assert (shown["client"][0], shown["scheme"]) == ("127.0.0.1", "http")


def test_http_1_0_is_named(lab):
    with lab() as server, Client(server.port) as client:
        client.send(b"GET /scope HTTP/1.0\r\n\r\n")
        assert json.loads(client.read().text)["http_version"] == "1.0"


@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
@pytest.mark.parametrize("path", ["/echo", "/echo-stream"])
def test_bodies_come_back_whole(lab, path, size):
    body = b"0123456789" * (size // 10 + 1)
    body = body[:size]
    with lab() as server, Client(server.port) as client:
        for _ in range(2):
            # A streamed echo must be read while it is sent.
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
            sender = threading.Thread(target=client.send, args=(head.encode() + body,))
            sender.start()
            assert client.read().body == body
            sender.join()


def test_chunked_body_reaches_the_app_as_it_comes(lab):
    with lab() as server, Client(server.port) as client:
        client.send(b"POST /echo-stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number, piece in enumerate((b"one", b"three")):
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            if number == 0:
                assert client.read_head().get("Transfer-Encoding") == "chunked"
            assert client.read_chunk() == piece
        client.send(b"0\r\n\r\n")
        assert client.read_chunk() == b""
        assert client.request("/pid").status == 200


def test_an_app_that_reads_slowly_slows_its_client_down(lab):
    """At no time does more of the body wait in the worker than a few hundred kilobytes."""
    with lab() as server, Client(server.port) as client:
        size = 8 << 20
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        client.send(
            f"POST /take-slowly HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
            + b"x" * size
        )
        sizes = json.loads(client.read().text)
        assert sum(sizes) == size
        assert max(sizes) < 512 << 10, "the client was made to wait"


def test_a_body_that_the_app_ignores_does_not_confuse_the_next_request(lab):
    with lab() as server, Client(server.port) as client:
        for _ in range(3):
            response = client.request("/ignore-body", method="POST", body=b"GET /x HTTP/1.1\r\n")
            assert response.text == "not interested"
            if response.get("Connection") == "close":
                break
        assert get(server.port, "/pid").status == 200


def test_expect_100_continue_is_answered_when_the_app_asks(lab):
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with lab() as server:
        with Client(server.port) as client:
            client.send(head % b"/echo")
            assert client.read_head().status == 100
            client.send(b"body")
            assert client.read().body == b"body"
        with Client(server.port) as client:
            client.send(head % b"/ignore-body")
            assert client.read().status == 200, "no 100 for a body that nobody wants"


def test_a_streamed_response_arrives_in_pieces(lab):
    with lab() as server, Client(server.port) as client:
        client.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_head().get("Transfer-Encoding") == "chunked"
        assert client.read_chunk() == b"piece 0\n"
        assert not client.has_answer(), "the second piece comes later"
        assert [client.read_chunk() for _ in range(3)] == [b"piece 1\n", b"piece 2\n", b""]


def test_send_waits_for_a_slow_client_while_others_are_served(lab):
    with lab(GUNICORN_WRITE_TIMEOUT="2") as server, Client(server.port) as slow:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.send(b"GET /close-after-disconnect HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(20):
            assert get(server.port, "/pid").status == 200
        # Nobody reads: in the end the client is given up, and the app told so.
        wait_until(lambda: "disconnect" in get(server.port, "/closed").text, "given up")


def test_send_raises_once_the_client_is_gone(lab):
    with lab() as server:
        with Client(server.port) as client:
            client.send(b"GET /close-after-disconnect HTTP/1.1\r\nHost: x\r\n\r\n")
            client.read_head()
        wait_until(
            lambda: get(server.port, "/closed").text == "disconnect ClientDisconnected",
            "an OSError from send",
        )
        assert "Error handling request" not in server.log()


def test_receive_tells_that_the_client_has_left(lab):
    with lab() as server:
        with Client(server.port) as client:
            client.send(b"GET /wait-for-disconnect HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.1)
        wait_until(lambda: get(server.port, "/closed").text == "http.disconnect", "told")
        assert "Error" not in server.log()


def test_a_task_whose_client_has_left_is_cancelled_after_its_grace(lab):
    with lab(GUNICORN_ASGI_DISCONNECT_GRACE_PERIOD="0.3") as server:
        with Client(server.port) as client:
            client.send(b"GET /cancelled HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.1)
        assert get(server.port, "/closed").text == "", "it gets its time"
        wait_until(lambda: get(server.port, "/closed").text == "cancelled", "cancelled")


def test_streaming_with_a_listener_beside_it_ends_with_the_client(lab):
    with lab() as server:
        with Client(server.port) as client:
            client.send(b"GET /listen HTTP/1.1\r\nHost: x\r\n\r\n")
            client.read_head()
            assert client.read_chunk() == b"tick\n"
        wait_until(lambda: get(server.port, "/closed").text == "heard disconnect", "heard")


def test_receive_after_the_response_says_that_it_is_over(lab):
    with lab() as server, Client(server.port) as client:
        assert client.request("/receive-twice").text == "done"
        assert client.request("/closed").text == "after the response: http.disconnect"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("/error", "RuntimeError: broken on purpose"),
        ("/error-after-start", "RuntimeError: broken after the start"),
        ("/nothing", "The ASGI app returned without a response"),
        ("/start-twice", "Expected 'http.response.body', but got 'http.response.start'."),
        ("/body-first", "Expected 'http.response.start', but got 'http.response.body'."),
        ("/unknown-event", "but got 'http.response.dance'."),
        ("/bad-header", "Invalid response header: "),
        ("/text-header", "TypeError"),
        ("/too-long", "The response is longer than its Content-Length."),
        ("/too-short", "The response is shorter than its Content-Length."),
    ],
)
def test_a_mistake_before_the_first_byte_becomes_a_500(lab, page, words):
    with lab() as server, Client(server.port) as client:
        assert client.request(page).status == 500
        assert client.is_closed()
        server.wait_for_log(f"Error handling request GET {page}")
        server.wait_for_log(words)
        assert get(server.port, "/pid").status == 200


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("/error-in-the-middle", "RuntimeError: broken in the middle"),
        ("/half", "The ASGI app returned before its response was complete"),
        ("/too-long-in-pieces", "longer than its Content-Length"),
    ],
)
def test_a_mistake_in_the_middle_cuts_the_connection(lab, page, words):
    with lab() as server, Client(server.port) as client:
        with pytest.raises((EOFError, ConnectionResetError)):
            client.request(page)
        server.wait_for_log(words)
        assert get(server.port, "/pid").status == 200


def test_odd_but_legal_responses(lab):
    with lab() as server, Client(server.port) as client:
        assert client.request("/no-content").status == 204
        response = client.request("/odd-headers")
        assert (response.status, response.body) == (299, b"ok")
        assert [v for k, v in response.headers if k.lower() == "set-cookie"] == ["a=1", "b=2"]
        assert response.get("x-latin") == "\xe9"
        assert client.request("/pid", method="HEAD").body == b""
        assert client.request("/pid").status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_app_works_on_after_a_response_whose_length_was_reached_early(lab, method):
    with lab() as server, Client(server.port) as client:
        response = client.request("/whole-and-empty", method=method)
        assert response.body == (b"full" if method == "GET" else b"")
        wait_until(lambda: client.request("/closed").text == "worked on", "the rest of the app")
        assert "Error" not in server.log()


def test_trailers_follow_the_body(lab):
    with lab() as server, Client(server.port) as client:
        client.send(b"GET /trailers HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
        assert client.read_head().get("Trailer") == "x-sum"
        assert client.read_chunk() == b"body"
        assert client._until(b"\r\n\r\n").lower() == b"0\r\nx-sum: 42"
        assert client.request("/pid").status == 200


def test_early_hints_come_before_the_response(lab):
    with lab() as server, Client(server.port) as client:
        client.send(b"GET /early-hint HTTP/1.1\r\nHost: x\r\n\r\n")
        hint = client.read_head()
        assert (hint.status, hint.get("Link")) == (103, "</style.css>; rel=preload; as=style")
        assert client.read().text == "page"


def test_requests_run_side_by_side_in_contexts_of_their_own(lab):
    with lab() as server, ExitStack() as opened:
        clients = [opened.enter_context(Client(server.port)) for _ in range(50)]
        for client in clients:
            client.send(b"GET /sleep?0.3 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert all(client.read().text.startswith("slept") for client in clients)
        assert int(get(server.port, "/peak").text) == 50
        assert [client.request("/context").text for client in clients[:5]] == ["None"] * 5


@pytest.mark.parametrize("page", ["/task", "/current-task", "/wait-briefly"])
def test_receive_and_send_work_in_every_way_that_coroutines_do(lab, page):
    with lab() as server, Client(server.port) as client:
        texts = {client.request(page).text for _ in range(3)}
        assert texts <= {"http.request", "True", "still here"}, texts


def test_pipelined_requests_are_answered_in_order(lab):
    with lab() as server, Client(server.port) as client:
        client.send(
            b"GET /sleep?0.2 HTTP/1.1\r\nHost: x\r\n\r\nGET /pid HTTP/1.1\r\nHost: x\r\n\r\n" * 2
        )
        texts = [client.read().text[:5] for _ in range(4)]
        assert [text == "slept" for text in texts] == [True, False, True, False]


def test_lifespan_starts_before_and_stops_after_all_requests(serve):
    with serve("--workers", "2", app="lifespans:takes_part", env=ASGI) as server:
        started = server.log().count("started in ")
        assert started == 2, "each worker has its own"
        assert get(server.port).text == "pool"
        server.stop()
    assert server.log().count("stopped\n") == 2


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_start_that_fails_ends_the_service_with_status_3(serve, mode):
    env = {**ASGI, "GUNICORN_ASGI_LIFESPAN": mode}
    with serve(app="lifespans:fails_at_start", env=env, ready=False) as server:
        assert server.wait() == 3
    assert "Application startup failed: the database is away" in server.log()


def test_an_exception_at_start_is_no_failure_unless_lifespan_is_on(serve):
    with serve(app="lifespans:knows_nothing", env=ASGI) as server:
        assert get(server.port).status == 200
    env = {**ASGI, "GUNICORN_ASGI_LIFESPAN": "on"}
    with serve(app="lifespans:raises_at_start", env=env, ready=False) as server:
        assert server.wait() == 3
    assert "RuntimeError: cannot start" in server.log()


def test_lifespan_off_tells_the_app_nothing(serve):
    env = {**ASGI, "GUNICORN_ASGI_LIFESPAN": "off"}
    with serve(app="lifespans:takes_part", env=env) as server:
        assert get(server.port).text == ""
    assert "started in" not in server.log()


def test_a_stop_that_fails_is_logged(serve):
    with serve(app="lifespans:fails_at_stop", env=ASGI) as server:
        server.stop()
    assert "Application shutdown failed: could not flush" in server.log()


@pytest.mark.parametrize("preload", ["true", "false"])
def test_an_app_of_the_other_kind_is_named_at_start(serve, preload):
    env = {**ASGI, "GUNICORN_PRELOAD_APP": preload}
    with serve(app="counted:app", env=env, ready=False) as server:
        assert server.wait() == 4
    assert "it is not an ASGI app\n  hint: for a WSGI app use `worker_class` sync" in server.log()
    env = {"GUNICORN_PRELOAD_APP": preload}
    with serve(app="lab_asgi:app", env=env, ready=False) as server:
        assert server.wait() == 4
    assert "it is not a WSGI app\n  hint: for an ASGI app (FastAPI, Starlette …)" in server.log()


def test_each_workers_state_survives_recycling(serve):
    env = {**ASGI, "GUNICORN_WORKERS": "2", "GUNICORN_MAX_REQUESTS": "40"}
    texts = set()
    with serve(app="lifespans:takes_part", env=env) as server:
        with Load(server.port, on_body=texts.add) as load:
            wait_until(lambda: server.log().count("started in ") >= 6, "four replacements")
        assert load.lost == [] and load.counts["refused"] == 0
        assert texts == {"pool"}


def test_uvicorns_worker_class_is_taken(serve):
    env = {"GUNICORN_WORKER_CLASS": "uvicorn.workers.UvicornWorker"}
    with serve(app="lab_asgi:app", env=env) as server:
        assert "Using worker: asgi" in server.log()
        assert get(server.port, "/pid").status == 200
