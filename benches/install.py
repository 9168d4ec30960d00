"""Install what a comparison needs, and the example site, beside this build of remuda.

Run by `make bench` (`servers`) and `make bench-memory` (`memory`) with the Python of the
environment to install into.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scenarios import SITE

HERE = Path(__file__).resolve().parent
LISTS = {"servers": "requirements.txt", "memory": "requirements-memory.txt"}


def main() -> None:
    purpose = sys.argv[1] if len(sys.argv) > 1 else "servers"
    done = Path(sys.prefix) / f".peers-{purpose}"
    wanted = requirements(LISTS[purpose])
    if done.exists() and done.read_text().splitlines() == wanted:
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    missing = []
    for requirement in wanted:
        print(f"installing {requirement}", file=sys.stderr)
        if subprocess.run([*pip, requirement]).returncode:
            missing.append(requirement)
            print(f"NOT INSTALLED: {requirement}; its rows are left out", file=sys.stderr)
    subprocess.run([sys.executable, "manage.py", "prepare"], cwd=SITE, check=True)
    if not missing:
        done.write_text("\n".join(wanted))


def requirements(file: str) -> list[str]:
    """The peers' and the site's; but gunicorn needs a newer gevent than the site pins."""
    files = [HERE / file, SITE / "requirements.txt"]
    lines = [line.strip() for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "gevent=="))]


if __name__ == "__main__":
    main()
