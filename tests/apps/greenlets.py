"""Greenlet-local state, and greenlets of the app's own."""

import threading
import time

import gevent

local = threading.local()
ticks = []


def tick():
    while len(ticks) < 1000:
        ticks.append(1)
        gevent.sleep(0.01)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"][1:]
    if path == "spawn":
        gevent.spawn(tick)
        return [b"spawned"]
    if path == "ticks":
        return [str(len(ticks)).encode()]
    local.path = path
    time.sleep(0.1)
    return [f"{path} {'kept' if local.path == path else 'mixed up'}".encode()]
