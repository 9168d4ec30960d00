"""The ``gevent`` class: leader and followers on gevent's hub.

A leader greenlet runs request after request on its own stack; an app that does not block costs no
switch. When a request blocks, its greenlet is that request's alone from then on, and whatever else
is ready goes to the next leader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.socket
from greenlet import getcurrent, greenlet

from remuda import _remuda
from remuda.worker import handle_signals

READ = 1
BEAT_S = 1.0
BEAT_DRAINING_S = 0.05


def wait_write(fd: int, timeout: float) -> bool:
    """Let others run until a socket takes bytes again; false after ``timeout`` seconds."""
    with gevent.Timeout(timeout, False):
        gevent.socket.wait_write(fd)
        return True
    return False


def serve(make: Callable[..., _remuda.Worker], plan: dict[str, Any]) -> int:
    """Serve until drained or told to leave. Returns the exit status."""
    hub = gevent.get_hub()
    done = gevent.event.Event()
    parked: list[Any] = []
    timeout = plan["timeout_s"] or BEAT_S * 4
    # Several beats must fit into the timeout, or a healthy loop would look hung.
    period = min(BEAT_S, timeout / 4)

    def lead() -> None:
        while worker.lead() and not parked:
            parked.append(getcurrent())
            hub.switch()

    def on_ready() -> None:
        if worker.collect():
            leader = parked.pop() if parked else greenlet(lead, hub)
            leader.switch()
        if worker.draining and timer.period == period:
            beat_every(BEAT_DRAINING_S)

    def on_beat() -> None:
        if worker.beat():
            done.set()

    def beat_every(seconds: float) -> None:
        timer.stop()
        timer.period = seconds
        timer.watcher = hub.loop.timer(seconds, seconds)
        timer.watcher.start(on_beat)

    class timer:
        period = period
        watcher = hub.loop.timer(period, period)

        @classmethod
        def stop(cls) -> None:
            cls.watcher.stop()
            cls.watcher.close()

    worker = make(wait_write=wait_write, schedule=lambda: hub.loop.run_callback(on_ready))
    statuses = handle_signals(worker, lambda: getcurrent() is not hub)
    readiness = hub.loop.io(worker.fileno(), READ)
    readiness.start(on_ready)
    timer.watcher.start(on_beat)
    worker.ready()
    done.wait()
    readiness.stop()
    timer.stop()
    return statuses[-1]
