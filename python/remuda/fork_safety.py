"""What an import has left behind that a fork would break.

A fork copies only the thread that calls it, and shares every open socket: a background thread is
gone in the workers, and one database connection in two processes mixes their answers up.
"""

from __future__ import annotations

import _socket
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from remuda import _remuda
from remuda.loading import BootError

SERVICES = {
    443: "HTTPS",
    1433: "SQL Server",
    1521: "Oracle",
    3306: "MySQL",
    4222: "NATS",
    4317: "OpenTelemetry",
    5432: "PostgreSQL",
    5671: "RabbitMQ",
    5672: "RabbitMQ",
    6379: "Redis",
    6380: "Redis",
    6432: "PgBouncer",
    9042: "Cassandra",
    9092: "Kafka",
    9200: "Elasticsearch",
    11211: "memcached",
    26379: "Redis Sentinel",
    27017: "MongoDB",
}
# How the names of their unix sockets begin or end.
UNIX_SERVICES = {
    ".s.PGSQL.": "PostgreSQL",
    "mysql": "MySQL",
    "redis": "Redis",
    "memcached": "memcached",
    "docker.sock": "Docker",
}
NAMELESS = "a unix socket without a name"
# Whose threads these are, by how their names begin; the kernel cuts names at 15 bytes.
LIBRARIES = {
    "tokio-": "tokio, in an extension written in Rust",
    "grpc": "gRPC",
    "event_engine": "gRPC",
    "resolver-exec": "gRPC",
    "default-execut": "gRPC",
    "timer_manager": "gRPC",
    "lifeguard": "gRPC",
    "rdk:": "librdkafka",
    "jemalloc_bg": "jemalloc",
    "libuv-worker": "libuv",
    "iou-": "io_uring",
}
# Time that threads get to end after a fork which they have seen coming.
FORK_AWARE_S = 0.1


@dataclass(frozen=True)
class Advice:
    """What a fork does to things of a kind, and what to do instead; each one line."""

    breaks: str
    fix: str


@dataclass(frozen=True)
class Hazard:
    """Something that a fork would break. Equal ones are the same one, found again."""

    what: str
    advice: Advice


LATER = "in the hook `post_worker_init`, or in the first request"
THREAD = Advice(
    "it does not run in workers, and who waits for it or its locks waits for ever",
    f"start it {LATER}",
)
NATIVE = Advice(
    "none of them runs in workers, and who hands them work waits for ever",
    f"make what starts them {LATER}",
)
GRPC = Advice(
    "channels and servers that are there before a fork hang or crash after it",
    f"make channels {LATER}",
)
CONNECTION = Advice(
    "all workers would talk on it: one gets the answers of another, and encryption breaks",
    f"close it at the end of the import, or connect {LATER}",
)
LOOP = Advice(
    "workers would share its events: each is woken for others, and misses its own",
    f"make it {LATER}; `asyncio.run` closes its own",
)
HUB = Advice(
    "workers would share its events: only `worker_class` gevent makes a hub anew",
    f"use `worker_class` gevent, or touch gevent only {LATER}",
)

IMPORT_LEFT = "importing it has left behind what a fork breaks"

_started: weakref.WeakKeyDictionary[threading.Thread, str] = weakref.WeakKeyDictionary()


def find_hazards(own_fds: set[int], *, gevent: bool) -> list[Hazard]:
    """Name the threads, connections and event loops of this process.

    Args:
        own_fds: Descriptors of remuda itself, which are meant to be shared.
        gevent: Whether workers are gevent's, which makes its hub anew after a fork.
    """
    hub = _hub()
    hazards = [*_threads(), *_native_threads()]
    if hub is not None:
        own_fds = own_fds | _descriptors_of(hub)
        if not gevent:
            hazards.append(Hazard("a hub of gevent", HUB))
    return [*hazards, *_descriptors(own_fds)]


def beyond(after: list[Hazard], before: list[Hazard]) -> list[Hazard]:
    """Those that have come since; a second one of a kind is new."""
    return list((Counter(after) - Counter(before)).elements())


def describe(hazards: list[Hazard]) -> str:
    """For the log: what was found, and below each kind what breaks and how to fix it."""
    lines = []
    for advice in dict.fromkeys(hazard.advice for hazard in hazards):
        counts = Counter(hazard.what for hazard in hazards if hazard.advice == advice)
        lines += [
            f"    {what}" + (f" ({count} times)" if count > 1 else "")
            for what, count in counts.items()
        ]
        lines += [f"      breaks: {advice.breaks}", f"      fix: {advice.fix}"]
    return "\n".join(lines)


def refusal(left: str, hazards: list[Hazard], hint: str = "") -> BootError:
    """Why the app is not forked when `fork_check` is `refuse`."""
    found = describe(hazards) + (f"\n  hint: {hint}" if hint else "")
    why = "The application is not forked (`fork_check` is refuse)"
    return BootError("unsafe", f"{why}: {left}\n{found}")


@contextmanager
def watching_starts() -> Iterator[None]:
    """Note where threads are started while the block runs."""
    original = threading.Thread.start
    is_watching = True

    def start(self: threading.Thread) -> None:
        if is_watching:
            with suppress(Exception):
                _started[self] = _place_of(sys._getframe(1))
        original(self)

    threading.Thread.start = start  # type: ignore[method-assign]
    try:
        yield
    finally:
        is_watching = False
        # Somebody may have wrapped it meanwhile.
        if threading.Thread.start is start:
            threading.Thread.start = original  # type: ignore[method-assign]


