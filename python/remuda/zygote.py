"""The zygote: loads the app once, then forks a worker whenever the master asks for one.

It is started by the master as ``python -m remuda.zygote`` with its channel, the scoreboard and the
listeners as inherited descriptors. A worker is made by a double fork, so that it becomes a child
of the master: the middle process is forked without Python's hooks, the worker by ``os.fork``,
looked up at call time since gevent replaces it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from remuda import (
    _remuda,
    closing,
    config_file,
    dirty,
    ending,
    fork_safety,
    fresh,
    heap,
    loading,
    loggers,
    prefetch,
    sources,
    stand_in,
    titles,
    tls_files,
    views,
    warmup,
    worker,
)
from remuda.channel import CHANNEL_FD, SCOREBOARD_FD, Channel
from remuda.config_file import ConfigError
from remuda.fork_safety import Hazard
from remuda.hooks import Hooks
from remuda.loading import App, BootError

FORK_TIMEOUT_S = 5.0
SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class Zygote:
    """One generation of the app, ready to be forked."""

    def __init__(self, channel: Channel, boot: dict[str, Any]) -> None:
        self.channel = channel
        self.boot = boot
        self.plan: dict[str, Any] = boot["plan"]
        self.journal = _remuda.Journal(self.plan["errorlog"], self.plan["loglevel"])
        self.groundwork: _remuda.Groundwork
        self.kept: str | None = None
        self.hooks: Hooks
        self.app: App | None = None
        self.sources: sources.Sources | None = None
        # As it was before the app could change it.
        self.environ = dict(os.environ)
        self.start = os.getcwd()

    def load(self) -> None:
        """Load what workers will share, and leave it in a state that can be forked."""
        titles.show(f"zygote {self.boot['generation']}", self.plan["proc_name"], "loading")
        if self.plan["tells_sources"]:
            sources.trust_no_young_cache()
            self.sources = sources.Sources([self.plan["chdir"], *self.plan["pythonpath"]])
        self.groundwork, module, self.kept = prepare(
            self.plan, self.journal, self.boot.pop("kept", None)
        )
        try:
            self.hooks = Hooks(self.plan, module, self.journal, self.boot["master"])
        except ConfigError as error:
            raise BootError("setup", str(error)) from None
        dirty.check(self.plan)
        if self.boot["dirty"]:
            os.environ[dirty.VARIABLE] = self.boot["dirty"]["socket"]
        # Every worker would import them.
        importlib.import_module(worker.LOOPS[self.plan["worker_class"]])
        importlib.import_module("wsgiref.util")
        # Threads that the configuration file has started are meant to stay here.
        meant = self._hazards()
        if self.plan["preload"] != "never" and not self.boot.get("bare"):
            before = resident_bytes()
            with fork_safety.watching_starts():
                self.app = loading.load_app(self.plan)
            self.hooks.server.app.callable = self.app
            self._check_import(meant, resident_bytes() - before)
            if self.boot["prefetch"] and not self.boot.get("unlearned"):
                self._prefetch()
            if self.plan["memory"]["warmup_paths"] and not self.boot.get("cold"):
                self._warm_up(self.app)
        # It may hold a key, and nobody starts again from here on.
        self.kept = None
        ending.note_open_files()
        immortal = self.app is not None and self.plan["memory"]["immortal_heap"]
        count = heap.seal(immortal=immortal)
        self.journal.debug(f"{count} objects are immortal from now on")

    def tell_sources(self, error: BootError | None = None) -> None:
        """Say where the code comes from, broken or not."""
        if self.sources is not None:
            self.sources.tell(self.channel, error)

    def _hazards(self) -> list[Hazard]:
        listeners = {listener["fd"] for listener in self.plan["listeners"]}
        relay = set(self.plan["relay"].values())
        own_fds = {0, 1, 2, CHANNEL_FD, SCOREBOARD_FD} | listeners | relay
        return fork_safety.find_hazards(own_fds, gevent=self.plan["worker_class"] == "gevent")

    def _prefetch(self) -> None:
        begun, before = time.monotonic(), self._hazards()
        count = prefetch.prefetch(self.boot["prefetch"], self._hazards, self.journal)
        if count:
            took_ms = int((time.monotonic() - begun) * 1000)
            self.journal.info(
                f"Imported {count} modules for all workers, in {took_ms} ms: "
                "earlier workers have imported them late"
            )
        if fork_safety.beyond(self._hazards(), before):
            self.journal.warning("Loading the application again without these modules")
            self._start_again("unlearned")

    def _warm_up(self, app: App) -> None:
        before = self._hazards()
        with fork_safety.watching_starts():
            warmup.warm_up(app, self.plan, self.journal)
        closing.close_connections()
        heap.collect()
        check = self.plan["fork_check"]
        hazards = fork_safety.beyond(self._hazards(), before)
        if not hazards or check == "off":
            return
        found = fork_safety.describe(hazards)
        left = "warm-up requests have left behind what a fork would break"
        hint = "choose other pages for `warmup_paths`"
        if check == "refuse":
            raise fork_safety.refusal(f"its {left}", hazards, hint)
        if check == "warn":
            self.journal.warning(f"Forking nevertheless: {left}\n{found}\n  hint: {hint}")
            return
        self.journal.warning(
            f"Loading the application again without warm-up: its {left}\n{found}\n  hint: {hint}"
        )
        self._start_again("cold")

    def _check_import(self, meant: list[Hazard], app_bytes: int) -> None:
        """Look at what importing the app has left behind, and do what `fork_check` says."""
        check = self.plan["fork_check"]
        if check == "off":
            return
        opened = fork_safety.beyond(self._hazards(), meant)
        if not opened:
            return
        closing.close_connections()
        hazards = fork_safety.beyond(self._hazards(), meant)
        closed = [hazard.what for hazard in fork_safety.beyond(opened, hazards)]
        if closed:
            self.journal.info(
                f"Closed what importing the application had opened: {', '.join(closed)}"
            )
        if not hazards:
            return
        left, found = fork_safety.IMPORT_LEFT, fork_safety.describe(hazards)
        if check == "refuse":
            raise fork_safety.refusal(left, hazards)
        if check == "warn" or self.plan["preload"] == "always":
            # Once for a generation.
            if self.boot.get("warned") != found:
                self.boot["warned"] = found
                self.journal.warning(f"The application is forked nevertheless: {left}\n{found}")
            return
        cost = max(app_bytes, 0) // (1 << 20)
        self.journal.warning(
            f"The application is not shared between workers: {left}\n{found}\n"
            f"  cost: each worker imports it by itself, about {cost} MiB each\n"
            "  hint: `fork_check` warn shares it nevertheless, `preload_app` false silences this"
        )
        self._start_again("bare")

    def _start_again(self, how: str) -> NoReturn:
        """Become a fresh interpreter in the same process: ``bare`` (without app) or ``cold``."""
        boot = {**self.boot, how: True, "kept": self.kept}
        fresh.become("remuda.zygote", boot, folder=self.start, environ=self.environ)

    def serve(self) -> Callable[[], int] | None:
        """Fork on request until the master closes the channel.

        Returns:
            In the zygote ``None``, when the master is gone; in a forked process what it has to do.
        """
        while (received := self.channel.receive()) is not None:
            request, fd = received
            kind = request.get("type")
            if kind == "reopen":
                self._reopen_logs()
                continue
            if kind not in ("fork", "fork_dirty") or fd is None:
                self.journal.error(f"The master sent a message of unknown type: {request!r:.200}")
                continue
            duty = self._worker(request, fd) if kind == "fork" else self._arbiter(fd)
            if self._fork(request["worker"], dirty.LEAVING if kind == "fork_dirty" else ()):
                return duty
            os.close(fd)
        return None

    def _reopen_logs(self) -> None:
        try:
            self.journal.reopen()
        except OSError as error:
            # In the file of before, which stays open.
            self.journal.error(f"A log file cannot be opened again: {error}")

    def _worker(self, request: dict[str, Any], channel_fd: int) -> Callable[[], int]:
        """What a worker that is about to be forked has to do."""
        view = views.Worker(
            self.hooks.server, request["worker"], request["slot"], request["max_requests"]
        )
        self.hooks.try_call("pre_fork", self.hooks.server, view)
        assignment = worker.Assignment(
            worker=request["worker"],
            slot=request["slot"],
            line=request["line"],
            view=view,
            channel_fd=channel_fd,
            master=self.boot["master"],
            dirty=self.boot["dirty"],
        )

        def run() -> int:
            self.channel.close()
            return worker.run(
                assignment, self.plan, self.groundwork, self.app, self.hooks, self.sources
            )

        return run

    def _arbiter(self, channel_fd: int) -> Callable[[], int]:
        """What a dirty arbiter that is about to be forked has to do."""
        environ = {**self.environ, dirty.VARIABLE: self.boot["dirty"]["socket"]}
        boot = {**self.boot, "start": self.start, "environ": environ}

        def run() -> int:
            self.channel.close()
            return dirty.run(boot, self.hooks, channel_fd)

        return run

    def _fork(self, number: int, held_back: tuple[signal.Signals, ...]) -> bool:
        """Fork, and report it; true in the new process, where these signals wait."""
        # Else what was printed here would be printed there once more.
        sys.stdout.flush()
        sys.stderr.flush()
        reader, writer = os.pipe()
        try:
            middle = _remuda.fork_without_hooks()
        except OSError as error:
            os.close(reader)
            os.close(writer)
            self.channel.send(**failure_of(error), worker=number)
            return False
        if middle == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
            fork_and_exit(writer)
            # Only the new process comes here.
            os.close(reader)
            os.close(writer)
            return True
        os.close(writer)
        self.channel.send(**answer_of(middle, reader), worker=number)
        return False


def fork_and_exit(writer: int) -> None:
    """In the middle process: fork, say so on the pipe, exit. Returns in the new process."""
    try:
        pid = os.fork()
        if pid == 0:
            return
        answer: dict[str, Any] = {"type": "forked", "pid": pid}
    except BaseException as error:
        # Whatever it is, this process must not live on as a second zygote.
        answer = failure_of(error)
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)


def answer_of(middle: int, reader: int) -> dict[str, Any]:
    """Wait for the middle process, and read what it has said."""
    try:
        _remuda.await_middle(middle, reader, FORK_TIMEOUT_S)
        said = os.read(reader, 4096)
    except (OSError, TimeoutError) as error:
        return failure_of(error)
    finally:
        os.close(reader)
    if not said:
        return {"type": "fork_failed", "error": "the middle process died without a word"}
    answer: dict[str, Any] = json.loads(said)
    return answer


def failure_of(error: BaseException) -> dict[str, Any]:
    """The answer about a fork that failed: why, and whether the kernel only had no room."""
    short = isinstance(error, OSError) and error.errno in SHORTAGES
    return {"type": "fork_failed", "error": str(error), "short": short}


def prepare(
    plan: dict[str, Any], journal: _remuda.Journal, kept: str | None = None
) -> tuple[_remuda.Groundwork, ModuleType | None, str | None]:
    """Do everything that comes before the app.

    Args:
        plan: What the master wants.
        journal: The error log.
        kept: What TLS is made from, where this process has found it out before it started again.

    Returns:
        What workers share, the configuration file if there is one, and what is to be kept.

    Raises:
        BootError: Something of it cannot be had.
    """
    if plan["worker_class"] == "gevent":
        # Before the file and the app: what they import must see the patched modules.
        patch_gevent()
    module, tls = run_file(plan, journal, kept)
    try:
        groundwork = _remuda.lay_groundwork(json.dumps(plan), tls)
    except (ValueError, OSError) as error:
        raise BootError("setup", str(error)) from None
    for warning in groundwork.warnings:
        journal.warning(warning)
    loggers.direct(plan, journal)
    if plan["identity"]:
        become(plan["identity"], plan["accesslog"])
        # It may be forbidden to this user.
        loading.enter(plan["chdir"])
    return groundwork, module, tls


def run_file(
    plan: dict[str, Any], journal: _remuda.Journal, kept: str | None
) -> tuple[ModuleType | None, str | None]:
    """Run the configuration file, and make everything as its functions and the app expect it.

    Returns:
        The file if there is one, and what TLS is made from, where the plan does not say it all.

    Raises:
        BootError: Something of it cannot be had.
    """
    tls = plan["protocols"]["tls"]
    asks = bool(tls and tls["by_hook"] and kept is None)
    with contextlib.ExitStack() as stack:
        if asks:
            # It brings `ssl` along, which few need.
            from remuda import tls_context, tls_overhearing

            stack.enter_context(tls_overhearing.overhearing())
        try:
            with stand_in.gunicorn():
                module = config_file.run(plan["config"]) if plan["config"] else None
            loading.prepare_path(plan["chdir"], plan["pythonpath"])
            os.environ.update(plan["env"])
            if asks:
                return module, tls_context.ask_hook(plan, module, journal)
        except ConfigError as error:
            raise BootError("setup", str(error)) from None
    if tls and plan["identity"] and kept is None:
        # Should we start again, we are that user, who may not read them.
        return module, json.dumps(tls_files.of_settings(tls))
    return module, kept


def become(identity: dict[str, Any], accesslog: str | None) -> None:
    """Give up our user for another one, for good.

    Raises:
        BootError: The kernel refuses.
    """
    uid, gid = identity["uid"], identity["gid"]
    if (os.geteuid(), os.getegid()) == (uid, gid):
        # Started again without the app, as the user already.
        return
    try:
        if accesslog not in (None, "-"):
            os.chown(accesslog, uid, gid)
        if identity["groups_of"]:
            os.initgroups(identity["groups_of"], gid)
        else:
            os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        message = f"cannot run as user {uid} and group {gid}: {error.strerror}"
        raise BootError("setup", message) from None
    for needed in (os.path.dirname(os.__file__), os.path.dirname(__file__)):
        if not os.access(needed, os.R_OK | os.X_OK):
            raise BootError(
                "setup",
                f"user {uid} cannot read {needed}\n"
                "  why: with `user`, the app is imported by that user\n"
                "  hint: install Python and remuda where everybody can read them, not below /root",
            )


def patch_gevent() -> None:
    """Make the standard library cooperative.

    Raises:
        BootError: gevent is not installed, or cannot be imported.
    """
    try:
        from gevent import monkey
    except ImportError as error:
        message = (
            f'worker class "gevent" needs the package gevent: {error}\n'
            f"  hint: {sys.executable} -m pip install gevent"
        )
        raise BootError("class", message) from None
    monkey.patch_all()


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def ignore_operators() -> None:
    """Leave signals to the master: platforms send TERM to every process of a container.

    Handlers that do nothing, and not SIG_IGN, which programs started by the app would inherit.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)


