"""``logconfig``, ``logconfig_dict``, ``logconfig_json``: the user's setup of Python's logging.

A table is laid over gunicorn's defaults, key by key. These defaults send ``gunicorn.error`` to
standard error and, since it propagates, once more to standard output; configurations that are in
use reckon with that.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
from types import ModuleType
from typing import Any

from remuda.loading import BootError

STREAM = {"class": "logging.StreamHandler", "formatter": "generic"}
DEFAULTS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["error_console"], "propagate": True},
        "gunicorn.access": {"level": "INFO", "handlers": ["console"], "propagate": True},
    },
    "handlers": {
        "console": {**STREAM, "stream": "ext://sys.stdout"},
        "error_console": {**STREAM, "stream": "ext://sys.stderr"},
    },
    "formatters": {
        "generic": {
            "format": "%(asctime)s [%(process)d] [%(levelname)s] %(message)s",
            "datefmt": "[%Y-%m-%d %H:%M:%S %z]",
        }
    },
}


def wish_of(cfg: Any) -> dict[str, Any] | None:
    """What the settings ask for; the first that is given counts."""
    if cfg.logconfig_dict:
        return {"form": "table", "is": cfg.logconfig_dict}
    if cfg.logconfig_json:
        return {"form": "json", "is": cfg.logconfig_json}
    return {"form": "ini", "is": cfg.logconfig} if cfg.logconfig else None


def apply(wish: dict[str, Any], module: ModuleType | None) -> None:
    """Set logging up.

    Args:
        wish: ``{"form": "table" | "json" | "ini", "is": …}``.
        module: The configuration file, whose own table may hold classes and streams.

    Raises:
        BootError: It cannot be set up.
    """
    form, given = wish["form"], wish["is"]
    try:
        if form == "table":
            own = getattr(module, "logconfig_dict", None)
            logging.config.dictConfig({**DEFAULTS, **(own or given)})
        elif form == "json":
            if os.path.exists(given):
                with open(given, encoding="utf-8") as file:
                    logging.config.dictConfig({**DEFAULTS, **json.load(file)})
        elif os.path.exists(given):
            defaults = {"__file__": given, "here": os.path.dirname(given)}
            logging.config.fileConfig(given, defaults=defaults, disable_existing_loggers=False)
        else:
            raise BootError("setup", f"log config {given!r} not found")
    except (ValueError, TypeError, AttributeError, ImportError, KeyError, OSError) as error:
        raise BootError("setup", f"the logging configuration cannot be used: {error}") from error


def reopen_files() -> None:
    """Open the files of all loggers again by their names."""
    for handler in _file_handlers():
        handler.acquire()
        try:
            # With its next record it is opened again; also one that began by emptying its file.
            handler.close()
            handler.mode = "a"
        finally:
            handler.release()


def _file_handlers() -> list[logging.FileHandler]:
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    found = (handler for log in loggers for handler in log.handlers)
    return [handler for handler in found if isinstance(handler, logging.FileHandler)]
