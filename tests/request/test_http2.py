"""HTTP/2: many requests on one connection, each with its own flow, and none that harms another."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest

from http2_client import Http2
from http_client import Client, get
from serving import wait_until

CONCURRENT = pytest.mark.parametrize("worker_class", ["gthread", "gevent", "asgi"])
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

REFUSED_STREAM = 7
CANCEL = 8
INTERNAL_ERROR = 2
ENHANCE_YOUR_CALM = 11


def app_for(worker_class: str) -> str:
    return "scope:app" if worker_class == "asgi" else "lab:app"


@pytest.fixture
def speak(serve, tls):
    """Start a server that speaks HTTP/2 over TLS, and give a way to connect to it."""

    @contextmanager
    def start(worker_class: str, *args: str, **env: str):
        wishes = {
            "GUNICORN_WORKER_CLASS": worker_class,
            "GUNICORN_HTTP_PROTOCOLS": "h2,h1",
            "GUNICORN_THREADS": "4" if worker_class == "gthread" else "1",
            **tls.settings,
            **env,
        }
        with serve(*args, app=app_for(worker_class), env=wishes) as server:
            server.connect = lambda **options: Http2(server.port, tls.context("h2"), **options)
            yield server

    return start


def test_a_request_looks_to_the_app_as_one_of_http1_does(speak, worker_class):
    with speak(worker_class) as server, server.connect() as client:
        headers = [("cookie", "a=1"), ("cookie", "b=2"), ("x-mine", "yes")]
        answer = client.request("/environ?x=%20y", headers=headers)
        assert (answer.status, answer.get("server")) == (200, "remuda")
        assert answer.get("date").endswith(" GMT")
        assert answer.get("content-length") == str(len(answer.body)) or worker_class == "asgi"
        assert answer.get("connection") is None
        shown = json.loads(answer.text)
    if worker_class == "asgi":
        assert (shown["http_version"], shown["scheme"], shown["path"]) == ("2", "https", "/environ")
        sent = dict(shown["headers"])
        assert (sent["host"], sent["cookie"], sent["x-mine"]) == ("localhost", "a=1; b=2", "yes")
        assert shown["tls"]["tls_version"] == 0x0304
    else:
        assert shown["SERVER_PROTOCOL"] == "HTTP/2.0"
        assert shown["HTTP_VERSION"] == "2"
        assert (shown["PATH_INFO"], shown["QUERY_STRING"]) == ("/environ", "x=%20y")
        assert shown["RAW_URI"] == "/environ?x=%20y"
        assert (shown["HTTP_HOST"], shown["HTTP_COOKIE"]) == ("localhost", "a=1; b=2")
        assert shown["wsgi.url_scheme"] == "https"


def test_http1_is_still_spoken_with_those_who_want_it(speak, tls, worker_class):
    with speak(worker_class) as server:
        for protocols in [(), ("http/1.1",)]:
            with Client(server.port, context=tls.context(*protocols)) as client:
                assert client.request("/").version == "HTTP/1.1"


def test_as_many_requests_as_there_are_streams_are_answered_each_by_its_own(speak, worker_class):
    page = "/upload" if worker_class == "asgi" else "/echo"
    with speak(worker_class) as server, server.connect() as client:
        bodies = {}
        for number in range(100):
            stream = client.start(page, "POST", end=False)
            bodies[stream] = b"%d" % number * 50
        # The last comes first.
        for stream in reversed(bodies):
            client.send_body(stream, bodies[stream])
        for stream, body in bodies.items():
            answer = client.read(stream)
            assert answer.status == 200
            if worker_class == "asgi":
                assert json.loads(answer.text)["length"] == len(body)
            else:
                assert answer.body == body


def test_more_streams_than_allowed_are_refused_and_nothing_else(speak):
    env = {"GUNICORN_HTTP2_MAX_CONCURRENT_STREAMS": "5"}
    with speak("sync", **env) as server, server.connect() as client:
        # Before its first settings have come, a client may not know.
        streams = [client.start("/echo", "POST", end=False) for _ in range(8)]
        for stream in streams[5:]:
            assert client.read(stream).reset == REFUSED_STREAM
        for stream in streams[:5]:
            client.send_body(stream, b"here")
            assert client.read(stream).body == b"here"


@CONCURRENT
def test_a_quick_request_overtakes_a_slow_one_on_the_same_connection(speak, worker_class):
    slow = "/forever" if worker_class == "asgi" else "/sleep?20"
    with speak(worker_class) as server, server.connect() as client:
        stream = client.start(slow)
        assert client.request("/").status == 200
        client.reset(stream)
        assert client.request("/").status == 200


def test_large_bodies_go_both_ways(speak, worker_class):
    body = os.urandom(3 << 20)
    with speak(worker_class) as server, server.connect() as client:
        if worker_class == "asgi":
            assert json.loads(client.request("/upload", body).text)["length"] == len(body)
            assert client.request("/stream").body == b"x" * (1 << 20)
        else:
            assert client.request("/echo", body).body == body
            assert client.request("/big-stream").body == b"0123456789abcdef" * 4096 * 64


def test_a_client_that_makes_no_room_costs_no_worker(speak, worker_class):
    page, length = ("/stream", 1 << 20) if worker_class == "asgi" else ("/big", 4 << 20)
    with speak(worker_class) as server, server.connect(take=False) as lazy:
        stream = lazy.start(page)
        answer = lazy.answers[stream]
        while len(answer.body) < 65535:
            assert lazy.receive()
        with server.connect() as other:
            assert other.request("/").status == 200
        # Nor does it stop the others on its connection that need no room.
        assert lazy.read(lazy.start("/", "HEAD")).status == 200
        assert len(answer.body) == 65535
        taken = 0
        while not answer.ended:
            lazy.make_room(stream, len(answer.body) - taken)
            taken = len(answer.body)
            assert lazy.receive()
        assert len(answer.body) == length


def test_a_stream_waits_for_a_client_that_makes_room_slowly(speak, worker_class):
    """A WSGI app is held up by that, as by a slow client of HTTP/1; but not by more than that."""
    page = "/stream" if worker_class == "asgi" else "/big-stream"
    length = 1 << 20 if worker_class == "asgi" else 4 << 20
    with speak(worker_class) as server, server.connect(take=False) as client:
        stream = client.start(page)
        answer, taken = client.answers[stream], 0
        while not answer.ended:
            assert client.receive()
            if len(answer.body) - taken >= 60000:
                time.sleep(0.01)
                client.make_room(stream, len(answer.body) - taken)
                taken = len(answer.body)
        assert len(answer.body) == length
        assert client.request("/").status == 200


class TestTimeLimits:
    """Each stream has its own, and its lateness is its own."""

    def test_a_body_that_does_not_come(self, speak, worker_class):
        page = "/upload" if worker_class == "asgi" else "/echo"
        env = {"GUNICORN_BODY_TIMEOUT": "1"}
        with speak(worker_class, **env) as server, server.connect() as client:
            late = client.start(page, "POST", end=False)
            client.send_body(late, b"half", end=False)
            end = time.monotonic() + 20
            answer = client.answers[late]
            while not answer.ended and answer.reset is None:
                assert time.monotonic() < end, "the body's time limit did nothing"
                assert client.request("/").status == 200
                time.sleep(0.1)
            assert answer.status == 408
            assert client.request(page, b"whole").status == 200

    def test_a_response_that_is_not_read(self, speak, worker_class):
        page = "/stream" if worker_class == "asgi" else "/big"
        env = {"GUNICORN_WRITE_TIMEOUT": "1"}
        with speak(worker_class, **env) as server, server.connect(take=False) as client:
            late = client.start(page)
            end = time.monotonic() + 20
            while client.answers[late].reset is None:
                assert time.monotonic() < end, "the reader's time limit did nothing"
                assert client.read(client.start("/", "HEAD")).status == 200
                time.sleep(0.1)
            assert client.answers[late].reset == CANCEL

    def test_a_streaming_app_whose_client_does_not_read(self, speak, worker_class):
        page = "/stream" if worker_class == "asgi" else "/close-after-disconnect"
        env = {"GUNICORN_WRITE_TIMEOUT": "1"}
        with speak(worker_class, **env) as server, server.connect(take=False) as client:
            late = client.read(client.start(page))
            assert late.reset in (CANCEL, INTERNAL_ERROR)
            if worker_class != "asgi":
                wait_until(lambda: closed(server) == "disconnect", "the app is told")

    def test_an_idle_connection_is_told_goodbye(self, speak):
        with speak("sync", GUNICORN_KEEPALIVE="1") as server, server.connect() as client:
            assert client.request("/").status == 200
            client.read_to_end()
            assert client.goaway == (1, 0)
        assert "Invalid request" not in server.log()

    def test_a_client_that_never_asks(self, speak):
        with speak("sync", GUNICORN_HEAD_TIMEOUT="1") as server, server.connect() as client:
            client.read_to_end()
            assert client.goaway is not None
            assert client.goaway[1] == 0

    def test_a_head_that_never_ends(self, speak):
        """A HEADERS frame without its end, and then nothing: slowloris in HTTP/2."""
        with speak("sync", GUNICORN_HEAD_TIMEOUT="1") as server, server.connect() as client:
            client.socket.sendall(b"\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82")
            client.read_to_end()
            with server.connect() as other:
                assert other.request("/").status == 200


def closed(server) -> str:
    """Which apps' iterables were closed."""
    with server.connect() as other:
        return other.request("/closed").text


