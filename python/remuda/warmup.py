"""Warm-up: the zygote answers some requests itself before workers are forked from it.

What a first request builds (imports, templates, URL tables, the interpreter's specialised code) is
then shared by all workers instead of being built in each. The app is called as a worker would call
it. Afterwards nothing may be left that a fork breaks: connections are closed here where a library
has an interface for that, and whatever else is found (`fork_safety`) makes the zygote start again
without warm-up.
"""

from __future__ import annotations

import io
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from remuda import _remuda

App = Callable[..., Any]

# After the first no request is begun any more, after the second none goes on.
BUDGET_S = 10.0
LIMIT_S = 20.0


class TooLong(BaseException):
    """Raised into a warm-up request that takes too long."""


class Target:
    """A page to ask for.

    Args:
        wish: A path with its query, or an URL whose scheme and host are then used.
    """

    def __init__(self, wish: str) -> None:
        parts = urlsplit(wish if "://" in wish else f"//{wish}" if wish[:1] != "/" else wish)
        self.wish = wish
        self.path = parts.path or "/"
        self.query = parts.query
        self.scheme = parts.scheme or django_scheme()
        self.host = parts.netloc or django_host()

    def environ(self, plan: dict[str, Any]) -> dict[str, Any]:
        """What a worker would give a WSGI app, and ``remuda.warmup``."""
        from wsgiref.util import FileWrapper

        return {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": self.scheme,
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": plan["worker_class"] != "sync",
            "wsgi.multiprocess": plan["workers"] > 1,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            "remuda.warmup": True,
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(self.path).decode("latin-1"),
            "QUERY_STRING": self.query,
            "RAW_URI": self.path + (f"?{self.query}" if self.query else ""),
            "SERVER_NAME": self.host.split(":")[0],
            "SERVER_PORT": "443" if self.scheme == "https" else "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": f"remuda/{_remuda.__version__}",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": self.host,
            "HTTP_ACCEPT": "text/html,*/*;q=0.8",
            "HTTP_USER_AGENT": "remuda-warmup",
        }

    def scope(self, plan: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """What a worker would give an ASGI app."""
        headers = {
            "host": self.host,
            "accept": "text/html,*/*;q=0.8",
            "user-agent": "remuda-warmup",
        }
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": self.scheme,
            "path": unquote_to_bytes(self.path).decode("utf-8", "replace"),
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "root_path": plan["asgi"]["root_path"],
            "headers": [
                (name.encode(), value.encode("latin-1")) for name, value in headers.items()
            ],
            "client": ("127.0.0.1", 0),
            "server": (self.host.split(":")[0], 443 if self.scheme == "https" else 80),
            "state": state.copy(),
            "extensions": {},
        }


def django_settings() -> Any:
    """Django's settings, where the app is Django's and has read them."""
    conf = sys.modules.get("django.conf")
    settings = getattr(conf, "settings", None)
    return settings if getattr(settings, "configured", False) else None


def django_host() -> str:
    """A host that the app answers; any other would only warm its error page."""
    hosts = getattr(django_settings(), "ALLOWED_HOSTS", None) or ["localhost"]
    first = str(hosts[0])
    return "localhost" if "*" in first else first.lstrip(".")


def django_scheme() -> str:
    """A site that sends everybody to HTTPS would only warm its redirection."""
    return "https" if getattr(django_settings(), "SECURE_SSL_REDIRECT", False) else "http"


@dataclass(frozen=True)
class Round:
    """What a warm-up asks for.

    Attributes:
        app: Who is asked.
        order: The pages, one after the other.
        plan: The master's plan.
        journal: The error log.
        answers: Counts, by page, the status or what was raised.
        end: No request is begun after this, in the time of ``time.monotonic``.
    """

    app: App
    order: list[Target]
    plan: dict[str, Any]
    journal: _remuda.Journal
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    end: float = field(default_factory=lambda: time.monotonic() + BUDGET_S)

    def pages(self) -> Iterator[Target]:
        """The pages, as long as there is time."""
        for target in self.order:
            if time.monotonic() > self.end:
                return
            yield target


def warm_up(app: App, plan: dict[str, Any], journal: _remuda.Journal) -> None:
    """Ask for every page, and say what came of it. An app that fails here serves all the same."""
    targets = [Target(wish) for wish in plan["memory"]["warmup_paths"]]
    begun = time.monotonic()
    order = [target for _ in range(plan["memory"]["warmup_requests"]) for target in targets]
    asked = Round(app, order, plan, journal)
    try:
        with time_limit(plan["worker_class"]):
            ask = asgi_ask if plan["worker_class"] == "asgi" else wsgi_ask
            ask(asked)
    except TooLong:
        journal.warning(
            f"Warm-up stopped: it took longer than {LIMIT_S:g} s\n"
            "  hint: leave slow pages out of `warmup_paths`"
        )
    except SystemExit as error:
        journal.warning(f"Warm-up stopped: a request has asked to leave with status {error.code}")
    took_ms = int((time.monotonic() - begun) * 1000)
    answers = asked.answers
    said = ", ".join(f"{wish} {answer}" for wish, answer in answers)
    journal.info(f"Warmed up with {answers.total()} requests in {took_ms} ms: {said}")
    if any(not answer.startswith(("2", "3")) for _, answer in answers):
        journal.warning(
            "Some warm-up requests have failed, so workers share less than they could\n"
            "  hint: give `warmup_paths` pages that answer without a session; as "
            "`https://HOST/PATH` where the application wants a certain host"
        )


def wsgi_ask(asked: Round) -> None:
    """Ask a WSGI app for each page in order, and count its answers."""
    for target in asked.pages():
        asked.answers[target.wish, call(asked.app, target.environ(asked.plan))] += 1


def asgi_ask(asked: Round) -> None:
    """The same for an ASGI app."""
    from remuda import asgi_warmup

    asgi_warmup.run(asked)


def call(app: App, environ: dict[str, Any]) -> str:
    """One WSGI request; the status, or what was raised."""
    status = ["no answer"]

    def start_response(line: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        status.append(line.split(" ")[0])
        return lambda _: None

    try:
        body = app(environ, start_response)
        try:
            for _ in body:
                pass
        finally:
            if hasattr(body, "close"):
                body.close()
    except (Exception, SystemExit) as error:
        return type(error).__name__
    return status[-1]


@contextmanager
def time_limit(worker_class: str) -> Iterator[None]:
    """Raise ``TooLong`` in the block after some time, also from within a call that waits."""
    if worker_class == "gevent":
        import gevent

        with gevent.Timeout(LIMIT_S, TooLong()):
            yield
        return

    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
