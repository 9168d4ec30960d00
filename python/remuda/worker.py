"""A worker process, from the fork to its exit."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from remuda import _remuda, access, loading, settled, titles, views
from remuda.channel import SCOREBOARD_FD
from remuda.glog import Log, trace_of
from remuda.hooks import Hooks
from remuda.loading import App, BootError
from remuda.sources import Sources

ADOPTION_TIMEOUT_S = 5.0
LOOPS = {
    "sync": "remuda.sync_loop",
    "gthread": "remuda.gthread_loop",
    "gevent": "remuda.gevent_loop",
    "asgi": "remuda.asgi_loop",
}
DIRTY_APPS_BROKEN = """\
The dirty apps of the new code cannot be loaded
  why: the lines of the dirty arbiter say it
  hint: the old code serves on; reload again once they can"""
BEAT_S = 1.0
BEAT_MIN_S = 0.05


@dataclass(frozen=True)
class Assignment:
    """What the master has asked for with one fork.

    Attributes:
        worker: Serial number, never used twice.
        slot: Place in the pool.
        line: Line of the scoreboard.
        view: What hooks know as the worker.
        channel_fd: Descriptor of the channel to the master.
        master: Process id that must be the parent.
        dirty: Where its dirty arbiter listens, and whether the code may serve without its apps;
            ``None`` = it has none.
    """

    worker: int
    slot: int
    line: int
    view: views.Worker
    channel_fd: int
    master: int
    dirty: dict[str, Any] | None


@dataclass(frozen=True)
class Duty:
    """What a worker process has to do, for the loop of its class.

    Attributes:
        assignment: What the master has asked for.
        plan: The master's plan.
        groundwork: What the zygote has made of it.
        app: What it serves.
        hooks: The user's hooks.
        modules: How many modules were imported before the fork, if late ones are of interest.
        tell_sources: Says where the code comes from, if somebody wants to know.
    """

    assignment: Assignment
    plan: dict[str, Any]
    groundwork: _remuda.Groundwork
    app: App
    hooks: Hooks
    modules: int | None
    tell_sources: Callable[[], None] | None

    @property
    def journal(self) -> _remuda.Journal:
        """The error log."""
        return self.hooks.journal

    def begin(self, **loop: Any) -> _remuda.Worker:
        """Take over the listeners. ``loop`` is what Rust needs of the loop that drives it."""
        view = self.assignment.view
        worker = _remuda.Worker(
            json.dumps(self.plan),
            self.groundwork,
            self.app,
            self.journal,
            sys.stderr if self.plan["errorlog"] == "-" else ErrorStream(self.journal),
            board=SCOREBOARD_FD,
            line=self.assignment.line,
            channel=self.assignment.channel_fd,
            max_requests=view.max_requests,
            profiles=self.assignment.slot == 0,
            **self._access(),
            modules=self.modules,
            tell_sources=self.tell_sources,
            request_hooks=self.hooks.request_hooks(view) if "tasks" not in loop else None,
            **loop,
        )
        view.attach(worker)
        return worker

    def _access(self) -> dict[str, Any]:
        """Who gets access lines beside their file, or makes them."""
        log = self.hooks.server.log
        if not isinstance(log, Log):
            scheme = "https" if self.plan["protocols"]["tls"] else "http"
            return {"access_recorder": access.recorder(log, scheme)}
        return {"access_logger": log.access_log.info if log.has_access else None}


class ErrorStream:
    """``wsgi.errors`` when the error log is a file: unbuffered text to where the journal writes."""

    def __init__(self, journal: _remuda.Journal) -> None:
        self._journal = journal

    def write(self, text: str) -> int:
        """Write text as it is."""
        os.write(self._journal.fileno(), text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Nothing is ever held back."""


def run(
    assignment: Assignment,
    plan: dict[str, Any],
    groundwork: _remuda.Groundwork,
    app: App | None,
    hooks: Hooks,
    sources: Sources | None,
) -> int:
    """Serve until told to leave. Returns the exit status."""
    os.setpgid(0, 0)
    if not adopted(assignment.master) or not _remuda.is_known(assignment.channel_fd):
        return 0
    view = assignment.view
    view.pid = os.getpid()
    titles.show(f"worker {assignment.slot}", plan["proc_name"], "booting")
    try:
        return _serve(assignment, plan, groundwork, app, hooks, sources)
    finally:
        try:
            hooks.call("worker_exit", hooks.server, view)
        except Exception as error:
            hooks.server.log.warning("Exception during worker exit:\n%s", trace_of(error))