class TestTakenBack:
    """Clients that reset streams."""

    def test_in_the_middle_of_a_response(self, speak, worker_class):
        page = "/stream" if worker_class == "asgi" else "/close-after-disconnect"
        with speak(worker_class) as server, server.connect() as client:
            stream = client.start(page)
            while len(client.answers[stream].body) < 50000:
                client.receive()
            client.reset(stream)
            assert client.request("/").status == 200
            if worker_class != "asgi":
                wait_until(lambda: client.request("/closed").text == "disconnect", "it is closed")
        assert "Error handling request" not in server.log()

    def test_in_the_middle_of_a_request_body(self, speak, worker_class):
        page = "/upload" if worker_class == "asgi" else "/echo"
        with speak(worker_class) as server, server.connect() as client:
            stream = client.start(page, "POST", end=False)
            client.send_body(stream, b"half", end=False)
            client.reset(stream, 0)
            assert client.request(page, b"whole").status == 200

    def test_an_asgi_task_is_cancelled(self, speak):
        env = {"GUNICORN_ASGI_DISCONNECT_GRACE_PERIOD": "0.1"}
        with speak("asgi", **env) as server, server.connect() as client:
            stream = client.start("/forever?mine")
            assert client.request("/").status == 200
            client.reset(stream)
            wait_until(lambda: client.request("/cancelled").text == "mine", "it is cancelled")

    def test_a_flood_of_them_ends_the_connection_and_nothing_else(self, speak, worker_class):
        with speak(worker_class) as server:
            before = server.workers()
            with server.connect() as client:
                client.hold()
                for _ in range(1000):
                    client.reset(client.start("/"))
                try:
                    client.release()
                    client.read_to_end()
                except OSError:
                    pass
                assert client.goaway is None or client.goaway[1] == ENHANCE_YOUR_CALM
                assert client.closed
            with server.connect() as client:
                assert client.request("/").status == 200
            assert server.workers() == before

    def test_what_was_taken_back_counts_until_the_app_is_done_with_it(self, speak):
        """Otherwise one connection could start any number of requests."""
        env = {
            "GUNICORN_HTTP2_MAX_CONCURRENT_STREAMS": "10",
            "GUNICORN_ASGI_DISCONNECT_GRACE_PERIOD": "600",
        }
        with speak("asgi", **env) as server, server.connect() as client:
            for number in range(25):
                stream = client.start(f"/forever?{number}")
                # One by one, so that each is accepted before it is taken back.
                client.settle()
                client.reset(stream)
                if number == 5:
                    assert client.request("/started").text == "6"
            with server.connect() as other:
                assert other.request("/started").text == "10"


