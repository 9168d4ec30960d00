"""WebSocket through ASGI: handshake, messages, compression, limits, and every way to end."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import struct
import time
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from http_client import Client, get
from serving import serving, wait_until


@pytest.fixture(params=["asyncio", "uvloop"])
def lab(tmp_path, request):
    """Start the lab on either event loop."""
    env = {"GUNICORN_WORKER_CLASS": "asgi", "GUNICORN_ASGI_LOOP": request.param}

    def start(*args: str, **more: str):
        return serving(tmp_path, *args, app="lab_websocket:app", env={**env, **more})

    return start


def url(server, path: str) -> str:
    return f"ws://127.0.0.1:{server.port}{path}"


def happened(server) -> list:
    return json.loads(get(server.port).text)


KEY = base64.b64encode(b"0123456789abcdef").decode()
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


class Raw(Client):
    """A connection on which frames can be written by hand."""

    def open(self, path: str, **headers: str) -> None:
        lines = [f"GET {path} HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in {**HANDSHAKE, **headers}.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())
        assert self.read_head().status == 101

    def frame(self, first: int, payload: bytes = b"") -> None:
        mask = os.urandom(4)
        if len(payload) > 125:
            length = struct.pack("!BBH", first, 0x80 | 126, len(payload))
        else:
            length = struct.pack("!BB", first, 0x80 | len(payload))
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.send(length + mask + masked)

    def read_frame(self) -> tuple[int, bytes]:
        first, length = self._exactly(2)
        if length == 126:
            length = int.from_bytes(self._exactly(2), "big")
        elif length == 127:
            length = int.from_bytes(self._exactly(8), "big")
        return first, self._exactly(length)


def test_messages_of_both_kinds_and_every_size_come_back(lab):
    with lab() as server, connect(url(server, "/echo"), max_size=None) as client:
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        for message in (
            "",
            "text",
            "Grüße \N{SNOWMAN}" * 1000,
            b"",
            b"\0\xff" * 40_000,
            "x" * 5_000_000,
        ):
            client.send(message)
            assert client.recv() == message


def test_messages_without_compression_come_back(lab):
    with lab(GUNICORN_WEBSOCKET_COMPRESSION="false") as server:
        with connect(url(server, "/echo"), max_size=None) as client:
            assert "Sec-WebSocket-Extensions" not in client.response.headers
            for message in ("", "text", b"\0\xff" * 40_000, "x" * 5_000_000):
                client.send(message)
                assert client.recv() == message


def test_fragments_are_joined_and_pings_between_them_answered(lab):
    with lab() as server, Raw(server.port) as client:
        client.open("/echo")
        client.frame(0x01, "Grü".encode()[:4])
        client.frame(0x89, b"are you there")
        client.frame(0x80, "Grüße".encode()[4:])
        assert client.read_frame() == (0x8A, b"are you there")
        assert client.read_frame() == (0x81, "Grüße".encode())


def test_frames_sent_together_with_the_handshake_are_read(lab):
    with lab() as server, Raw(server.port) as client:
        lines = ["GET /echo HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in HANDSHAKE.items()]
        frame = b"\x81\x82\0\0\0\0hi"
        client.send("\r\n".join([*lines, "", ""]).encode() + frame)
        assert client.read_head().status == 101
        assert client.read_frame() == (0x81, b"hi")


def test_scope_says_what_the_specification_says(lab):
    with lab(GUNICORN_ROOT_PATH="/mount") as server:
        own = socket.create_connection(("127.0.0.1", server.port))
        port = own.getsockname()[1]
        with connect(url(server, "/scope"), sock=own, subprotocols=["chat", "news"]) as client:
            shown = json.loads(client.recv())
    assert shown == {
        "type": "websocket",
        "scheme": "ws",
        "path": "/scope",
        "subprotocols": ["chat", "news"],
        "http_version": "1.1",
        "root_path": "/mount",
        "client": ["127.0.0.1", port],
        "extensions": ["remuda.extend_timeout", "websocket.http.response"],
        "has_method": False,
    }


def test_subprotocol_headers_and_close_code_of_the_app_reach_the_client(lab):
    with lab() as server:
        with connect(url(server, "/subprotocol"), subprotocols=["chat", "news"]) as client:
            assert client.subprotocol == "news"
            assert client.response.headers["X-Extra"] == "1"
            with pytest.raises(ConnectionClosed) as closed:
                client.recv()
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "that was all")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/refuse", 403, b""),
        ("/deny", 401, b"log in first"),
        ("/forget", 500, b""),
        ("/fail-before", 500, b""),
    ],
)
def test_who_does_not_accept_answers_by_http(lab, path, status, body):
    with lab() as server:
        with pytest.raises(InvalidStatus) as refused:
            connect(url(server, path)).__enter__()
        response = refused.value.response
        assert response.status_code == status
        assert body in (response.body or b"")
        if path == "/deny":
            assert response.headers["X-Why"] == "no-token"
        assert happened(server) == []


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Sec-WebSocket-Version": "12"}, 426),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": base64.b64encode(b"x" * 17).decode()}, 400),
    ],
)
def test_bad_handshakes_are_refused_before_the_app(lab, changed, status):
    with lab() as server:
        response = get(server.port, "/fail-before", headers={**HANDSHAKE, **changed})
        assert response.status == status
        if status == 426:
            assert response.get("Sec-WebSocket-Version") == "13"
        assert "RuntimeError" not in server.log()


def test_an_app_that_fails_or_returns_closes_with_a_code(lab):
    with lab() as server:
        with connect(url(server, "/leave")) as client, pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd.code == 1000
        with connect(url(server, "/fail-after")) as client:
            client.send("go")
            with pytest.raises(ConnectionClosed) as closed:
                client.recv()
        assert closed.value.rcvd.code == 1011
        server.wait_for_log("RuntimeError: broken after the handshake")
        with connect(url(server, "/bad-code")) as client, pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd.code == 1011
        server.wait_for_log("Close code 1006 must not be sent.")


def test_the_app_hears_how_its_client_has_left(lab):
    with lab() as server:
        with connect(url(server, "/echo")) as client:
            client.close(4321, "bye")
        wait_until(lambda: ["disconnect", 4321, "bye"] in happened(server), "code and reason")
        with Raw(server.port) as client:
            client.open("/echo")
            client.frame(0x88)
            assert client.read_frame() == (0x88, struct.pack("!H", 1000))
            assert client.is_closed()
        wait_until(lambda: ["disconnect", 1005, ""] in happened(server), "no code")
        with Raw(server.port) as client:
            client.open("/echo")
        wait_until(lambda: ["disconnect", 1006, ""] in happened(server), "no word at all")


def test_an_app_that_does_not_listen_is_cancelled(lab):
    with lab(GUNICORN_ASGI_DISCONNECT_GRACE_PERIOD="0.2") as server:
        with Raw(server.port) as client:
            client.open("/wait")
        wait_until(lambda: ["cancelled"] in happened(server), "cancelled")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(0x83, b"")], 1002),
        ([(0xC1, b"x")], 1002),
        ([(0x80, b"x")], 1002),
        ([(0x01, b"x"), (0x81, b"y")], 1002),
        ([(0x88, struct.pack("!H", 1005))], 1002),
        ([(0x81, b"\xff")], 1007),
        ([(0x82, b"x" * 1001)], 1009),
        ([(0x02, b"x" * 600), (0x80, b"x" * 600)], 1009),
    ],
)
def test_violations_close_with_their_code_and_nothing_else_suffers(lab, frames, code):
    with lab(GUNICORN_WEBSOCKET_MAX_MESSAGE_SIZE="1000") as server:
        with Raw(server.port) as client:
            client.open("/echo")
            for first, payload in frames:
                client.frame(first, payload)
            first, payload = client.read_frame()
            assert (first, int.from_bytes(payload[:2], "big")) == (0x88, code)
            assert client.is_closed()
        wait_until(
            lambda: ["disconnect", code] in [event[:2] for event in happened(server)],
            "the app is told",
        )


def test_a_frame_without_mask_is_refused(lab):
    with lab() as server, Raw(server.port) as client:
        client.open("/echo")
        client.send(b"\x81\x02hi")
        assert client.read_frame()[1][:2] == struct.pack("!H", 1002)


def test_a_bomb_stops_at_the_limit(lab):
    with lab(GUNICORN_WEBSOCKET_MAX_MESSAGE_SIZE="100000") as server:
        with connect(url(server, "/echo")) as client:
            client.send("x" * 99_999)
            assert len(client.recv()) == 99_999
            client.send("x" * 10_000_000)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv()
        assert closed.value.rcvd.code == 1009


def test_send_waits_for_a_slow_client(lab):
    """What the app has sent stays near to what the client has read."""
    with lab() as server, Raw(server.port) as client:
        # Not less than a segment: for what waits behind so small a window the kernel takes minutes.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        client.open("/flood")
        time.sleep(1)
        (_, sent) = happened(server)[0]
        assert sent * 65536 < 8 << 20, "64 KiB here, and what the kernel holds"
        for _ in range(sent):
            assert client.read_frame() == (0x82, b"x" * 65536)
        wait_until(lambda: happened(server)[0][1] > sent, "it goes on")
        client.socket.close()
        wait_until(lambda: happened(server)[-1][0] == "flood ended", "send raises")
        assert happened(server)[-1] == ["flood ended", "ClientDisconnected"]


def test_a_client_is_slowed_down_by_an_app_that_does_not_take(lab):
    with lab() as server, Raw(server.port) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        client.open("/deaf")
        client.socket.settimeout(0.3)
        sent = 0
        try:
            while sent < 400:
                client.frame(0x82, b"x" * 60_000)
                sent += 1
        except TimeoutError:
            pass
        assert sent * 60_000 < 8 << 20


def test_what_is_sent_after_a_close_is_refused(lab):
    with lab() as server:
        with connect(url(server, "/send-after-close")) as client:
            with pytest.raises(ConnectionClosed):
                client.recv()
        wait_until(lambda: len(happened(server)) == 2, "both")
        assert happened(server) == [
            ["late send", "RuntimeError"],
            ["websocket.disconnect", 1000],
        ]


def test_silent_clients_are_asked_and_given_up(lab):
    with lab(GUNICORN_WEBSOCKET_PING_INTERVAL="1") as server:
        with connect(url(server, "/echo")) as alive, Raw(server.port) as dead:
            dead.open("/echo")
            assert dead.read_frame() == (0x89, b"")
            # It does not answer.
            assert dead.is_closed() or dead.is_closed()
            alive.send("still here")
            assert alive.recv() == "still here"
        wait_until(lambda: ["disconnect", 1006, ""] in happened(server), "given up")


def test_a_stop_sends_clients_elsewhere_and_waits_for_none(lab):
    with lab() as server, connect(url(server, "/echo")) as client:
        client.send("hello")
        assert client.recv() == "hello"
        server.send(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd.code == 1012
        assert server.wait(10) == 0


def test_a_reload_moves_clients_to_the_new_code(lab):
    with lab() as server, connect(url(server, "/echo")) as client:
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd.code == 1012
        with connect(url(server, "/echo")) as again:
            again.send("x")
            assert again.recv() == "x"


def test_other_classes_take_an_upgrade_for_an_ordinary_request(serve, wsgi_class):
    with serve(app="lab:app", env={"GUNICORN_WORKER_CLASS": wsgi_class}) as server:
        with Client(server.port) as client:
            assert client.request("/pid", headers=HANDSHAKE).status == 200
            assert client.request("/pid").status == 200


def test_hundreds_of_connections_are_served_side_by_side(lab):
    with lab() as server, ExitStack() as opened:
        clients = [opened.enter_context(connect(url(server, "/echo"))) for _ in range(200)]
        for round_ in range(3):
            for number, client in enumerate(clients):
                client.send(f"{round_} {number}")
            for number, client in enumerate(clients):
                assert client.recv() == f"{round_} {number}"
