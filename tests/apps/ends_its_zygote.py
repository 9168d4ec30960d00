"""Asked to, it ends its zygote in the middle of a fork: the worker is born, and nobody is told."""

import os
import signal
from pathlib import Path

ASKED = Path(os.environ["END_ZYGOTE"])
ZYGOTE = os.getpid()


def end_zygote() -> None:
    """Called in the middle process of the double fork, just before the worker is made."""
    if ASKED.exists():
        ASKED.unlink()
        os.kill(ZYGOTE, signal.SIGKILL)


os.register_at_fork(before=end_zygote)


def app(environ, start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
