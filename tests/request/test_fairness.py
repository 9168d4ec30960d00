"""Who waits for whom: busy workers, uneven ones, and clients that take their time."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from http_client import Client, get
from serving import pss_mib, wait_until

GET = b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n"
IDLE, SLOWLORIS = 5000, 200


def env(worker_class: str, **more: str) -> dict[str, str]:
    return {"GUNICORN_WORKER_CLASS": worker_class, **more}


def test_a_busy_workers_connections_are_served_by_its_siblings(serve, worker_class):
    with serve("--workers", "4", app="lab:app", env=env(worker_class)) as server:
        with ExitStack() as stack:
            kept = [stack.enter_context(Client(server.port)) for _ in range(40)]
            homes = [client.request("/pid").text for client in kept]
            # The slow request's worker holds others, too.
            slow = kept.pop(homes.index(max(homes, key=homes.count)))
            # Until then its worker looks at nothing else.
            slow.send(b"GET /spin?10 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.2)
            answered = [client.request("/pid").status for client in kept]
            assert answered == [200] * len(kept)
            slow.socket.setblocking(False)
            with pytest.raises(BlockingIOError):
                slow.socket.recv(1)
            slow.socket.setblocking(True)
            assert slow.read().text == "spun"
        assert len(server.workers()) == 4


def test_workers_that_are_all_busy_are_left_alone(serve):
    """Who looks out for an idle sibling shares a core with a busy worker."""
    with serve("--workers", "2", app="lab:app") as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server.port)) for _ in range(8)]
        # From now on the workers hold them, and could pass them on.
        assert {client.request("/pid").status for client in clients} == {200}
        for client in clients:
            client.send(b"GET /spin?1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.5)
        before, began = looks_of(server), time.monotonic()
        time.sleep(2)
        each = (looks_of(server) - before) / (time.monotonic() - began) / 2
        assert [client.read().text for client in clients] == ["spun"] * len(clients)
        assert 0 < each < 1000, "times a second; 4 ms apart at most"


def looks_of(server) -> int:
    """How often the lookouts of all workers have gone to sleep."""
    count = 0
    for pid in server.workers():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            if (thread / "comm").read_text() == "remuda-lookout\n":
                status = (thread / "status").read_text()
                count += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return count


def test_even_load_is_spread_over_all_workers(serve, worker_class):
    """Within 20 %, and soon: connections move until they are spread."""
    with serve("--workers", "4", app="lab:app", env=env(worker_class)) as server, ExitStack() as s:
        clients = [s.enter_context(Client(server.port)) for _ in range(32)]
        rounds = []
        while len(rounds) < 5 and not (rounds and is_even(rounds[-1])):
            rounds.append(one_round(clients))
        assert is_even(rounds[-1]), rounds
        assert set(rounds[-1]) == {str(pid) for pid in server.workers()}


def one_round(clients: list[Client]) -> Counter[str]:
    """Who answers when all clients ask at the same pace."""
    counts: Counter[str] = Counter()

    def ask(client: Client) -> None:
        for _ in range(25):
            counts[client.request("/pid").text] += 1
            # Without a pause it would depend on whom the kernel gives more of a core.
            time.sleep(0.02)

    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


def is_even(counts: Counter[str]) -> bool:
    mean = counts.total() / 4
    return len(counts) == 4 and all(abs(count - mean) <= 0.2 * mean for count in counts.values())


def test_thousands_of_idle_and_slow_connections_hold_up_nobody(serve, worker_class):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < IDLE + SLOWLORIS + 100:
        pytest.fail(f"NOT RUN: needs {IDLE + SLOWLORIS + 100} descriptors, has {most} (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limits = env(worker_class, GUNICORN_WORKER_CONNECTIONS="4000")
    with serve("--workers", "2", app="lab:app", env=limits) as server, ExitStack() as stack:
        before, workers = pss_mib(server.workers()), server.workers()
        for _ in range(IDLE):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(GET)
            assert client.recv(12) == b"HTTP/1.1 200"
        half = [stack.enter_context(Client(server.port)) for _ in range(SLOWLORIS)]
        for step in range(20):
            for client in half:
                client.send(GET[step : step + 1])
        # What idle connections hold is let go of after a second.

        def kib_each() -> float:
            return (pss_mib(server.workers()) - before) * 1024 / IDLE

        wait_until(lambda: kib_each() < 8, "less than 8 KiB a connection")
        assert all(get(server.port).status == 200 for _ in range(50))
        for client in half:
            client.send(GET[20:])
        assert [client.read().status for client in half] == [200] * SLOWLORIS
        assert server.workers() == workers
