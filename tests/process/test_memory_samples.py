"""``memory_sample_rate``: the lines that a middleware would have written, and who leaks."""

from __future__ import annotations

import json
import re

import pytest

from control import ask, path_of, remuda
from http_client import get
from serving import wait_until

LINE = re.compile(r"Memory: (\d+)MB \| Path: (\S+) \| Grew: -?\d+kB")
LEAK_BYTES = 200_000
KINDS = [("sync", "app"), ("gthread", "app"), ("gevent", "app"), ("asgi", "asgi")]


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_each_sampled_request_is_logged_with_memory_and_path(serve, kind):
    with serve("-k", kind, "--memory-sample-rate", "1", app="hello:app") as server:
        for number in range(5):
            assert get(server.port, f"/page/{number}?secret=1").status == 200
        server.wait_for_log("Path: /page/4")
        found = LINE.findall(server.log())
        assert [path for _, path in found] == [f"/page/{number}" for number in range(5)]
        assert all(5 < int(memory) < 1000 for memory, _ in found)


def test_an_asgi_request_is_sampled_when_its_task_ends(serve):
    env = {"GUNICORN_MEMORY_SAMPLE_RATE": "1"}
    with serve("-k", "asgi", app="warm:asgi", env=env) as server:
        assert get(server.port, "/a").status == 200
        server.wait_for_log("Path: /a")


def test_nothing_is_logged_unless_asked_for_and_a_share_of_it_when_that_is_asked_for(serve):
    with serve(app="hello:app") as server:
        get(server.port, "/")
        assert "Memory: " not in server.log()
    with serve("--memory-sample-rate", "0.2", app="hello:app") as server:
        for _ in range(200):
            get(server.port, "/")
        assert 5 < len(LINE.findall(server.log())) < 150


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_status_names_the_path_that_leaks_whoever_has_served_it(serve, home, kind, name):
    """Each worker lives for twenty requests, so what is told must outlive those that tell it."""
    args = ("-k", kind, "--max-requests", "20", "--memory-sample-rate", "1")
    with serve(*args, app=f"leaking:{name}", env=home) as server:
        for number in range(60):
            get(server.port, f"/leak/{number}")
            get(server.port, "/harmless/")
        control = path_of(server, home)

        def growth() -> dict[str, dict]:
            status = json.loads(ask(control, b'{"command":"status"}\n'))["status"]
            return {of["route"]: of for of in status["memory"]["growth"]}

        wait_until(
            lambda: sum(of["requests"] for of in growth().values()) == 120,
            "the master knows of all requests",
        )
        found = growth()
        assert set(found) == {"/leak/:id", "/harmless/"}
        assert found["/leak/:id"]["requests"] == 60
        # What was free before is filled first, and the kernel is not asked for that.
        assert LEAK_BYTES / 2 < found["/leak/:id"]["bytes"] / 60 < LEAK_BYTES * 2
        assert found["/harmless/"]["bytes"] / 60 < LEAK_BYTES / 4
        assert next(iter(found)) == "/leak/:id", "the most first"
        shown = remuda("status", env=home)
        assert re.search(r"^\d+ kB +60 +\d+ kB +/leak/:id$", shown.stdout, re.MULTILINE), shown


def test_a_service_without_samples_has_no_table_of_paths(serve, home):
    with serve(app="leaking:app", env=home) as server:
        get(server.port, "/leak/1")
        assert json.loads(remuda("status", "--json", env=home).stdout)["memory"]["growth"] == []
        assert "GROWTH" not in remuda("status", env=home).stdout