def _place_of(frame: Any) -> str:
    """The line of the app that has led here; of a package, where the app itself has not."""
    ours, library = os.path.dirname(__file__), os.path.dirname(threading.__file__)
    packages: list[str] = []
    while frame is not None:
        path, line = frame.f_code.co_filename, frame.f_lineno
        is_package = "site-packages" in path or "dist-packages" in path
        if not path.startswith("<") and os.path.dirname(path) != ours:
            if not is_package and not path.startswith(library):
                return f"{path}:{line}"
            if is_package:
                packages.append(f"{path}:{line}")
        frame = frame.f_back
    return packages[0] if packages else ""


def _threads() -> Iterator[Hazard]:
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            place = _started.get(thread)
            yield Hazard(
                f"thread {thread.name!r}" + (f", started at {place}" if place else ""), THREAD
            )


def _native_threads() -> Iterator[Hazard]:
    """Threads of extension modules. Some libraries end theirs before a fork: one is tried."""
    if not _native_tasks():
        return
    _fork_once()
    end = time.monotonic() + FORK_AWARE_S
    while (tasks := _native_tasks()) and time.monotonic() < end:
        _pause()
    names = Counter(name for name in map(_task_name, tasks) if name)
    for name, count in sorted(names.items()):
        library = next((lib for start, lib in LIBRARIES.items() if name.startswith(start)), None)
        many = f"{count} native threads" if count > 1 else "native thread"
        what = f"{many} {name!r}" + (f" ({library})" if library else "")
        yield Hazard(what, GRPC if library == "gRPC" else NATIVE)


def _native_tasks() -> list[str]:
    """Threads of the kernel that Python does not know of."""
    try:
        tasks = os.listdir("/proc/self/task")
    except OSError:
        return []
    # gevent's patched threads are greenlets and have no task of their own.
    known = {str(thread.native_id) for thread in threading.enumerate()} | {str(os.getpid())}
    return [task for task in tasks if task not in known]


def _task_name(task: str) -> str:
    """Empty when it has ended."""
    try:
        with open(f"/proc/self/task/{task}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return ""


def _fork_once() -> None:
    """Fork a process that does nothing. Whoever wants to be told of forks is told."""
    alive, end = os.pipe()
    pid = _remuda.fork_without_hooks()
    if pid == 0:
        os._exit(0)
    os.close(end)
    with suppress(OSError, TimeoutError):
        _remuda.await_middle(pid, alive, FORK_AWARE_S)
    os.close(alive)


def _pause() -> None:
    """A short sleep, without the hub that gevent's would make."""
    signal.sigtimedwait([], 0.005)


def _hub() -> Any:
    """gevent's hub of this thread, if there is one; none is made."""
    local = sys.modules.get("gevent._hub_local")
    return local.get_hub_if_exists() if local else None


def _descriptors_of(hub: Any) -> set[int]:
    """Its own queue of events."""
    with suppress(Exception):
        return {hub.loop.fileno()}
    return set()


def _descriptors(own_fds: set[int]) -> Iterator[Hazard]:
    try:
        fds = {int(name) for name in os.listdir("/proc/self/fd")} - own_fds
    except OSError:
        return
    queues = [fd for fd in sorted(fds) if _target(fd) == "anon_inode:[eventpoll]"]
    sockets = [(fd, peer) for fd in sorted(fds) if (peer := _peer(fd))]
    of_loops: set[int] = set()
    if queues or any(peer == NAMELESS for _, peer in sockets):
        for loop in _event_loops():
            kind = type(loop)
            yield Hazard(f"event loop of asyncio ({kind.__module__}.{kind.__qualname__})", LOOP)
            # One that does not tell which are its descriptors is most likely whose they are.
            of_loops |= _descriptors_of_loop(loop) or set(queues)
    for fd in queues:
        if fd not in of_loops:
            yield Hazard("queue of events (epoll)", LOOP)
    for fd, peer in sockets:
        if fd not in of_loops:
            yield Hazard(f"connection to {peer}", CONNECTION)


def _target(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def _event_loops() -> list[Any]:
    """Those of asyncio that are not closed."""
    events = sys.modules.get("asyncio.events")
    if events is None:
        return []
    # Not isinstance, which would wake lazy objects up.
    loops = [each for each in gc.get_objects() if issubclass(type(each), events.AbstractEventLoop)]
    return [loop for loop in loops if not loop.is_closed()]


def _descriptors_of_loop(loop: Any) -> set[int]:
    """Its queue and the pair of sockets by which it wakes itself up."""
    fds = set()
    for name in ("_selector", "_ssock", "_csock"):
        with suppress(Exception):
            fds.add(getattr(loop, name).fileno())
    return fds


def _peer(fd: int) -> str | None:
    """The other end, where this is an established stream connection."""
    if not _target(fd).startswith("socket:"):
        return None
    try:
        # Duplicated, since the socket object closes what it holds.
        connection = _socket.socket(fileno=os.dup(fd))
    except OSError:
        return None
    try:
        if connection.type & 0xF != _socket.SOCK_STREAM:
            return None
        address = connection.getpeername()
    except OSError:
        return None
    finally:
        connection.close()
    if isinstance(address, tuple):
        host, port = address[:2]
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{port}{_in_brackets(SERVICES.get(port))}"
    if not address:
        return NAMELESS
    path = address.decode(errors="replace") if isinstance(address, bytes) else address
    name = path.rsplit("/", 1)[-1]
    service = next(
        (known for start, known in UNIX_SERVICES.items() if name.startswith(start)), None
    )
    return f"unix socket {path!r}{_in_brackets(service)}"


def _in_brackets(service: str | None) -> str:
    return f" ({service})" if service else ""
