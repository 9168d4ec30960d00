"""The ``sync`` class: one request at a time, in a loop that is all Rust."""

from __future__ import annotations

from remuda.worker import Duty, Leave, handle_signals


def serve(duty: Duty) -> int:
    """Serve until drained or told to leave. Returns the exit status."""
    worker = duty.begin()
    statuses = handle_signals(duty, worker, lambda: worker.busy)
    worker.ready()
    try:
        worker.run_blocking()
    except Leave:
        pass
    return statuses[-1]
