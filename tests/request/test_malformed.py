"""Thousands of requests that nobody should send: each worker survives them, and serves on."""

from __future__ import annotations

import random
import re
import socket
import threading

import pytest

import nasty
from http_client import get
from serving import wait_until

CLASSES = ["sync", "gthread", "gevent", "asgi"]
BATCHES = 25
BATCH = 100

PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b",", b"\x00", b"\x0b", b"\x7f", b"\xff",
    b"%", b"%00", b"0", b"HTTP/1.1", b"HTTP/1.0", b"Host: x\r\n", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n",
    b"GET / HTTP/1.1\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n", b"X: " + b"y" * 9000, b"a" * 5000, b"X-\xc3\xa9: z\r\n",
    b"\x16\x03\x01\x00\xa5", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", b"\r\n\x00\r\nQUIT\n",
]  # fmt: skip


def malformed(choose: random.Random) -> bytes:
    """A known bad request or a random one, with a few changes."""
    if choose.random() < 0.1:
        return choose.randbytes(choose.randrange(1, 400))
    sent = bytearray(choose.choice(nasty.CASES).sent)
    for _ in range(choose.randrange(6)):
        at = choose.randrange(len(sent) + 1)
        kind = choose.randrange(5)
        if kind == 0:
            sent[at:at] = choose.choice(PIECES)
        elif kind == 1:
            del sent[at : at + choose.randrange(1, 20)]
        elif kind == 2:
            sent[at : at + 1] = bytes([choose.randrange(256)])
        elif kind == 3:
            sent[at:at] = sent[at : at + choose.randrange(1, 60)]
        else:
            del sent[at:]
    return bytes(sent)


def send(port: int, sent: bytes, choose: random.Random) -> bytes:
    """Send bytes in one or more pieces, perhaps leave in the middle; what came back."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        try:
            while sent:
                count = choose.choice([len(sent), choose.randrange(1, len(sent) + 1)])
                connection.sendall(sent[:count])
                sent = sent[count:]
            if choose.random() < 0.1:
                return b""
            connection.shutdown(socket.SHUT_WR)
            found = b""
            while piece := connection.recv(65536):
                found += piece
            return found
        except ConnectionError:
            # Refused and closed while we were still sending.
            return b""


@pytest.mark.parametrize("worker_class", CLASSES)
def test_workers_survive_thousands_of_malformed_requests(serve, worker_class):
    app = "echo_asgi:app" if worker_class == "asgi" else "lab:app"
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_WORKERS": "2"}
    with serve(app=app, env=env) as server:
        workers = server.workers()
        assert len(workers) == 2
        statuses: dict[bytes, int] = {}
        for batch in range(BATCHES):
            run_batch(server.port, worker_class, batch, statuses)
            answer = get(server.port, "/pid")
            assert (answer.status, int(answer.text) in workers) == (200, True)
        assert server.workers() == workers, "a worker has died"
        assert server.log().count("Booting worker") == 2
        assert "panicked" not in server.log() and "Traceback" not in server.log()
        # Whoever has closed its writing side has left, as ASGI sees it, and `send` raises.
        left = {b"500"} if worker_class == "asgi" else set()
        known = {b"200", b"400", b"404", b"413", b"414", b"417", b"431", b"501", b"505"}
        assert set(statuses) <= known | left
        assert statuses[b"200"] > 100 and statuses[b"400"] > 500, "both kinds were sent"
        wait_until(
            lambda: refused_in(server.log()) >= refusals_in(statuses) * 0.9, "all are counted"
        )


def run_batch(port: int, worker_class: str, batch: int, statuses: dict[bytes, int]) -> None:
    """Four clients at once. The seed is in the names of what is parametrized, so a failure can be
    repeated."""
    found: list[bytes] = []

    def client(number: int) -> None:
        choose = random.Random(f"{worker_class} {batch} {number}")
        for _ in range(BATCH // 4):
            found.append(send(port, malformed(choose), choose))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == BATCH, "a client got no end of its connection"
    for answers in found:
        for status in re.findall(rb"(?m)^HTTP/1\.[01] (\d+) ", answers):
            statuses[status] = statuses.get(status, 0) + 1


def refusals_in(statuses: dict[bytes, int]) -> int:
    return sum(
        count for status, count in statuses.items() if status not in (b"200", b"404", b"500")
    )


def refused_in(log: str) -> int:
    """Requests that the log says were refused: one a line, and those that it counts."""
    lines = re.findall(r"Invalid request from ip=\S+: .*?(?: \((\d+) more\))?$", log, re.MULTILINE)
    return len(lines) + sum(int(more or 0) for more in lines)
