"""One ASGI app with a path for each thing that may happen on a WebSocket connection."""

import asyncio
import json

happened = []


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "http":
        return await answer(send, json.dumps(happened))
    page = PAGES[scope["path"]]
    await page(scope, receive, send)


async def answer(send, text):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


async def accept(receive, send, **more):
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **more})


async def echo(scope, receive, send):
    await accept(receive, send)
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})
    happened.append(["disconnect", event["code"], event["reason"]])


async def show_scope(scope, receive, send):
    await accept(receive, send)
    names = ("type", "scheme", "path", "subprotocols", "http_version", "root_path", "client")
    shown = {name: scope[name] for name in names}
    shown["extensions"] = sorted(scope["extensions"])
    shown["has_method"] = "method" in scope
    await send({"type": "websocket.send", "text": json.dumps(shown)})


async def subprotocol(scope, receive, send):
    headers = [(b"x-extra", b"1")]
    await accept(receive, send, subprotocol=scope["subprotocols"][-1], headers=headers)
    await send({"type": "websocket.close", "code": 4001, "reason": "that was all"})


async def refuse(scope, receive, send):
    await receive()
    await send({"type": "websocket.close"})


async def deny(scope, receive, send):
    await receive()
    headers = [(b"content-type", b"text/plain"), (b"x-why", b"no-token")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    body = {"type": "websocket.http.response.body", "body": b"log in ", "more_body": True}
    await send(body)
    await send({"type": "websocket.http.response.body", "body": b"first"})


async def forget(scope, receive, send):
    await receive()


async def fail_before(scope, receive, send):
    raise RuntimeError("broken before the handshake")


async def fail_after(scope, receive, send):
    await accept(receive, send)
    await receive()
    raise RuntimeError("broken after the handshake")


async def leave(scope, receive, send):
    """Returns without closing."""
    await accept(receive, send)


async def flood(scope, receive, send):
    """Sends until somebody stops it."""
    await accept(receive, send)
    count = 0
    try:
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 65536})
            count += 1
            happened[:] = [["sent", count]]
    except OSError as error:
        happened.append(["flood ended", type(error).__name__])


async def deaf(scope, receive, send):
    """Accepts, and takes no message for a while."""
    await accept(receive, send)
    await asyncio.sleep(5)
    count = 0
    while (event := await receive())["type"] == "websocket.receive":
        count += len(event["bytes"])
        await send({"type": "websocket.send", "text": str(count)})


async def send_after_close(scope, receive, send):
    await accept(receive, send)
    await send({"type": "websocket.close"})
    try:
        await send({"type": "websocket.send", "text": "too late"})
    except Exception as error:
        happened.append(["late send", type(error).__name__])
    event = await receive()
    happened.append([event["type"], event["code"]])


async def wait(scope, receive, send):
    """Never asks again."""
    await accept(receive, send)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        happened.append(["cancelled"])
        raise


async def bad_code(scope, receive, send):
    await accept(receive, send)
    await send({"type": "websocket.close", "code": 1006})


PAGES = {
    "/echo": echo,
    "/scope": show_scope,
    "/subprotocol": subprotocol,
    "/refuse": refuse,
    "/deny": deny,
    "/forget": forget,
    "/fail-before": fail_before,
    "/fail-after": fail_after,
    "/leave": leave,
    "/flood": flood,
    "/deaf": deaf,
    "/send-after-close": send_after_close,
    "/wait": wait,
    "/bad-code": bad_code,
}
