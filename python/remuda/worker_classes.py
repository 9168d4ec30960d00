"""Worker classes that are not ours: imported, and described for the master, which judges them."""

from __future__ import annotations

import importlib
import os
import sys
import types
from types import ModuleType
from typing import Any

from remuda import config_file

# Whose path says nothing of how they serve.
PLAIN_BASES = ("gunicorn.workers.base.", "gunicorn.workers.base_async.", "builtins.")
NEVER_CALLED = ("CONFIG_KWARGS",)


def look(question: dict[str, Any], module: ModuleType | None) -> dict[str, Any] | None:
    """What there is to know of the worker class, if it is none that the master knows.

    Args:
        question: ``path`` of the class where it is not the file that names it, the paths that are
            ``known``, and the ``folders`` in which modules are looked for as well.
        module: The configuration file.
    """
    given = question["path"] or getattr(module, "worker_class", None)
    if isinstance(given, types.FunctionType):
        # As in gunicorn: it makes the class.
        given = given()
    if isinstance(given, type):
        path = config_file.path_of(given)
        return None if path in question["known"] else describe(given, path, question["known"])
    if not isinstance(given, str) or "." not in given or given in question["known"]:
        return None
    path = given.strip()
    try:
        return describe(_import(path, _folders(question, module)), path, question["known"])
    except Exception as error:
        return _form(path, error=f"{type(error).__name__}: {error}")


def _folders(question: dict[str, Any], module: ModuleType | None) -> list[str]:
    own = getattr(module, "pythonpath", None)
    folders = [os.path.abspath(folder) for folder in str(own or "").split(",") if folder]
    chdir = getattr(module, "chdir", None)
    return [*question["folders"], *([os.path.abspath(chdir)] if chdir else []), *folders]


def _import(path: str, folders: list[str]) -> type:
    for folder in folders:
        if folder not in sys.path:
            sys.path.insert(0, folder)
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, type):
        raise TypeError(f"{path} is not a class")
    return found


def describe(found: type, path: str, known: list[str]) -> dict[str, Any]:
    """What it is based on, and what it has of its own."""
    ancestors = found.__mro__[1:]
    paths = [config_file.path_of(ancestor) for ancestor in ancestors]
    index = next((index for index, base in enumerate(paths) if base in known), None)
    if index is None:
        index = next((i for i, base in enumerate(paths) if not base.startswith(PLAIN_BASES)), 0)
    base = ancestors[index]
    own = [name for layer in found.__mro__[: index + 1] for name in _own_names(layer, base)]
    kwargs = getattr(found, "CONFIG_KWARGS", {}) if "uvicorn" in paths[index] else {}
    return _form(
        path,
        base=paths[index],
        overrides=sorted(set(own)),
        kwargs=config_file.plain_or_text(dict(kwargs)),
    )


def _own_names(layer: type, base: type) -> list[str]:
    """What a class has that its base, or one of its own methods, would call."""
    return [
        name
        for name, value in vars(layer).items()
        if name not in NEVER_CALLED
        and (name == "__init__" or not name.startswith("__"))
        and (hasattr(base, name) or callable(value) or hasattr(value, "__get__"))
    ]


def _form(path: str, **known: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {"base": "", "overrides": [], "kwargs": {}, "error": None}
    return {"path": path, **nothing, **known}