def test_no_stream_in_flight_is_lost_by_a_stop(speak, worker_class):
    page = "/nap" if worker_class == "asgi" else "/sleep?0.2"
    with speak(worker_class) as server:
        clients = [server.connect() for _ in range(3)]
        streams = [[client.start(page) for _ in range(5)] for client in clients]
        for client in clients:
            client.settle()
        server.send(signal.SIGTERM)
        for client, numbers in zip(clients, streams, strict=True):
            for stream in numbers:
                assert client.read(stream).status == 200
            client.read_to_end()
            assert client.goaway is not None and client.goaway[1] == 0
            client.socket.close()
        assert server.wait() == 0


def test_a_large_response_leaves_to_its_end_after_a_stop(speak):
    with speak("sync") as server, server.connect(take=False) as client:
        stream = client.start("/big")
        answer, taken = client.answers[stream], 0
        while len(answer.body) < 65535:
            client.receive()
        server.send(signal.SIGTERM)
        while not answer.ended:
            time.sleep(0.02)
            client.make_room(stream, len(answer.body) - taken)
            taken = len(answer.body)
            assert client.receive(), f"cut after {taken} bytes"
        assert len(answer.body) == 4 << 20
        client.socket.close()
        assert server.wait() == 0


def test_max_requests_counts_requests_and_loses_none(speak):
    with speak("sync", "--max-requests", "10") as server:
        pids = set()
        client = server.connect()
        end = time.monotonic() + 60
        while len(pids) < 3:
            assert time.monotonic() < end, "no worker was replaced"
            if client.goaway or client.closed:
                client.socket.close()
                client = server.connect()
            try:
                answer = client.request("/pid")
            except EOFError:
                # The connection was said goodbye before the request left.
                assert client.goaway is not None
                assert client.goaway[0] < client._next_stream - 2
                continue
            assert answer.status == 200
            pids.add(answer.text)
        client.socket.close()


