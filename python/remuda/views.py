"""What hooks get as ``server``, ``worker``, ``req`` and ``resp``: gunicorn's names, our state.

These are views, not the things themselves: there is no Python in the master, and the loop of a
worker is Rust.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from remuda import _remuda
from remuda.cfg import Cfg


class Listener:
    """A listening socket, by its address."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __str__(self) -> str:
        return self._url

    def getsockname(self) -> Any:
        """``(host, port)``, or the path of a socket."""
        name = self._url.partition("://")[2] or self._url.removeprefix("unix:")
        host, _, port = name.rpartition(":")
        return (host.strip("[]"), int(port)) if port.isdigit() else name


class Server:
    """The master as hooks see it.

    Attributes:
        cfg: The settings.
        log: The error log.
        pid: Process id of the master.
        app: Has ``wsgi()``, where the app is loaded in this process.
        WORKERS: Views of the workers that this process knows of, by process id.
        LISTENERS: What clients connect to.
        num_workers: How many workers are wanted.
    """

    SIGNALS = ("HUP", "QUIT", "INT", "TERM", "TTIN", "TTOU", "USR1")

    def __init__(self, cfg: Cfg, log: Any, master: int) -> None:
        self.cfg = cfg
        self.log = log
        self.pid = master
        self.app = Application(cfg)
        self.WORKERS: dict[int, Worker] = {}
        self.LISTENERS: list[Listener] = []
        self.num_workers: int = cfg.workers
        self.worker_age = 0
        self.master_pid = 0
        self.reexec_pid = 0
        self.master_name = "Master"
        self.systemd = False
        self.START_CTX: dict[Any, Any] = {}

    @property
    def address(self) -> list[Any]:
        """Where clients connect."""
        return self.cfg.address

    @property
    def timeout(self) -> Any:
        """The setting."""
        return self.cfg.timeout

    @property
    def proc_name(self) -> str:
        """What the service is called."""
        return self.cfg.proc_name

    @property
    def worker_class(self) -> str:
        """The short name of the worker class."""
        return self.cfg.worker_class_str

    @property
    def pidfile(self) -> Any:
        """The setting."""
        return self.cfg.pidfile

    def kill_worker(self, pid: int, number: int) -> None:
        """Send a signal to a worker."""
        os.kill(pid, number)

    def kill_workers(self, number: int) -> None:
        """Send a signal to all workers that are known here."""
        for pid in list(self.WORKERS):
            os.kill(pid, number)

    def stop(self, graceful: bool = True) -> None:
        """Ask the master to stop."""
        os.kill(self.pid, signal.SIGTERM if graceful else signal.SIGQUIT)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """Ask the master to stop; its exit status is its own."""
        if reason:
            self.log.error("Reason: %s", reason)
        self.stop()

    def reload(self) -> None:
        """Ask the master to reload."""
        os.kill(self.pid, signal.SIGHUP)


class Application:
    """``server.app`` and ``worker.app``."""

    def __init__(self, cfg: Cfg) -> None:
        self.cfg = cfg
        self.callable: Any = None

    def wsgi(self) -> Any:
        """The app, where it is loaded."""
        return self.callable

    def load(self) -> Any:
        """The app, where it is loaded."""
        return self.callable


class Heartbeat:
    """``worker.tmp``: gunicorn beats by a file, we in shared memory, and without being asked."""

    def notify(self) -> None:
        """Nothing has to be done."""

    def last_update(self) -> float:
        """Now: hooks run in workers that are alive."""
        return time.monotonic()


