"""What ``ps`` and ``top`` show of a process."""

from __future__ import annotations

from remuda import _remuda


def show(role: str, service: str) -> None:
    """Set the short name, and with setproctitle the title ``remuda: ROLE [SERVICE]``."""
    kind, _, number = role.partition(" ")
    _remuda.name_process(f"remuda: {kind[0]}{number}")
    try:
        import setproctitle
    except ImportError:
        return
    setproctitle.setproctitle(f"remuda: {role} [{service}]")
