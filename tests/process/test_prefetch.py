"""Learned prefetch: what workers import late, the next zygote imports before it forks."""

from __future__ import annotations

import json
import re
import signal

import pytest

from http_client import get
from serving import wait_until


def late(server) -> list[str]:
    """Modules that a worker has found imported."""
    return json.loads(get(server.port, "/").text)["late"]


def learn(server, *names: str) -> None:
    """Have a request import modules, and the master hear of it."""
    assert get(server.port, "/?" + ",".join(names)).status == 200
    heard = re.compile(rf"before the fork next time: .*\b{names[0]}\b")
    wait_until(lambda: heard.search(server.log()), f"{names[0]} is heard of", 15)


def reload(server) -> None:
    server.send(signal.SIGHUP)
    server.wait_for_log("Reload done")


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_the_next_zygote_imports_what_workers_have_imported_late(serve, kind):
    with serve("-k", kind, "--log-level", "debug", app="imports:app") as server:
        assert late(server) == []
        learn(server, "late.a", "late.c")
        reload(server)
        assert late(server) == ["late.a", "late.c"]
        assert "modules for all workers" in server.log()


def test_nothing_is_learned_when_it_is_switched_off(serve):
    env = {"GUNICORN_PREFETCH_IMPORTS": "false"}
    with serve("--log-level", "debug", app="imports:app", env=env) as server:
        get(server.port, "/?late.a")
        reload(server)
        assert late(server) == []
        assert "Imported late" not in server.log()


def test_a_module_that_starts_a_thread_is_left_out_and_what_it_imports_is_not(serve):
    with serve("--log-level", "debug", app="imports:app") as server:
        learn(server, "late.user", "late.a")
        reload(server)
        assert late(server) == ["late.a", "late.b"]
        log = server.log()
        assert "Not imported before the fork: late.threads: thread 'late'" in log
        assert "Not imported before the fork: late.user: thread 'late'" in log
        assert "shared by all workers: yes" in log


def test_a_module_that_ends_its_process_is_left_out(serve):
    with serve("--log-level", "debug", app="imports:app") as server:
        learn(server, "late.leaves", "late.a")
        reload(server)
        assert late(server) == ["late.a"]
        assert "Not imported before the fork: late.leaves: it ends" in server.log()


def test_the_app_is_loaded_again_by_itself_when_enough_was_learned(serve):
    names = ["late.a", "late.b", "late.c", *(f"encodings.cp{n}" for n in (437, 737, 775, 850, 852))]
    names += [f"encodings.iso8859_{n}" for n in (2, 3, 4, 5)]
    with serve("--prefetch-after", "0.5", "--workers", "2", app="imports:app") as server:
        assert get(server.port, "/?" + ",".join(names)).status == 200
        server.wait_for_log("Loading the application again, so that workers share")
        server.wait_for_log("Reload done")
        assert late(server) == ["late.a", "late.b", "late.c"]
