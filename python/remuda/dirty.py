"""Dirty workers: gunicorn's processes for long jobs, run by the package gunicorn itself.

The zygote forks gunicorn's dirty arbiter, as it forks workers, and the master supervises it. What
it needs of us stands here: settings, hooks, the log, a folder for its sockets, and signals that may
come at any time. ``docs/design/044-dirty-workers.md`` says why nothing of it is written again.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from remuda import _remuda, config_file, fresh, loading, loggers, stand_in, titles, worker
from remuda.cfg import Setting
from remuda.channel import SCOREBOARD_FD
from remuda.glog import trace_of
from remuda.hooks import Hooks
from remuda.loading import BootError
from remuda.settled import settle

VARIABLE = "GUNICORN_DIRTY_SOCKET"
HOOKS = ("on_dirty_starting", "dirty_post_fork", "dirty_worker_init", "dirty_worker_exit")
NO_LIMIT_S = 10 * 365 * 86_400
LEAVING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def check(plan: dict[str, Any]) -> None:
    """Before anything is forked: find out what cannot work.

    Raises:
        BootError: It cannot work.
    """
    if not plan["cfg"]["dirty_workers"] or not plan["cfg"]["dirty_apps"]:
        return
    try:
        importlib.import_module("gunicorn.dirty.arbiter")
    except ImportError as error:
        raise BootError(
            "setup",
            f"`dirty_apps` needs the package gunicorn, 25 or newer: {error}\n"
            "  why: it runs the dirty workers; their apps are subclasses of its `DirtyApp`\n"
            f"  hint: {sys.executable} -m pip install 'gunicorn>=25', or set `dirty_workers` to 0",
        ) from None
    for spec in plan["cfg"]["dirty_apps"]:
        module, name = parts_of(spec)
        if not name or importlib.util.find_spec(module.partition(".")[0]) is None:
            why = f"there is no module {module!r}" if name else "that is not `module:Class`"
            raise BootError(
                "setup",
                f"`dirty_apps`: {spec!r} cannot be loaded: {why}\n"
                "  hint: `module:Class` or `module:Class:N`; see `chdir` and `pythonpath`",
            )


def parts_of(spec: str) -> tuple[str, str]:
    """Module and class of ``module:Class`` or ``module:Class:N``."""
    module, _, rest = spec.partition(":")
    return module, rest.partition(":")[0]


def run(boot: dict[str, Any], hooks: Hooks, channel_fd: int) -> int:
    """In a fork of the zygote: be the arbiter. Returns the exit status."""
    for number in LEAVING:
        # The zygote leaves them to the master. There is nothing to end before the arbiter listens.
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)
    if not worker.adopted(boot["master"]) or not _remuda.is_known(channel_fd):
        return 0
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEAVING)
    plan = boot["plan"]
    fds = [listener["fd"] for listener in plan["listeners"]]
    for fd in (channel_fd, SCOREBOARD_FD, *plan["relay"].values(), *fds):
        os.close(fd)
    if plan["worker_class"] == "gevent":
        start_unpatched(boot)
    return serve(boot, hooks)


def start_unpatched(boot: dict[str, Any]) -> None:
    """Become a fresh interpreter: asyncio and its threads are no use where gevent has been."""
    # Till gunicorn's arbiter listens to them they must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    fresh.become("remuda.dirty", boot, folder=boot["start"], environ=boot["environ"])


def main() -> int:
    """Do what a zygote has done before it forks, without app and gevent; then serve."""
    titles.hide_room()
    boot = fresh.received()
    assert boot is not None, "the zygote starts it"
    plan = boot["plan"]
    journal = _remuda.Journal(plan["errorlog"], plan["loglevel"])
    try:
        with stand_in.gunicorn():
            module = config_file.run(plan["config"]) if plan["config"] else None
        loggers.direct(plan, journal)
        loading.prepare_path(plan["chdir"], plan["pythonpath"])
        os.environ.update(plan["env"])
        hooks = Hooks(plan, module, journal, boot["master"])
    except (BootError, config_file.ConfigError) as error:
        journal.error(f"The dirty arbiter cannot begin: {error}")
        settle(boot["dirty"]["socket"], loaded=False)
        return 1
    return serve(boot, hooks)


def serve(boot: dict[str, Any], hooks: Hooks) -> int:
    """Load gunicorn's arbiter, and run it. Returns the exit status."""
    plan, address, log = boot["plan"], boot["dirty"]["socket"], hooks.server.log
    path = Path(address)
    titles.show(f"dirty {boot['generation']}", plan["proc_name"])
    path.parent.mkdir(mode=0o700, exist_ok=True)
    for stale in path.parent.glob("worker-*.sock"):
        # An arbiter takes a socket that is there for a worker that listens.
        stale.unlink()
    for spec in plan["cfg"]["dirty_apps"]:
        module, name = parts_of(spec)
        try:
            # gunicorn's arbiter does so, too; but then it would try again and again.
            getattr(importlib.import_module(module), name)
        except Exception as error:
            settle(address, loaded=False)
            log.error("The dirty app %s cannot be loaded\n%s", spec, trace_of(error))
            return loading.APP_STATUS
    gunicorn = importlib.import_module("gunicorn.dirty.arbiter")
    cfg = adapt(hooks, partial(settle, address))
    arbiter = gunicorn.DirtyArbiter(cfg, log, address)
    # It looks for its parent by this number.
    arbiter.ppid = boot["master"]
    # Else its workers' sockets would stay behind when it is killed.
    os.rmdir(arbiter.tmpdir)
    arbiter.tmpdir = str(path.parent)
    os.register_at_fork(after_in_child=lambda: stay_with(arbiter))
    try:
        arbiter.run()
    except Exception as error:
        log.error("Exception in dirty arbiter process\n%s", trace_of(error))
        settle(address, loaded=False)
        return 1
    return 0


