"""What a result depends on: processor, kernel, versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from servers import ROOT

PACKAGES = [
    "remuda", "gunicorn", "gunicorn_h1c", "gevent", "greenlet", "uvicorn", "uvicorn-worker",
    "uvloop", "httptools", "granian", "bjoern", "uwsgi", "Django",
]  # fmt: skip


def facts() -> dict[str, Any]:
    """Everything, ready for JSON."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(),
        "python": platform.python_version(),
        "rust": first_line(["rustc", "--version"]),
        "revision": first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "packages": {name: version(name) for name in PACKAGES},
        "load_average": os.getloadavg()[0],
        "instructions": instructions(),
    }


def processor() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def first_line(command: list[str]) -> str | None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip().splitlines()[0] if result.stdout.strip() else None


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def instructions() -> str:
    """Whether this machine counts instructions; few virtual ones do."""
    if not shutil.which("perf"):
        return "not counted: perf is not installed"
    command = ["perf", "stat", "-x,", "-e", "instructions:u", "true"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode or "not supported" in result.stderr or "not counted" in result.stderr:
        return "not counted: perf finds no instruction counter on this machine"
    return "counted"