class TestLimits:
    def test_header_fields(self, speak):
        env = {"GUNICORN_LIMIT_REQUEST_FIELDS": "20", "GUNICORN_LIMIT_REQUEST_FIELD_SIZE": "500"}
        with speak("sync", **env) as server, server.connect() as client:
            many = [(f"x-{number}", "1") for number in range(30)]
            assert client.request("/", headers=many).status == 431
            assert client.request("/", headers=[("x-long", "y" * 600)]).status == 431
            assert client.request("/" + "y" * 5000).status == 414
            assert client.request("/").status == 200

    def test_all_header_fields_together(self, speak):
        env = {"GUNICORN_HTTP2_MAX_HEADER_LIST_SIZE": "2000"}
        with speak("sync", **env) as server, server.connect() as client:
            headers = [(f"x-{number}", "y" * 100) for number in range(30)]
            answer = client.request("/", headers=headers)
            assert answer.status == 431 or answer.reset is not None
            with server.connect() as other:
                assert other.request("/").status == 200

    def test_a_host_that_is_named_twice(self, speak):
        with speak("sync") as server, server.connect() as client:
            # hyper-h2 itself refuses to send that.
            client.h2.config.validate_outbound_headers = False
            answer = client.request("/", headers=[("host", "other.example")])
            assert answer.status == 400
            assert client.request("/", headers=[("host", "localhost")]).status == 200


