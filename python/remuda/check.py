"""``--check-config``: load the app once, as a zygote would, and say why not if it cannot be."""

from __future__ import annotations

import json
import os
import sys

from remuda import _remuda, loading, loggers
from remuda.cfg import Cfg
from remuda.loading import BootError
from remuda.zygote import prepare


def main() -> int:
    """Read the plan from standard input. Returns the exit status."""
    plan = json.loads(sys.stdin.buffer.read())
    journal = _remuda.Journal("-", "critical")
    try:
        _, module = prepare(plan, journal)
        loggers.make(plan, Cfg(plan, module, dict(os.environ)), journal, module)
        loading.load_app(plan)
    except BootError as error:
        print("\nError while loading the application:\n", file=sys.stderr)
        print(loading.explain(error, plan["app"]), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
