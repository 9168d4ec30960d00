"""``memory_sample_rate``: the lines that a middleware would have written."""

from __future__ import annotations

import re

import pytest

from http_client import get

LINE = re.compile(r"Memory: (\d+)MB \| Path: (\S+) \| Grew: \d+kB")


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
