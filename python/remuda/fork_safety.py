"""What an import has left behind that a fork would break.

A fork copies only the thread that calls it, and shares every open socket: a background thread is
gone in the workers, and one database connection in two processes mixes their answers up.
"""

from __future__ import annotations

import _socket
import os
import threading
from collections.abc import Iterator

SERVICES = {
    443: "HTTPS",
    3306: "MySQL",
    5432: "PostgreSQL",
    5672: "RabbitMQ",
    6379: "Redis",
    9092: "Kafka",
    11211: "memcached",
    27017: "MongoDB",
}


def find_hazards(own_fds: set[int], *, event_loops: bool) -> list[str]:
    """Name the threads, established connections and event loops of this process.

    Args:
        own_fds: Descriptors of remuda itself, which are meant to be shared.
        event_loops: Whether to look for event loops; gevent's own survives a fork.
    """
    return [*_threads(), *_descriptors(own_fds, event_loops)]


def _threads() -> Iterator[str]:
    known = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in known:
        yield f"thread {thread.name!r}"
    try:
        tasks = os.listdir("/proc/self/task")
    except OSError:
        return
    # gevent's patched threads are greenlets and have no task of their own.
    native = len(tasks) - 1 - sum(1 for t in known if str(t.native_id) in tasks)
    names = [_task_name(task) for task in tasks if task != str(os.getpid())]
    if native > 0:
        yield f"{native} native thread(s), among: {', '.join(sorted(set(names)))}"


def _task_name(task: str) -> str:
    try:
        with open(f"/proc/self/task/{task}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return "?"


def _descriptors(own_fds: set[int], event_loops: bool) -> Iterator[str]:
    try:
        fds = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return
    for fd in sorted(set(fds) - own_fds):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:"):
            peer = _peer(fd)
            if peer:
                yield f"connection to {peer}"
        elif target == "anon_inode:[eventpoll]" and event_loops:
            yield f"event loop (descriptor {fd})"


def _peer(fd: int) -> str | None:
    """The other end of an established stream connection."""
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
        service = SERVICES.get(port)
        return f"{host}:{port}" + (f" ({service})" if service else "")
    return f"unix socket {address!r}" if address else "a unix socket"
