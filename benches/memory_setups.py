"""What `make bench-memory` compares: sites not written for it, and set-ups of both servers.

A set-up of remuda stands beside gunicorn with the same workers and no `--preload`: what one gets
from either without changing the site.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scenarios import SITE, Scenario
from servers import BIN, ROOT, Server, gunicorn, remuda

LOCAL_SETTINGS = 'SECRET_KEY = "only-for-a-benchmark"\nALLOWED_HOSTS = ["*"]\n'


@dataclass(frozen=True)
class Setup:
    """One row.

    Attributes:
        server: How it is started.
        workers: How many it has.
        against: The row of gunicorn that it is compared with; empty for gunicorn itself.
        at_most: The ratio that must be reached where a site's must be; None = only reported.
        reload: Load it, reload it, load it again: what was learned from the first workers counts.
    """

    server: Server
    workers: int
    against: str = ""
    at_most: float | None = None
    reload: bool = False


@dataclass(frozen=True)
class Site:
    """An app, and what is compared when it is served.

    Attributes:
        name: For the command line.
        scenario: Makes folder, environment and app, in a folder that is kept between runs.
        setups: The rows, gunicorn's first.
        must: Whether the ratios must be reached; elsewhere they are only reported.
        recycle: Those whose throughput with and without recycling is compared.
    """

    name: str
    scenario: Callable[[Path, str], Scenario]
    setups: list[Setup]
    must: bool = False
    recycle: list[Setup] = field(default_factory=list)


def ours(
    name: str,
    workers: int,
    kind: str,
    *options: str,
    against: str = "",
    at_most: float | None = None,
    reload: bool = False,
) -> Setup:
    # The log says at level debug how long each worker took, and which process it is.
    command = remuda("-w", str(workers), "-k", kind, "--log-level", "debug", *options)
    interface = "asgi" if kind == "asgi" else "wsgi"
    server = Server(f"remuda {workers} {name}", interface, command, ours=True)
    return Setup(server, workers, against, at_most, reload)


def theirs(workers: int, kind: str, *options: str) -> Setup:
    interface = "asgi" if "uvicorn" in kind else "wsgi"
    name = f"gunicorn {workers} {'uvicorn' if interface == 'asgi' else kind}"
    name += " recycling" if options else ""
    command = gunicorn("-w", str(workers), "-k", kind, *options)
    return Setup(Server(name, interface, command), workers)


def wsgi_setups(warmup: str) -> list[Setup]:
    five, two = "gunicorn 5 sync", "gunicorn 2 gevent"
    warm = ["--warmup-paths", warmup]
    return [
        theirs(5, "sync"),
        theirs(2, "sync"),
        theirs(2, "gevent"),
        ours("sync", 5, "sync", against=five, at_most=0.52),
        ours("sync, learned", 5, "sync", against=five, at_most=0.40, reload=True),
        ours("sync, warm", 5, "sync", *warm, against=five, at_most=0.34),
        ours("gevent", 2, "gevent", against=two),
        ours("gevent, warm", 2, "gevent", *warm, against=two, at_most=0.62),
    ]


def asgi_setups(warmup: str) -> list[Setup]:
    five = "gunicorn 5 uvicorn"
    return [
        theirs(5, "uvicorn_worker.UvicornWorker"),
        ours("asgi", 5, "asgi", against=five),
        ours("asgi, learned", 5, "asgi", against=five, reload=True),
        ours("asgi, warm", 5, "asgi", "--warmup-paths", warmup, against=five),
    ]


def recycle_setups(warmup: str) -> list[Setup]:
    warm = ["--warmup-paths", warmup]
    recycling = ["--max-requests", "500", "--max-requests-jitter", "50"]
    return [
        theirs(2, "gevent"),
        theirs(2, "gevent", *recycling),
        ours("gevent", 2, "gevent"),
        ours("gevent recycling", 2, "gevent", *recycling),
        ours("gevent, learned", 2, "gevent", reload=True),
        ours("gevent, learned recycling", 2, "gevent", *recycling, reload=True),
        ours("gevent, warm", 2, "gevent", *warm),
        ours("gevent, warm recycling", 2, "gevent", *warm, *recycling),
    ]


def proyecto(_folder: Path, name: str) -> Scenario:
    return Scenario(
        name,
        "The example site: a page of 25 articles from the ORM",
        connections=16,
        wsgi="proyecto.wsgi:application",
        cwd=SITE,
        env={"DJANGO_SETTINGS_MODULE": "proyecto.settings.prod", "LOG_LEVEL": "ERROR"},
    )


def wagtail(folder: Path, name: str) -> Scenario:
    """A new site by `wagtail start`, with its production settings."""
    site = folder / "wagtail"
    env = {"DJANGO_SETTINGS_MODULE": "mysite.settings.production"}
    if not (site / ".made").exists():
        site.mkdir(parents=True, exist_ok=True)
        start = [sys.executable, str(BIN / "wagtail"), "start", "mysite", str(site)]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        (site / "mysite" / "settings" / "local.py").write_text(LOCAL_SETTINGS)
        for command in (["migrate", "--no-input"], ["collectstatic", "--no-input"]):
            subprocess.run(
                [sys.executable, "manage.py", *command],
                cwd=site,
                env={**os.environ, **env},
                check=True,
                stdout=subprocess.DEVNULL,
            )
        (site / ".made").touch()
    return Scenario(
        name,
        "A site by `wagtail start`, production settings: the log-in page of its admin",
        path="/admin/login/",
        connections=16,
        wsgi="mysite.wsgi:application",
        cwd=site,
        env=env,
    )


def fastapi(_folder: Path, name: str) -> Scenario:
    return Scenario(
        name,
        "FastAPI: the example app of the tests, ASGI",
        connections=16,
        asgi="fastapi_app:app",
        cwd=ROOT / "tests" / "apps",
    )


LOGIN = "/admin/login/,/"
SITES = [
    Site("proyecto", proyecto, wsgi_setups("/"), recycle=recycle_setups("/")),
    Site("wagtail", wagtail, wsgi_setups(LOGIN), True, recycle_setups(LOGIN)),
    Site("fastapi", fastapi, asgi_setups("/")),
]
