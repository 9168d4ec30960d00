"""Leaves to the end of its process what a tidy app would have done before."""

import atexit
import gzip
import os
import threading
import time

FOLDER = os.environ["ENDING_FOLDER"]
inherited = open(f"{FOLDER}/inherited", "a")  # noqa: SIM115
kept = []


def say(word):
    with open(f"{FOLDER}/said", "a") as file:
        file.write(f"{word} {os.getpid()}\n")


def work_on():
    time.sleep(0.3)
    say("thread")


atexit.register(say, "atexit")


def leave_open():
    kept.append(open(f"{FOLDER}/text", "w"))  # noqa: SIM115
    kept.append(gzip.open(f"{FOLDER}/packed", "wt"))  # noqa: SIM115
    for file in (*kept, inherited):
        file.write("written")
    threading.Thread(target=work_on, daemon=False).start()
    return str(os.getpid()).encode()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [leave_open()]


async def asgi_app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": leave_open()})
