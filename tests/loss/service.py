"""A service under test: on a socket that outlives it, as under a service manager, or on its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from serving import APPS, REMUDA, free_port, is_a_wish, parent_of, wait_until

GOOD = "from counting import app\n"
BROKEN = "raise RuntimeError('broken on purpose')\n"


class Service:
    """A master that can be stopped and started again.

    Attributes:
        port: Where it listens.
        ledger: Folder in which its processes write down the requests inside them.
    """

    def __init__(self, folder: Path, settings: dict[str, str], inherits: bool = True) -> None:
        """``inherits``: the listening socket is ours, and stays open while nobody serves."""
        self._listener: socket.socket | None = None
        if inherits:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._fds = [self._listener.fileno()] if self._listener else []
        self.port: int = self._listener.getsockname()[1] if self._listener else free_port()
        self.ledger = folder / "ledger"
        self.ledger.mkdir()
        self._code = folder / "code"
        self._code.mkdir()
        self._log = folder / "stderr.log"
        self.write_code(GOOD)
        clean = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
        self._env = {
            **clean,
            "PYTHONPATH": str(APPS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LEDGER": str(self.ledger),
            "GUNICORN_BIND": f"fd://{self._fds[0]}" if inherits else f"127.0.0.1:{self.port}",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def write_code(self, code: str) -> None:
        """What the next load of the app will find."""
        path = self._code / "service_app.py"
        fresh = path.with_suffix(".new")
        fresh.write_text(code)
        fresh.rename(path)

    def start(self) -> None:
        """Start it, and wait until all workers are ready."""
        self.write_code(GOOD)
        before = self.log().count("ready to serve")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(REMUDA), "service_app:app"],
                env=self._env,
                cwd=self._code,
                stderr=log,
                pass_fds=self._fds,
                start_new_session=True,
            )
        wait_until(lambda: self.log().count("ready to serve") > before, "the service is ready")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """Stop gracefully."""
        assert self._process is not None
        self.send(signal.SIGTERM)
        status = self._process.wait(60)
        assert status == 0, f"the master exited with {status}:\n{self.log()[-4000:]}"

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            family = self.children()
            self._process.kill()
            self._process.wait()
            for pid in family:
                if parent_of(pid) == 1:
                    os.kill(pid, signal.SIGKILL)
        if self._listener is not None:
            self._listener.close()

    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def log_around(self, moment: float) -> str:
        """What it has written within a second of ``moment``, in seconds since the epoch."""
        seconds = [time.localtime(moment + offset) for offset in (-1, 0, 1)]
        stamps = tuple(time.strftime("[%Y-%m-%d %H:%M:%S", second) for second in seconds)
        return "\n".join(line for line in self.log().splitlines() if line.startswith(stamps))

    def is_alive(self) -> bool:
        """Whether the master runs."""
        return self._process is not None and self._process.poll() is None

    def children(self) -> list[int]:
        """Workers and zygotes."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def workers(self) -> list[int]:
        """Workers that live, in order of birth."""
        booted = re.findall(r"Booting worker with pid: (\d+)", self.log())
        alive = set(self.children())
        return [pid for pid in dict.fromkeys(map(int, booted)) if pid in alive]

    def zygotes(self) -> list[int]:
        """Zygotes that live, in order of birth."""
        return sorted(set(self.children()) - set(self.workers()))

    def inside(self, pid: int) -> set[tuple[str, int]]:
        """Client and number of the requests that are with the app in a process."""
        path = self.ledger / str(pid)
        found: set[tuple[str, int]] = set()
        for line in path.read_text().splitlines() if path.exists() else []:
            client, _, number = line[1:].partition(" ")
            (found.add if line[0] == "+" else found.discard)((client, int(number)))
        return found

    def held(self, pid: int) -> set[int]:
        """Ports of the clients whose connections a process holds."""
        inodes = set()
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(fd)
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[len("socket:[") : -1])
        ports = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[2] != "00000000:0000":
                ports.add(int(fields[2].partition(":")[2], 16))
        return ports
