"""What remuda has to reach against others in the same run, and whether it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from results import Row, Run

Value = Callable[[Row], float]


@dataclass(frozen=True)
class Demand:
    """A ratio of two rows of one table.

    Attributes:
        ours, theirs: Names of the rows.
        of: What is compared, in words.
        value: The same, of a row.
        least, most: Bounds of ours / theirs.
        must: Else it is an aim.
        scenario: The table.
    """

    ours: str
    theirs: str
    of: str
    value: Value
    least: float | None = None
    most: float | None = None
    must: bool = True
    scenario: str = "hello"

    def ratio(self, run: Run, value: Value | None = None) -> float | None:
        """Ours / theirs, of medians; None when one of them was not measured."""
        table = run.table(self.scenario)
        ours, theirs = (table.row(name) if table else None for name in (self.ours, self.theirs))
        value = value or self.value
        return value(ours) / value(theirs) if ours and theirs else None

    def is_met(self, ratio: float) -> bool:
        """Whether a ratio is within the bounds."""
        return (self.least is None or ratio >= self.least) and (
            self.most is None or ratio <= self.most
        )

    def __str__(self) -> str:
        bound = f"at least {self.least:g}" if self.most is None else f"at most {self.most:g}"
        return f"{self.of}: {self.ours} / {self.theirs} {bound}"


def rate(ours: str, least: float, theirs: str, **more: object) -> Demand:
    return Demand(ours, theirs, "requests/s", Row.rate, least=least, **more)  # type: ignore[arg-type]


def cpu(ours: str, most: float, theirs: str, **more: object) -> Demand:
    return Demand(ours, theirs, "CPU a request", Row.cpu_us, most=most, **more)  # type: ignore[arg-type]


CLASSES = ["sync", "gthread(4)", "gevent", "asgi, asyncio", "asgi, uvloop"]

DEMANDS = [
    rate("remuda sync", 12, "gunicorn sync"),
    # At this speed the client is the limit, so requests/s alone would say little.
    cpu("remuda sync", 1, "bjoern"),
    rate("remuda gthread(4)", 6, "gunicorn gthread(4)"),
    rate("remuda gevent", 9, "gunicorn gevent"),
    rate("remuda gevent", 0.9, "remuda sync"),
    rate("remuda asgi, asyncio", 1.6, "granian asgi"),
    rate("remuda asgi, asyncio", 3, "gunicorn asgi"),
    rate("remuda asgi, uvloop", 1, "remuda asgi, asyncio"),
    *(cpu(f"remuda {name}", 1.5, "front without Python", must=False) for name in CLASSES),
    rate("remuda gevent", 1.5, "gunicorn gevent", must=False, scenario="wait"),
]
