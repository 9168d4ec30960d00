"""Starts a thread when it is imported, as many exporters do."""

import os
import threading
import time

alive_since = []


def tick():
    while True:
        alive_since.append(time.monotonic())
        time.sleep(0.05)


threading.Thread(target=tick, name="exporter", daemon=True).start()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    before = len(alive_since)
    time.sleep(0.2)
    return [f"{os.getpid()} {'ticking' if len(alive_since) > before else 'dead'}".encode()]
