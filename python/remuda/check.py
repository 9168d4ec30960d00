"""``--check-config``: load the app once, as a zygote would, and say why not if it cannot be."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from remuda import _remuda, closing, dirty, fork_safety, loading, loggers
from remuda.cfg import Cfg
from remuda.loading import BootError
from remuda.zygote import prepare


def load(plan: dict[str, Any]) -> None:
    """Import the app, and look at what that leaves behind where the start would be refused for it.

    Raises:
        BootError: It would be.
    """

    def hazards() -> list[fork_safety.Hazard]:
        return fork_safety.find_hazards({0, 1, 2}, gevent=plan["worker_class"] == "gevent")

    before = hazards()
    with fork_safety.watching_starts():
        loading.load_app(plan)
    if plan["fork_check"] != "refuse" or plan["preload"] == "never":
        return
    if fork_safety.beyond(hazards(), before):
        closing.close_connections()
    if left := fork_safety.beyond(hazards(), before):
        raise fork_safety.refusal(fork_safety.IMPORT_LEFT, left)


def main() -> int:
    """Read the plan from standard input. Returns the exit status."""
    plan = json.loads(sys.stdin.buffer.read())
    journal = _remuda.Journal("-", "critical")
    try:
        _, module, _ = prepare(plan, journal)
        dirty.check(plan)
        loggers.make(plan, Cfg(plan, module, dict(os.environ)), journal, module)
        load(plan)
    except BootError as error:
        print("\nError while loading the application:\n", file=sys.stderr)
        print(loading.explain(error, plan["app"]), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
