"""Replacement: after max_requests, after a crash, in a crash loop."""

from __future__ import annotations

import os
import re
import signal
import time

from http_client import get
from load import Load
from serving import wait_until


def test_max_requests_replaces_first_and_loses_nothing(serve, worker_class):
    env = {
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_WORKERS": "2",
        "GUNICORN_MAX_REQUESTS": "50",
        "GUNICORN_MAX_REQUESTS_JITTER": "20",
    }
    pids = set()
    with serve(app="lab:app", env=env) as server:
        with Load(server.port, clients=4, on_body=pids.add) as load:
            wait_until(lambda: len(pids) >= 8, "six replacements")
        assert load.lost == [] and load.counts["refused"] == 0
        assert "Autorestarting worker after current request." in server.messages()
        wait_until(lambda: len(server.workers()) == 2, "two workers at rest")


def test_max_requests_without_keepalive_loses_nothing(serve, worker_class):
    env = {
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_WORKERS": "2",
        "GUNICORN_MAX_REQUESTS": "30",
    }
    pids = set()
    with serve(app="lab:app", env=env) as server:
        with Load(server.port, clients=4, keepalive=False, on_body=pids.add) as load:
            wait_until(lambda: len(pids) >= 6, "four replacements")
        assert load.lost == [] and load.counts["refused"] == 0


def test_successor_is_ready_before_its_predecessor_leaves(serve):
    env = {"GUNICORN_MAX_REQUESTS": "5", "GUNICORN_LOGLEVEL": "debug"}
    with serve(app="lab:app", env=env) as server:
        for _ in range(5):
            get(server.port, "/pid")
        server.wait_for_log("Worker left")
        events = re.findall(r"Worker (ready|drains|left)", server.log())
        assert events[:4] == ["ready", "ready", "drains", "left"]


def test_jitter_spreads_the_limits(serve):
    env = {"GUNICORN_MAX_REQUESTS": "5", "GUNICORN_MAX_REQUESTS_JITTER": "40"}
    counts: dict[str, int] = {}
    with serve(app="lab:app", env=env) as server:

        def count(pid: str) -> None:
            counts[pid] = counts.get(pid, 0) + 1

        with Load(server.port, clients=1, keepalive=False, on_body=count):
            wait_until(lambda: len(counts) >= 8, "seven replacements")
    whole_lives = list(counts.values())[:-1]
    assert len(set(whole_lives)) > 1, f"all workers lived equally long: {whole_lives}"
    assert min(whole_lives) >= 5


def test_killed_idle_worker_is_replaced_and_named(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class}
    with serve(app="lab:app", env=env) as server:
        pid = int(get(server.port, "/pid").text)
        os.kill(pid, signal.SIGKILL)
        server.wait_for_log(f"Worker (pid:{pid}) was sent SIGKILL! Perhaps out of memory?")
        assert int(get(server.port, "/pid").text) != pid


def test_crash_of_one_worker_leaves_the_others_alone(serve):
    with serve("--workers", "2", app="lab:app") as server:
        try:
            get(server.port, "/crash")
        except (OSError, EOFError):
            pass
        server.wait_for_log("was sent SIGSEGV!")
        for _ in range(10):
            assert get(server.port, "/pid").status == 200
        wait_until(lambda: len(server.workers()) == 2, "two workers again")


def test_exit_of_a_worker_names_its_status(serve):
    with serve(app="lab:app") as server:
        try:
            get(server.port, "/leave")
        except (OSError, EOFError):
            pass
        server.wait_for_log("exited with code 7.")
        assert get(server.port, "/pid").status == 200


def test_crash_loop_backs_off(serve):
    with serve(app="lab:app") as server:
        born = set()
        end = time.monotonic() + 4
        while time.monotonic() < end:
            for pid in server.workers():
                born.add(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        # A worker that is killed before it is ready counts as lack of memory.
        seen = ("workers in a row died early", "No room for another process")
        wait_until(lambda: any(words in server.log() for words in seen), "a wait is announced")
        assert len(born) < 15, "a crash loop must not fork as fast as it can"
        assert get(server.port, "/pid").status == 200


def test_killed_zygote_is_replaced_while_workers_serve(serve):
    with serve("--workers", "2", app="lab:app") as server:
        zygote = (set(server.children()) - set(server.workers())).pop()
        with Load(server.port) as load:
            os.kill(zygote, signal.SIGKILL)
            server.wait_for_log("Application loaded", count=2)
        assert load.lost == []
        os.kill(server.workers()[0], signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == 2, "the new zygote forks")


def test_a_worker_whose_zygote_dies_before_it_tells_of_it_leaves_without_serving(serve, tmp_path):
    asked = tmp_path / "end-zygote"
    pids = set()
    with serve(app="ends_its_zygote:app", env={"END_ZYGOTE": str(asked)}) as server:
        with Load(server.port, on_body=pids.add, keepalive=False) as load:
            asked.touch()
            server.send(signal.SIGTTIN)
            server.wait_for_log("Application loaded", count=2)
            wait_until(lambda: len(server.workers()) == 2, "the new zygote forks")
            wait_until(lambda: len(server.children()) == 3, "two workers and a zygote, no more")
            wait_until(lambda: len(pids) >= 2, "both workers answer")
        assert load.lost == []
        assert pids <= set(re.findall(r"Booting worker with pid: (\d+)", server.log()))
