"""How workers end: what an app has left to the end of its process happens."""

from __future__ import annotations

import gzip
import subprocess
import sys

from http_client import get


def test_a_worker_that_leaves_waits_for_threads_calls_atexit_and_writes_files(
    serve, tmp_path, worker_class
):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "ENDING_FOLDER": str(tmp_path)}
    app = "asgi_app" if worker_class == "asgi" else "app"
    with serve(app=f"leaves_things_open:{app}", env=env) as server:
        pid = get(server.port, "/").body.decode()
        assert server.stop() == 0
    said = (tmp_path / "said").read_text().splitlines()
    assert f"thread {pid}" in said and f"atexit {pid}" in said
    assert said.index(f"thread {pid}") < said.index(f"atexit {pid}")
    assert (tmp_path / "text").read_text() == "written"
    assert (tmp_path / "inherited").read_text() == "written"
    with gzip.open(tmp_path / "packed", "rt") as packed:
        assert packed.read() == "written"


def test_a_zygote_that_retires_calls_atexit(serve, tmp_path):
    with serve(app="leaves_things_open:app", env={"ENDING_FOLDER": str(tmp_path)}) as server:
        workers = server.workers()
        zygotes = [pid for pid in server.children() if pid not in workers]
        assert server.stop() == 0
    said = (tmp_path / "said").read_text()
    assert zygotes and all(f"atexit {pid}\n" in said for pid in [*zygotes, *workers])


FAULTS = """
import gc, os, sys
from remuda import ending
heap = [[str(number)] for number in range(200_000)]
gc.collect()
gc.freeze()
def faults(end):
    pid = os.fork()
    if pid == 0:
        end(0)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return usage.ru_minflt
print(faults(ending.leave), faults(sys.exit))
"""


def test_an_end_writes_to_few_of_the_pages_that_are_shared():
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    ours, pythons = map(int, done.stdout.split())
    assert ours * 3 < pythons


STATUS = """
import sys
from remuda import ending
def run():
    {}
ending.leave(ending.status_of(run))
"""


def test_the_status_is_the_one_that_python_gives():
    cases = ["return 0", "return 3", "sys.exit()", "sys.exit(4)", "sys.exit('no')", "1 / 0"]
    for case in cases:
        ours = subprocess.run([sys.executable, "-c", STATUS.format(case)], stderr=subprocess.PIPE)
        case = case.replace("return 0", "pass").replace("return 3", "sys.exit(3)")
        theirs = subprocess.run(
            [sys.executable, "-c", f"import sys\n{case}"], stderr=subprocess.PIPE
        )
        assert ours.returncode == theirs.returncode, case
        last = [each.stderr.splitlines()[-1:] for each in (ours, theirs)]
        assert last[0] == last[1], case


def test_what_fails_at_the_end_is_shown_and_the_rest_goes_on(tmp_path):
    script = f"""
import atexit
from remuda import ending
file = open({str(tmp_path / "file")!r}, "w")
file.write("written")
print("standard")
atexit.register(lambda: 1 / 0)
atexit.register(print, "before")
ending.leave(0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == "standard\nbefore\n" and "ZeroDivisionError" in done.stderr
    assert (tmp_path / "file").read_text() == "written"
