"""Warm-up of ASGI apps: requests on an event loop that is gone before workers are forked."""

from __future__ import annotations

import asyncio
from typing import Any

from remuda.asgi_loop import new_loop
from remuda.lifespan import Lifespan, LifespanFailed
from remuda.warmup import App, Round


def run(asked: Round) -> None:
    """Start the app as a worker would, ask for each page in order, and stop it again."""
    loop = new_loop(asked.plan["asgi"]["event_loop"], asked.journal)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(ask(asked))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


async def ask(asked: Round) -> None:
    """All requests, one after the other."""
    state: dict[str, Any] = {}
    lifespan = Lifespan(asked.app, asked.plan["asgi"]["lifespan"], state, asked.journal)
    try:
        await lifespan.start()
    except LifespanFailed as failure:
        asked.journal.warning(f"Not warmed up: {failure}")
        return
    for target in asked.pages():
        asked.answers[target.wish, await call(asked.app, target.scope(asked.plan, state))] += 1
    await lifespan.stop()


async def call(app: App, scope: dict[str, Any]) -> str:
    """One request, in a task of its own; the status, or what was raised."""
    status = ["no answer"]
    asked = False
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await answered.wait()
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            status.append(str(event["status"]))
        elif event["type"] == "http.response.body" and not event.get("more_body"):
            answered.set()

    try:
        await asyncio.ensure_future(app(scope, receive, send))
    except Exception as error:
        return type(error).__name__
    return status[-1]
