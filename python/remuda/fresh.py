"""A fresh interpreter in the same process: what it must know goes along in memory."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn


def become(module: str, boot: dict[str, Any], *, folder: str, environ: dict[str, str]) -> NoReturn:
    """Run ``module`` anew, from ``folder``, with ``boot`` for ``received``."""
    fd = os.memfd_create("remuda-boot", 0)
    os.write(fd, json.dumps(boot).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    os.chdir(folder)
    # The last one is the master's room for titles.
    arguments = [sys.executable, "-m", module, str(fd), sys.orig_argv[-1]]
    os.execve(sys.executable, arguments, environ)


def received() -> dict[str, Any] | None:
    """What the interpreter before this one has left; ``None`` when this is the first."""
    if len(sys.argv) < 2:
        return None
    with open(int(sys.argv[1]), "rb") as file:
        boot: dict[str, Any] = json.loads(file.read())
        return boot