class TestResponses:
    def test_odd_ones(self, speak):
        with speak("sync") as server, server.connect() as client:
            head = client.request("/big", method="HEAD")
            assert (head.status, head.body, head.get("content-length")) == (200, b"", "4194304")
            assert client.request("/no-content").status == 204
            assert client.request("/empty").body == b""
            assert client.request("/odd-headers").status == 299
            assert client.request("/hop-by-hop").get("x-kept") == "yes"
            assert client.request("/too-long").text == "much "
            assert client.request("/error").status == 500

    @pytest.mark.parametrize("page", ["/too-short", "/close-after-error"])
    def test_one_that_is_not_complete_is_reset(self, speak, page):
        with speak("sync") as server, server.connect() as client:
            assert client.request(page).reset == INTERNAL_ERROR
            assert client.request("/").status == 200

    def test_an_upload_is_told_to_go_on(self, speak):
        with speak("sync") as server, server.connect() as client:
            stream = client.start("/echo", "POST", [("expect", "100-continue")], end=False)
            while not client.answers[stream].hints:
                client.receive()
            assert client.answers[stream].hints == [[(":status", "100")]]
            client.send_body(stream, b"body")
            assert client.read(stream).body == b"body"

    def test_trailers_of_a_wsgi_app(self, speak):
        with speak("sync") as server, server.connect() as client:
            answer = client.request("/trailers")
            assert (answer.text, answer.trailers) == ("whole", [("x-sum", "7")])
            answer = client.request("/late-trailers")
            assert (answer.text, answer.trailers) == ("in pieces", [("x-sum", "8")])

    def test_trailers_and_early_hints(self, speak):
        with speak("asgi") as server, server.connect() as client:
            answer = client.request("/trailers")
            assert (answer.text, answer.trailers) == ("body", [("x-sum", "7")])
            answer = client.request("/hint")
            assert answer.hints == [[(":status", "103"), ("link", "</style.css>; rel=preload")]]
            assert (answer.status, answer.text) == (200, "hinted")


def test_the_access_log_names_the_version(speak):
    with speak("sync", "--access-logfile", "-") as server, server.connect() as client:
        client.request("/pid")
        wait_until(lambda: '"GET /pid HTTP/2.0" 200' in server.stdout(), "an access line")


def test_nonsense_harms_nobody(speak, tls, worker_class):
    """Frames of every kind, sound and broken, in random order; from a seed, so that it can be run
    again."""
    chance = random.Random(7)
    with speak(worker_class) as server:
        before = server.workers()
        for _ in range(300):
            plain = socket.create_connection(("127.0.0.1", server.port), 30)
            with tls.context("h2").wrap_socket(plain, server_hostname="localhost") as client:
                frames = [frame(chance) for _ in range(chance.randrange(1, 30))]
                opening = PREFACE if chance.random() < 0.9 else chance.randbytes(24)
                settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
                try:
                    client.sendall(opening + settings + b"".join(frames))
                    client.settimeout(0.02)
                    client.recv(65536)
                except OSError:
                    pass
        with server.connect() as client:
            assert client.request("/").status == 200
        assert server.workers() == before
        assert "Traceback" not in server.log()


