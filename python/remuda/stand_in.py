"""gunicorn's names for configuration files that import them, where gunicorn is not installed.

A file that says ``from gunicorn.glogging import Logger`` or ``from uvicorn.workers import
UvicornWorker`` was written for a machine that had gunicorn. There are stand-ins while the file runs
and a worker class is looked at, and no longer: apps that look for gunicorn must not find one.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

# The classes of each module; a package has none.
CLASSES: dict[str, tuple[str, ...]] = {
    "gunicorn": (),
    "gunicorn.arbiter": ("Arbiter",),
    "gunicorn.glogging": ("Logger",),
    "gunicorn.workers": (),
    "gunicorn.workers.base": ("Worker",),
    "gunicorn.workers.sync": ("SyncWorker",),
    "gunicorn.workers.gthread": ("ThreadWorker",),
    "gunicorn.workers.ggevent": ("GeventWorker", "GeventPyWSGIWorker"),
    "gunicorn.workers.gasgi": ("ASGIWorker",),
    "uvicorn": (),
    "uvicorn.workers": ("UvicornWorker", "UvicornH11Worker"),
    "uvicorn_worker": ("UvicornWorker", "UvicornH11Worker"),
}
PACKAGES = ("gunicorn", "gunicorn.workers", "uvicorn")


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds these modules when nobody else does."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The stand-in of this name, if there is one."""
        if name not in CLASSES:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=name in PACKAGES)

    def exec_module(self, module: ModuleType) -> None:
        """Fill it."""
        name = module.__name__
        for class_name in CLASSES[name]:
            vars(module)[class_name] = _class(name, class_name)
        if name == "gunicorn":
            vars(module)["__version__"] = "27.0.1"
            vars(module)["SERVER_SOFTWARE"] = "gunicorn/27.0.1"


def _class(module: str, name: str) -> Any:
    if name == "Logger":
        from remuda.glogging import Logger

        return Logger
    values: dict[str, Any] = {"__module__": module}
    if name == "Arbiter":
        values |= {"WORKER_BOOT_ERROR": 3, "APP_LOAD_ERROR": 4}
    return type(name, (), values)


@contextmanager
def gunicorn() -> Iterator[None]:
    """Within this, gunicorn can be imported, the real one if there is one."""
    finder = StandIns()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in CLASSES:
            loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
            if loader is finder:
                del sys.modules[name]
