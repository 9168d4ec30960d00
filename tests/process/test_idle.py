"""A worker that has nothing to do gives back what malloc has kept."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from http_client import get
from serving import wait_until

KEPT_KIB = 400 * 100_000 // 1024


def resident_kib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT RUN: malloc_trim is glibc's")
def test_an_idle_worker_gives_memory_back(serve, worker_class):
    app = "pinned:asgi" if worker_class == "asgi" else "pinned:wsgi"
    # What is freed on top of the heap would be given back anyway.
    with serve("-k", worker_class, app=app) as server:
        (worker,) = server.workers()
        begun = resident_kib(worker)
        held = int(get(server.port).text)
        assert held > begun + KEPT_KIB * 3 // 4, "malloc has kept nothing, so this shows nothing"
        wait_until(
            lambda: resident_kib(worker) < held - KEPT_KIB * 3 // 4, "what was kept is given back"
        )
        assert get(server.port).status == 200
