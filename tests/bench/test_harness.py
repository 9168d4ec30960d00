"""The benchmark harness, for a second: it measures, and it writes what it says. No speed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The server that needs no other package, and the row that needs no Python.
ROWS = ["front without Python", "remuda sync"]


def run(programs: Path, results: Path, *options: str) -> subprocess.CompletedProcess[str]:
    places = ["--programs", str(programs), "--results", str(results)]
    command = [sys.executable, str(ROOT / "benches" / "run.py"), *places, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_short_run_leaves_samples_a_table_and_how_each_server_was_started(
    programs: Path, tmp_path: Path
) -> None:
    rows = [option for row in ROWS for option in ("--server", row)]
    done = run(programs, tmp_path, "--quick", "--scenario", "hello", *rows)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results.json").read_text())
    (scenario,) = result["scenarios"]
    assert [server["name"] for server in scenario["servers"]] == ROWS
    for server in scenario["servers"]:
        assert server["left_out"] is None and server["command"]
        (closed,), (opened,) = server["closed"], server["open"]
        for sample in (closed, opened):
            report = sample["report"]
            assert report["answered"] == report["requests"] > 0
            assert report["lost"] == 0
            assert sample["pss_mib"] > 0
        assert closed["cpu_us"] > 0
        assert opened["report"]["rate_wanted"] == scenario["open_loop_rate"]
    table = (tmp_path / "results.md").read_text()
    assert all(f"| {row} |" in table for row in ROWS)


def test_a_server_that_does_not_start_is_left_out_loudly(programs: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "programs"
    hidden.mkdir()
    (hidden / "remuda-load").symlink_to(programs / "remuda-load")
    done = run(hidden, tmp_path, "--quick", "--scenario", "hello", "--server", ROWS[0])
    assert done.returncode == 0, done.stderr
    assert f"LEFT OUT: {ROWS[0]}" in done.stderr
    assert f"- {ROWS[0]} is left out" in (tmp_path / "results.md").read_text()


def test_check_fails_when_a_demand_was_not_measured(programs: Path, tmp_path: Path) -> None:
    done = run(
        programs, tmp_path, "--quick", "--scenario", "hello", "--server", "nobody", "--check"
    )
    assert done.returncode == 1
    assert "a demand is not met" in done.stderr
