"""How each server is started. One worker each; the commands follow the server's own documentation.

A server is told what its documentation says for the job at hand, and nothing else; access logs are
off everywhere, because most have none by default. All limits and time-outs stay as they come.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
APPS = Path(__file__).resolve().parent / "apps"


@dataclass(frozen=True)
class Job:
    """What a server is to serve.

    Attributes:
        port: On 127.0.0.1.
        app: ``module:callable`` of the server's interface.
        waits: The app spends its time waiting for others.
        programs: Where cargo has put the programs of this repository.
    """

    port: int
    app: str
    waits: bool
    programs: Path


@dataclass(frozen=True)
class Server:
    """One row of the tables.

    Attributes:
        name: As the tables show it.
        interface: ``wsgi``, ``asgi``, or ``none`` for what runs no Python and says hello only.
        command: Makes the command line.
        keep_alive: Whether connections can be used again; where not, the client opens a new one
            for each request.
        ours: Whether this repository makes it.
    """

    name: str
    interface: str
    command: Callable[[Job], list[str]]
    keep_alive: bool = True
    ours: bool = False


def remuda(*options: str) -> Callable[[Job], list[str]]:
    return lambda job: [str(BIN / "remuda"), "-b", f"127.0.0.1:{job.port}", *options, job.app]


def front_alone(job: Job) -> list[str]:
    return [str(job.programs / "examples" / "hello"), str(job.port)]


# https://docs.gunicorn.org/en/stable/design.html; its fast parser is installed.
def gunicorn(*options: str) -> Callable[[Job], list[str]]:
    # The control socket has one fixed place a user, so two gunicorns at a time would meet there.
    quiet = ["--log-level", "error", "--no-control-socket"]
    return lambda job: [
        str(BIN / "gunicorn"), "-b", f"127.0.0.1:{job.port}", *quiet, *options, job.app
    ]  # fmt: skip


# https://www.uvicorn.org/deployment/: uvloop and httptools are taken when installed, as they are.
def uvicorn(job: Job) -> list[str]:
    address = ["--host", "127.0.0.1", "--port", str(job.port)]
    return [str(BIN / "uvicorn"), *address, "--log-level", "error", "--no-access-log", job.app]


# https://github.com/emmett-framework/granian#workers-and-threads: few blocking threads for apps
# that answer within milliseconds, the default (many) for apps that wait.
def granian(interface: str) -> Callable[[Job], list[str]]:
    def command(job: Job) -> list[str]:
        few = interface == "wsgi" and not job.waits
        return [
            str(BIN / "granian"), "--interface", interface,
            "--host", "127.0.0.1", "--port", str(job.port), "--workers", "1",
            *(["--blocking-threads", "1"] if few else []),
            "--no-ws", "--log-level", "error", job.app,
        ]  # fmt: skip

    return command


def bjoern(job: Job) -> list[str]:
    return [str(BIN / "python"), str(APPS / "run_bjoern.py"), str(job.port), job.app]


# https://uwsgi-docs.readthedocs.io/en/latest/ThingsToKnow.html. `http-socket` lets the worker speak
# HTTP; `http` would put a process in between and was slower here in every trial, `http11-socket`
# keeps a thread for each open connection and hangs under gevent.
def uwsgi(*options: str) -> Callable[[Job], list[str]]:
    return lambda job: [
        str(BIN / "uwsgi"), "--strict", "--master", "--processes", "1", "--single-interpreter",
        "--need-app", "--die-on-term", "--vacuum", "--disable-logging",
        "--http-socket", f"127.0.0.1:{job.port}", *options, "-w", job.app,
    ]  # fmt: skip


SERVERS = [
    Server("front without Python", "none", front_alone, ours=True),
    Server("remuda sync", "wsgi", remuda("-k", "sync"), ours=True),
    Server("remuda gthread(4)", "wsgi", remuda("-k", "gthread", "--threads", "4"), ours=True),
    Server("remuda gevent", "wsgi", remuda("-k", "gevent"), ours=True),
    Server(
        "remuda asgi, asyncio", "asgi", remuda("-k", "asgi", "--asgi-loop", "asyncio"), ours=True
    ),
    Server("remuda asgi, uvloop", "asgi", remuda("-k", "asgi", "--asgi-loop", "uvloop"), ours=True),
    Server("gunicorn sync", "wsgi", gunicorn("-k", "sync")),
    Server("gunicorn gthread(4)", "wsgi", gunicorn("-k", "gthread", "--threads", "4")),
    Server("gunicorn gevent", "wsgi", gunicorn("-k", "gevent")),
    Server("gunicorn asgi", "asgi", gunicorn("-k", "asgi")),
    Server("gunicorn uvicorn", "asgi", gunicorn("-k", "uvicorn_worker.UvicornWorker")),
    Server("uvicorn", "asgi", uvicorn),
    Server("granian wsgi", "wsgi", granian("wsgi")),
    Server("granian asgi", "asgi", granian("asgi")),
    Server("bjoern", "wsgi", bjoern),
    Server("uWSGI threads(4)", "wsgi", uwsgi("--threads", "4"), keep_alive=False),
    Server(
        "uWSGI gevent",
        "wsgi",
        uwsgi("--gevent", "300", "--gevent-early-monkey-patch"),
        keep_alive=False,
    ),
]
