"""One server under load: start it, ask it, count its processor time and memory, stop it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios import Scenario
from servers import Job, Server

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
FAMILY_MAX = 1000
QUIET_S, QUIET_CORES = 0.5, 0.15


class LeftOut(Exception):
    """A server that cannot take part; the text says why."""


@dataclass(frozen=True)
class Cores:
    """Who runs where. Without taskset or a second core nobody is pinned, and both are empty."""

    server: str
    client: str

    @classmethod
    def of_this_machine(cls) -> Cores:
        """The server gets the first core that we may use, client and upstream the last."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2 or not shutil.which("taskset"):
            return cls("", "")
        return cls(str(allowed[0]), str(allowed[-1]))

    @staticmethod
    def pin(cores: str, command: list[str]) -> list[str]:
        """The command, bound to cores."""
        return ["taskset", "-c", cores, *command] if cores else command


@dataclass(frozen=True)
class Bench:
    """Where programs and logs are."""

    programs: Path
    logs: Path
    cores: Cores
    counts_instructions: bool = False


@dataclass
class Running:
    """A server that answers."""

    server: Server
    scenario: Scenario
    bench: Bench
    pid: int
    port: int
    command: str

    def load(self, seconds: float, rate: float | None = None) -> dict[str, Any]:
        """Ask, in a closed loop or at a rate; what the load client reports, and what it cost."""
        command = self.load_command(seconds, rate)
        before, all_before = self.cpu_s(), machine_cpu_s()
        begun = time.monotonic()
        with counting(self.family(), "instructions:u", self.bench.counts_instructions) as counts:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        wall = time.monotonic() - begun
        if result.returncode:
            raise LeftOut(f"the load client failed: {result.stderr.strip()}")
        report = json.loads(result.stdout)
        used = self.cpu_s() - before
        answered = report["answered"] + report.get("slow", {}).get("answered", 0)
        elsewhere = machine_cpu_s() - all_before - used - report["client_busy"] * wall
        return {
            "command": shlex.join(command),
            "report": report,
            "cpu_s": used,
            "cpu_us": used / max(answered, 1) * 1e6,
            "instructions": counts[0] / max(answered, 1) if counts else None,
            "pss_mib": self.pss_mib(),
            # Processor time of everybody else: cores that were busy with something foreign.
            "noise_cores": max(elsewhere, 0.0) / wall,
        }

    def load_command(self, seconds: float, rate: float | None) -> list[str]:
        """Only the path and the pace differ from one server to another, never the request."""
        command = [str(self.bench.programs / "remuda-load"), f"127.0.0.1:{self.port}"]
        command += [self.scenario.path, "--connections", str(self.scenario.connections)]
        command += ["--seconds", f"{seconds:g}", "--timeout", "30", *self.scenario.load]
        command += [] if self.server.keep_alive else ["--close"]
        command += [] if rate is None else ["--rate", f"{rate:g}"]
        return Cores.pin(self.bench.cores.client, command)

    def family(self) -> list[int]:
        """The server's process and all its descendants."""
        return family(self.pid)

    def cpu_s(self) -> float:
        """Processor time of the family, its reaped children included."""
        total = 0.0
        for member in self.family():
            try:
                # The clock of another process, exact where /proc counts in hundredths of a second:
                # what clock_getcpuclockid(3) returns.
                total += time.clock_gettime(~member << 3 | 2)
                fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(map(int, fields[13:15])) / TICKS_PER_SECOND
        return total

    def pss_mib(self) -> float:
        """Memory of the family, shared pages counted once."""
        total_kib = 0
        for member in self.family():
            try:
                rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
            except OSError:
                continue
            match = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
            total_kib += int(match[1]) if match else 0
        return total_kib / 1024


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            children = [(task / "children").read_text().split() for task in tasks]
        except OSError:
            continue
        found.extend(int(child) for some in children for child in some)
        if len(found) > FAMILY_MAX:
            raise LeftOut(f"it has more than {FAMILY_MAX} processes")
    return found


def await_quiet(seconds: float) -> None:
    """Wait at most so long until nobody else keeps the cores busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = machine_cpu_s()
        time.sleep(QUIET_S)
        if (machine_cpu_s() - before) / QUIET_S <= QUIET_CORES:
            return


def machine_cpu_s() -> float:
    """Processor time of the whole machine that was not idle, stolen time included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


@contextmanager
def counting(pids: list[int], event: str, wanted: bool) -> Iterator[list[float]]:
    """Let perf count an event in some processes; the count is in the list afterwards."""
    counts: list[float] = []
    if not wanted:
        yield counts
        return
    command = ["perf", "stat", "-x,", "-e", event, "-p", ",".join(map(str, pids))]
    perf = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield counts
    finally:
        perf.send_signal(signal.SIGINT)
        first = perf.communicate(timeout=STOP_TIMEOUT_S)[1].split(",")[0]
        if first.replace(".", "", 1).isdigit():
            counts.append(float(first))


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(bench: Bench, scenario: Scenario, server: Server) -> Iterator[Running]:
    """Start a server, with its upstream if it needs one. Both are stopped whatever happens."""
    with upstream(bench, scenario) as env:
        port = free_port()
        job = Job(port, scenario.app(server), scenario.waits, bench.programs)
        command = Cores.pin(bench.cores.server, server.command(job))
        log = bench.logs / f"{scenario.name}-{re.sub(r'[^a-z0-9]+', '-', server.name.lower())}.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(
                command,
                cwd=scenario.cwd,
                env={**os.environ, **scenario.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        try:
            await_answer(process, port, log)
            yield Running(server, scenario, bench, process.pid, port, shlex.join(command))
        finally:
            stop(process)


@contextmanager
def upstream(bench: Bench, scenario: Scenario) -> Iterator[dict[str, str]]:
    """The server that the app asks; what tells the app of it."""
    if scenario.upstream_ms is None:
        yield {}
        return
    port = free_port()
    program = [str(bench.programs / "remuda-upstream"), str(port), str(scenario.upstream_ms)]
    # It ends with its standard input, so it cannot outlive us.
    process = subprocess.Popen(Cores.pin(bench.cores.client, program), stdin=subprocess.PIPE)
    try:
        yield {"UPSTREAM_PORT": str(port)}
    finally:
        process.communicate(timeout=STOP_TIMEOUT_S)


def await_answer(
    process: subprocess.Popen[bytes], port: int, log: Path, timeout_s: float = START_TIMEOUT_S
) -> None:
    """Wait until the server answers over HTTP."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise LeftOut(f"it exited with status {process.returncode}: {' '.join(last)}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
                if connection.recv(12).startswith(b"HTTP/"):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise LeftOut(f"it did not answer within {timeout_s:g} s; see {log}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, then insist."""
    members = family(process.pid)
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        for member in members:
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
