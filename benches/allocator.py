"""Whether other settings of the allocator and of Python's collector pay in workers.

    make bench-allocator [BENCH="--rounds 3 --site proyecto"]

Memory of all processes and of one worker after load, with variables that glibc reads and with
thresholds of the collector set after the fork; then the share of a request's time that the
collector takes, in one process, which bounds what another threshold can gain. docs/design/054 has
what came of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import Bench, Cores, LeftOut, running
from memory_setups import proyecto, wagtail
from scenarios import Scenario
from servers import ROOT, Job, Server, remuda

from memory import LOAD_S_MAX, READY, load, log_of, rollup

CLASSES = {"gthread, 8 threads": ["-k", "gthread", "--threads", "8"], "sync": ["-k", "sync"]}
VARIANTS: dict[str, dict[str, str]] = {
    "as it is": {},
    "arenas 1": {"MALLOC_ARENA_MAX": "1"},
    "arenas 2": {"MALLOC_ARENA_MAX": "2"},
    "trim at 128 KiB": {"MALLOC_TRIM_THRESHOLD_": "131072"},
    "mmap at 64 KiB": {"MALLOC_MMAP_THRESHOLD_": "65536"},
    "malloc_trim after each request": {"TRIM_EVERY": "1"},
    "collector 2000,10,10": {"GC_THRESHOLDS": "2000,10,10"},
    "collector 10000,20,20": {"GC_THRESHOLDS": "10000,20,20"},
    "collector off": {"GC_THRESHOLDS": "0,0,0"},
}
CONFIG = """\
import ctypes, gc, itertools, os, sys, time
count, trim, every = itertools.count(1), ctypes.CDLL(None).malloc_trim, os.environ.get("TRIM_EVERY")
def post_fork(server, worker):
    if wish := os.environ.get("GC_THRESHOLDS"):
        gc.set_threshold(*map(int, wish.split(",")))
if every:
    def post_request(worker, request):
        if next(count) % int(every) == 0:
            begun = time.monotonic()
            trim(0)
            print("trimmed in", time.monotonic() - begun, file=sys.stderr)
