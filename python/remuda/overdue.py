"""What it takes to show where a request is, and to break it off, in each worker class.

``crates/python/src/overdue.rs`` decides when; here is who runs a request, and how to reach it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from types import FrameType
from typing import Any, Protocol

from remuda import _remuda


class Runners(Protocol):
    """What runs the requests of WSGI apps in one worker class."""

    def current(self) -> Any:
        """Whoever calls this: a greenlet, or the number of a thread."""

    def stack(self, runner: Any) -> str:
        """Where its code is now."""

    def interrupt(self, runner: Any) -> bool:
        """Raise ``RequestTimeout`` in it; true when the process should be replaced afterwards."""

    def release(self, runner: Any) -> None:
        """It is done with the request; an interruption that has not come must not come any more."""


class Threads:
    """The threads of a ``gthread`` worker."""

    current = staticmethod(threading.get_ident)

    def stack(self, runner: int) -> str:
        """Where the thread's code is now."""
        return of_frame(sys._current_frames().get(runner))

    def interrupt(self, runner: int) -> bool:
        """Raise in the thread, as soon as it runs Python code.

        That can be anywhere, between two lines that belong together, so nobody should trust the
        process for long.
        """
        _remuda.interrupt_thread(runner)
        return True

    def release(self, runner: int) -> None:
        """Take back what was not raised yet, or the next request would get it."""
        _remuda.calm_thread(runner)


def of_frame(frame: FrameType | None) -> str:
    """A stack as Python prints it."""
    return "".join(traceback.format_stack(frame)).rstrip() if frame else "  (not running)"


def of_task(task: asyncio.Task[Any]) -> str:
    """Where a task waits, through all the coroutines that wait for each other."""
    frames: list[tuple[FrameType, int]] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = next(
            (f for name in ("cr_frame", "gi_frame", "ag_frame") if (f := _peek(awaited, name))),
            None,
        )
        if frame is None:
            break
        frames.append((frame, frame.f_lineno))
        awaited = next(
            (a for n in ("cr_await", "gi_yieldfrom", "ag_await") if (a := _peek(awaited, n))), None
        )
    lines = traceback.StackSummary.extract(iter(frames)).format()
    waits_for = [] if awaited is None else [f"  waiting for {awaited!r}"]
    return "".join([*lines, *waits_for]).rstrip() or "  (not running)"


def _peek(awaited: Any, name: str) -> Any:
    """An attribute, or None: what can be awaited comes in many kinds."""
    return getattr(awaited, name, None)


def of_all_tasks(loop: asyncio.AbstractEventLoop) -> str:
    """The stacks of all tasks of a loop."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    current = asyncio.current_task(loop)
    return "\n".join(
        f"Task {task.get_name()} (most recent call last):\n"
        + (of_frame(sys._getframe()) if task is current else of_task(task))
        for task in tasks
    )
