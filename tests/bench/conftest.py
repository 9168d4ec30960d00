"""What the harness needs of cargo."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def programs() -> Path:
    """The load client and the front's example, unoptimised: `make test-rust` has built them."""
    build = ["cargo", "build", "--quiet", "--locked", "--bins", "--example", "hello"]
    packages = ["-p", "remuda-load", "-p", "remuda-front"]
    subprocess.run([*build, *packages], cwd=ROOT, check=True)
    folder = os.environ.get("CARGO_TARGET_DIR", "target")
    return ROOT / folder / "debug"
