"""A real remuda process for a test: started, watched, and always stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

APPS = Path(__file__).parent / "apps"
REMUDA = Path(sys.executable).parent / "remuda"
DEADLINE_S = 60.0

LOG_LINE = re.compile(r"^\[[^\]]+\] \[(?P<pid>\d+)\] \[(?P<level>[A-Z]+)\] (?P<message>.*)$")


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition, what: str, deadline_s: float = DEADLINE_S):
    """Poll until ``condition()`` is true; its value, or an AssertionError that says ``what``."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {deadline_s} s: {what}")
        time.sleep(0.02)


def memory_kib(pid: int, *names: str) -> int:
    """The sum of some fields of ``/proc/PID/smaps_rollup``, such as ``Pss``; 0 once it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    # Of one that has ended and is not reaped yet the file is empty.
    return sum(int(fields[name]) for name in names) if fields else 0


def pss_mib(pids: list[int]) -> float:
    """Memory of processes; what they share counts once."""
    return sum(memory_kib(pid, "Pss") for pid in pids) / 1024


class Server:
    """One running master and what it wrote."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, out: Path, port: int) -> None:
        self.process = process
        self.port = port
        self._log = log
        self._out = out

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """Everything on standard error so far."""
        return self._log.read_text(errors="replace")

    def stdout(self) -> str:
        """Everything on standard output so far."""
        return self._out.read_text(errors="replace")

    def messages(self) -> list[str]:
        """The messages of all log lines, in order."""
        found = (LOG_LINE.match(line) for line in self.log().splitlines())
        return [match["message"] for match in found if match]

    def wait_for_log(self, text: str, count: int = 1, deadline_s: float = DEADLINE_S) -> None:
        """Wait until ``text`` stands in the log ``count`` times."""

        def seen() -> bool:
            if self.log().count(text) >= count:
                return True
            if self.process.poll() is not None and self.log().count(text) < count:
                raise AssertionError(
                    f"exited {self.process.returncode} without {text!r}:\n{self.log()}"
                )
            return False

        try:
            wait_until(seen, f"{text!r} in the log", deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def refusals(self, reason: str) -> int:
        """How many requests were refused for a reason; one line may stand for several."""
        lines = re.findall(rf"Invalid request from \S+ .*{re.escape(reason)}.*", self.log())
        more = (re.search(r"\((\d+) more\)$", line) for line in lines)
        return sum(1 + (int(match[1]) if match else 0) for match in more)

    def wait_for_refusals(self, reason: str, count: int, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the log tells of ``count`` refused requests."""
        wait_until(lambda: self.refusals(reason) >= count, f"{count} x {reason!r}", deadline_s)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self.process.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for the master's exit status."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {deadline_s} s:\n{self.log()}") from None

    def stop(self) -> int:
        """Ask for a graceful stop, and wait for it."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        return self.wait()

    def children(self) -> list[int]:
        """Process ids of the master's children: zygotes and workers."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def workers(self) -> list[int]:
        """Process ids of the workers forked so far and still alive, in order of birth."""
        booted = [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log())]
        alive = set(self.children())
        return [pid for pid in booted if pid in alive]


@contextmanager
def serving(
    folder: Path,
    *args: str,
    app: str | None = "hello:app",
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    ready: bool = True,
    port: int | None = None,
    bind: bool = True,
    before: Sequence[str] = (),
) -> Iterator[Server]:
    """Run ``remuda ARGS APP`` with a clean environment; wait until all workers are ready.

    ``before``: a command that runs it, as ``unshare`` does.
    """
    port = port or free_port()
    number = len(list(folder.glob("stderr*.log")))
    log, out = folder / f"stderr{number}.log", folder / f"stdout{number}.log"
    clean = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
    # Apps written by a test may import what stands beside the others.
    clean["PYTHONPATH"] = str(APPS)
    clean.update(env or {})
    if bind:
        clean.setdefault("GUNICORN_BIND", f"127.0.0.1:{port}")
    command = [*before, str(REMUDA), *args, *([app] if app else [])]
    with log.open("wb") as stderr, out.open("wb") as stdout:
        process = (
            subprocess.Popen(
                command, env=clean, cwd=cwd or APPS, stderr=stderr, stdout=stdout, process_group=0
            )
            if sys.version_info >= (3, 11)
            else subprocess.Popen(
                command,
                env=clean,
                cwd=cwd or APPS,
                stderr=stderr,
                stdout=stdout,
                start_new_session=True,
            )
        )
    server = Server(process, log, out, port)
    try:
        if ready:
            server.wait_for_log("ready to serve")
        yield server
    finally:
        end(server)


def is_a_wish(key: str) -> bool:
    """Whether an environment variable would change what remuda does."""
    return key.startswith("GUNICORN_") or key in {"PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"}


def conf(site: Path, text: str, name: str = "gunicorn.conf.py") -> Path:
    """Write a file with settings."""
    path = site / name
    path.write_text(text)
    return path


def end(server: Server) -> None:
    """Leave no process behind, whatever the test did."""
    family = []
    if server.process.poll() is None:
        family = server.children()
        # A test may have left requests that go on for long.
        for number in (signal.SIGTERM, signal.SIGQUIT):
            server.send(number)
            try:
                server.process.wait(5)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            server.process.kill()
            server.process.wait()
    for pid in family:
        if parent_of(pid) == 1 or parent_of(pid) == server.pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def parent_of(pid: int) -> int | None:
    """The parent of a process; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def needs(program: str) -> str:
    """The path of a program that a test needs; the reason for a loud skip is the caller's."""
    found = shutil.which(program)
    if not found:
        for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
            if (folder / program).exists():
                return str(folder / program)
    return found or ""
