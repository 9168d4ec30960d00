"""``logger_class``: who writes what Python logs, remuda itself or a class of the user's."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable
from types import ModuleType
from typing import Any

from remuda import _remuda, stand_in
from remuda.glog import LEVELS, Log, trace_of
from remuda.loading import BootError


def direct(plan: dict[str, Any], journal: _remuda.Journal) -> None:
    """Have what is said here go where the settings say."""
    if plan["capture_output"]:
        journal.capture_output()
    if plan["syslog"]:
        address, facility = plan["syslog"]["address"], plan["syslog"]["facility"]
        try:
            journal.send_to(address, facility, plan["syslog"]["prefix"])
        except OSError as error:
            journal.warning(f"syslog: no lines from these workers: {error}")
    if plan["statsd"]:
        try:
            journal.measure(**plan["statsd"])
        except OSError as error:
            # The master has found it before, so this will pass.
            journal.warning(f"statsd_host: no metrics from these workers: {error}")


def make(
    plan: dict[str, Any], cfg: Any, journal: _remuda.Journal, module: ModuleType | None
) -> Any:
    """The log for this process.

    Raises:
        BootError: It cannot be had.
    """
    wish = plan["logging"]
    if wish is None or wish["form"] != "class":
        log = Log(journal, plan["loglevel"])
        if wish is not None:
            log.configure(wish, module)
        return log
    path = wish["is"]
    try:
        own: Any = _import(path) if path else vars(module)["logger_class"]
        # As in gunicorn, a function makes the class.
        own = own() if isinstance(own, types.FunctionType) else own
        log = own(cfg)
    except Exception as error:
        shown = path or "the class of the configuration file"
        raise BootError(
            "setup", f"logger_class: {shown} cannot be used\n{trace_of(error)}"
        ) from None
    if any(f"{layer.__module__}.{layer.__qualname__}" == STATSD for layer in type(log).__mro__):
        # It sends gunicorn's metrics by itself.
        plan["statsd"] = None
    journal.hand_to(_by_level(log), log.reopen_files)
    return log


STATSD = "gunicorn.instrument.statsd.Statsd"


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    with stand_in.gunicorn():
        return getattr(importlib.import_module(module), name)


def _by_level(log: Any) -> Callable[[int, str], None]:
    """What calls the method of a level, since that is what classes override."""
    methods = {number: getattr(log, name) for name, number in LEVELS.items()}

    def say(level: int, message: str) -> None:
        methods[level](message)

    return say
