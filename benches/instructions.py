"""How many instructions one hello takes, in user space, of all processes of a server of ours.

    make bench-instructions [BENCH="--server sync"]

Time depends on the machine's mood, instructions hardly: two runs differ by about one percent. Where
no counter is to be had, as on most virtual machines, valgrind counts: each server runs twice, with
few and with many requests, and the difference is what the requests took. The kernel's share is not
in it. Servers of others are left out: under valgrind some of them do not survive.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import LeftOut, await_answer, free_port, stop
from scenarios import SCENARIOS
from servers import ROOT, SERVERS, Job, Server

HELLO = SCENARIOS[0]
FEW, MANY = 1000, 5000
START_TIMEOUT_S = 180.0
VALGRIND = [
    "valgrind", "--tool=cachegrind", "--cache-sim=no", "--trace-children=yes",
    "--cachegrind-out-file=/dev/null",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Instructions a request, counted by valgrind.")
    parser.add_argument("--server", default="", help="only those whose name contains this")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("instructions: valgrind is not installed\n  hint: apt-get install valgrind")
    print("| server | instructions a request |\n| --- | ---: |", flush=True)
    for server in SERVERS:
        if server.ours and options.server in server.name:
            try:
                took = (instructions(server, MANY) - instructions(server, FEW)) / (MANY - FEW)
                print(f"| {server.name} | {took:,.0f} |", flush=True)
            except LeftOut as error:
                print(f"LEFT OUT: {server.name}: {error}", file=sys.stderr)


def instructions(server: Server, requests: int) -> int:
    """Of a whole life with so many requests."""
    programs = ROOT / "target" / "release"
    port = free_port()
    job = Job(port, HELLO.app(server), HELLO.waits, programs)
    load = [str(programs / "remuda-load"), f"127.0.0.1:{port}", "--connections", "4"]
    # What collides in a dict depends on it.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    load += ["--requests", str(requests), "--seconds", "300"]
    with tempfile.TemporaryDirectory() as folder:
        counts = f"--log-file={folder}/%p.count"
        log = Path(folder) / "log"
        with log.open("wb") as stream:
            command = [*VALGRIND, counts, *server.command(job)]
            process = subprocess.Popen(
                command, cwd=HELLO.cwd, env=environment, stdout=stream, stderr=stream
            )
        try:
            await_answer(process, port, log, START_TIMEOUT_S)
            report = json.loads(subprocess.run(load, check=True, capture_output=True).stdout)
        finally:
            stop(process)
        if report["answered"] != requests:
            raise LeftOut(f"{report['answered']} of {requests} requests were answered")
        texts = [path.read_text() for path in Path(folder).glob("*.count")]
    found = [re.search(r"I\s+refs:\s+([\d,]+)", text) for text in texts]
    return sum(int(match[1].replace(",", "")) for match in found if match)


if __name__ == "__main__":
    main()
