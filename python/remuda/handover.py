"""``remuda.run`` and ``remuda.Application``: a Python program hands its app over.

gunicorn forks such a program. We cannot: the master is another executable, and has no Python. So
the program becomes the master by exec, and ``remuda.program`` is its configuration file: where that
is imported, in the herald and in each zygote, the program runs once more, up to the call that hands
the app over. What the program does before that call, it does in each of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from typing import Any, NoReturn

PROGRAM = "REMUDA_PROGRAM"


class Handover(BaseException):
    """Raised instead of running the service, where the program is run once more."""

    def __init__(self, load: Callable[[], Any], settings: dict[str, Any]) -> None:
        super().__init__("handed over")
        self.load = load
        self.settings = settings


def run(app: Any, /, **settings: Any) -> NoReturn:
    """Serve an app until the service is stopped; this process becomes its master.

    Args:
        app: The app, or a text like ``module:attribute`` that names one.
        settings: By the names of the reference: ``workers=4, timeout=60``. Functions are hooks.
            Environment variables (``GUNICORN_WORKERS``) win over them.
    """
    if isinstance(app, str):
        settings["wsgi_app"] = app
        hand_over(lambda: None, settings)
    hand_over(lambda: app, settings)


class Settings:
    """``Application.cfg``: what the program wants, ``cfg.set("workers", 4)``."""

    def __init__(self) -> None:
        # The executable has the list.
        ask = [_command(), "--config", "none", "--print-config"]
        page = subprocess.run(ask, capture_output=True, check=True, text=True, env={}).stdout
        self.settings = dict.fromkeys(line.split()[0] for line in page.splitlines())
        self.given: dict[str, Any] = {}

    def set(self, name: str, value: Any) -> None:
        """Wish for a value.

        Raises:
            AttributeError: There is no such setting.
        """
        if name not in self.settings:
            raise AttributeError(f"No configuration setting for: {name}")
        self.given[name] = value

    def __getattr__(self, name: str) -> Any:
        if name not in vars(self).get("settings", ()):
            raise AttributeError(f"No configuration setting for: {name}")
        return self.given.get(name)


class Application:
    """An app with settings of its own, as gunicorn's recipe for custom applications has it::

    class Standalone(remuda.Application):
        def load_config(self):
            self.cfg.set("workers", 4)

        def load(self):
            return app

    Standalone().run()
    """

    def __init__(self, usage: str | None = None, prog: str | None = None) -> None:
        self.usage = usage
        self.prog = prog
        self.cfg = Settings()
        self.load_config()

    def load_config(self) -> None:
        """Say what is wanted, with ``self.cfg.set``."""

    def load(self) -> Any:
        """Return the app."""
        raise NotImplementedError

    def run(self) -> NoReturn:
        """Serve until the service is stopped; this process becomes its master."""
        hand_over(self.load, dict(self.cfg.given))


def hand_over(load: Callable[[], Any], settings: dict[str, Any]) -> NoReturn:
    """Become the master, or, where the program is only run for its app, end here."""
    if os.environ.get(PROGRAM):
        raise Handover(load, settings)
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    path = getattr(main, "__file__", None)
    if path is None and spec is None:
        raise RuntimeError("remuda.run needs a program in a file: it is run again in each zygote")
    program = {
        "module": spec.name if spec is not None else None,
        "path": os.path.abspath(path) if path else None,
        "argv": sys.argv,
    }
    environ = {**os.environ, PROGRAM: json.dumps(program)}
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = ["remuda", "--python", sys.executable, "-c", "python:remuda.program"]
    os.execve(_command(), arguments, environ)


def _command() -> str:
    """The executable of this environment."""
    return os.path.join(sysconfig.get_path("scripts"), "remuda")
