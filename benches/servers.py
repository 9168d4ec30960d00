"""The servers of a comparison: how each is started for an app on a port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv-bench" / "bin"
APPS = Path(__file__).resolve().parent / "apps"
SITE = ROOT / "examples" / "proyecto"

Command = Callable[[int], list[str]]


@dataclass(frozen=True)
class Server:
    """One row of a table.

    Attributes:
        name: As the table shows it.
        command: Makes the command line for a port.
        cwd: Where it is started.
        env: Added to the environment.
        path: The page that is asked for.
    """

    name: str
    command: Command
    cwd: Path = APPS
    env: dict[str, str] = field(default_factory=dict)
    path: str = "/"


def remuda(*options: str, app: str = "hello:app") -> Command:
    return lambda port: [str(BIN / "remuda"), "-b", f"127.0.0.1:{port}", *options, app]


def gunicorn(*options: str, app: str = "hello:app") -> Command:
    quiet = ["--log-level", "error", "--no-control-socket"]
    return lambda port: [
        str(BIN / "gunicorn"), "-b", f"127.0.0.1:{port}", *quiet, *options, app
    ]  # fmt: skip


def granian(interface: str, app: str) -> Command:
    return lambda port: [
        str(BIN / "granian"), "--interface", interface, "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--no-ws", "--log-level", "error", app,
    ]  # fmt: skip


def uvicorn(port: int) -> list[str]:
    quiet = ["--log-level", "error", "--no-access-log"]
    return [str(BIN / "uvicorn"), "--host", "127.0.0.1", "--port", str(port), *quiet, "hello:asgi"]


def bjoern(port: int) -> list[str]:
    return [str(BIN / "python"), "run_bjoern.py", str(port)]


HELLO = [
    Server("remuda sync", remuda("-k", "sync")),
    Server("remuda gevent", remuda("-k", "gevent")),
    Server("bjoern", bjoern),
    Server("granian wsgi", granian("wsgi", "hello:app")),
    Server("uvicorn asgi", uvicorn),
    Server("gunicorn sync", gunicorn("-k", "sync")),
    Server("gunicorn gevent", gunicorn("-k", "gevent")),
]

DJANGO_ENV = {"DJANGO_SETTINGS_MODULE": "proyecto.settings.prod", "LOG_LEVEL": "ERROR"}


def site(name: str, command: Command) -> Server:
    return Server(name, command, cwd=SITE, env=DJANGO_ENV)


RECYCLING = ["-w", "2", "-k", "gevent", "--max-requests", "500", "--max-requests-jitter", "50"]
WSGI = "proyecto.wsgi:application"

DJANGO = [
    site("remuda, 2 gevent", remuda("-w", "2", "-k", "gevent", app=WSGI)),
    site("gunicorn, 2 gevent", gunicorn("-w", "2", "-k", "gevent", app=WSGI)),
    site("remuda, 2 gevent, recycled every 500", remuda(*RECYCLING, app=WSGI)),
    site("gunicorn, 2 gevent, recycled every 500", gunicorn(*RECYCLING, app=WSGI)),
    site("remuda, 5 sync", remuda("-w", "5", app=WSGI)),
    site("gunicorn, 5 sync", gunicorn("-w", "5", app=WSGI)),
]
