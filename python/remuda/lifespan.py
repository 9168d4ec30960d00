"""ASGI's lifespan: the app is told when its worker starts and stops."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

from remuda import _remuda


class LifespanFailed(Exception):
    """The app has said, or shown, that it cannot start."""


class Lifespan:
    """One worker's lifespan with the app.

    Args:
        app: The ASGI app.
        mode: ``on``: an exception at start ends the worker. ``auto``: it says that the app does not
            take part. ``off``: the app is not told.
        state: Filled by the app, and copied into the scope of each request.
        journal: The error log.
    """

    def __init__(
        self, app: Any, mode: str, state: dict[str, Any], journal: _remuda.Journal
    ) -> None:
        self._app = app
        self._mode = mode
        self._state = state
        self._journal = journal
        self._events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._told = False

    async def start(self) -> None:
        """Tell the app that the worker starts, and wait for its answer.

        Raises:
            LifespanFailed: The app answered that its start has failed, or raised where it must not.
        """
        if self._mode == "off":
            return
        self._task = asyncio.ensure_future(self._call())
        answer = await self._ask("lifespan.startup")
        if answer is None:
            self._note_absence()
        elif answer["type"] == "lifespan.startup.failed":
            message = answer.get("message", "")
            raise LifespanFailed(f"Application startup failed: {message}".rstrip(": "))
        else:
            self._told = True

    async def _call(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        await self._app(scope, self._events.get, self._answers.put)

    async def stop(self) -> None:
        """Tell the app that the worker stops, and wait for its answer."""
        if not self._told:
            return
        answer = await self._ask("lifespan.shutdown")
        if answer is None:
            if failure := self._failure():
                self._journal.error(f"Application shutdown failed\n{failure}")
        elif answer["type"] == "lifespan.shutdown.failed":
            message = answer.get("message", "")
            self._journal.error(f"Application shutdown failed: {message}".rstrip(": "))

    async def _ask(self, event: str) -> dict[str, Any] | None:
        """The app's answer; ``None`` when it has ended without one."""
        assert self._task is not None
        await self._events.put({"type": event})
        answer = asyncio.ensure_future(self._answers.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        return None

    def _note_absence(self) -> None:
        failure = self._failure()
        if self._mode == "on":
            raise LifespanFailed(
                f"Application startup failed: it has not answered\n{failure}"
                "  hint: with `asgi_lifespan` = auto or off the app need not take part"
            )
        if failure:
            self._journal.debug("ASGI 'lifespan' protocol appears unsupported.")

    def _failure(self) -> str:
        """The traceback of the exception that has ended the app's task."""
        assert self._task is not None
        error = None if self._task.cancelled() else self._task.exception()
        return "" if error is None else "".join(traceback.format_exception(error))