def frame(chance: random.Random) -> bytes:
    """One frame whose parts are mostly plausible."""
    kind = chance.randrange(0, 12)
    head_block = bytes.fromhex("828684410a6c6f63616c686f7374")[: chance.choice([14, 14, 3])]
    payload = {
        1: head_block,
        4: chance.randbytes(6 * chance.randrange(3)),
        6: chance.randbytes(8),
        8: chance.randbytes(4),
        3: chance.randbytes(4),
    }.get(kind, chance.randbytes(chance.randrange(20)))
    if chance.random() < 0.1:
        payload = chance.randbytes(chance.randrange(40))
    length = len(payload) if chance.random() < 0.95 else chance.randrange(1 << 24)
    flags = chance.choice([0, 1, 4, 5, chance.randrange(256)])
    stream = chance.choice([0, 1, 3, 5, 2, chance.randrange(1 << 31)])
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class TestCleartext:
    """HTTP/2 without TLS, from proxies that are believed."""

    def env(self, worker_class: str, mode: str, **more: str) -> dict[str, str]:
        return {
            "GUNICORN_WORKER_CLASS": worker_class,
            "GUNICORN_HTTP_PROTOCOLS": "h2,h1",
            "GUNICORN_HTTP2_CLEARTEXT": mode,
            **more,
        }

    def test_both(self, serve, worker_class):
        env = self.env(worker_class, "both")
        with serve(app=app_for(worker_class), env=env) as server:
            with Http2(server.port) as client:
                shown = json.loads(client.request("/environ").text)
                assert shown.get("wsgi.url_scheme", shown.get("scheme")) == "http"
                assert shown.get("HTTP_VERSION", shown.get("http_version")) == "2"
            assert get(server.port, "/").status == 200
            # A preface that comes byte by byte is one.
            slow = socket.create_connection(("127.0.0.1", server.port), 30)
            for number in range(len(PREFACE)):
                slow.sendall(PREFACE[number : number + 1])
                time.sleep(0.002)
            slow.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            assert slow.recv(9)[3] == 4
            slow.close()

    def test_prior_knowledge_is_all_that_is_spoken(self, serve):
        with serve(app="lab:app", env=self.env("sync", "prior-knowledge")) as server:
            with Http2(server.port) as client:
                assert client.request("/").status == 200
            answer = get(server.port)
            assert answer.status == 400
            assert "Expected HTTP/2 connection preface" in answer.text
            server.wait_for_log("Expected HTTP/2 connection preface, got 'GET / HTTP/1.1")

    def test_strangers_are_served_http1_only(self, serve):
        env = self.env("sync", "prior-knowledge", GUNICORN_FORWARDED_ALLOW_IPS="10.0.0.1")
        with serve(app="lab:app", env=env) as server:
            assert get(server.port).status == 200
            with Client(server.port) as client:
                client.send(PREFACE)
                assert client.read_to_end().startswith(b"HTTP/1.1 505 ")

    def test_a_request_to_upgrade_is_answered_as_it_is(self, serve):
        with serve(app="lab:app", env=self.env("sync", "both")) as server:
            headers = {
                "Connection": "Upgrade, HTTP2-Settings",
                "Upgrade": "h2c",
                "HTTP2-Settings": "",
            }
            answer = get(server.port, "/pid", headers=headers)
            assert (answer.status, answer.version) == (200, "HTTP/1.1")

    def test_a_preface_that_never_ends(self, serve):
        env = self.env("sync", "both", GUNICORN_HEAD_TIMEOUT="1")
        with serve(app="lab:app", env=env) as server, Client(server.port) as client:
            client.send(PREFACE[:10])
            assert client.read().status == 408
            server.wait_for_log("the HTTP/2 preface did not end in time")


@pytest.mark.parametrize("worker_class", ["sync", "asgi"])
def test_curl_and_this_server_understand_each_other(speak, tls, tmp_path, worker_class):
    curl = shutil.which("curl")
    if not curl or b"HTTP2" not in subprocess.run([curl, "-V"], capture_output=True).stdout:
        pytest.skip("NOT RUN: there is no curl with HTTP/2 here")
    upload = tmp_path / "upload"
    upload.write_bytes(os.urandom(2 << 20))
    page = "/upload" if worker_class == "asgi" else "/echo"
    with speak(worker_class) as server:
        done = subprocess.run(
            [
                curl,
                "-sS",
                "--http2",
                "--cacert",
                tls.ca,
                "--data-binary",
                f"@{upload}",
                "-w",
                "\n%{http_version} %{http_code}",
                f"https://localhost:{server.port}{page}",
            ],
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        body, _, last = done.stdout.rpartition(b"\n")
        assert last == b"2 200"
        if worker_class == "sync":
            assert body == upload.read_bytes()
