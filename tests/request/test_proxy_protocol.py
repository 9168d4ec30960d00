"""The PROXY protocol: whom a proxy names is the client, and nobody else can name one."""

from __future__ import annotations

import json
import random
import socket
import time

import pytest

from http2_client import Http2
from http_client import Client, get

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
REQUEST = b"GET /environ HTTP/1.1\r\nHost: x\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 443\r\n"


def v2(command: int, family: int, payload: bytes = b"") -> bytes:
    head = bytes([0x20 | command, family]) + len(payload).to_bytes(2, "big")
    return SIGNATURE + head + payload


def addresses(client: str, server: str, ports: tuple[int, int]) -> bytes:
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    packed = socket.inet_pton(family, client) + socket.inet_pton(family, server)
    return packed + b"".join(port.to_bytes(2, "big") for port in ports)


V2 = v2(1, 0x11, addresses("192.0.2.7", "198.51.100.1", (5555, 443)))


def env(mode: str, worker_class: str = "sync", **more: str) -> dict[str, str]:
    return {"GUNICORN_PROXY_PROTOCOL": mode, "GUNICORN_WORKER_CLASS": worker_class, **more}


def ask(port: int, header: bytes) -> dict:
    """What the app is told on a connection that begins with ``header``."""
    with Client(port) as client:
        client.send(header + REQUEST)
        answer = client.read()
        assert answer.status == 200, answer
        return json.loads(answer.text)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_the_client_is_whom_the_proxy_names(serve, worker_class, header):
    app = "scope:app" if worker_class == "asgi" else "lab:app"
    with serve("--access-logfile", "-", app=app, env=env("auto", worker_class)) as server:
        shown = ask(server.port, header)
        if worker_class == "asgi":
            assert shown["client"] == ["192.0.2.7", 5555]
        else:
            assert (shown["REMOTE_ADDR"], shown["REMOTE_PORT"]) == ("192.0.2.7", "5555")
            assert shown["PROXY_PROTOCOL"] == "TCP4"
            assert (shown["PROXY_ADDR"], shown["PROXY_PORT"]) == ("198.51.100.1", "443")
        with Client(server.port) as client:
            client.send(header)
            for _ in range(3):
                assert client.request("/").status == 200
        time.sleep(1.2)
        assert all(line.startswith("192.0.2.7 - - ") for line in server.stdout().splitlines())


def test_ipv6(serve):
    line = b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\n"
    binary = v2(1, 0x21, addresses("2001:db8::7", "2001:db8::1", (5555, 443)))
    with serve(app="lab:app", env=env("auto")) as server:
        for header in [line, binary]:
            shown = ask(server.port, header)
            assert (shown["REMOTE_ADDR"], shown["PROXY_PROTOCOL"]) == ("2001:db8::7", "TCP6")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b"PROXY UNKNOWN\r\n", "UNKNOWN"),
        (b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n", "UNKNOWN"),
        (v2(0, 0x00), "LOCAL"),
        (v2(0, 0x11, addresses("192.0.2.7", "198.51.100.1", (1, 2))), "LOCAL"),
        (v2(1, 0x00), "UNSPEC"),
        (v2(1, 0x00, b"\x04\x00\x01x"), "UNSPEC"),
    ],
)
def test_a_proxy_that_names_nobody_is_the_client_itself(serve, header, name):
    with serve(app="lab:app", env=env("auto")) as server:
        shown = ask(server.port, header)
        assert (shown["REMOTE_ADDR"], shown["PROXY_PROTOCOL"]) == ("127.0.0.1", name)
        assert "PROXY_ADDR" not in shown


def test_a_connection_without_the_header_is_served(serve, worker_class):
    app = "scope:app" if worker_class == "asgi" else "lab:app"
    with serve(app=app, env=env("auto", worker_class)) as server:
        shown = ask(server.port, b"")
        assert shown.get("REMOTE_ADDR", (shown.get("client") or [""])[0]) == "127.0.0.1"
        assert "PROXY_PROTOCOL" not in shown


def test_only_the_version_that_was_asked_for_is_read(serve):
    for mode, header, other in [("v1", V1, V2), ("v2", V2, V1)]:
        with serve(app="lab:app", env=env(mode)) as server:
            assert ask(server.port, header)["REMOTE_ADDR"] == "192.0.2.7"
            with Client(server.port) as client:
                client.send(other + REQUEST)
                assert client.read().status == 400


