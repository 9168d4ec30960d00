"""The user's hooks in this process: finding them, and calling them with gunicorn's objects.

``docs/design/040-hooks.md`` says which hook is called where.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from remuda import _remuda, config_file, loggers
from remuda.cfg import Cfg
from remuda.config_file import ConfigError
from remuda.glog import trace_of
from remuda.views import Request, Response, Server, Worker

Hook = Callable[..., Any]


class Hooks:
    """The hooks of one configuration.

    Attributes:
        server: What they know as the server.
        journal: The error log, behind whatever Python's logging is.

    Raises:
        ConfigError: One cannot be found.
        BootError: The log cannot be had.
    """

    def __init__(
        self, plan: dict[str, Any], module: ModuleType | None, journal: _remuda.Journal, master: int
    ) -> None:
        self._hooks = find(plan, module)
        cfg = Cfg(plan, module, dict(os.environ))
        self.journal = journal
        self.server = Server(cfg, loggers.make(plan, cfg, journal, module), master)

    def __contains__(self, name: str) -> bool:
        return name in self._hooks

    def get(self, name: str) -> Hook:
        """A hook, or one that does nothing."""
        return self._hooks.get(name, lambda *_: None)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a hook if there is one; what it raises goes to the caller."""
        hook = self._hooks.get(name)
        if hook is not None:
            hook(*arguments)

    def try_call(self, name: str, *arguments: Any) -> None:
        """Call a hook if there is one; what it raises goes to the log."""
        try:
            self.call(name, *arguments)
        except Exception as error:
            self.server.log.error("Exception in hook %s\n%s", name, trace_of(error))

    def request_hooks(self, worker: Worker) -> RequestHooks | None:
        """What has to be called for each request, if anything."""
        before, after = self._hooks.get("pre_request"), self._hooks.get("post_request")
        return RequestHooks(worker, before, after) if before or after else None


def find(plan: dict[str, Any], module: ModuleType | None) -> dict[str, Hook]:
    """The hooks that were given: functions of the file, or what ``module.function`` names.

    Raises:
        ConfigError: There is no such function.
    """
    return {name: find_one(name, plan, module) for name in plan["hooks"]}


def find_one(name: str, plan: dict[str, Any], module: ModuleType | None) -> Hook:
    """One hook that was given.

    Raises:
        ConfigError: There is no such function.
    """
    # The master leaves out what only the file has.
    value = plan["cfg"][name] if name in plan["cfg"] else getattr(module, name)
    if isinstance(value, str):
        path, value = value, _import(name, value)
        config_file.check_arity(name, value, plan["hooks"][name], path)
    return value  # type: ignore[no-any-return]


def _import(name: str, path: str) -> Hook:
    module, _, attribute = path.rpartition(".")
    try:
        hook = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"the hook {name} cannot be found at {path!r}: {error}") from error
    if not callable(hook):
        raise ConfigError(f"the hook {name}: {path!r} is not callable")
    return hook  # type: ignore[no-any-return]


class RequestHooks:
    """``pre_request`` and ``post_request`` around each request. Rust calls both for WSGI apps."""

    def __init__(self, worker: Worker, before: Hook | None, after: Hook | None) -> None:
        self._worker = worker
        self._before = before
        self._after = after
        self._arity = config_file.arity(after) if after else 0

    def request(self, environ: dict[str, Any]) -> Request:
        """What both hooks know as the request."""
        return Request(environ)

    def before(self, request: Request) -> None:
        """Before the app is called. What the hook raises becomes a 500."""
        if self._before is not None:
            self._before(self._worker, request)

    def after(
        self,
        request: Request,
        environ: dict[str, Any],
        status: str | None,
        headers: list[tuple[str, str]],
    ) -> None:
        """After the app is done, however that went. What the hook raises is logged."""
        if self._after is None:
            return
        response = Response(status, headers) if status is not None else None
        arguments = (self._worker, request, environ, response)
        try:
            self._after(*arguments[: self._arity])
        except Exception:
            self._worker.log.exception("Exception in post_request hook")

    def around(self, app: Hook) -> Hook:
        """The same for an ASGI app."""

        async def hooked(
            scope: dict[str, Any],
            receive: Callable[[], Awaitable[Any]],
            send: Callable[[Any], Awaitable[None]],
        ) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            request = Request.of_scope(scope)
            said: list[Any] = [None, []]

            async def listen(event: dict[str, Any]) -> None:
                if event["type"] == "http.response.start":
                    fields = event.get("headers", ())
                    said[:] = [str(event["status"]), [(n.decode(), v.decode()) for n, v in fields]]
                await send(event)

            try:
                self.before(request)
                await app(scope, receive, listen)
            finally:
                self.after(request, {}, *said)

        return hooked
