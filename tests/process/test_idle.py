"""A worker that has nothing to do gives back what malloc has kept."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from http_client import get
from serving import wait_until

KEPT_KIB = 400 * 100_000 // 1024


def private_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT RUN: malloc_trim is glibc's")
def test_an_idle_worker_gives_memory_back(serve, worker_class):
    app = "pinned:asgi" if worker_class == "asgi" else "pinned:wsgi"
    # What is freed on top of the heap would be given back anyway.
    with serve("-k", worker_class, app=app) as server:
        (worker,) = server.workers()
        assert get(server.port).status == 200
        wait_until(
            lambda: private_kib(worker) < KEPT_KIB // 2,
            f"a worker that has freed {KEPT_KIB} KiB has less than half of that",
        )
        assert get(server.port).status == 200
