"""ASGI apps that differ in how they take part in the lifespan."""

import asyncio
import os
import sys


async def answer(scope, send):
    words = ",".join(sorted(scope.get("state", {}))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": words})


def say(words):
    sys.stderr.write(words + "\n")


async def takes_part(scope, receive, send):
    if scope["type"] == "http":
        return await answer(scope, send)
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["pool"] = object()
    say(f"started in {os.getpid()}")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await asyncio.sleep(0.1)
    say("stopped")
    await send({"type": "lifespan.shutdown.complete"})


async def fails_at_start(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is away"})


async def raises_at_start(scope, receive, send):
    await receive()
    raise RuntimeError("cannot start")


async def knows_nothing(scope, receive, send):
    assert scope["type"] == "http"
    await answer(scope, send)


async def fails_at_stop(scope, receive, send):
    if scope["type"] == "http":
        return await answer(scope, send)
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "could not flush"})
