"""The ``asgi`` class: a task for each request, on asyncio's loop or uvloop's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from remuda import _remuda, overdue
from remuda.lifespan import Lifespan, LifespanFailed
from remuda.loading import BOOT_STATUS
from remuda.worker import Duty, beat_seconds, handle_signals

BEAT_DRAINING_S = 0.05


class RequestBroken(BaseException):
    """Raised into a request that must not go on; ends its task and no other."""


class Tasks:
    """What conversations need from the loop; see ``crates/python/src/asgi/mod.rs``.

    Attributes:
        create_future: Makes a future of the loop.
        call_later: Calls something after so many seconds.
        stack: Where a task waits.
        make_task: Makes a task of a coroutine, with ``task_keywords``; where Python can, it starts
            at once.
        state: What the app's lifespan has kept for its requests.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, state: dict[str, Any]) -> None:
        self.create_future = loop.create_future
        self.call_later = loop.call_later
        self.stack = overdue.of_task
        self.state = state
        self.make_task: Callable[..., asyncio.Task[None]] = loop.create_task
        self.task_keywords: dict[str, Any] = {}
        # A factory of the app's own knows better.
        if sys.version_info >= (3, 12) and loop.get_task_factory() is None:
            self.make_task = asyncio.Task
            self.task_keywords = {"loop": loop, "eager_start": True}

    @staticmethod
    async def wait(awaitable: Awaitable[Any]) -> Any:
        """Make a coroutine of anything that can be awaited."""
        return await awaitable


def new_loop(wish: str, journal: _remuda.Journal) -> asyncio.AbstractEventLoop:
    """The event loop that the setting ``asgi_loop`` asks for."""
    if wish != "asyncio":
        try:
            import uvloop
        except ImportError as error:
            if wish == "uvloop":
                journal.warning(
                    f"asgi_loop is `uvloop`, but it cannot be imported ({error}): using asyncio\n"
                    f"  hint: {sys.executable} -m pip install uvloop"
                )
        else:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    return asyncio.new_event_loop()


def serve(duty: Duty) -> int:
    """Serve until drained or told to leave. Returns the exit status."""
    loop = new_loop(duty.plan["asgi"]["event_loop"], duty.journal)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(run(loop, duty))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def run(loop: asyncio.AbstractEventLoop, duty: Duty) -> int:
    """The worker's life on its loop."""
    state: dict[str, Any] = {}
    lifespan = Lifespan(duty.app, duty.plan["asgi"]["lifespan"], state, duty.journal)
    try:
        await lifespan.start()
    except LifespanFailed as failure:
        duty.journal.error(str(failure))
        return BOOT_STATUS

    own = asyncio.current_task(loop)
    done = loop.create_future()
    pulse: list[asyncio.TimerHandle] = []

    def attend() -> None:
        worker.attend()
        if worker.draining:
            quicken()

    def beat() -> None:
        pulse.clear()
        if worker.beat():
            if not done.done():
                done.set_result(None)
            return
        pace = BEAT_DRAINING_S if worker.draining else beat_seconds(duty.plan)
        pulse.append(loop.call_later(pace, beat))

    def quicken() -> None:
        """Beat at the pace of draining from now on."""
        if pulse and pulse[0].when() > loop.time() + BEAT_DRAINING_S:
            pulse[0].cancel()
            beat()

    def is_in_request() -> bool:
        return worker.busy and asyncio.current_task(loop) not in (None, own)

    # A signal handler calls it, and only this way of scheduling wakes a loop that waits.
    worker = duty.begin(
        tasks=Tasks(loop, state), schedule=lambda: loop.call_soon_threadsafe(attend)
    )
    statuses = handle_signals(
        duty, worker, is_in_request, RequestBroken, show=lambda: overdue.of_all_tasks(loop)
    )
    loop.add_reader(worker.fileno(), attend)
    beat()
    worker.ready()
    await done
    loop.remove_reader(worker.fileno())
    await lifespan.stop()
    return statuses[-1]