def _serve(
    assignment: Assignment,
    plan: dict[str, Any],
    groundwork: _remuda.Groundwork,
    app: App | None,
    hooks: Hooks,
    sources: Sources | None,
) -> int:
    tell_sources = sources.tell_from_worker if sources else None
    if sources:
        sources.begin_in_worker(assignment.channel_fd)
    learns = app is not None and plan["memory"]["prefetch_imports"]
    modules = len(sys.modules) if learns else None
    journal = hooks.journal
    dump_stacks_on_signal(journal)
    view = assignment.view

    def fail(error: Exception, text: str, status: int) -> int:
        journal.error(text)
        if tell_sources is not None:
            tell_sources(error)
        return status

    if not _has_dirty_apps(assignment.dirty, plan["cfg"]["boot_timeout"] / 2):
        journal.error(DIRTY_APPS_BROKEN)
        return loading.BOOT_STATUS
    try:
        hooks.call("post_fork", hooks.server, view)
        view.wsgi = loading.load_app(plan) if app is None else app
        hooks.call("post_worker_init", view)
        app = view.wsgi
        around = hooks.request_hooks(view)
        if around is not None and plan["worker_class"] == "asgi":
            app = around.around(app)
    except BootError as error:
        return fail(error, loading.explain(error, plan["app"]), error.status)
    except Exception as error:
        text = f"Exception in worker process\n{trace_of(error)}"
        return fail(error, text, loading.BOOT_STATUS)

    if tell_sources is not None:
        tell_sources()
    loop = importlib.import_module(LOOPS[plan["worker_class"]])
    status: int = loop.serve(Duty(assignment, plan, groundwork, app, hooks, modules, tell_sources))
    journal.info(f"Worker exiting (pid: {os.getpid()})")
    return status


def _has_dirty_apps(place: dict[str, Any] | None, patience_s: float) -> bool:
    """Whether it may serve; waits until that is known."""
    if place is None:
        return True
    return settled.loads(place["socket"], patience_s) or not place["must_load"]


def adopted(master: int) -> bool:
    """Wait until the middle process is gone and the master is the parent.

    Only then is the death signal armed: armed earlier, the end of the middle process would set it
    off.
    """
    deadline = time.monotonic() + ADOPTION_TIMEOUT_S
    while os.getppid() != master:
        if time.monotonic() > deadline:
            return False
        _sleep(0.001)
    _remuda.die_with_parent()
    return os.getppid() == master


def _sleep(seconds: float) -> None:
    """Sleep without a hub: gevent replaces ``time.sleep``."""
    signal.sigtimedwait([], seconds)


def dump_stacks_on_signal(journal: _remuda.Journal) -> None:
    """Let the master ask for the Python stacks of all threads, also while C code hangs.

    A real-time signal, since apps use the ordinary ones.
    """
    number = signal.SIGRTMIN + 4
    faulthandler.register(number, file=journal.fileno(), all_threads=True, chain=False)
    faulthandler.enable(file=journal.fileno())


def beat_seconds(plan: dict[str, Any]) -> float:
    """Time between two signs of life of a loop.

    Several must fit into the timeout, or a healthy loop would look hung; and limits of single
    requests are applied with each of them.
    """
    names = ("timeout", "request_timeout", "slow_request_log")
    limits: list[float] = [plan[f"{name}_s"] for name in names]
    return max(BEAT_MIN_S, min([BEAT_S, *(limit / 4 for limit in limits if limit)]))


class Leave(SystemExit):
    """Raised into a request that must not go on."""


def handle_signals(
    duty: Duty,
    worker: _remuda.Worker,
    may_raise: Callable[[], bool],
    broken: type[BaseException] = Leave,
    show: Callable[[], str] = lambda: "",
) -> list[int]:
    """Install the worker's signal handlers.

    TERM drains; INT and QUIT leave at once; ABRT breaks a request that hangs in Python code, and
    drains: the others get the time that the master gives. Before that it shows what the C level
    does not know, greenlets and tasks; the master has asked for the threads already. USR1 opens the
    log files again. All other signals belong to the master, and a terminal or ``killall`` that
    sends them here as well must not end a worker.

    Args:
        duty: Whose hooks are called.
        worker: What the signals are about.
        may_raise: Whether an exception raised here reaches the app, and not a loop.
        broken: What is raised into a request when the worker leaves at once.
        show: The stacks that only Python knows.

    Returns:
        The exit statuses asked for, the last one counts.
    """
    statuses = [0]

    def drain(*_: object) -> None:
        worker.drain()

    def leave(*_: object) -> None:
        worker.leave()
        duty.hooks.try_call("worker_int", duty.assignment.view)
        statuses.append(0)
        statuses.append(0)
        if may_raise():
            raise broken(0)

    def abort(*_: object) -> None:
        worker.drain()
        statuses.append(1)
        duty.assignment.view.aborted = True
        duty.hooks.try_call("worker_abort", duty.assignment.view)
        try:
            stacks = show()
        except Exception as error:
            stacks = f"Stacks cannot be shown: {error!r}"
        if stacks:
            duty.journal.error(stacks)
        if may_raise():
            raise _remuda.RequestTimeout()

    signal.signal(signal.SIGTERM, drain)
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGQUIT, leave)
    signal.signal(signal.SIGABRT, abort)
    signal.signal(signal.SIGUSR1, lambda *_: worker.reopen_logs())
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH):
        signal.signal(number, lambda *_: None)
    # A drain must not make the app's system calls fail.
    signal.siginterrupt(signal.SIGTERM, False)
    signal.siginterrupt(signal.SIGUSR1, False)
    return statuses
