"""What remuda and gunicorn take with the same workers: memory of all processes, after load.

PSS (`/proc/PID/smaps_rollup`) counts a page that n processes share as 1/n in each, so the sum over
all processes is what the service takes. Private memory of a worker is what one worker more costs.
Set-ups are interleaved, round after round; the tables give medians.

Results go to benches/results: memory.md and memory.json, logs/.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import signal
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
from measure import Bench, Cores, LeftOut, Running, family, running
from memory_setups import SITES, Setup, Site
from results import failures
from scenarios import Scenario
from servers import ROOT, Server

# A load ends with its requests; this only bounds a server that answers hardly any.
LOAD_S_MAX = 60.0
RELOAD_TIMEOUT_S = 60.0
FAILED_SHARE_MAX = 0.01
# Workers say with their beats what they have imported.
LEARNING_S = 3.0
RATE_SHARE = 0.5
# Bars of their own, where a site's must be reached: of remuda's rows, MiB and milliseconds.
MASTER_MIB_MAX = 4.0
WARM_WORKER_MIB_MAX = 8.0
READY_MS_MAX = 50.0
# Throughput and p99 with recycling, of those without.
RECYCLING_SPEED_MIN = 0.95
RECYCLING_P99_MAX = 1.2
READY = re.compile(r"Worker ready after (\d+) ms \(pid:(\d+)")


@dataclass(frozen=True)
class Sample:
    """One server after its load, in MiB; ready: milliseconds from a fork's request to ready."""

    total: float
    master: float
    zygote: float | None
    private: float
    ready_ms: list[int]


@dataclass
class Row:
    """A set-up and its samples."""

    setup: Setup
    samples: list[Sample] = field(default_factory=list)
    left_out: str = ""

    def median(self, name: str) -> float | None:
        """Of the samples that have this."""
        values = [getattr(sample, name) for sample in self.samples]
        values = [value for value in values if value is not None]
        return statistics.median(values) if values else None

    def ready_ms(self) -> float | None:
        """Over all workers of all rounds."""
        times = [time for sample in self.samples for time in sample.ready_ms]
        return statistics.median(times) if times else None


def main() -> None:
    options = arguments()
    # So that whoever ends this run also ends the server that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench-memory: terminated"))
    results = Path(options.results).resolve()
    # Nothing is pinned: a service of five workers has all cores.
    bench = Bench(Path(options.programs).resolve(), results / "logs", Cores("", ""))
    bench.logs.mkdir(parents=True, exist_ok=True)
    facts = machine.facts()
    parts = [conditions(facts, options)]
    raw: dict[str, Any] = {"machine": facts, "options": vars(options) | {"results": str(results)}}
    for site in SITES:
        if options.site and site.name not in options.site:
            continue
        scenario = site.scenario(results, site.name)
        parts.append(f"### {scenario.title}\n")
        if options.only != "recycling":
            rows = [Row(setup) for setup in site.setups if wanted(setup, options.setup)]
            for number in range(1, options.rounds + 1):
                for row in rows:
                    take(bench, scenario, row, number, options.requests)
            parts.append(table(rows, site.must))
            raw[site.name] = {row.setup.server.name: as_json(row) for row in rows}
        if site.recycle and options.only != "memory":
            text, raw[f"{site.name} recycling"] = recycling(bench, scenario, site, options)
            parts.append(text)
        (results / "memory.md").write_text("\n".join(parts))
        (results / "memory.json").write_text(json.dumps(raw, indent=1, default=str) + "\n")
    print("\n".join(parts))


