"""The memory benchmark, once and short: it reads every process, and says what it leaves out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_short_run_reads_master_zygote_and_workers(programs: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benches" / "memory.py"), "--site", "proyecto"]
    command += ["--rounds", "1", "--requests", "50", "--only", "memory", "--setup", "remuda 5 sync"]
    command += ["--programs", str(programs), "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "memory.json").read_text())["proyecto"]
    (sample,) = rows["remuda 5 sync"]["samples"]
    assert sample["total"] > sample["master"] + sample["zygote"] > 0
    assert 0 < sample["private"] < sample["total"]
    assert len(sample["ready_ms"]) == 5
    assert "| remuda 5 sync |" in (tmp_path / "memory.md").read_text()


def test_a_short_run_compares_throughput_with_and_without_recycling(
    programs: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(ROOT / "benches" / "memory.py"), "--site", "proyecto"]
    command += ["--rounds", "1", "--seconds", "1", "--only", "recycling", "--setup", "remuda"]
    command += ["--programs", str(programs), "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "memory.json").read_text())
    assert set(found) == {"machine", "options", "proyecto recycling"}
    plain = ["remuda 2 gevent", "remuda 2 gevent, learned", "remuda 2 gevent, warm"]
    names = {*plain, *(f"{name} recycling" for name in plain)}
    for measured in found["proyecto recycling"].values():
        assert set(measured) == names
        assert all(len(values) == 1 and values[0] > 0 for values in measured.values())
    assert "≥ 0.95: " in (tmp_path / "memory.md").read_text()
