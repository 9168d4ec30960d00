"""What is asked of the servers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from servers import APPS, ROOT, SERVERS, Server

SITE = ROOT / "examples" / "proyecto"
MIB = 1024 * 1024


@dataclass(frozen=True)
class Scenario:
    """One table.

    Attributes:
        name: For the command line.
        title: For readers.
        path: What is asked for.
        connections: How many ask at the same time.
        load: More options for the load client.
        wsgi, asgi: The app, by interface.
        cwd, env: Where and with what the server starts.
        waits: The app spends its time waiting for others.
        upstream_ms: Let an upstream server run that waits so long before it answers.
        only: Names of the servers that make sense here; empty means all with a suitable interface.
    """

    name: str
    title: str
    path: str = "/"
    connections: int = 32
    load: tuple[str, ...] = ()
    wsgi: str = "app:wsgi"
    asgi: str = "app:asgi"
    cwd: Path = APPS
    env: dict[str, str] = field(default_factory=dict)
    waits: bool = False
    upstream_ms: int | None = None
    only: tuple[str, ...] = ()

    def servers(self) -> list[Server]:
        """Those that can serve it."""
        says_hello = self.path == "/" and self.cwd == APPS
        possible = [s for s in SERVERS if s.interface != "none" or says_hello]
        return [server for server in possible if not self.only or server.name in self.only]

    def app(self, server: Server) -> str:
        """The app for a server's interface."""
        return self.asgi if server.interface == "asgi" else self.wsgi


SCENARIOS = [
    Scenario("hello", "Hello, 32 connections", load=("--expect-bytes", "13")),
    Scenario(
        "django",
        "Django: a page of 25 articles from the ORM (SQLite), 16 connections",
        connections=16,
        wsgi="proyecto.wsgi:application",
        asgi="proyecto.asgi:application",
        cwd=SITE,
        env={"DJANGO_SETTINGS_MODULE": "proyecto.settings.prod", "LOG_LEVEL": "ERROR"},
    ),
    Scenario(
        "upstream",
        "The app asks a server that takes 20 ms to answer, 300 connections",
        path="/upstream",
        connections=300,
        load=("--expect-bytes", "6"),
        waits=True,
        upstream_ms=20,
    ),
    Scenario(
        "upload",
        "Upload of 1 MiB, 8 connections",
        path="/upload",
        connections=8,
        load=("--body-bytes", str(MIB), "--expect-bytes", "8"),
    ),
    Scenario(
        "download",
        "Download of 1 MiB, 8 connections",
        path="/download",
        connections=8,
        load=("--expect-bytes", str(MIB)),
    ),
    Scenario(
        "slow",
        "Hello, 30 connections of which 3 belong to slow clients (a request of 8 bytes each 50 ms)",
        connections=30,
        load=(
            "--expect-bytes",
            "13",
            "--slow",
            "0.1",
            "--slow-bytes",
            "8",
            "--slow-pause-ms",
            "50",
        ),
    ),
    Scenario(
        "wait",
        "The app sleeps 10 ms and asks a local server, 300 connections (gevent only)",
        path="/wait",
        connections=300,
        load=("--expect-bytes", "6"),
        waits=True,
        upstream_ms=0,
        only=("remuda gevent", "gunicorn gevent", "uWSGI gevent"),
    ),
]
