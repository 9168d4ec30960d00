"""The configuration file in Python: running it, and saying what it holds.

It is run in the herald, which sends its plain values to the master, and in each zygote, where its
functions are kept for the workers. The rules are gunicorn's: the file is the module ``__config__``,
and may import what stands beside it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

MODULE = "__config__"


class ConfigError(Exception):
    """The file cannot be used; the text is for people, and has the traceback if there is one."""


def run(place: dict[str, str]) -> ModuleType:
    """Run a file.

    Args:
        place: ``{"type": "path", "path": …}`` or ``{"type": "module", "module": …}``.

    Raises:
        ConfigError: It is missing, or it raises.
    """
    start = os.getcwd()
    if start not in sys.path[:1]:
        sys.path.insert(0, start)
    name = place.get("path") or place["module"]
    if place["type"] == "path" and not os.path.isfile(name):
        raise ConfigError(f"{name!r} doesn't exist")
    try:
        return _run_path(name) if place["type"] == "path" else _import_anew(name)
    except SystemExit as error:
        raise ConfigError(f"Failed to read config file: {name}\nit called sys.exit()") from error
    except BaseException as error:
        raise ConfigError(f"Failed to read config file: {name}\n{_own_frames(error)}") from error


def _run_path(path: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(MODULE, path)
    # Its bytecode would lie beside it, and be stale for whoever edits fast.
    spec = importlib.util.spec_from_loader(MODULE, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    loader.exec_module(module)
    return module


def _import_anew(name: str) -> ModuleType:
    known = sys.modules.get(name)
    return importlib.import_module(name) if known is None else importlib.reload(known)


def _own_frames(error: BaseException) -> str:
    """The traceback without the frames of this file and of the import system."""
    trace = error.__traceback__
    while trace is not None and (
        trace.tb_frame.f_code.co_filename == __file__
        or trace.tb_frame.f_code.co_filename.startswith("<frozen importlib")
    ):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()


def describe(module: ModuleType, known: dict[str, list[int]]) -> list[dict[str, Any]]:
    """What the file holds, for the master.

    Args:
        module: The file.
        known: The names of all settings; with a hook, how many arguments it may take.

    Raises:
        ConfigError: A hook takes another number of arguments.
    """
    lines = _assignments(module)
    values = {
        name: value
        for name, value in vars(module).items()
        if name in known or _may_be_meant(name, value)
    }
    for name, value in values.items():
        if _is_hook(value) and known.get(name):
            place = f"{module.__file__}:{lines[name]}" if name in lines else module.__file__
            check_arity(name, value, known[name], str(place))
    return [
        {"name": name, "line": lines.get(name), **_form(name, value, known)}
        for name, value in values.items()
    ]


def _is_hook(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)


def _may_be_meant(name: str, value: Any) -> bool:
    """Whether a name that is no setting may be a mistyped one: not imported, not private."""
    if name.startswith("_") or name != name.lower() or isinstance(value, (ModuleType, type)):
        return False
    return not callable(value) or getattr(value, "__module__", MODULE) == MODULE


def _form(name: str, value: Any, known: dict[str, list[int]]) -> dict[str, Any]:
    if name not in known:
        return {"form": "other", "is": type(value).__name__}
    if isinstance(value, type):
        return {"form": "class", "is": path_of(value)}
    if callable(value):
        return {"form": "callable", "is": getattr(value, "__qualname__", type(value).__name__)}
    if isinstance(value, os.PathLike):
        return {"form": "plain", "is": os.fspath(value)}
    try:
        return {"form": "plain", "is": plain(value)}
    except TypeError:
        return {"form": "other", "is": type(value).__name__}


def plain(value: Any) -> Any:
    """The value as JSON knows it."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {str(key): plain_or_text(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    raise TypeError(type(value).__name__)


def plain_or_text(value: Any) -> Any:
    """Tables of logging hold classes and streams; the ones that use them have the file itself."""
    try:
        return plain(value)
    except TypeError:
        return str(value)


def path_of(value: type) -> str:
    """The dotted path of a class, as one would import it."""
    # It is imported from the package, and defined in a module of it.
    module = value.__module__.removesuffix("._workers")
    return f"{module}.{value.__qualname__}"


def check_arity(name: str, hook: Callable[..., Any], allowed: list[int], place: str) -> None:
    """See whether a hook takes one of these numbers of arguments; the rule is gunicorn's.

    Raises:
        ConfigError: It does not.
    """
    try:
        count = arity(hook)
    except (TypeError, ValueError):
        return
    if count not in allowed:
        function = getattr(hook, "__qualname__", repr(hook))
        raise ConfigError(
            f"`{name}` must take {allowed[-1]} positional arguments, but {function} takes {count}\n"
            f"  from: {place}\n"
            f"  hint: the reference has them at `{name}`; `*args` does not count"
        )


def arity(hook: Callable[..., Any]) -> int:
    """How many positional arguments a hook takes; ``*args`` does not count, as in gunicorn."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds for p in inspect.signature(hook).parameters.values())


def _assignments(module: ModuleType) -> dict[str, int]:
    """The line on which each name is set at the top level, the last one counts."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return {}
    return {name: line for node in tree.body for name, line in _names_set_by(node)}


def _names_set_by(node: ast.stmt) -> Iterator[tuple[str, int]]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name, node.lineno
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        for name in ast.walk(target) if target is not None else ():
            if isinstance(name, ast.Name):
                yield name.id, node.lineno
