"""The ``gthread`` class: a pool of threads over one front.

The threads find their work by themselves, see ``crates/front/src/pool.rs``. This one, the main
thread, has the signal handlers and gives the signs of life.
"""

from __future__ import annotations

import threading

from remuda.overdue import Threads
from remuda.worker import Duty, beat_seconds, handle_signals

BEAT_DRAINING_S = 0.05


def serve(duty: Duty) -> int:
    """Serve until drained or told to leave. Returns the exit status."""
    worker = duty.begin(runners=Threads())
    # The main thread runs no request that a signal could break.
    statuses = handle_signals(duty, worker, lambda: False)
    ended = threading.Event()

    def run() -> None:
        try:
            worker.run_thread()
        finally:
            ended.set()

    worker.ready()
    # Daemons: a request that hangs must not keep the process alive after its time.
    for number in range(duty.plan["threads"]):
        threading.Thread(target=run, name=f"remuda-{number}", daemon=True).start()
    # The kernel gives signals to the main thread as long as it can, and they end the wait.
    while not worker.beat():
        if ended.wait(BEAT_DRAINING_S if worker.draining else beat_seconds(duty.plan)):
            worker.leave()
    return statuses[-1]
