"""An app whose worker is swept all the time: what sweeps take from the kernel must not be lost."""

import sys
import threading

sweeps = [0]
quiet = threading.Event()


def worker():
    """The worker that this process is, from the frames of its main thread."""
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame:
        found = frame.f_locals.get("worker")
        if hasattr(found, "beat"):
            return found
        frame = frame.f_back
    raise LookupError("no worker in the main thread")


def sweep_on(worker):
    # A pause lets the other threads have the interpreter's lock.
    while not quiet.wait(0.000_01):
        worker.beat()
        sweeps[0] += 1


def app(environ, start_response):
    if environ["PATH_INFO"] == "/begin":
        threading.Thread(target=sweep_on, args=(worker(),), daemon=True).start()
    elif environ["PATH_INFO"] == "/end":
        quiet.set()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(sweeps[0]).encode()]
