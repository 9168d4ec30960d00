"""Compare remuda with other servers: one machine, one run, interleaved rounds, medians.

    python benches/run.py [--rounds 3] [--seconds 5] [--only NAME] [--table hello|django]

A machine's speed drifts; so each round starts every server once, one after another, and the
tables give ratios to a row of the same run. One core is the load's, so nothing here says what a
larger machine would do.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from measure import Sample, load, running
from servers import BIN, DJANGO, HELLO, ROOT, SITE, Server

RESULTS = Path(__file__).resolve().parent / "results" / "latest.md"
HELLO_CONNECTIONS, DJANGO_CONNECTIONS = 32, 16


def prepare() -> None:
    """A virtual environment with this build and all the others."""
    if not shutil.which("wrk"):
        sys.exit("bench: wrk is not installed\n  hint: apt-get install wrk")
    pip = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not (BIN / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(BIN.parent)], check=True)
    for requirement in requirements():
        if subprocess.run([*pip, requirement]).returncode:
            print(f"NOT INSTALLED: {requirement}; its rows are left out", file=sys.stderr)
    wheel = [str(ROOT / ".venv/bin/python"), "-m", "pip", "wheel", "--quiet", "--no-deps"]
    wheel += ["--no-build-isolation", "--wheel-dir", str(ROOT / "dist"), str(ROOT)]
    subprocess.run(wheel, check=True)
    newest = max((ROOT / "dist").glob("remuda-*.whl"), key=lambda path: path.stat().st_mtime)
    subprocess.run([*pip, "--force-reinstall", "--no-deps", str(newest)], check=True)
    subprocess.run([str(BIN / "python"), "manage.py", "prepare"], cwd=SITE, check=True)


def requirements() -> list[str]:
    """The servers' and the site's; but gunicorn needs a newer gevent than the site pins."""
    files = [Path(__file__).parent / "requirements.txt", SITE / "requirements.txt"]
    lines = [line for file in files for line in file.read_text().splitlines()]
    pinned = ("#", "gevent==")
    return [line for line in lines if line and not line.startswith(pinned)]


def compare(
    servers: list[Server], rounds: int, seconds: int, connections: int
) -> dict[str, list[Sample]]:
    """Measure all servers in turn, round after round."""
    samples: dict[str, list[Sample]] = {server.name: [] for server in servers}
    for number in range(1, rounds + 1):
        for server in servers:
            print(f"round {number} of {rounds}: {server.name}", file=sys.stderr, flush=True)
            try:
                with running(server) as (pid, port):
                    samples[server.name].append(load(server, pid, port, seconds, connections))
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                print(f"LEFT OUT: {server.name}: {error}", file=sys.stderr)
    return {name: found for name, found in samples.items() if found}


def median(samples: list[Sample], field: str) -> float:
    return statistics.median(getattr(sample, field) for sample in samples)


def table(title: str, samples: dict[str, list[Sample]], base: str) -> str:
    """Markdown; ratios to the row named ``base``."""
    lines = [
        f"## {title}",
        "",
        f"| server | requests/s | x {base} | µs CPU a request | p99 ms | failed | memory MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    unit = median(samples[base], "requests_per_s") if base in samples else float("nan")
    for name, found in samples.items():
        rate = median(found, "requests_per_s")
        lines.append(
            f"| {name} | {rate:,.0f} | {rate / unit:.2f} | {median(found, 'cpu_us'):.1f} "
            f"| {median(found, 'p99_ms'):.2f} | {sum(s.failed for s in found)} "
            f"| {median(found, 'pss_mib'):.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare remuda with other servers.")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="1..20")
    parser.add_argument("--seconds", type=int, default=5, choices=range(1, 61), metavar="1..60")
    parser.add_argument("--only", help="servers whose name contains this")
    parser.add_argument("--table", choices=["hello", "django"], help="one table instead of both")
    options = parser.parse_args()
    prepare()
    plans = {
        "hello": ("Hello, one worker, 32 connections", HELLO, HELLO_CONNECTIONS, "gunicorn sync"),
        "django": (
            "Django list page, SQLite, 16 connections",
            DJANGO,
            DJANGO_CONNECTIONS,
            "gunicorn, 2 gevent",
        ),
    }
    pages = []
    for name, (title, servers, connections, base) in plans.items():
        if options.table in (None, name):
            chosen = [s for s in servers if not options.only or options.only in s.name]
            samples = compare(chosen, options.rounds, options.seconds, connections)
            pages.append(table(title, samples, base))
    page = "\n".join(pages)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
