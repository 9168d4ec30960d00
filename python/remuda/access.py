"""Access lines by a logger class of the user's: each request that is over, as gunicorn shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from remuda.glog import trace_of
from remuda.views import Request, Response

Pairs = list[tuple[str, str]]
# Method, target (whole, path, query), protocol, headers, client, values of the app's environ.
Asked = tuple[str, tuple[str, str, str], str, Pairs, tuple[str, int] | None, Pairs]
# Status, headers, bytes of the body, time.
Answered = tuple[int, Pairs, int, timedelta]


def recorder(log: Any, scheme: str) -> Callable[[Asked, Answered], None] | None:
    """What tells a logger of requests; ``None`` if it would do nothing with them."""
    if not getattr(log, "access_log_enabled", True) and not _overrides_access(log):
        return None

    def record(asked: Asked, answered: Answered) -> None:
        environ = environ_of(asked, scheme)
        status, headers, sent, took = answered
        response = Response(_status_line(status), headers)
        response.sent = response.response_length = sent
        try:
            log.access(response, Request(environ), environ, took)
        except Exception as error:
            log.error(f"Exception in the access log\n{trace_of(error)}")

    return record


def _overrides_access(log: Any) -> bool:
    owner = next(layer for layer in type(log).__mro__ if "access" in vars(layer))
    return owner.__module__ not in ("gunicorn.glogging", "remuda.glogging")


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def environ_of(asked: Asked, scheme: str) -> dict[str, Any]:
    """The request as the environ of a WSGI app, also where an ASGI app has served it."""
    method, (target, path, query), protocol, headers, client, shown = asked
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "RAW_URI": target,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": protocol,
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.url_scheme": scheme,
    }
    if client:
        environ["REMOTE_PORT"] = str(client[1])
    for name, value in headers:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ.update((name, value) for name, value in shown if value != "-")
    return environ
