"""Where this process's code comes from: told to the master, which watches it for ``reload``.

Only what somebody may be working on: neither Python's own files nor those of installed packages,
which are hundreds, and which an installer changes while it is half done.
"""

from __future__ import annotations

import _socket
import os
import site
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import source_from_cache
from types import TracebackType
from typing import Any

from remuda.channel import Channel

# Of one packet; the channel takes 64 KiB.
PATHS_BYTES_MAX = 32 * 1024
# A cache of bytecode knows its source by the whole second in which that was written.
CACHE_BLIND_S = 2.0


class Sources:
    """What the master has been told already. A forked worker goes on from where its zygote was."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._others = tuple(other_peoples_folders())
        self._told: set[str] = set()
        self._channel: Channel | None = None
        self._since_ns = time.time_ns()
        self._start = [os.path.abspath(folder) for folder in folders]

    def tell(self, channel: Channel, error: BaseException | None = None) -> None:
        """Tell what is new; also the files in which ``error`` has come up, which are no modules."""
        for paths in packets(self._fresh(error)):
            channel.send(
                type="sources",
                files=[path for path in paths if not path.endswith(os.sep)],
                since_ns=self._since_ns,
                folders=[path.rstrip(os.sep) or os.sep for path in paths if path.endswith(os.sep)],
            )
            self._told.update(paths)

    def begin_in_worker(self, channel_fd: int) -> None:
        """Tell by the channel of a forked worker from now on."""
        self._channel = Channel(os.dup(channel_fd), flags=_socket.MSG_DONTWAIT)
        self._since_ns = time.time_ns()

    def tell_from_worker(self, error: BaseException | None = None) -> None:
        """Tell without ever waiting for the master: what does not go out now does later."""
        if self._channel is not None:
            with suppress(OSError):
                self.tell(self._channel, error)

    def _fresh(self, error: BaseException | None) -> list[str]:
        """Paths that were not told yet; those of folders end in a slash."""
        files = {*files_of_modules(), *files_of_error(error)}
        files = {file for file in files if not file.startswith(self._others)}
        folders = {os.path.dirname(file) for file in files} | set(self._start)
        return sorted((files | {os.path.join(folder, "") for folder in folders}) - self._told)


def other_peoples_folders() -> Iterator[str]:
    """Python's own folders, those of installed packages, and ours."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages(), os.path.dirname(__file__)]
    for folder in folders:
        yield os.path.join(folder, "")
        yield os.path.join(os.path.realpath(folder), "")


def files_of_modules() -> Iterator[str]:
    """The files of all modules that were imported."""
    for module in tuple(sys.modules.values()):
        try:
            # Not by `getattr`, which loads what is lazy.
            file = object.__getattribute__(module, "__dict__").get("__file__")
        except AttributeError:
            continue
        if isinstance(file, str):
            yield os.path.abspath(file.removesuffix("c") if file.endswith(".pyc") else file)


def files_of_error(error: BaseException | None) -> Iterator[str]:
    """The files through which an exception has come, and what could not be compiled."""
    known: set[int] = set()
    while error is not None and id(error) not in known:
        known.add(id(error))
        if isinstance(error, SyntaxError) and error.filename:
            yield os.path.abspath(error.filename)
        yield from files_of_traceback(error.__traceback__)
        error = error.__cause__ or error.__context__


def files_of_traceback(trace: TracebackType | None) -> Iterator[str]:
    """The files of its frames; ``<frozen …>`` and its like are none."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<"):
            yield os.path.abspath(file)
        trace = trace.tb_next


def packets(paths: list[str]) -> Iterator[list[str]]:
    """Split what does not fit into one packet."""
    packet: list[str] = []
    room = PATHS_BYTES_MAX
    for path in paths:
        if packet and len(path) > room:
            yield packet
            packet, room = [], PATHS_BYTES_MAX
        packet.append(path)
        room -= len(path)
    if packet:
        yield packet


def trust_no_young_cache() -> None:
    """Write no bytecode for sources that were just edited.

    Else a second edit within the same second, which leaves the size as it was, would be taken for
    the first: the cache would seem to be its bytecode.
    """
    write = SourceFileLoader.set_data

    def set_data(self: SourceFileLoader, path: str, data: Any, *, _mode: int = 0o666) -> None:
        try:
            age = time.time() - os.stat(source_from_cache(path)).st_mtime
        except (OSError, ValueError):
            return
        if age > CACHE_BLIND_S:
            write(self, path, data, _mode=_mode)

    SourceFileLoader.set_data = set_data  # type: ignore[method-assign]
