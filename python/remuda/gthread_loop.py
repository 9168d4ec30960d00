"""The ``gthread`` class: a pool of threads over one front.

The threads find their work by themselves, see ``crates/python/src/pool.rs``. This one, the main
thread, has the signal handlers and gives the signs of life.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from remuda import _remuda
from remuda.worker import beat_seconds, handle_signals

BEAT_DRAINING_S = 0.05


def serve(make: Callable[..., _remuda.Worker], plan: dict[str, Any]) -> int:
    """Serve until drained or told to leave. Returns the exit status."""
    worker = make()
    # The main thread runs no request that a signal could break.
    statuses = handle_signals(worker, lambda: False)
    ended = threading.Event()

    def run() -> None:
        try:
            worker.run_thread()
        finally:
            ended.set()

    # Daemons: a request that hangs must not keep the process alive after its time.
    for number in range(plan["threads"]):
        threading.Thread(target=run, name=f"remuda-{number}", daemon=True).start()
    worker.ready()
    # The kernel gives signals to the main thread as long as it can, and they end the wait.
    while not worker.beat():
        if ended.wait(BEAT_DRAINING_S if worker.draining else beat_seconds(plan)):
            worker.leave()
    return statuses[-1]
