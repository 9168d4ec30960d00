"""The herald: runs the configuration file for the master, and calls the master's hooks.

The master has no Python. It starts this process before it binds anything, and keeps it only if
there are hooks that gunicorn would call in its master: then it lives as long as the master, across
reloads, as such hooks expect (they start schedulers, metric servers, threads).
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import ModuleType
from typing import Any

from remuda import _remuda, config_file, stand_in, titles, worker_classes
from remuda.channel import Channel
from remuda.config_file import ConfigError
from remuda.glog import trace_of
from remuda.hooks import Hooks
from remuda.loading import BootError
from remuda.views import Listener, Worker

Message = dict[str, Any]


class Herald:
    """Answers the master, one message after another."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._module: ModuleType | None = None
        self._environ = dict(os.environ)
        self._start = os.getcwd()
        self.hooks: Hooks | None = None

    def serve(self) -> None:
        """Answer until the master is gone or has no more use for this process."""
        while (received := self._channel.receive()) is not None:
            message, _ = received
            getattr(self, f"on_{message['type']}")(message)
            # What hooks print must not wait for the end of the service.
            sys.stdout.flush()
            sys.stderr.flush()

    def on_read(self, message: Message) -> None:
        """Run the file, in the directory in which the master was started; look at the class."""
        os.chdir(self._start)
        self._withdraw_env()
        try:
            values, worker = [], None
            with stand_in.gunicorn():
                if message["place"]:
                    self._module = config_file.run(message["place"])
                    values = config_file.describe(self._module, message["known"])
                if message["worker_class"]:
                    worker = worker_classes.look(message["worker_class"], self._module)
            self._channel.send(type="values", values=values, worker=worker)
        except ConfigError as error:
            self._channel.send(type="unreadable", text=str(error))
        ignore_operators()

    def on_settled(self, message: Message) -> None:
        """Take over the settings. The server stays the same over reloads, as in gunicorn."""
        plan = message["plan"]
        titles.show("herald", plan["proc_name"])
        self._export(plan)
        journal = _remuda.Journal(plan["errorlog"], plan["loglevel"])
        try:
            hooks = Hooks(plan, self._module, journal, message["master"])
        except (ConfigError, BootError) as error:
            journal.error(str(error))
            return
        before = None
        if self.hooks is not None:
            before = self.hooks.server.num_workers
            server, fresh = self.hooks.server, hooks.server
            server.cfg, server.log, server.app = fresh.cfg, fresh.log, fresh.app
            hooks.server = server
        self.hooks = hooks
        hooks.server.num_workers = plan["workers"]
        hooks.try_call("nworkers_changed", hooks.server, plan["workers"], before)

    def _export(self, plan: Message) -> None:
        if os.path.isdir(plan["chdir"]):
            os.chdir(plan["chdir"])
        for path in (plan["chdir"], *plan["pythonpath"]):
            if path not in sys.path:
                sys.path.insert(0, path)
        self._withdraw_env()
        os.environ.update(plan["env"])

    def _withdraw_env(self) -> None:
        """Undo ``raw_env``, so that a file that is read again finds what it found before."""
        for name in self.hooks.server.cfg.env if self.hooks is not None else ():
            os.environ.pop(name, None)
            if name in self._environ:
                os.environ[name] = self._environ[name]

    def on_bound(self, message: Message) -> None:
        """Note what clients connect to."""
        if self.hooks is not None:
            self.hooks.server.LISTENERS = [Listener(url) for url in message["listeners"]]

    def on_call(self, message: Message) -> None:
        """Call a hook that takes the server alone, and answer."""
        name, error = message["hook"], None
        try:
            if self.hooks is not None:
                self.hooks.call(name, self.hooks.server)
        except Exception as raised:
            error = trace_of(raised)
        self._channel.send(type="called", hook=name, error=error)

    def on_forked(self, message: Message) -> None:
        """Note a worker; a reload tells of all of them again."""
        if self.hooks is not None and message["pid"] not in self.hooks.server.WORKERS:
            server = self.hooks.server
            server.worker_age = message["worker"]
            worker = Worker(server, message["worker"], message["slot"], 0)
            worker.pid = message["pid"]
            server.WORKERS[message["pid"]] = worker

    def on_exited(self, message: Message) -> None:
        """``child_exit``, for a worker that was known."""
        if self.hooks is None:
            return
        worker = self.hooks.server.WORKERS.pop(message["pid"], None)
        if worker is not None:
            self.hooks.try_call("child_exit", self.hooks.server, worker)

    def on_scaled(self, message: Message) -> None:
        """``nworkers_changed``."""
        if self.hooks is None or self.hooks.server.num_workers == message["workers"]:
            return
        server = self.hooks.server
        before, server.num_workers = server.num_workers, message["workers"]
        self.hooks.try_call("nworkers_changed", server, message["workers"], before)

    def on_reopen(self, _: Message) -> None:
        """Open the log files again."""
        if self.hooks is not None:
            self.hooks.journal.reopen()


def ignore_operators() -> None:
    """Leave signals to the master, which ends this process by closing its channel."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)


def main() -> None:
    """Run a herald."""
    # While the file runs, nobody listens to the channel.
    _remuda.die_with_parent()
    titles.hide_room()
    herald = Herald(Channel())
    herald.serve()
    if herald.hooks is not None:
        # It stood in for the master to the end; a mere reader of a file leaves no trace.
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that hooks have started must not keep it.
    os._exit(0)


if __name__ == "__main__":
    main()