def test_nobody_is_believed_who_is_not_allowed(serve):
    more = {"GUNICORN_PROXY_ALLOW_IPS": "10.0.0.0/8"}
    with serve(app="lab:app", env=env("auto", **more)) as server:
        for header in [V1, V2]:
            with Client(server.port) as client:
                client.send(header + REQUEST)
                answer = client.read()
                assert answer.status == 403
                assert "Request forbidden" in answer.text
        assert get(server.port).status == 200
        server.wait_for_refusals("proxy_allow_ips", 2)


def test_off_means_off(serve):
    with serve(app="lab:app") as server, Client(server.port) as client:
        client.send(V1 + REQUEST)
        assert client.read().status == 400


MALFORMED = [
    b"PROXY TCP4 192.0.2.7 198.51.100.1 5555\r\n",
    b"PROXY TCP4 192.0.2.700 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n",
    b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 " + b"x" * 100 + b"\r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
    SIGNATURE + b"\x2f\x11\x00\x0c" + bytes(12),
    SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
    SIGNATURE + b"\x21\x51\x00\x04" + bytes(4),
    SIGNATURE + b"\x21\x11\xff\xff" + bytes(100),
]


def test_what_is_malformed_is_refused_and_harms_nobody(serve, worker_class):
    app = "scope:app" if worker_class == "asgi" else "lab:app"
    with serve(app=app, env=env("auto", worker_class)) as server:
        before = server.workers()
        for header in MALFORMED:
            with Client(server.port) as client:
                client.send(header + REQUEST)
                answer = client.read()
                assert answer.status == 400, header
                assert "PROXY" in answer.text
        server.wait_for_refusals("Invalid PROXY header", len(MALFORMED))
        chance = random.Random(11)
        for _ in range(300):
            with Client(server.port) as client:
                header = bytearray(chance.choice([V1, V2]))
                for _ in range(chance.randrange(1, 4)):
                    header[chance.randrange(len(header))] = chance.randrange(256)
                client.send(bytes(header) + REQUEST)
                client.socket.shutdown(socket.SHUT_WR)
                client.read_to_end()
        assert ask(server.port, V1)
        assert server.workers() == before


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_header_may_come_byte_by_byte(serve, header):
    with serve(app="lab:app", env=env("auto")) as server, Client(server.port) as client:
        for number in range(len(header)):
            client.send(header[number : number + 1])
            time.sleep(0.002)
        client.send(REQUEST)
        assert json.loads(client.read().text)["REMOTE_ADDR"] == "192.0.2.7"


def test_a_header_that_never_ends(serve):
    more = {"GUNICORN_HEAD_TIMEOUT": "1"}
    with serve(app="lab:app", env=env("auto", **more)) as server, Client(server.port) as client:
        client.send(V1[:20])
        assert client.read().status == 408
        server.wait_for_log("the PROXY header did not end in time")


def test_only_the_first_bytes_of_a_connection_count(serve):
    with serve(app="lab:app", env=env("auto")) as server:
        with Client(server.port) as client:
            client.send(V1 + V1 + REQUEST)
            assert client.read().status == 400
        with Client(server.port) as client:
            assert client.request("/").status == 200
            client.send(V1 + REQUEST)
            assert client.read().status == 400


def test_headers_are_believed_by_who_has_connected(serve):
    """The proxy is trusted, and stays so whomever it names; a client cannot become trusted."""
    request = b"GET /environ HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n\r\n"
    for trusted, scheme in [("127.0.0.1", "https"), ("192.0.2.7", "http")]:
        more = {"GUNICORN_FORWARDED_ALLOW_IPS": trusted}
        with serve(app="lab:app", env=env("auto", **more)) as server, Client(server.port) as client:
            client.send(V1 + request)
            assert json.loads(client.read().text)["wsgi.url_scheme"] == scheme


def test_before_tls(serve, tls):
    with serve(app="lab:app", env=env("auto", **tls.settings)) as server:
        with Client(server.port, context=tls.context(), opening=V2) as client:
            shown = json.loads(client.request("/environ").text)
        assert (shown["REMOTE_ADDR"], shown["wsgi.url_scheme"]) == ("192.0.2.7", "https")
        # Nobody would understand a refusal in plain words here.
        with Client(server.port) as refused:
            refused.send(MALFORMED[0])
            assert refused.read_to_end() == b""


def test_before_http2(serve):
    more = {"GUNICORN_HTTP_PROTOCOLS": "h2,h1", "GUNICORN_HTTP2_CLEARTEXT": "both"}
    with serve(app="lab:app", env=env("auto", **more)) as server:
        with Http2(server.port, opening=V2) as client:
            shown = json.loads(client.request("/environ").text)
        assert (shown["REMOTE_ADDR"], shown["HTTP_VERSION"]) == ("192.0.2.7", "2")
