"""Asks a running master, by the command and by hand."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from serving import REMUDA, Server


def remuda(*args: str, env: dict[str, str], timeout: float = 60) -> subprocess.CompletedProcess:
    """Run a command such as ``remuda status`` where the masters of ``env`` are."""
    return subprocess.run(
        [str(REMUDA), *args],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def path_of(server: Server, env: dict[str, str]) -> Path:
    """The control socket of a master that runs with ``env``."""
    return Path(env["XDG_RUNTIME_DIR"]) / "remuda" / f"{server.pid}.ctl"


def ask(path: Path, line: bytes) -> bytes:
    """Send a line, and read all that is answered."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer
