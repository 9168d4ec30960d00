"""An ASGI app that answers with what it has got."""

import json
import os

seen = []


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    seen.append(scope["path"])
    body = b""
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event["body"]
        more = event["more_body"]
    pages = {
        "/": b"ok",
        "/pid": str(os.getpid()).encode(),
        "/echo": body,
        "/seen": json.dumps(seen).encode(),
    }
    if scope["path"] == "/environ":
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        shown = {"scheme": scope["scheme"], "method": scope["method"], "headers": headers}
        pages["/environ"] = json.dumps(shown).encode()
    answer = pages.get(scope["path"])
    status = 404 if answer is None else 200
    answer = answer or b""
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
