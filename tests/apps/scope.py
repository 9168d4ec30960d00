"""An ASGI app that shows what it is told, and does what only ASGI apps do."""

import asyncio
import json

cancelled = []
started = []


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind.endswith("shutdown"):
                return
    await PAGES.get(scope["path"], show)(scope, receive, send)


async def answer(send, text, **head):
    await send({"type": "http.response.start", "status": 200, "headers": [], **head})
    await send({"type": "http.response.body", "body": text.encode()})


async def show(scope, receive, send):
    shown = {key: scope[key] for key in ("http_version", "scheme", "method", "path", "client")}
    shown["headers"] = [[k.decode("latin-1"), v.decode("latin-1")] for k, v in scope["headers"]]
    shown["tls"] = scope["extensions"].get("tls")
    await answer(send, json.dumps(shown))


async def stream(scope, receive, send):
    """A megabyte in pieces."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(16):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def trailers(scope, receive, send):
    head = {"status": 200, "headers": [(b"trailer", b"x-sum")], "trailers": True}
    await send({"type": "http.response.start", **head})
    await send({"type": "http.response.body", "body": b"body"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})


async def hint(scope, receive, send):
    link = b"</style.css>; rel=preload"
    await send({"type": "http.response.early_hint", "links": [link]})
    await asyncio.sleep(0.1)
    await answer(send, "hinted")


async def nap(scope, receive, send):
    await asyncio.sleep(0.2)
    await answer(send, "rested")


async def forever(scope, receive, send):
    started.append(1)
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        cancelled.append(scope["query_string"].decode())
        raise


async def show_cancelled(scope, receive, send):
    await answer(send, ",".join(cancelled))


async def show_started(scope, receive, send):
    await answer(send, str(len(started)))


async def upload(scope, receive, send):
    """Takes the body slowly, and says in which pieces it came."""
    sizes = []
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        sizes.append(len(event["body"]))
        if not event["more_body"]:
            break
        await asyncio.sleep(0.01)
    await answer(send, json.dumps({"length": sum(sizes), "largest": max(sizes)}))


PAGES = {
    "/stream": stream,
    "/trailers": trailers,
    "/hint": hint,
    "/nap": nap,
    "/forever": forever,
    "/upload": upload,
    "/cancelled": show_cancelled,
    "/started": show_started,
}
