"""Warm-up requests: answered by the zygote, seen by every worker, harmful to none."""

from __future__ import annotations

import json
import signal
import time

import pytest

from http_client import get
from remuda import warmup


def reload(server):
    server.send(signal.SIGHUP)
    server.wait_for_log("Reload done")


def page(server, path="/"):
    return json.loads(get(server.port, path).text)


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_every_worker_has_seen_the_requests_of_its_zygote(serve, worker_class):
    options = ["--warmup-paths", "/,/two?x=1", "--warmup-requests", "3", "-k", worker_class]
    with serve("--workers", "2", *options, app="warm:app") as server:
        seen = page(server)["seen"]
        warm = [entry for entry in seen if entry[1]]
        (zygote,) = {pid for pid, _, _ in warm}
        assert len(warm) == 6
        assert zygote in server.children() and zygote not in server.workers()
        assert "Warmed up with 6 requests" in server.log()
        assert "/two?x=1 200" in server.log()


def test_an_url_gives_the_host(serve):
    options = ["--warmup-paths", "https://example.org/a", "--warmup-requests", "1"]
    with serve(*options, app="warm:app") as server:
        assert page(server)["seen"][0][1:] == [True, "example.org"]


def test_an_app_that_fails_in_warm_up_serves_all_the_same(serve):
    with serve("--warmup-paths", "/raise", app="warm:app") as server:
        assert get(server.port).status == 200
        assert "/raise RuntimeError" in server.log()
        assert "Some warm-up requests have failed" in server.log()


def test_an_app_that_leaves_the_interpreter_in_warm_up_serves_all_the_same(serve):
    with serve("--warmup-paths", "/", app="warm:exits") as server:
        assert get(server.port).status == 200
        assert "/ SystemExit" in server.log()


def test_a_thread_that_a_request_leaves_behind_makes_the_zygote_start_again_cold(serve):
    with serve("--warmup-paths", "/thread", app="warm:app") as server:
        assert [entry for entry in page(server)["seen"] if entry[1]] == []
        assert "Loading the application again without warm-up" in server.log()
        assert "thread 'left-behind'" in server.log()
        assert "shared by all workers: yes" in server.log()


def test_no_warm_up_when_each_worker_imports_by_itself(serve):
    env = {"GUNICORN_PRELOAD_APP": "false", "GUNICORN_WARMUP_PATHS": "/"}
    with serve(app="warm:app", env=env) as server:
        assert [entry for entry in page(server)["seen"] if entry[1]] == []
        assert "Warmed up" not in server.log()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_asgi_app_is_started_asked_and_stopped_before_the_fork(serve, loop):
    options = ["-k", "asgi", "--asgi-loop", loop, "--warmup-paths", "/a?b=c"]
    with serve("--workers", "2", *options, app="warm:asgi") as server:
        seen = page(server)
        zygote = seen["life"][0][0]
        assert seen["life"] == [
            [zygote, "lifespan.startup"],
            [zygote, "lifespan.shutdown"],
            [seen["pid"], "lifespan.startup"],
        ]
        assert seen["seen"][:20] == [[zygote, "/a", "b=c"]] * 20
        assert "Loading the application again" not in server.log()


def test_a_reload_warms_up_again(serve):
    with serve("--warmup-paths", "/", app="warm:app") as server:
        reload(server)
        assert server.log().count("Warmed up with 20 requests") == 2


def test_a_request_that_hangs_is_broken_off(monkeypatch):
    monkeypatch.setattr(warmup, "LIMIT_S", 0.1)
    with pytest.raises(warmup.TooLong), warmup.time_limit("sync"):
        time.sleep(30)
