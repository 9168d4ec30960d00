"""Prefetch: import before the fork what earlier workers have imported after it.

The names come from the master, which has them from workers. A trial in a process of its own finds
those that must not be imported here: it is thrown away with whatever they do.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from remuda import _remuda
from remuda.fork_safety import Hazard, beyond

TRIAL_TIMEOUT_S = 30.0
# Each module that does harm costs another trial; with more of them than this, nothing is imported.
TRIALS_MAX = 8

Hazards = Callable[[], list[Hazard]]


def prefetch(names: list[str], hazards: Hazards, journal: _remuda.Journal) -> int:
    """Import those of ``names`` that are not here yet and do no harm; how many.

    Args:
        names: Modules, as they are imported.
        hazards: Finds what a fork of this process would break.
        journal: Is told what is left out, and why.
    """
    wanted = [name for name in names if name not in sys.modules]
    for _ in range(TRIALS_MAX):
        # What a harmful module has imported is tried again without it.
        culprit = trial(wanted, hazards) if wanted else None
        if culprit is None:
            return sum(import_quietly(name) for name in wanted)
        name, why = culprit
        journal.info(f"Not imported before the fork: {name}: {why}")
        wanted.remove(name)
    return 0


def import_quietly(name: str) -> bool:
    """Import a module; false when that fails, as it may for a worker, too."""
    try:
        importlib.import_module(name)
    except (Exception, SystemExit):
        return False
    return True


def trial(names: list[str], hazards: Hazards) -> tuple[str, str] | None:
    """Import modules in another process; the first that must not be imported here, and why."""
    notes = os.memfd_create("remuda-trial", 0)
    alive, end = os.pipe()
    pid = _remuda.fork_without_hooks()
    if pid == 0:
        try:
            become_a_trial()
            try_imports(names, hazards, notes)
        finally:
            os._exit(0)
    os.close(end)
    # One that takes too long is killed; what it has noted counts.
    with suppress(OSError, TimeoutError):
        _remuda.await_middle(pid, alive, TRIAL_TIMEOUT_S)
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    os.close(alive)
    with open(notes, "rb") as file:
        file.seek(0)
        found = [json.loads(line) for line in file]
    if not found:
        return names[0], "no trial could be made"
    name, why = found[-1]
    return None if why == "" else (name, why or "it ends or holds up the process that imports it")


def become_a_trial() -> None:
    """In the new process: keep off everything that belongs to others."""
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    hub = sys.modules.get("gevent._hub_local")
    if hub and hub.get_hub_if_exists():
        sys.modules["gevent"].reinit()


def try_imports(names: list[str], hazards: Hazards, notes: int) -> None:
    """Import one after another, up to the first that does harm.

    Each is noted before as a pair of its name and nothing, and at the end why it does harm; an
    empty text says that none does.
    """
    before = hazards()
    for name in names:
        note(notes, name, None)
        import_quietly(name)
        if found := beyond(hazards(), before):
            note(notes, name, found[0].what)
            return
    note(notes, names[-1], "")


def note(notes: int, name: str, why: str | None) -> None:
    """Write down how far the trial has come."""
    os.write(notes, json.dumps([name, why]).encode() + b"\n")
