"""What a run has measured, and the medians over its rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from scenarios import Scenario
from servers import Server

# A quantile needs some values beyond it, or it is no more than the largest one.
COUNT_MIN = {"p50": 20, "p99": 300, "p99.9": 3000}


def failures(report: dict[str, Any]) -> int:
    """Requests of normal clients that did not get a 2xx or 3xx in full."""
    good: int = report["by_class"].get("2xx", 0) + report["by_class"].get("3xx", 0)
    requests: int = report["requests"]
    return requests - good


@dataclass
class Row:
    """One server in one scenario: a list of samples for each pace.

    Attributes:
        server: Which.
        command: How it was started.
        closed: Closed-loop rounds.
        open: Open-loop rounds; empty when it cannot hold the rate.
        left_out: Why it has no samples.
    """

    server: Server
    command: str = ""
    closed: list[dict[str, Any]] = field(default_factory=list)
    open: list[dict[str, Any]] = field(default_factory=list)
    left_out: str | None = None

    def rates(self) -> list[float]:
        """Answered requests a second, round by round."""
        return [sample["report"]["requests_per_s"] for sample in self.closed]

    def rate(self) -> float:
        """Their median."""
        return statistics.median(self.rates())

    def cpu_us(self) -> float:
        """Processor time of all its processes for one request, in the closed loop."""
        return statistics.median(float(sample["cpu_us"]) for sample in self.closed)

    def instructions(self) -> float | None:
        """Instructions in user space for one request, where the machine counts them."""
        counts: list[float] = [
            sample["instructions"] for sample in self.closed if sample.get("instructions")
        ]
        return statistics.median(counts) if counts else None

    def pss_mib(self) -> float:
        """Memory of all its processes after the load."""
        return statistics.median(float(sample["pss_mib"]) for sample in self.closed)

    def client_busy(self) -> float:
        """Share of a core that the client took in the closed loop."""
        return statistics.median(float(sample["report"]["client_busy"]) for sample in self.closed)

    def latency_ms(self, quantile: str) -> float | None:
        """In the open loop; None when too few requests were answered to say."""
        found = [sample["report"]["latency_ms"] for sample in self.open]
        if not found or any(latency["count"] < COUNT_MIN[quantile] for latency in found):
            return None
        return statistics.median(float(latency[quantile]) for latency in found)

    def failed(self) -> int:
        """Requests of normal clients that got no good answer, over all rounds."""
        return sum(failures(sample["report"]) for sample in [*self.closed, *self.open])


@dataclass
class Table:
    """One scenario.

    Attributes:
        scenario: Which.
        rows: By server, in the order of ``SERVERS``.
        rate: Requests a second of the open loop; None before it is known.
    """

    scenario: Scenario
    rows: list[Row]
    rate: float | None = None

    def measured(self) -> list[Row]:
        """Rows with samples."""
        return [row for row in self.rows if row.closed]

    def row(self, name: str) -> Row | None:
        """The row of a server, if it was measured."""
        return next((row for row in self.measured() if row.server.name == name), None)


@dataclass
class Run:
    """Everything."""

    options: dict[str, Any]
    machine: dict[str, Any]
    cores: dict[str, str]
    tables: list[Table] = field(default_factory=list)

    def table(self, name: str) -> Table | None:
        """The table of a scenario, if it was run."""
        return next((table for table in self.tables if table.scenario.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Raw samples with everything that they depend on."""
        return {
            "options": self.options,
            "machine": self.machine,
            "cores": self.cores,
            "scenarios": [
                {
                    "name": table.scenario.name,
                    "title": table.scenario.title,
                    "open_loop_rate": table.rate,
                    "servers": [
                        {
                            "name": row.server.name,
                            "command": row.command,
                            "left_out": row.left_out,
                            "closed": row.closed,
                            "open": row.open,
                        }
                        for row in table.rows
                    ],
                }
                for table in self.tables
            ],
        }
