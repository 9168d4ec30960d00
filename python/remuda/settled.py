"""Whether the dirty apps of some code are loaded: web workers do not serve before that is known.

So the old workers serve on while a reload loads large models. gunicorn's own arbiter has a request
wait for five seconds, and no longer.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path


def settle(socket: str, *, loaded: bool) -> None:
    """Say how dirty apps fare; nobody needs to wait any more. Once they were loaded, that stays.

    Args:
        socket: The arbiter's; the sign stands beside it.
        loaded: Whether the first of its workers listens, or has failed.
    """
    sign = _signs(socket)[not loaded]
    sign.parent.mkdir(mode=0o700, exist_ok=True)
    sign.touch()


def loads(socket: str, patience_s: float) -> bool:
    """Wait until it is known. False when they cannot be loaded; true as well when nobody says."""
    loaded, broken = _signs(socket)
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and not loaded.exists():
        if broken.exists():
            return False
        # Without a hub: gevent replaces ``time.sleep``.
        signal.sigtimedwait([], 0.01)
    return True


def _signs(socket: str) -> tuple[Path, Path]:
    return Path(socket).with_name("loaded"), Path(socket).with_name("broken")