def stay_with(arbiter: Any) -> None:
    """In a dirty worker: end with the arbiter, however that ends. Nobody else would end it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEAVING)
    if os.getppid() == arbiter.pid:
        _remuda.die_with_parent(signal.SIGKILL)
        if os.getppid() != arbiter.pid:
            os._exit(0)


def adapt(hooks: Hooks, settle: Callable[..., None]) -> Any:
    """Our settings as gunicorn's arbiter needs them, with the hooks that we have to see as well."""
    cfg, log = hooks.server.cfg, hooks.server.log
    given: dict[str, Callable[..., Any]] = {name: hooks.get(name) for name in HOOKS}

    def starting(arbiter: Any) -> None:
        given["on_dirty_starting"](arbiter)
        # A word to leave between here and its loop would be heard by nobody.
        signal.pthread_sigmask(signal.SIG_BLOCK, LEAVING)

    def post_fork(arbiter: Any, child: Any) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LEAVING)
        signal.signal(signal.SIGUSR1, lambda *_: reopen(arbiter, log))
        given["dirty_post_fork"](arbiter, child)

    def worker_init(child: Any) -> None:
        given["dirty_worker_init"](child)
        threading.Thread(target=listens, args=(child.socket_path,), daemon=True).start()

    def listens(path: str) -> None:
        # Said any earlier, the first request would find a socket that refuses it.
        while not can_connect(path):
            time.sleep(0.005)
        settle(loaded=True)

    def worker_exit(arbiter: Any, child: Any) -> None:
        settle(loaded=False)
        given["dirty_worker_exit"](arbiter, child)

    for name, hook in zip(HOOKS, (starting, post_fork, worker_init, worker_exit), strict=True):
        cfg.settings[name] = Setting(name, hook)
    if not cfg.dirty_timeout:
        # gunicorn's manual says that there is no limit then; its code calls every job late.
        cfg.settings["dirty_timeout"] = Setting("dirty_timeout", NO_LIMIT_S)
    # Whoever this is to be, it is already.
    cfg.settings["initgroups"] = Setting("initgroups", False)
    return cfg


def can_connect(path: str) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def reopen(arbiter: Any, log: Any) -> None:
    """USR1: open the log files again, also those of dirty workers, which gunicorn forgets."""
    log.reopen_files()
    for pid in list(arbiter.workers):
        os.kill(pid, signal.SIGUSR1)


if __name__ == "__main__":
    sys.exit(main())
