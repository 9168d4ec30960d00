"""HTTP/1.1 on the wire: connections, bodies, limits of size and time."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from contextlib import ExitStack

from http_client import Client, get
from serving import wait_until

PAGE = b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n"


def test_connection_is_kept_and_pipelined_requests_are_answered_in_order(serve, worker_class):
    with serve(app="lab:app", env={"GUNICORN_WORKER_CLASS": worker_class}) as server:
        with Client(server.port) as client:
            for _ in range(3):
                assert client.request("/pid").status == 200
            client.send(
                b"".join(
                    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d" % n
                    for n in range(9)
                )
            )
            assert [client.read().body for _ in range(9)] == [b"%d" % n for n in range(9)]


def test_close_is_honoured(serve, worker_class):
    with serve(app="lab:app", env={"GUNICORN_WORKER_CLASS": worker_class}) as server:
        with Client(server.port) as client:
            response = client.request("/pid", headers={"Connection": "close"})
            assert response.get("Connection") == "close"
            assert client.is_closed()
        with Client(server.port) as client:
            client.send(b"GET /pid HTTP/1.0\r\n\r\n")
            assert client.read().status == 200
            assert client.is_closed()
        with Client(server.port) as client:
            client.send(b"GET /pid HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert client.read().status == 200
            assert client.request("/pid").status == 200


def test_expect_100_continue(serve):
    with serve(app="lab:app") as server, Client(server.port) as client:
        client.send(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.read_head().status == 100
        client.send(b"body")
        assert client.read().body == b"body"


def test_client_that_half_closes_gets_its_answer(serve, worker_class):
    with serve(app="lab:app", env={"GUNICORN_WORKER_CLASS": worker_class}) as server:
        with Client(server.port) as client:
            client.send(b"GET /sleep?0.3 HTTP/1.1\r\nHost: x\r\n\r\n")
            client.socket.shutdown(socket.SHUT_WR)
            assert client.read().text.startswith("slept")


def test_slow_clients_do_not_hold_up_a_sync_worker(serve):
    with serve(app="lab:app") as server, ExitStack() as opened:
        half_heads = [opened.enter_context(Client(server.port)) for _ in range(20)]
        half_bodies = [opened.enter_context(Client(server.port)) for _ in range(20)]
        for client in half_heads:
            client.send(b"GET /pid HTTP/1.1\r\nHo")
        for client in half_bodies:
            client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        assert get(server.port, "/pid").status == 200
        for client in half_bodies:
            client.send(b" whole")
            assert client.read().body == b"half whole"
        for client in half_heads:
            client.send(b"st: x\r\n\r\n")
            assert client.read().status == 200


def test_half_a_head_gets_408(serve):
    with serve("--head-timeout", "1", app="lab:app") as server, Client(server.port) as client:
        client.send(b"GET /pid HTTP/1.1\r\nHo")
        assert client.read().status == 408
        assert client.is_closed()


def test_half_a_body_gets_408(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_BODY_TIMEOUT": "1"}
    with serve(app="lab:app", env=env) as server, Client(server.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        assert client.read().status == 408
        assert client.is_closed()


def test_idle_connection_is_closed_after_keepalive(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_KEEPALIVE": "1"}
    with serve(app="lab:app", env=env) as server, Client(server.port) as client:
        assert client.request("/pid").status == 200
        began = time.monotonic()
        assert client.is_closed()
        assert time.monotonic() - began >= 0.9, "closed before its time"


def test_keepalive_zero_closes_after_each_response(serve):
    with serve(app="lab:app", env={"GUNICORN_KEEPALIVE": "0"}) as server:
        with Client(server.port) as client:
            assert client.request("/pid").get("Connection") == "close"
            assert client.is_closed()


def test_client_that_stops_reading_is_given_up(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_WRITE_TIMEOUT": "1"}
    with serve(app="lab:app", env=env) as server, Client(server.port) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(b"GET /close-after-disconnect HTTP/1.1\r\nHost: x\r\n\r\n")
        assert get(server.port, "/pid").status == 200
        wait_until(lambda: "disconnect" in get(server.port, "/closed").text, "close() was called")


def test_request_line_and_header_limits(serve):
    with serve(app="lab:app") as server:
        assert get(server.port, "/" + "x" * 5000).status == 414
        assert get(server.port, "/pid", headers={"X": "y" * 9000}).status == 431
        many = {f"X-{number}": "y" for number in range(120)}
        assert get(server.port, "/pid", headers=many).status == 431
        assert get(server.port, "/" + "x" * 3000).status == 404


def test_garbage_gets_400_and_nothing_else_suffers(serve, worker_class):
    with serve(app="lab:app", env={"GUNICORN_WORKER_CLASS": worker_class}) as server:
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET\r\n\r\n",
            b"GET / FTP/9.9\r\n\r\n",
            b"\x00" * 64,
        ):
            with Client(server.port) as client:
                client.send(garbage + b"\r\n\r\n")
                assert client.read().status == 400
        server.wait_for_log("Invalid request from ip=127.0.0.1")
        assert get(server.port, "/pid").status == 200


def test_client_that_resets_in_the_middle_harms_nobody(serve, worker_class):
    with serve(app="lab:app", env={"GUNICORN_WORKER_CLASS": worker_class}) as server:
        pid = get(server.port, "/pid").text
        for _ in range(20):
            client = Client(server.port)
            client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.close()
        assert get(server.port, "/pid").text == pid


def test_idle_connections_give_way_at_worker_connections(serve):
    env = {"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_WORKER_CONNECTIONS": "10"}
    with serve(app="lab:app", env=env) as server, ExitStack() as opened:
        idle = [opened.enter_context(Client(server.port)) for _ in range(10)]
        for client in idle:
            assert client.request("/pid").status == 200
        for _ in range(5):
            assert get(server.port, "/pid").status == 200
        assert idle[0].is_closed(), "the longest idle one is closed first"


def test_busy_connections_are_bounded_by_worker_connections(serve):
    env = {"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_WORKER_CONNECTIONS": "4"}
    with serve(app="lab:app", env=env) as server:
        threads = [
            threading.Thread(target=get, args=(server.port, "/sleep?0.3")) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert int(get(server.port, "/peak").text) <= 4


def test_unix_socket(serve, tmp_path):
    path = tmp_path / "app.sock"
    with serve("--bind", f"unix:{path}", app="lab:app", bind=False) as server:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"GET /environ HTTP/1.0\r\nHost: example.org:81\r\n\r\n")
            data = b""
            while piece := connection.recv(65536):
                data += piece
        shown = json.loads(data.partition(b"\r\n\r\n")[2])
        assert shown["REMOTE_ADDR"] == ""
        assert (shown["SERVER_NAME"], shown["SERVER_PORT"]) == ("example.org", "81")
        assert f"Listening at: unix:{path} ({server.pid})" in server.messages()
    assert not path.exists()


def test_several_binds(serve):
    from serving import free_port

    first, second = free_port(), free_port()
    args = ["--bind", f"127.0.0.1:{first}", "--bind", f"127.0.0.1:{second}"]
    with serve(*args, app="lab:app", bind=False):
        for port in (first, second):
            assert json.loads(get(port, "/environ").text)["SERVER_PORT"] == str(port)


def test_access_log_has_gunicorns_default_form(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_ACCESSLOG": "-"}
    with serve(app="lab:app", env=env) as server:
        get(server.port, "/pid?x=1", headers={"User-Agent": "test", "Referer": "here"})
        server.stop()
    line = server.stdout().strip()
    assert line.startswith("127.0.0.1 - - [")
    assert '"GET /pid?x=1 HTTP/1.1" 200 ' in line
    assert line.endswith('"here" "test"')
