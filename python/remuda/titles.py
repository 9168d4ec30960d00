"""What ``ps`` and ``top`` show of a process."""

from __future__ import annotations

import sys

from remuda import _remuda


def hide_room() -> None:
    """Take the argument away that the master gives only for titles to be written over."""
    if sys.argv[-1].isspace():
        sys.argv.pop()


def show(role: str, service: str, state: str = "") -> None:
    """Show a short name, ``remuda: w0``, and a title, ``remuda: worker 0 [SERVICE] STATE``."""
    try:
        import setproctitle
    except ImportError:
        pass
    else:
        # It looks for the arguments when it is first used. Later it would not find them, and an
        # app could not set a title of its own.
        setproctitle.getproctitle()
    kind, _, number = role.partition(" ")
    _remuda.name_process(f"remuda: {kind[0]}{number}", f"remuda: {role} [{service}]", state)
