"""The heap that workers share: what is done to it before they are forked, and in them.

A page stays shared as long as nobody writes to it. The collector writes to each object that it
visits, and everybody who looks at an object writes its count of references.
"""

from __future__ import annotations

import gc
import sys

from remuda import _remuda

# Finalizers may leave new garbage; some would do so for ever.
COLLECTIONS_MAX = 5


def collect() -> None:
    """Free what is garbage, also what only finalizers of garbage have held."""
    for _ in range(COLLECTIONS_MAX):
        if not gc.collect():
            return


def seal() -> None:
    """Leave the heap so that workers write to as few of its pages as can be."""
    collect()
    # Frozen objects are never visited by the collector again, so their pages stay shared.
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    _remuda.trim_heap()
