"""``remuda memory-profile``: the log names the line that leaks."""

from __future__ import annotations

import re

import pytest

from control import ask, path_of, remuda
from http_client import get
from serving import APPS

LINE = next(
    number
    for number, text in enumerate((APPS / "leaking.py").read_text().splitlines(), 1)
    if "the line that leaks" in text
)
LEAK_BYTES = 200_000
KINDS = [("sync", "app"), ("gthread", "app"), ("gevent", "app"), ("asgi", "asgi")]


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_the_line_that_leaks_is_named_and_tracing_ends(serve, home, kind, name):
    with serve("-k", kind, app=f"leaking:{name}", env=home) as server:
        answer = remuda("memory-profile", "0", "3", env=home)
        pid = server.workers()[0]
        words = f"worker {pid} (slot 0) is traced for 3 s; then the log has what grew\n"
        assert (answer.returncode, answer.stdout) == (0, words)
        for round_, seconds in enumerate((3, 1), 1):
            if round_ == 2:
                assert remuda("memory-profile", "0", str(seconds), env=home).returncode == 0
            server.wait_for_log(f"Memory profile begins (pid:{pid})", round_)
            for number in range(20):
                assert get(server.port, f"/leak/{number}").status == 200
            server.wait_for_log(f"Memory profile (pid:{pid}) of ", round_)
        found = re.findall(rf"leaking\.py:{LINE}: (\d+\.\d) KiB in (\d+) blocks", server.log())
        # The list that keeps them is one more.
        assert [int(blocks) for _, blocks in found] == [21, 21], server.log()
        assert all(float(kib) > 20 * LEAK_BYTES / 1024 for kib, _ in found)


def test_a_worker_that_leaves_tells_what_it_knows(serve, home):
    with serve("--max-requests", "5", app="leaking:app", env=home) as server:
        assert remuda("memory-profile", "0", "3000", env=home).returncode == 0
        server.wait_for_log("Memory profile begins")
        for number in range(5):
            get(server.port, f"/leak/{number}")
        server.wait_for_log(f"leaking.py:{LINE}: ")


@pytest.mark.parametrize("kind", ["sync", "asgi"])
def test_the_setting_has_the_worker_of_slot_0_tell_again_and_again(serve, kind):
    env = {"GUNICORN_MEMORY_PROFILE": "1", "GUNICORN_WORKERS": "2"}
    with serve("-k", kind, app=f"leaking:{dict(KINDS)[kind]}", env=env) as server:
        server.wait_for_log("Memory profile (pid:", 2)
        assert server.stop() == 0
    told = re.findall(r"Memory profile(?: begins)? \(pid:(\d+)\)", server.log())
    first = re.findall(r"Booting worker with pid: (\d+)", server.log())[0]
    assert set(told) == {first} and len(told) >= 4


def test_one_at_a_time_and_only_where_somebody_serves(serve, home):
    with serve(app="leaking:app", env=home) as server:
        missing = remuda("memory-profile", "7", env=home)
        assert (missing.returncode, missing.stderr) == (1, "Error: no worker serves in slot 7\n")
        bad = remuda("memory-profile", "0", "0", env=home)
        assert bad.returncode == 2
        asked = ask(path_of(server, home), b'{"command":"memory-profile","seconds":5000}\n')
        assert b"seconds is between 1 and 3600" in asked
        for _ in range(2):
            assert remuda("memory-profile", "0", "60", env=home).returncode == 0
        server.wait_for_log("A memory profile is under way; this one is left out")
        server.wait_for_log("Memory profile begins")
        assert server.stop() == 0
        assert server.log().count("Memory profile begins") == 1
