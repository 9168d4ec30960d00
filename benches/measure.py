"""One server under load for a few seconds: requests, errors, processor time, memory."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import Server

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Sample:
    """What one round of load has shown.

    Attributes:
        requests_per_s: Answered requests a second.
        cpu_us: Processor time of all its processes for one request, in microseconds.
        p99_ms: Latency that one in a hundred requests exceeds, in milliseconds.
        failed: Requests that ended in a socket error, or in a status that is not 2xx or 3xx.
        pss_mib: Memory of all its processes after the load, shared pages counted once.
    """

    requests_per_s: float
    cpu_us: float
    p99_ms: float
    failed: int
    pss_mib: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:
            continue
        found.extend(int(child) for child in children.split())
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time of a family, its reaped children included."""
    ticks = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        own, reaped = fields[11:13], fields[13:15]
        ticks += sum(map(int, own)) + (sum(map(int, reaped)) if member == pid else 0)
    return ticks / TICKS_PER_SECOND


def pss_mib(pid: int) -> float:
    """Memory of a family."""
    total_kib = 0
    for member in family(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        match = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        total_kib += int(match[1]) if match else 0
    return total_kib / 1024


@contextmanager
def running(server: Server) -> Iterator[tuple[int, int]]:
    """Start a server; its process id and port. It is stopped whatever happens."""
    port = free_port()
    process = subprocess.Popen(
        server.command(port),
        cwd=server.cwd,
        env={**os.environ, **server.env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await_port(process, port)
        yield process.pid, port
    finally:
        members = family(process.pid)
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            for member in members:
                os.kill(member, signal.SIGKILL)
            process.wait()


def await_port(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"it exited with status {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
                if connection.recv(12).startswith(b"HTTP/"):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"it did not answer within {START_TIMEOUT_S} s")


def load(server: Server, pid: int, port: int, seconds: int, connections: int) -> Sample:
    """One round of wrk."""
    url = f"http://127.0.0.1:{port}{server.path}"
    wrk = ["wrk", "-t1", f"-c{connections}", "--latency"]
    subprocess.run([*wrk, "-d1", url], capture_output=True, check=True)
    before = cpu_seconds(pid)
    result = subprocess.run([*wrk, f"-d{seconds}", url], capture_output=True, check=True, text=True)
    used = cpu_seconds(pid) - before
    text = result.stdout
    answered = int(re.search(r"(\d+) requests in", text)[1])
    return Sample(
        requests_per_s=float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        cpu_us=used / max(answered, 1) * 1e6,
        p99_ms=milliseconds(re.search(r"99%\s+([\d.]+\w+)", text)[1]),
        failed=failures(text),
        pss_mib=pss_mib(pid),
    )


def milliseconds(text: str) -> float:
    """wrk's `1.25ms`, `640.00us`, `1.02s`."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def failures(text: str) -> int:
    """Socket errors and bad statuses in what wrk prints."""
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return sum(map(int, errors.groups() if errors else ())) + int(statuses[1] if statuses else 0)
