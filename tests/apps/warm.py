"""Apps that remember who has asked them what, to see what warm-up requests leave to workers."""

import json
import os
import socket
import threading

SEEN = []
LIFE = []


def app(environ, start_response):
    SEEN.append([os.getpid(), environ.get("remuda.warmup", False), environ["HTTP_HOST"]])
    if environ["PATH_INFO"] == "/raise" and environ.get("remuda.warmup"):
        raise RuntimeError("not in a warm-up")
    if environ["PATH_INFO"] == "/thread" and environ.get("remuda.warmup"):
        threading.Thread(target=threading.Event().wait, name="left-behind", daemon=True).start()
    body = json.dumps({"pid": os.getpid(), "seen": SEEN}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


def exits(environ, start_response):
    if environ.get("remuda.warmup"):
        raise SystemExit(9)
    return app(environ, start_response)


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            LIFE.append([os.getpid(), event["type"]])
            if event["type"] == "lifespan.startup":
                scope["state"]["pool"] = socket.socketpair()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    assert scope["state"]["pool"]
    assert (await receive())["type"] == "http.request"
    SEEN.append([os.getpid(), scope["path"], scope["query_string"].decode()])
    body = json.dumps({"pid": os.getpid(), "seen": SEEN, "life": LIFE}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
