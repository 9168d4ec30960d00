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
import gevent.util
from greenlet import getcurrent, greenlet

from remuda import overdue
from remuda._remuda import RequestTimeout
from remuda.worker import Duty, beat_seconds, handle_signals

READ = 1
BEAT_DRAINING_S = 0.05


def wait_socket(fd: int, readable: bool, timeout: float) -> bool:
    """Let others run until a socket gives or takes bytes; false after ``timeout`` seconds."""
    with gevent.Timeout(timeout, False):
        (gevent.socket.wait_read if readable else gevent.socket.wait_write)(fd)
        return True
    return False


class Greenlets:
    """The greenlets that run requests; see ``remuda.overdue.Runners``."""

    current = staticmethod(getcurrent)

    def stack(self, runner: greenlet) -> str:
        """Where the greenlet waits."""
        return overdue.of_frame(runner.gr_frame)

    def interrupt(self, runner: greenlet) -> bool:
        """Raise in the greenlet, as ``gevent.Timeout`` does: called by the hub, where it waits."""
        runner.throw(RequestTimeout())
        return False

    def release(self, runner: greenlet) -> None:
        """It was raised at once."""


def all_stacks() -> str:
    """The stacks of all greenlets."""
    return "\n".join(gevent.util.format_run_info(thread_stacks=False))


class Pulse:
    """The loop's regular sign of life."""

    def __init__(self, loop: Any, on_beat: Callable[[], object]) -> None:
        self._loop = loop
        self._on_beat = on_beat
        self._timer: Any = None
        self._quick = False

    def start(self, seconds: float) -> None:
        """Beat every so many seconds."""
        self._timer = self._loop.timer(seconds, seconds)
        self._timer.start(self._on_beat)

    def quicken(self) -> None:
        """Beat at the pace of draining from now on."""
        if not self._quick:
            self._quick = True
            self.stop()
            self.start(BEAT_DRAINING_S)

    def stop(self) -> None:
        """Beat no more."""
        self._timer.stop()
        self._timer.close()


def serve(duty: Duty) -> int:
    """Serve until drained or told to leave. Returns the exit status."""
    hub = gevent.get_hub()
    done = gevent.event.Event()
    parked: list[Any] = []
    pulse = Pulse(hub.loop, lambda: worker.beat() and done.set())

    def lead() -> None:
        while worker.lead() and not parked:
            parked.append(getcurrent())
            hub.switch()

    def on_ready() -> None:
        if worker.collect():
            leader = parked.pop() if parked else greenlet(lead, hub)
            leader.switch()
        if worker.draining:
            pulse.quicken()

    worker = duty.begin(
        wait_socket=wait_socket,
        schedule=lambda: hub.loop.run_callback(on_ready),
        runners=Greenlets(),
    )
    statuses = handle_signals(
        duty, worker, lambda: worker.busy and getcurrent() is not hub, show=all_stacks
    )
    readiness = hub.loop.io(worker.fileno(), READ)
    readiness.start(on_ready)
    pulse.start(beat_seconds(duty.plan))
    worker.ready()
    done.wait()
    readiness.stop()
    pulse.stop()
    return statuses[-1]
