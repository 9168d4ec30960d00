"""A run for readers: Markdown."""

from __future__ import annotations

import statistics
from pathlib import Path

from demands import DEMANDS
from results import Row, Run, Table

# From here on the client may be what limits a server.
CLIENT_BUSY = 0.95
# Share of the fastest below which a server does not set the rate of the open loop.
HOLDS_SHARE = 0.02


def markdown(run: Run, pictures: dict[str, Path]) -> str:
    """All tables, what was demanded, and how it was measured."""
    parts = [conditions(run)]
    if any(demand.ratio(run) is not None for demand in DEMANDS):
        parts.append(demanded(run))
    for table in run.tables:
        parts.append(scenario(table))
        if table.scenario.name in pictures:
            parts.append(f"![{table.scenario.title}]({pictures[table.scenario.name].name})\n")
    return "\n".join(parts)


def conditions(run: Run) -> str:
    machine, options = run.machine, run.options
    cores = (
        f"the server on core {run.cores['server']}, the client on core {run.cores['client']}"
        if run.cores["server"]
        else "nothing pinned to a core: server and client share them"
    )
    packages = ", ".join(f"{name} {v}" for name, v in machine["packages"].items() if v)
    noise = [
        sample["noise_cores"]
        for table in run.tables
        for row in table.measured()
        for sample in row.closed
    ]
    noise_text = (
        f"{statistics.median(noise):.2f} (median), {max(noise):.2f} (most)"
        if noise
        else "not measured"
    )
    return f"""## Conditions

- {machine["processor"]}, {machine["cores"]} cores{" of a virtual machine" * machine["virtual"]}, \
{machine["memory_gib"]} GiB; Linux {machine["kernel"]}; Python {machine["python"]}; \
{machine["rust"]}.
- {packages}; this repository at {machine["revision"]}.
- {options["rounds"]} rounds of {options["seconds"]:g} s, interleaved; {cores}.
- Cores kept busy by others meanwhile: {noise_text}.
- Instructions a request: {machine["instructions"]}.
"""


def demanded(run: Run) -> str:
    """Requests/s depend on the machine's mood, so what they cost stands beside them."""
    lines = [
        "## Demands",
        "",
        "| | ratio | | CPU a request, ratio |",
        "| --- | ---: | --- | ---: |",
    ]
    for demand in DEMANDS:
        ratio, cost = demand.ratio(run), demand.ratio(run, Row.cpu_us)
        kind = "must" if demand.must else "aim"
        if ratio is None or cost is None:
            lines.append(f"| {kind}: {demand} | | not measured | |")
        else:
            verdict = "met" if demand.is_met(ratio) else "**not met**"
            lines.append(f"| {kind}: {demand} | {ratio:.2f} | {verdict} | {cost:.2f} |")
    return "\n".join(lines) + "\n"


def scenario(table: Table) -> str:
    latency = (
        f"Latency at {table.rate:,.0f} requests/s, counted from when a request was due."
        if table.rate
        else "Latency was not measured."
    )
    counted = any(row.instructions() for row in table.measured())
    lines = [
        f"## {table.scenario.title}",
        "",
        latency,
        "",
        "| server | requests/s | least..most | µs CPU a request |"
        + (" instructions |" if counted else "")
        + " p50 ms | p99 ms | p99.9 ms | failed | MiB |",
        "| --- | ---: | ---: | ---: |" + (" ---: |" if counted else "") + " ---: |" * 5,
    ]
    lines += [line(row, counted) for row in table.measured()]
    notes = [
        f"- {row.server.name} {'left early' if row.closed else 'is left out'}: {row.left_out}"
        for row in table.rows
        if row.left_out
    ]
    if table.rate and any(row.latency_ms("p99.9") is None for row in table.measured()):
        notes.append("- ? = too few requests to say, or it cannot hold the rate.")
    if any(row.client_busy() >= CLIENT_BUSY for row in table.measured()):
        notes.append("- \\* the client was busy all the time, so it may be the limit.")
    return "\n".join([*lines, "", *notes, ""] if notes else [*lines, ""])


def line(row: Row, counted: bool) -> str:
    star = "\\*" if row.client_busy() >= CLIENT_BUSY else ""
    cells = [
        f"{row.server.name}",
        f"{row.rate():,.0f}{star}",
        f"{min(row.rates()):,.0f}..{max(row.rates()):,.0f}",
        f"{row.cpu_us():,.1f}",
        *([f"{row.instructions() or 0:,.0f}"] if counted else []),
        *(milliseconds(row.latency_ms(quantile)) for quantile in ("p50", "p99", "p99.9")),
        f"{row.failed():,}",
        f"{row.pss_mib():.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def milliseconds(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"
