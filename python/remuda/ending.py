"""How a zygote or a worker ends: with all that people rely on, but without taking itself apart.

Python's own end empties every module, and so writes to nearly every page that workers share: for a
Django site 40 MiB of copies and 50 ms, in each worker that leaves. The kernel takes a process apart
without that. `docs/design/057-how-a-worker-ends.md` has the measurements.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from remuda import _remuda

# `io.IOBase` asks a registry about each class.
FILE: type = io.BufferedWriter.__mro__[-2]
STANDARD_FDS = (0, 1, 2)

_inherited: list[weakref.ref[Any]] = []


def note_open_files() -> None:
    """Remember the files that workers will inherit: the collector does not list what is frozen."""
    _inherited[:] = [weakref.ref(file) for file in _known_files()]


def status_of(run: Callable[[], int]) -> int:
    """The exit status that Python gives to what ``run`` returns or raises; errors are shown."""
    try:
        return run()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    return 1


def leave(status: int) -> NoReturn:
    """End this process.

    As Python does, waits for threads that are no daemons, calls what ``atexit`` has, and closes
    files that are still open, so that what they hold is written. Other objects that still exist are
    not finalized.
    """
    for step in (threading._shutdown, atexit._run_exitfuncs, _close_files):  # type: ignore[attr-defined]
        try:
            step()
        except BaseException:
            sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    _remuda.flush_c_streams()
    os._exit(status)


def _known_files() -> list[Any]:
    # Not isinstance, which would wake lazy objects up.
    return [each for each in gc.get_objects() if issubclass(type(each), FILE)]


def _close_files() -> None:
    inherited = [file for ref in _inherited if (file := ref()) is not None]
    for file in sorted([*_known_files(), *inherited], key=_depth):
        # What cannot be written now could not be at Python's own end.
        with suppress(Exception):
            if file.closed:
                continue
            file.flush() if _is_standard(file) else file.close()


def _depth(file: Any) -> int:
    """Whoever writes to another file comes before that."""
    if isinstance(file, io.TextIOWrapper):
        return 0
    return 2 if type(file).__module__ == "_io" else 1


def _is_standard(file: Any) -> bool:
    with suppress(Exception):
        return file.fileno() in STANDARD_FDS
    return False
