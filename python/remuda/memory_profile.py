"""Which lines a worker's memory grows by, between two marks; called by the loop in Rust."""

from __future__ import annotations

import gc
import tracemalloc

LINES_MAX = 10
OWN = (
    tracemalloc.Filter(False, tracemalloc.__file__),
    tracemalloc.Filter(False, __file__),
)


class Profile:
    """Traces allocations from now on. An app that traces already goes on doing so."""

    def __init__(self) -> None:
        gc.collect()
        self._was_tracing = tracemalloc.is_tracing()
        if not self._was_tracing:
            tracemalloc.start()
        self._first = tracemalloc.take_snapshot().filter_traces(OWN)

    def end(self) -> str:
        """Stop, and say what has come since and is still there."""
        if not tracemalloc.is_tracing():
            return "the application has stopped tracemalloc, so nothing is known"
        gc.collect()
        last = tracemalloc.take_snapshot().filter_traces(OWN)
        if not self._was_tracing:
            tracemalloc.stop()
        differences = last.compare_to(self._first, "lineno")
        total = sum(difference.size_diff for difference in differences)
        grown = sorted(
            (difference for difference in differences if difference.size_diff > 0),
            key=lambda difference: -difference.size_diff,
        )
        lines = [f"{_kib(total)} more in Python objects than at its beginning"]
        for difference in grown[:LINES_MAX]:
            frame = difference.traceback[0]
            size, count = _kib(difference.size_diff), difference.count_diff
            lines.append(f"  {frame.filename}:{frame.lineno}: {size} in {count} blocks")
        return "\n".join(lines)


def _kib(size: int) -> str:
    return f"{size / 1024:.1f} KiB"