def arguments() -> argparse.Namespace:
    names = ", ".join(site.name for site in SITES)
    parser = argparse.ArgumentParser(description="Compare the memory of remuda and gunicorn.")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="1..20")
    parser.add_argument("--requests", type=int, default=3000, help="before memory is read")
    parser.add_argument("--seconds", type=float, default=6, help="of a round with recycling")
    quick = "1 round, short, of memory only unless --only says otherwise: three minutes"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--site", action="append", help=f"only these: {names}")
    parser.add_argument("--setup", action="append", help="only those whose name contains this")
    parser.add_argument("--only", choices=["memory", "recycling"], help="leave the other out")
    parser.add_argument("--results", default=ROOT / "benches" / "results", help="where to")
    parser.add_argument("--programs", default=ROOT / "target" / "release", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.requests, options.seconds = 1, 600, 2.0
        options.only = options.only or "memory"
    if not 1 <= options.requests <= 100_000:
        parser.error("--requests must be between 1 and 100000")
    if not 1 <= options.seconds <= 60:
        parser.error("--seconds must be between 1 and 60")
    return options


def as_json(row: Row) -> dict[str, Any]:
    samples = [dataclasses.asdict(sample) for sample in row.samples]
    return {"left_out": row.left_out, "samples": samples}


def wanted(setup: Setup, parts: list[str] | None) -> bool:
    return not parts or any(part in setup.server.name for part in parts)


def take(bench: Bench, scenario: Scenario, row: Row, number: int, requests: int) -> None:
    """One sample of one row."""
    if row.left_out:
        return
    name = row.setup.server.name
    say(f"{scenario.name}, round {number}: {name}")
    bounded = dataclasses.replace(scenario, load=("--requests", str(requests)))
    log = log_of(bench, scenario, row.setup.server)
    log.unlink(missing_ok=True)
    try:
        with running(bench, bounded, row.setup.server) as server:
            load(server)
            if row.setup.reload:
                reload(server, log)
                load(server)
            row.samples.append(sample(server, row.setup, log))
    except (OSError, LeftOut) as error:
        row.left_out = str(error)
        say(f"LEFT OUT: {name}: {error}")


def log_of(bench: Bench, scenario: Scenario, server: Server) -> Path:
    """Where `running` lets the server write."""
    return bench.logs / f"{scenario.name}-{re.sub(r'[^a-z0-9]+', '-', server.name.lower())}.log"


def load(server: Running, seconds: float = LOAD_S_MAX, rate: float | None = None) -> dict[str, Any]:
    report: dict[str, Any] = server.load(seconds, rate)["report"]
    if failures(report) > report["requests"] * FAILED_SHARE_MAX:
        first = report["failures"][0]["what"] if report["failures"] else "not a 2xx or 3xx"
        raise LeftOut(f"{failures(report)} of {report['requests']} requests failed: {first}")
    return report


def reload(server: Running, log: Path) -> None:
    os.kill(server.pid, signal.SIGHUP)
    end = time.monotonic() + RELOAD_TIMEOUT_S
    while "Reload done" not in log.read_text(errors="replace"):
        if time.monotonic() > end:
            raise LeftOut("the reload did not end in time")
        time.sleep(0.1)


def sample(server: Running, setup: Setup, log: Path) -> Sample:
    """Read the memory of each process. Of remuda's, the log says which are workers."""
    everybody = family(server.pid)
    ready = {int(pid): int(took) for took, pid in READY.findall(log.read_text(errors="replace"))}
    workers = [pid for pid in everybody[1:] if pid in ready or not setup.server.ours]
    if len(workers) != setup.workers:
        raise LeftOut(f"it has {len(workers)} workers, not {setup.workers}")
    memory = {pid: rollup(pid) for pid in everybody}
    others = [memory[pid][0] for pid in everybody[1:] if pid not in workers]
    return Sample(
        total=sum(pss for pss, _ in memory.values()),
        master=memory[server.pid][0],
        zygote=sum(others) if setup.server.ours else None,
        private=statistics.mean(memory[pid][1] for pid in workers),
        ready_ms=[ready[pid] for pid in workers if pid in ready],
    )


def rollup(pid: int) -> tuple[float, float]:
    """PSS and private memory of a process, in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    fields = {name: int(kib) for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return fields["Pss"] / 1024, (fields["Private_Clean"] + fields["Private_Dirty"]) / 1024


def recycling(
    bench: Bench, scenario: Scenario, site: Site, options: argparse.Namespace
) -> tuple[str, dict[str, Any]]:
    """Throughput with and without `max_requests`, then latency at half of the lowest."""
    setups = [setup for setup in site.recycle if wanted(setup, options.setup)]
    names = [setup.server.name for setup in setups]
    rates: dict[str, list[float]] = {name: [] for name in names}
    late: dict[str, list[float]] = {name: [] for name in names}
    left_out: dict[str, str] = {}

    def each(seen: dict[str, list[float]], read: Any, rate: float | None) -> None:
        for _ in range(options.rounds):
            for setup in setups:
                name = setup.server.name
                say(f"{scenario.name}: {name}{', open loop' if rate else ''}")
                try:
                    log = log_of(bench, scenario, setup.server)
                    log.unlink(missing_ok=True)
                    with running(bench, scenario, setup.server) as server:
                        load(server, LEARNING_S if setup.reload else 0.5)
                        if setup.reload:
                            reload(server, log)
                            load(server, 0.5)
                        seen[name].append(read(load(server, options.seconds, rate)))
                except (OSError, LeftOut) as error:
                    left_out[name] = str(error)
                    say(f"LEFT OUT: {name}: {error}")

    each(rates, lambda report: report["requests_per_s"], None)
    slowest = min((statistics.median(r) for r in rates.values() if r), default=0.0) * RATE_SHARE
    each(late, lambda report: report["latency_ms"]["p99"], float(f"{max(slowest, 1):.2g}"))
    lines = [
        f"Recycling (max_requests 500, jitter 50), latency at {slowest:.2g} requests/s:",
        "",
        "| | requests/s | of gunicorn's | of those without | p99 ms | of that without |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(recycling_row(name, rates, late, left_out) for name in names),
        "",
    ]
    return "\n".join(lines), {"requests_per_s": rates, "p99_ms": late}


def recycling_row(
    name: str,
    rates: dict[str, list[float]],
    late: dict[str, list[float]],
    left_out: dict[str, str],
) -> str:
    if not rates[name] or not late[name]:
        return f"| {name} | left out: {left_out.get(name, '?')} | | | | |"
    speed, p99 = statistics.median(rates[name]), statistics.median(late[name])
    theirs = next((rates[row] for row in rates if row.startswith("gunicorn")), None)
    cells = [f"{speed:,.0f}", "", "", f"{p99:.1f}", ""]
    if theirs and not name.startswith("gunicorn"):
        cells[1] = f"{speed / statistics.median(theirs):.2f}"
    plain = name.removesuffix(" recycling")
    if plain != name and rates.get(plain) and late.get(plain):
        kept, longer = speed / statistics.median(rates[plain]), p99 / statistics.median(late[plain])
        cells[2], cells[4] = f"{kept:.2f}", f"{longer:.2f}"
        if name.startswith("remuda"):
            cells[2] += judged(f"≥ {RECYCLING_SPEED_MIN}", kept >= RECYCLING_SPEED_MIN)
            cells[4] += judged(f"≤ {RECYCLING_P99_MAX}", longer <= RECYCLING_P99_MAX)
    return f"| {name} | {' | '.join(cells)} |"


def judged(bar: str, is_met: bool) -> str:
    return f" ({bar}: {'met' if is_met else '**not met**'})"


def conditions(facts: dict[str, Any], options: argparse.Namespace) -> str:
    packages = ", ".join(f"{name} {v}" for name, v in facts["packages"].items() if v)
    return f"""## Memory

- {facts["processor"]}, {facts["cores"]} cores, {facts["memory_gib"]} GiB; \
Linux {facts["kernel"]}; Python {facts["python"]}; {packages}; \
this repository at {facts["revision"]}.
- {options.rounds} rounds, interleaved; {options.requests} requests by 16 connections, then memory \
is read. MiB; `all` is PSS summed over all processes, `worker` what is private to one (mean).
"""


def table(rows: list[Row], must: bool) -> str:
    totals = {row.setup.server.name: row.median("total") for row in rows}
    lines = [
        "| set-up | all | of gunicorn's | must | master | zygote | worker | fork to ready, ms |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        total = totals[row.setup.server.name]
        if total is None:
            lines.append(f"| {row.setup.server.name} | left out: {row.left_out} |" + " |" * 6)
            continue
        theirs = totals.get(row.setup.against)
        ratio = total / theirs if theirs else None
        cells = [
            f"{total:.0f}",
            "" if ratio is None else f"{ratio:.2f}",
            verdict(row.setup, ratio) if must else "",
            number(row.median("master")),
            number(row.median("zygote")),
            number(row.median("private")),
            number(row.ready_ms(), 0),
        ]
        lines.append(f"| {row.setup.server.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, *(bars(rows) if must else []), ""])


def bars(rows: list[Row]) -> list[str]:
    """What must be reached whatever gunicorn takes: the worst of remuda's rows."""
    ours = [row for row in rows if row.setup.server.ours and row.samples]
    warm = [row for row in ours if row.setup.server.name.endswith("warm")]

    def bar(what: str, values: list[float | None], most: float, unit: str) -> str:
        known = [value for value in values if value is not None]
        if not known:
            return f"- {what}: not measured"
        return f"- {what}: {max(known):.1f} {unit}{judged(f'≤ {most:g}', max(known) <= most)}"

    two = next((row for row in rows if row.setup.server.name == "gunicorn 2 sync"), None)
    five = next((row for row in ours if row.setup.server.name == "remuda 5 sync, warm"), None)
    lines = [
        "",
        bar("Master, at most", [row.median("master") for row in ours], MASTER_MIB_MAX, "MiB"),
        bar(
            "One warmed worker more, private",
            [row.median("private") for row in warm],
            WARM_WORKER_MIB_MAX,
            "MiB",
        ),
        bar("From fork to ready", [row.ready_ms() for row in ours], READY_MS_MAX, "ms"),
    ]
    if two and five and (most := two.median("total")) is not None:
        what = "Five warmed workers, against two of gunicorn"
        lines.append(bar(what, [five.median("total")], round(most, 1), "MiB"))
    return lines


def verdict(setup: Setup, ratio: float | None) -> str:
    if setup.at_most is None:
        return ""
    if ratio is None:
        return f"≤ {setup.at_most:.2f}: not measured"
    return f"≤ {setup.at_most:.2f}: {'met' if ratio <= setup.at_most else '**not met**'}"


def number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
