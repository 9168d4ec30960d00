"""The load: several clients of different habits, each of which books every request."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "target" / "release" / "remuda-load"
LARGE_BYTES = 1 << 18

# Name, share of all requests, connections, and what it does.
HABITS: list[tuple[str, float, int, list[str]]] = [
    ("kept", 0.45, 8, ["/small"]),
    ("closed", 0.25, 4, ["/small", "--close"]),
    ("posted", 0.15, 4, ["/length", "--body-bytes", "700"]),
    ("chunked", 0.05, 2, ["/length", "--body-bytes", "2000", "--chunked", "--close"]),
    ("uploaded", 0.04, 2, ["/length", "--body-bytes", "300000"]),
    ("uploaded-closed", 0.02, 2, ["/length", "--body-bytes", "300000", "--close"]),
    ("downloaded", 0.04, 2, ["/large", "--expect-bytes", str(LARGE_BYTES)]),
]

# What adds up to the requests that a client has begun; see crates/load/src/report.rs.
FATES = (
    "answered",
    "refused",
    "connect_timed_out",
    "not_sent",
    "timed_out",
    "invalid_response",
    "wrong_length",
    "unfinished",
)


@dataclass
class Books:
    """What became of all requests of all clients.

    Attributes:
        counts: Sums of the reports' counts.
        failures: What was lost, one by one, with the client's name.
        unread: What was sent again, since nobody had read it when its kept connection was reset.
    """

    counts: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    unread: list[dict[str, Any]] = field(default_factory=list)

    def enter(self, client: str, report: dict[str, Any]) -> None:
        """Add a client's report, after a check that it has lost count of nothing."""
        broken = sum(
            report[kind][when]
            for kind in ("reset", "closed_early")
            for when in ("before_response", "within_response")
        )
        ended = sum(report[fate] for fate in FATES) + broken
        assert ended == report["requests"], f"{client} has lost count: {report}"
        listed = [f for f in report["failures"] if f["what"] != "connection refused"]
        assert len(listed) >= report["lost"], f"{client} does not list all its losses"
        counted = {name: report[name] for name in ("requests", "lost", "sent_again", *FATES)}
        counted["broken"] = broken
        counted["not 2xx"] = report["answered"] - report["by_class"].get("2xx", 0)
        counted["closed_while_idle"] = report["closed_while_idle"]
        for name, count in counted.items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.failures += [{"client": client, **failure} for failure in report["failures"]]
        self.unread += [{"client": client, **unread} for unread in report["unread"]]


class Clients:
    """All clients, from their start to their reports."""

    def __init__(self, port: int, requests: int, seconds: float, folder: Path) -> None:
        self._reports: dict[str, Path] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name, share, connections, habit in HABITS:
            self._reports[name] = folder / f"{name}.json"
            command = [
                str(CLIENT),
                f"127.0.0.1:{port}",
                *habit,
                "--connections",
                str(connections),
                "--requests",
                str(max(connections, int(requests * share))),
                "--seconds",
                str(seconds),
                "--timeout",
                "60",
                "--failures",
                "1000000",
                "--header",
                f"X-Client: {name}",
                "--number-header",
                "X-Number",
            ]
            with self._reports[name].open("wb") as report:
                self._processes[name] = subprocess.Popen(command, stdout=report)

    def are_done(self) -> bool:
        """Whether every client has asked all that it was to ask."""
        return all(process.poll() is not None for process in self._processes.values())

    def books(self) -> Books:
        """Wait for all clients, and add up what they say."""
        books = Books()
        for name, process in self._processes.items():
            assert process.wait(120) == 0, f"{name} exited with {process.returncode}"
            books.enter(name, json.loads(self._reports[name].read_text()))
        return books

    def stop(self) -> None:
        """End those that are still there."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
                process.wait(70)
