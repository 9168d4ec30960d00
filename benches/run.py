"""Compare remuda with other servers: one machine, one run, interleaved rounds, medians.

A machine's speed drifts, so each round starts every server once, one after another, and only ratios
within one run mean something. Two passes a scenario: a closed loop shows what a server can do and
what a request costs it; then an open loop shows latency at a rate that all of them can hold.

Results go to benches/results: results.md, results.json (raw), one SVG a scenario, logs/.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import charts
import machine
import report
from demands import DEMANDS
from measure import Bench, Cores, LeftOut, Running, await_quiet, running
from results import COUNT_MIN, Row, Run, Table, failures
from scenarios import SCENARIOS, Scenario
from servers import ROOT

WARM_UP_S = 0.5
WARM_UP_QUICK_S = 0.2
# Of what the slowest server reached.
RATE_SHARE = 0.5
# At a low rate a round of the open loop may take so many times longer.
LONGER_MAX = 4
# More failures than this, and a server is left out.
FAILED_SHARE_MAX = 0.01
# Options that say nothing about a result.
FOLDERS = {"results", "programs"}


def main() -> None:
    options = arguments()
    # So that whoever ends this run also ends the server that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))
    results = Path(options.results).resolve()
    bench = Bench(Path(options.programs).resolve(), results / "logs", Cores.of_this_machine())
    bench.logs.mkdir(parents=True, exist_ok=True)
    if not bench.cores.server:
        say("NOT PINNED: this needs taskset and two cores; server and client share what there is")
    known = {name: value for name, value in vars(options).items() if name not in FOLDERS}
    run = Run(known, machine.facts(), dataclasses.asdict(bench.cores))
    bench = dataclasses.replace(bench, counts_instructions=run.machine["instructions"] == "counted")
    for scenario in chosen(options.scenario):
        rows = [Row(s) for s in scenario.servers() if wanted(s.name, options.server)]
        if rows:
            run.tables.append(Table(scenario, rows))
            measure(bench, run.tables[-1], options)
        write(run, results)
    print((results / "results.md").read_text())
    if options.check and not all_met(run):
        sys.exit("bench: a demand is not met")


def arguments() -> argparse.Namespace:
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser = argparse.ArgumentParser(description="Compare remuda with other servers.")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 51), metavar="1..50")
    parser.add_argument("--seconds", type=float, default=3, help="of one round (default: 3)")
    quick = "1 round of 0.5 s, latencies of `hello` only: five minutes, and rough"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--scenario", action="append", help=f"only these: {names}")
    parser.add_argument("--server", action="append", help="only those whose name contains this")
    parser.add_argument("--rate", type=float, help="requests/s of the open loop")
    wait = "before each sample, wait at most so many seconds for a quiet machine"
    parser.add_argument("--wait-quiet", type=float, default=0, metavar="SECONDS", help=wait)
    parser.add_argument("--check", action="store_true", help="exit 1 if a demand is not met")
    parser.add_argument("--results", default=ROOT / "benches" / "results", help="where to")
    parser.add_argument("--programs", default=ROOT / "target" / "release", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    if not 0.2 <= options.seconds <= 60:
        parser.error("--seconds must be between 0.2 and 60")
    return options


def chosen(names: list[str] | None) -> list[Scenario]:
    unknown = set(names or ()) - {scenario.name for scenario in SCENARIOS}
    if unknown:
        sys.exit(f"bench: there is no scenario {', '.join(sorted(unknown))}; see --help")
    return [scenario for scenario in SCENARIOS if not names or scenario.name in names]


def wanted(name: str, parts: list[str] | None) -> bool:
    return not parts or any(part in name for part in parts)


def measure(bench: Bench, table: Table, options: argparse.Namespace) -> None:
    """Fill a table: all rounds of the closed loop, then all of the open one."""

    def closed(row: Row, server: Running) -> None:
        row.command = server.command
        row.closed.append(usable(server.load(options.seconds)))

    rounds(bench, table, options, "closed loop", table.rows, closed)
    if options.quick and table.scenario is not SCENARIOS[0]:
        return
    table.rate = options.rate or rate_for_all(table)
    if table.rate is None:
        return
    seconds = options.seconds
    if not options.quick:
        # As long as it takes to see the slowest of a thousand, within reason.
        wanted = 1.1 * COUNT_MIN["p99.9"] / table.rate
        seconds = min(max(seconds, wanted), LONGER_MAX * seconds)

    def opened(row: Row, server: Running) -> None:
        row.open.append(usable(server.load(seconds, table.rate)))

    holding = [row for row in table.measured() if row.rate() > table.rate]
    rounds(bench, table, options, f"open loop, {table.rate:g}/s", holding, opened)


def usable(sample: dict[str, Any]) -> dict[str, Any]:
    """The sample, unless so many requests failed that its figures say nothing."""
    report = sample["report"]
    failed = failures(report)
    if failed > report["requests"] * FAILED_SHARE_MAX:
        first = report["failures"][0]["what"] if report["failures"] else "not a 2xx or 3xx"
        raise LeftOut(f"{failed} of {report['requests']} requests failed: {first}")
    return sample


def rate_for_all(table: Table) -> float | None:
    """Half of what the slowest server reached, leaving out those that hold hardly any load."""
    rates = [row.rate() for row in table.measured()]
    holding = [rate for rate in rates if rate > max(rates) * report.HOLDS_SHARE]
    slowest = min(holding, default=0.0) * RATE_SHARE
    # Two digits: nobody should take it for a measurement.
    return float(f"{slowest:.2g}") if slowest > 0 else None


def rounds(
    bench: Bench,
    table: Table,
    options: argparse.Namespace,
    pace: str,
    rows: list[Row],
    sample: Callable[[Row, Running], None],
) -> None:
    """Take a sample of each row, round after round."""
    for number in range(1, options.rounds + 1):
        for row in rows:
            if row.left_out:
                continue
            where = f"{pace}, round {number} of {options.rounds}"
            say(f"{table.scenario.name}: {where}: {row.server.name}")
            try:
                await_quiet(options.wait_quiet)
                with running(bench, table.scenario, row.server) as server:
                    server.load(WARM_UP_QUICK_S if options.quick else WARM_UP_S)
                    sample(row, server)
            except (OSError, LeftOut) as error:
                row.left_out = f"{error} ({where})"
                say(f"LEFT OUT: {row.server.name}: {row.left_out}")


def write(run: Run, results: Path) -> None:
    """After each scenario, so that an interrupted run leaves what it has."""
    try:
        pictures = charts.draw(run, results)
    except ImportError as error:
        pictures = {}
        say(f"NOT DRAWN: {error}")
    (results / "results.json").write_text(json.dumps(run.as_json(), indent=1) + "\n")
    (results / "results.md").write_text(report.markdown(run, pictures))


def all_met(run: Run) -> bool:
    """Whether every demand was measured, and met."""
    ratios = [(demand, demand.ratio(run)) for demand in DEMANDS if demand.must]
    return all(ratio is not None and demand.is_met(ratio) for demand, ratio in ratios)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