def receive_boot(channel: Channel) -> dict[str, Any] | None:
    """The boot message, from the master or from ourselves before we started again."""
    if (boot := fresh.received()) is not None:
        return boot
    version = platform.python_version()
    channel.send(type="hello", version=_remuda.__version__, python=version)
    while (received := channel.receive()) is not None:
        # Logs may be opened again before there are any here.
        if received[0].get("type") == "boot":
            message: dict[str, Any] = received[0]
            return message
    return None


def main() -> int:
    """Run a zygote; in what is forked from it, that. Returns the exit status."""
    started = time.monotonic()
    titles.hide_room()
    ignore_operators()
    channel = Channel()
    boot = receive_boot(channel)
    if boot is None:
        return 0
    zygote = Zygote(channel, boot)
    try:
        zygote.load()
    except BootError as error:
        zygote.journal.error(loading.explain(error, zygote.plan["app"]))
        zygote.tell_sources(error)
        channel.send(type="failed", failure=error.failure, message=str(error).split("\n")[0])
        return error.status
    took_ms = int((time.monotonic() - started) * 1000)
    zygote.tell_sources()
    _remuda.release_file_pages()
    _remuda.show_state("ready")
    channel.send(type="ready", preloaded=zygote.app is not None, took_ms=took_ms)
    duty = zygote.serve()
    return duty() if duty is not None else 0


if __name__ == "__main__":
    ending.leave(ending.status_of(main))