"""
WORKERS = 2
# After it, workers have given back what they can, also those that did so just before the load.
IDLE_S = 33.0


@dataclass
class Row:
    """A class of workers with one variant, and its samples."""

    kind: str
    variant: str
    server: Server
    total: list[float] = field(default_factory=list)
    private: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description="Allocator and collector of workers.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--site", action="append", help="only these pages, by a part of the name")
    parser.add_argument("--kind", default="", help="only classes whose name contains this")
    parser.add_argument("--variant", action="append", help="only those whose name contains this")
    parser.add_argument("--collector", metavar="APP", help="only the collector's share, here")
    parser.add_argument("--results", default=ROOT / "benches" / "results")
    options = parser.parse_args()
    if options.collector:
        print(json.dumps(collector_share(options.collector)))
        return
    results = Path(options.results).resolve()
    bench = Bench(ROOT / "target" / "release", results / "logs", Cores("", ""))
    bench.logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gunicorn.conf.py"
        config.write_text(CONFIG)
        for scenario in scenarios(results):
            if not options.site or any(part in scenario.title for part in options.site):
                print(f"\n### {scenario.title}\n", flush=True)
                print(table(measured(bench, scenario, config, options)), flush=True)
                print(share_line(scenario), flush=True)


def scenarios(results: Path) -> list[Scenario]:
    page = proyecto(results, "proyecto")
    export = dataclasses.replace(page, path="/export.csv", title="export.csv: 3,000 rows at once")
    return [
        dataclasses.replace(page, title="proyecto /"),
        dataclasses.replace(export, name="proyecto-export"),
        dataclasses.replace(wagtail(results, "wagtail"), title="wagtail /admin/login/"),
    ]


def measured(
    bench: Bench, scenario: Scenario, config: Path, options: argparse.Namespace
) -> list[Row]:
    rows = [
        Row(kind, variant, server(kind, arguments, variant, config))
        for kind, arguments in CLASSES.items()
        if options.kind in kind
        for variant in VARIANTS
        if not options.variant or any(part in variant for part in options.variant)
    ]
    requests = options.requests // (20 if "export" in scenario.path else 1)
    bounded = dataclasses.replace(scenario, load=("--requests", str(requests)))
    for number in range(1, options.rounds + 1):
        for row in rows:
            print(f"{scenario.title}, round {number}: {row.server.name}", file=sys.stderr)
            try:
                sample(bench, bounded, row)
            except (OSError, LeftOut) as error:
                print(f"LEFT OUT: {row.server.name}: {error}", file=sys.stderr)
    return rows


def server(kind: str, arguments: list[str], variant: str, config: Path) -> Server:
    options = ["-w", str(WORKERS), "-c", str(config), "--log-level", "debug"]
    # A reload in the middle would be measured, too.
    options += ["--prefetch-after", "0", *arguments]
    start = remuda(*options)

    def command(job: Job) -> list[str]:
        variables = [f"{name}={value}" for name, value in VARIANTS[variant].items()]
        return ["env", *variables, *start(job)]

    return Server(f"{kind} {variant}", "wsgi", command, ours=True)


def sample(bench: Bench, scenario: Scenario, row: Row) -> None:
    log = log_of(bench, scenario, row.server)
    log.unlink(missing_ok=True)
    with running(bench, scenario, row.server) as server:
        load(server)
        took = server.load(LOAD_S_MAX)
        ready = [int(pid) for _, pid in READY.findall(log.read_text(errors="replace"))]
        row.loaded.append(statistics.mean(rollup(pid)[1] for pid in ready))
        time.sleep(IDLE_S)
        memory = {}
        for pid in server.family():
            # One that is about to end is none of the service's.
            with suppress(OSError):
                memory[pid] = rollup(pid)
        row.total.append(sum(pss for pss, _ in memory.values()))
        row.private.append(statistics.mean(memory[pid][1] for pid in ready if pid in memory))
        row.cpu_us.append(took["cpu_us"])


def table(rows: list[Row]) -> str:
    lines = [
        "| class | variant | all, MiB | private, MiB | before it was idle | CPU a request, µs |"
    ]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        if row.total:
            total, private = statistics.median(row.total), statistics.median(row.private)
            loaded, cpu = statistics.median(row.loaded), statistics.median(row.cpu_us)
            memory = f"{total:.1f} | {private:.1f} | {loaded:.1f}"
            cells = f"{row.kind} | {row.variant} | {memory} | {cpu:.0f}"
            lines.append(f"| {cells} |")
    return "\n".join(lines)


def share_line(scenario: Scenario) -> str:
    """The collector's share, measured in a process of its own."""
    command = [sys.executable, __file__, "--collector", scenario.wsgi + scenario.path]
    run = subprocess.run(
        command,
        cwd=scenario.cwd,
        env={**os.environ, **scenario.env},
        capture_output=True,
        text=True,
    )
    if run.returncode:
        return f"LEFT OUT: the collector's share: {run.stderr[-500:]}"
    found = json.loads(run.stdout)
    shares = ", ".join(f"{name}: {value:.2%}" for name, value in found.items())
    return f"\nThe collector's share of a request's CPU time, after a freeze: {shares}"


def collector_share(wish: str) -> dict[str, float]:
    """Of CPU time, by thresholds, with everything frozen that the import has made."""
    from wsgiref.util import setup_testing_defaults

    module, name, path = re.fullmatch(r"([\w.]+):(\w+)(/.*)", wish).groups()  # type: ignore[union-attr]
    sys.path.insert(0, os.getcwd())
    app = getattr(importlib.import_module(module), name)

    def ask() -> None:
        environ: dict[str, Any] = {"PATH_INFO": path, "HTTP_HOST": "localhost"}
        setup_testing_defaults(environ)
        body = app(environ, lambda *_: None)
        for _ in body:
            pass
        body.close()

    for _ in range(20):
        ask()
    gc.collect()
    gc.freeze()
    spent, begun = 0.0, 0.0

    def watch(phase: str, _: object) -> None:
        nonlocal spent, begun
        if phase == "start":
            begun = time.thread_time()
        else:
            spent += time.thread_time() - begun

    gc.callbacks.append(watch)
    shares = {}
    for thresholds in ((700, 10, 10), (2000, 10, 10), (10000, 20, 20)):
        gc.set_threshold(*thresholds)
        spent, start = 0.0, time.thread_time()
        for _ in range(10 if "export" in path else 500):
            ask()
        shares[",".join(map(str, thresholds))] = spent / (time.thread_time() - start)
    return shares


if __name__ == "__main__":
    main()
