"""The ``sync`` class: one request at a time, in a loop that is all Rust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from remuda import _remuda
from remuda.worker import Leave, handle_signals


def serve(make: Callable[..., _remuda.Worker], _plan: dict[str, Any]) -> int:
    """Serve until drained or told to leave. Returns the exit status."""
    worker = make()
    statuses = handle_signals(worker, lambda: worker.busy)
    worker.ready()
    try:
        worker.run_blocking()
    except Leave:
        pass
    return statuses[-1]
