"""The Autobahn test suite against worker class `asgi`: `make autobahn WSTEST=path/to/wstest`.

Not a part of `make test`, since the suite needs Python 2.7:

    virtualenv --python=python2.7 py27 && py27/bin/pip install autobahntestsuite

Exit status 1 if a case fails. `NON-STRICT` says that a connection was closed later or earlier than
the suite would like; both are allowed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from serving import serving  # noqa: E402

GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


def main() -> None:
    parser = argparse.ArgumentParser(description="The Autobahn test suite against `asgi`.")
    parser.add_argument("wstest", help="the suite's program")
    parser.add_argument("--cases", default="*", help="which, as in 6.*")
    parser.add_argument("--without", default="", help="comma list of those to leave out")
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        verdicts = run(folder, options)
    counts = Counter(verdict for pair in verdicts.values() for verdict in pair)
    for case, pair in sorted(verdicts.items()):
        if not set(pair) <= GOOD:
            print(f"{case}: {' / '.join(pair)}")
    print(f"{len(verdicts)} cases; behaviour and close: {dict(counts)}")
    if not verdicts or not set(counts) <= GOOD:
        sys.exit("autobahn: a case has failed")


def run(folder: Path, options: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """What the suite says of the behaviour and of the closing, by case."""
    env = {"GUNICORN_WORKER_CLASS": "asgi"}
    with serving(folder, app="lab_websocket:app", env=env) as server:
        spec = folder / "spec.json"
        spec.write_text(
            json.dumps(
                {
                    "outdir": str(folder / "reports"),
                    "servers": [{"agent": "remuda", "url": f"ws://127.0.0.1:{server.port}/echo"}],
                    "cases": [options.cases],
                    "exclude-cases": [case for case in options.without.split(",") if case],
                    "exclude-agent-cases": {},
                }
            )
        )
        command = [options.wstest, "-m", "fuzzingclient", "-s", str(spec)]
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "PYTHONWARNINGS": "ignore"}}
        subprocess.run(command, check=True, timeout=options.minutes * 60, cwd=folder, **quiet)
    index = json.loads((folder / "reports" / "index.json").read_text())["remuda"]
    return {case: (found["behavior"], found["behaviorClose"]) for case, found in index.items()}


if __name__ == "__main__":
    main()
