"""A child of this process whose heap is sealed like a zygote's, to see what still holds in it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import pytest

from remuda import _remuda, heap

needs_immortal = pytest.mark.skipif(
    not _remuda.can_make_immortal(),
    reason=f"NOT RUN: Python {sys.version.split()[0]} is none that can have an immortal heap; "
    "`make test-immortal` takes one",
)


def in_sealed_child(check: Callable[[], None]) -> None:
    """Fork, seal, and run ``check`` there; what it raises is raised here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        said = ""
        try:
            count = heap.seal(immortal=True)
            assert count > 10_000, f"only {count} objects are immortal"
            check()
        except BaseException:
            said = traceback.format_exc()
        os.write(writer, said.encode()[:60_000])
        os._exit(0 if not said else 1)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        said = file.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said or f"the child ended with wait status {status}"
