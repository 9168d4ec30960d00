"""Whether some clients have to wait for others: `make bench-fair`.

Two tables. *Mixed*: requests of a millisecond and of a second on 20 kept connections, as a
platform's router holds them, four sync workers. *Crowd*: 5,000 connections that were used once and
are kept, and 200 whose head comes byte by byte, two workers of each class. Both say what a normal
client sees alone and in such company, in the same round; and the crowd, what a kept connection
costs in memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Bench, Cores, LeftOut, Running, running
from scenarios import Scenario
from servers import APPS, ROOT, Server, gunicorn, remuda

IDLE, SLOWLORIS = 5000, 200
MIXED_RATE, SLOW_RATE, CONNECTIONS = 100, 1.5, 20
CROWD_RATE = 200
FAIR = Scenario("fair", "Fairness", wsgi="fair:wsgi", asgi="fair:asgi", cwd=APPS)
MORE = ["--worker-connections", "4000"]

MIXED = [
    Server("remuda sync", "wsgi", remuda("-w", "4", "-k", "sync"), ours=True),
    Server("gunicorn sync", "wsgi", gunicorn("-w", "4", "-k", "sync")),
]
CROWD = [
    Server("remuda sync", "wsgi", remuda("-w", "2", *MORE), ours=True),
    Server("remuda gthread(4)", "wsgi", remuda("-w", "2", "--threads", "4", *MORE), ours=True),
    Server("remuda gevent", "wsgi", remuda("-w", "2", "-k", "gevent", *MORE), ours=True),
    Server("remuda asgi", "asgi", remuda("-w", "2", "-k", "asgi", *MORE), ours=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether some clients have to wait for others.")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="1..20")
    parser.add_argument("--seconds", type=float, default=10, help="of one measurement")
    parser.add_argument("--only", choices=["mixed", "crowd"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Four workers that wait share the cores with the client: nobody is pinned.
        bench = Bench(ROOT / "target" / "release", Path(folder), Cores("", ""))
        if options.only != "crowd":
            mixed(bench, options.rounds, options.seconds)
        if options.only != "mixed":
            crowd(bench, options.rounds, options.seconds)


def mixed(bench: Bench, rounds: int, seconds: float) -> None:
    samples: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {}
    for _ in range(rounds):
        for server in MIXED:
            with running(bench, FAIR, server) as it:
                alone = latency(it, "/ms", MIXED_RATE, seconds)
                with slow_requests(it, seconds + 1):
                    samples.setdefault(server.name, []).append(
                        (alone, latency(it, "/ms", MIXED_RATE, seconds))
                    )
    print("\n| 4 sync workers | p50 alone | p50 mixed | p99 alone | p99 mixed | of all rounds |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for name, pairs in samples.items():
        cells = [
            f"{statistics.median(pair[which][quantile] for pair in pairs):.1f} ms"
            for quantile in ("p50", "p99")
            for which in (0, 1)
        ]
        every = ", ".join(f"{pair[1]['p99']:.1f}" for pair in pairs)
        print(f"| {name} | {' | '.join(cells)} | {every} |", flush=True)


def crowd(bench: Bench, rounds: int, seconds: float) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < IDLE + SLOWLORIS + 200:
        sys.exit(f"bench-fair: the crowd needs more than {most} descriptors (ulimit -n)")
    print(
        f"\n| 2 workers, {IDLE} idle, {SLOWLORIS} slowloris | p50 alone | p50 in a crowd "
        "| p99 alone | p99 in a crowd | memory of a connection |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for server in CROWD:
        found = [in_a_crowd(bench, server, seconds) for _ in range(rounds)]
        cells = [
            f"{statistics.median(pair[which][quantile] for pair in found):.1f} ms"
            for quantile in ("p50", "p99")
            for which in (0, 1)
        ]
        memory = statistics.median(pair[2] for pair in found)
        print(f"| {server.name} | {' | '.join(cells)} | {memory:.1f} KiB |", flush=True)


def in_a_crowd(
    bench: Bench, server: Server, seconds: float
) -> tuple[dict[str, float], dict[str, float], float]:
    """Latencies alone and in a crowd, and KiB for each idle connection."""
    with running(bench, FAIR, server) as it:
        alone = latency(it, "/", CROWD_RATE, seconds)
        before = it.pss_mib()
        with idle_connections(it.port), slowloris(it, seconds + 1):
            # What idle connections hold is let go of after a second.
            time.sleep(3)
            within = latency(it, "/", CROWD_RATE, seconds)
            memory = (it.pss_mib() - before) * 1024 / (IDLE + SLOWLORIS)
    return alone, within, memory


def latency(it: Running, path: str, rate: float, seconds: float) -> dict[str, float]:
    """Milliseconds in an open loop, from when a request was due."""
    command = [str(it.bench.programs / "remuda-load"), f"127.0.0.1:{it.port}", path]
    command += ["--rate", str(rate), "--connections", str(CONNECTIONS), "--seconds", f"{seconds:g}"]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    if report["answered"] != report["requests"]:
        raise LeftOut(f"{report['requests'] - report['answered']} requests were not answered")
    found: dict[str, float] = report["latency_ms"]
    return found


@contextmanager
def load(it: Running, *options: str) -> Iterator[None]:
    """Other clients, beside those that are measured."""
    command = [str(it.bench.programs / "remuda-load"), f"127.0.0.1:{it.port}", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def slow_requests(it: Running, seconds: float) -> Iterator[None]:
    rate = ("--rate", str(SLOW_RATE), "--connections", str(CONNECTIONS))
    with load(it, "/s", *rate, "--seconds", f"{seconds:g}"):
        yield


@contextmanager
def slowloris(it: Running, seconds: float) -> Iterator[None]:
    slow = ("--slow", "1", "--slow-bytes", "1", "--slow-pause-ms", "500")
    with load(it, "/", "--connections", str(SLOWLORIS), *slow, "--seconds", f"{seconds + 5:g}"):
        yield


@contextmanager
def idle_connections(port: int) -> Iterator[None]:
    """Kept after one request each."""
    connections = []
    try:
        for _ in range(IDLE):
            connection = socket.create_connection(("127.0.0.1", port), 10)
            connections.append(connection)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.recv(4096)
        yield
    finally:
        for connection in connections:
            connection.close()


if __name__ == "__main__":
    main()
