"""Finding the app: ``module``, ``module:attribute`` or ``module:factory(arguments)``.

The rules and the words are gunicorn's, so that error searches work. Here attributes and factories
may also be nested: ``module:site.application``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import operator
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

App = Callable[..., Any]

# gunicorn's exit statuses: "worker failed to boot" and "app failed to load".
BOOT_STATUS = 3
APP_STATUS = 4
# How the master names an app that comes from a PasteDeploy file.
PASTE = "config:"
# `crates/journal/src/exit.rs` tells what each means.
UNSAFE_STATUS = 65


class BootError(Exception):
    """The app cannot be loaded.

    Attributes:
        failure: ``import`` (the module raised or is missing), ``app`` (it has no such app),
            ``interface`` (it has, but of another kind than the worker class calls), ``class`` (the
            worker class cannot run here), ``unsafe`` (a fork would break it) or ``setup``
            (something of ours).
    """

    def __init__(self, failure: str, message: str) -> None:
        super().__init__(message)
        self.failure = failure

    @property
    def status(self) -> int:
        """The exit status; gunicorn's where it knows such a failure."""
        statuses = {
            "import": BOOT_STATUS,
            "app": APP_STATUS,
            "interface": APP_STATUS,
            "unsafe": UNSAFE_STATUS,
        }
        return statuses.get(self.failure, 1)


def enter(chdir: str) -> None:
    """Enter the working directory.

    Raises:
        BootError: The kernel refuses.
    """
    try:
        os.chdir(chdir)
    except OSError as error:
        raise BootError("setup", f"cannot enter {chdir!r}: {error.strerror}") from error


def prepare_path(chdir: str, pythonpath: list[str]) -> None:
    """Enter the working directory, and put it and ``pythonpath`` at the front of the path."""
    enter(chdir)
    # `python -m` has put the start directory first, as an empty string or by name.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    sys.path.insert(0, chdir)
    for entry in pythonpath:
        path = os.path.abspath(entry)
        if path not in sys.path:
            sys.path.insert(0, path)


def load_app(plan: dict[str, Any]) -> App:
    """Import the app, and see whether workers of this class can call it.

    Raises:
        BootError: With the traceback as its cause when there is one.
    """
    uri, worker_class = plan["app"], plan["worker_class"]
    if uri.startswith(PASTE):
        app: App | None = _deploy(uri, plan["paste_global_conf"])
    else:
        app = _import_app(uri)
    if app is None:
        raise BootError("app", f"Failed to find application object: {uri.partition(':')[2]!r}")
    if not callable(app):
        raise BootError("app", "Application object must be callable.")
    _check_interface(app, worker_class)
    return app


def _deploy(uri: str, global_conf: dict[str, str]) -> Any:
    """The app that PasteDeploy makes of its file."""
    try:
        deploy = importlib.import_module("paste.deploy")
    except ImportError as error:
        raise BootError(
            "setup",
            f"`paste` needs the package PasteDeploy: {error}\n"
            f"  hint: {sys.executable} -m pip install PasteDeploy",
        ) from None
    try:
        return deploy.loadapp(uri, relative_to=os.getcwd(), global_conf=global_conf)
    except LookupError as error:
        # It has no such section, or names what is not installed.
        raise BootError("app", str(error.args[0] if error.args else error)) from error
    except Exception as error:
        raise BootError("import", f"{type(error).__name__}: {error}") from error
    except SystemExit as error:
        raise BootError("import", f"the app called sys.exit({error.code!r})") from error


def _import_app(uri: str) -> Any:
    module_name, _, expression = uri.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        if module_name.endswith(".py") and os.path.exists(module_name):
            hint = f"{module_name[:-3]}:{expression or 'application'}"
            message = f"Failed to find application, did you mean '{hint}'?"
            raise BootError("import", message) from error
        raise BootError("import", str(error)) from error
    except Exception as error:
        raise BootError("import", f"{type(error).__name__}: {error}") from error
    except SystemExit as error:
        raise BootError("import", f"the module called sys.exit({error.code!r})") from error
    return _find(module, expression or "application", module_name)


def _check_interface(app: App, worker_class: str) -> None:
    """Tell apart what would only fail at the first request, and without a word that helps."""
    is_async = inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__)
    if worker_class == "asgi":
        if not is_async and not _takes(app, 3):
            raise BootError(
                "interface",
                "it cannot be called with (scope, receive, send), so it is not an ASGI app\n"
                "  hint: for a WSGI app use `worker_class` sync, gthread or gevent",
            )
    elif is_async or not _takes(app, 2):
        raise BootError(
            "interface",
            f"it cannot be called with (environ, start_response), as `worker_class` {worker_class} "
            "does, so it is not a WSGI app\n"
            "  hint: for an ASGI app (FastAPI, Starlette …) use `worker_class` asgi",
        )


def _takes(app: App, count: int) -> bool:
    """Whether so many arguments fit; true where nobody can tell."""
    try:
        inspect.signature(app).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _find(module: Any, expression: str, module_name: str) -> Any:
    name, call = _parse(expression)
    try:
        found = operator.attrgetter(name)(module)
    except AttributeError:
        message = f"Failed to find attribute {name!r} in {module_name!r}."
        raise BootError("app", message) from None
    if call is None:
        return found
    args, kwargs = call
    try:
        return found(*args, **kwargs)
    except TypeError as error:
        # Raised by the call itself, and not by something inside the factory?
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise BootError("app", f"TypeError: {error}") from error
        raise BootError("import", f"TypeError: {error}") from error
    except Exception as error:
        raise BootError("import", f"{type(error).__name__}: {error}") from error


def _parse(expression: str) -> tuple[str, tuple[list[Any], dict[str, Any]] | None]:
    """Split ``factory("a", b=1)`` into its name and its literal arguments."""
    unreadable = f"Failed to parse {expression!r} as an attribute name or function call."
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise BootError("app", unreadable) from None
    if (name := _dotted(node)) is not None:
        return name, None
    if not isinstance(node, ast.Call):
        raise BootError("app", unreadable)
    if (name := _dotted(node.func)) is None:
        raise BootError("app", f"Function reference must be a simple name: {expression!r}")
    try:
        args = [ast.literal_eval(arg) for arg in node.args]
        kwargs = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
    except ValueError:
        message = f"Failed to parse arguments as literal values: {expression!r}"
        raise BootError("app", message) from None
    return name, (args, kwargs)


def _dotted(node: ast.expr) -> str | None:
    """A name, or the name of an attribute of it: ``site.application``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value)) is not None:
        return f"{owner}.{node.attr}"
    return None


def explain(error: BootError, uri: str) -> str:
    """What / why / hint for the log, the traceback included when the app has raised."""
    lines = []
    cause = error.__cause__
    if cause is not None:
        lines += ["Exception in worker process", *_app_frames(cause)]
    if error.failure in ("import", "app", "interface"):
        lines.append(f"Cannot load the application {uri!r}: {error}")
    else:
        lines.append(str(error))
    hint = {
        "import": "the module must be importable from the working directory; see `chdir` and "
        "`pythonpath`. Try `python -c 'import MODULE'` there",
        "app": "give it as `module:attribute`, `module:factory()`, or name the callable "
        "`application`",
    }.get(error.failure)
    if hint and not uri.startswith(PASTE):
        lines.append(f"  hint: {hint}")
    return "\n".join(lines)


def _app_frames(cause: BaseException) -> list[str]:
    """The traceback without our own frames at its top."""
    trace = cause.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(cause), cause, trace)).rstrip().split("\n")
