"""Pictures of a run: bars from zero, with the spread over the rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from results import Row, Run, Table

OURS, THEIRS = "#b5542b", "#8a8f98"


def draw(run: Run, folder: Path) -> dict[str, Path]:
    """One SVG a scenario; its path by the scenario's name."""
    import matplotlib

    matplotlib.use("svg")
    # The same numbers give the same file, and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "remuda", "svg.fonttype": "none"})
    pictures = {}
    for table in run.tables:
        if table.measured():
            pictures[table.scenario.name] = folder / f"{table.scenario.name}.svg"
            picture(table, pictures[table.scenario.name])
    return pictures


def picture(table: Table, path: Path) -> None:
    from matplotlib import pyplot

    rows = table.measured()
    panels: dict[str, list[float | None]] = {
        "requests/s": [row.rate() for row in rows],
        "µs CPU a request": [row.cpu_us() for row in rows],
        "p99 ms" + (f" at {table.rate:,.0f} requests/s" if table.rate else ""): [
            row.latency_ms("p99") for row in rows
        ],
    }
    size = (12, 1.2 + 0.3 * len(rows))
    figure, axes = pyplot.subplots(1, len(panels), sharey=True, figsize=size, layout="constrained")
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        spread = [spread_of(row) for row in rows] if title == "requests/s" else None
        bars(axis, title, rows, values, spread)
    figure.suptitle(table.scenario.title)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def spread_of(row: Row) -> tuple[float, float]:
    """How far the slowest and the fastest round are from the median."""
    return row.rate() - min(row.rates()), max(row.rates()) - row.rate()


def bars(
    axis: Any,
    title: str,
    rows: list[Row],
    values: list[float | None],
    spread: list[tuple[float, float]] | None,
) -> None:
    """One panel; `?` stands for what was not measured."""
    heights = range(len(rows))
    lengths = [value or 0 for value in values]
    colours = [OURS if row.server.ours else THEIRS for row in rows]
    drawn = axis.barh(
        heights,
        lengths,
        color=colours,
        xerr=list(zip(*spread, strict=True)) if spread else None,
        error_kw={"elinewidth": 1, "ecolor": "#333333"},
    )
    labels = [
        "?" if value is None else f"{value:,.{0 if value >= 100 else 1}f}" for value in values
    ]
    axis.bar_label(drawn, labels, padding=6, fontsize=8)
    axis.set_yticks(heights, [row.server.name for row in rows])
    axis.invert_yaxis()
    axis.set_xlim(0, max([*lengths, 1e-9]) * 1.25)
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