class Worker:
    """A worker as hooks see it; hooks may keep what they like on it.

    Attributes:
        age: Its serial number.
        slot: Its place in the pool, 0 for the first; its successor has the same. Not in gunicorn.
        pid: Process id; a text before the fork.
        ppid: Process id of the master.
        cfg: The settings.
        log: The error log.
        app: Has ``wsgi()``.
        max_requests: After so many it is replaced; 0 = never. Counts if set in ``post_fork``.
        booted: It serves, or has served.
        aborted: It hung, and was given up.
        wsgi: The app. Counts if set in ``post_worker_init``. ``asgi`` is the same.
    """

    def __init__(self, server: Server, age: int, slot: int, max_requests: int) -> None:
        self.age = age
        self.slot = slot
        self.pid: int | str = "[booting]"
        self.ppid = server.pid
        self.cfg = server.cfg
        self.log = server.log
        self.app = server.app
        self.max_requests = max_requests
        self.booted = False
        self.aborted = False
        self.timeout = (self.cfg.timeout or 0) / 2
        self.tmp = Heartbeat()
        self.sockets = server.LISTENERS
        self.reloader = None
        self.state: dict[str, Any] = {}
        self._loop: _remuda.Worker | None = None

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"

    def attach(self, loop: _remuda.Worker) -> None:
        """From now on it has a loop."""
        self._loop = loop
        self.booted = True

    @property
    def wsgi(self) -> Any:
        """The app."""
        return self.app.callable

    @wsgi.setter
    def wsgi(self, app: Any) -> None:
        self.app.callable = app

    asgi = wsgi

    @property
    def nr(self) -> int:
        """Requests served so far."""
        return self._loop.served if self._loop is not None else 0

    @property
    def nr_conns(self) -> int:
        """Open connections."""
        return self._loop.connections if self._loop is not None else 0

    @property
    def alive(self) -> bool:
        """Whether it takes requests; set it to false to have the worker drain and leave."""
        return self._loop is None or not self._loop.draining

    @alive.setter
    def alive(self, alive: bool) -> None:
        if not alive and self._loop is not None:
            self._loop.drain()

    def notify(self) -> None:
        """Nothing has to be done: loops beat by themselves."""


class Request:
    """``req``, read from the environ of a WSGI app or from the scope of an ASGI one.

    Attributes:
        method: ``GET``.
        uri: As the client has sent it.
        path: Without the query, not decoded.
        query: Behind the ``?``.
        fragment: Always empty: it never leaves a browser.
        version: ``(1, 1)``.
        headers: Pairs of a name in capitals and a value.
        scheme: ``http`` or ``https``.
        remote_addr: ``(address, port)`` of the client.
        peer_addr: The same.
    """

    fragment = ""
    trailers: tuple[()] = ()
    req_number = 1
    proxy_protocol_info = None

    def __init__(self, environ: dict[str, Any]) -> None:
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        self.path, _, self.query = self.uri.partition("?")
        digits = environ["SERVER_PROTOCOL"].removeprefix("HTTP/").split(".")
        self.version = tuple(int(digit) for digit in [*digits, "0"][:2])
        self.headers = list(headers_of(environ))
        self.scheme: str = environ["wsgi.url_scheme"]
        self.body = environ.get("wsgi.input")
        self.remote_addr = (environ.get("REMOTE_ADDR", ""), environ.get("REMOTE_PORT"))
        self.peer_addr = self.remote_addr

    @classmethod
    def of_scope(cls, scope: dict[str, Any]) -> Request:
        """From the scope of an HTTP request."""
        raw = scope["raw_path"].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        address, port = scope.get("client") or ("", None)
        environ = {
            "REQUEST_METHOD": scope["method"],
            "RAW_URI": f"{raw}?{query}" if query else raw,
            "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
            "wsgi.url_scheme": scope["scheme"],
            "REMOTE_ADDR": address,
            "REMOTE_PORT": port,
        }
        request = cls(environ)
        request.headers = [
            (name.decode("latin-1").upper(), value.decode("latin-1"))
            for name, value in scope["headers"]
        ]
        return request

    def should_close(self) -> bool:
        """Whether the client asks for the connection to be closed afterwards."""
        said = [value.lower() for name, value in self.headers if name == "CONNECTION"]
        return "close" in said or (self.version < (1, 1) and "keep-alive" not in said)


def headers_of(environ: dict[str, Any]) -> Any:
    """The header fields of an environ."""
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-"), value
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            yield key.replace("_", "-"), value


class Response:
    """``resp``.

    Attributes:
        status: ``200 OK``; ``None`` if the app never said one.
        status_code: 200.
        headers: Pairs of name and value, as the app has given them.
    """

    def __init__(self, status: str | None, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self.headers = headers
        self.headers_sent = status is not None
        self.sent = 0
        self.response_length: int | None = None

    @property
    def status_code(self) -> int | None:
        """The number of the status."""
        return int(self.status.split(None, 1)[0]) if self.status else None
