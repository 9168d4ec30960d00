"""`workers = auto`: counted from CPUs and memory, and said so in one line."""

from __future__ import annotations

import os
import re
import shutil
import signal

import pytest

from http_client import get
from serving import conf, wait_until

REASON = re.compile(
    r"Workers: (\d+) \(auto: (\d+) CPUs? of the ([\w ]+?)( x 2 \+ 1|, and one more)? for (\w+); "
    r"(?:but )?\d+ MiB have room for (\d+) \(\d+ MiB each, \w+, beside 128 MiB shared\)\)"
)


def reason(server) -> re.Match[str]:
    found = [match for match in map(REASON.search, server.messages()) if match]
    assert found, server.log()
    return found[-1]


@pytest.mark.parametrize("variable", ["GUNICORN_WORKERS", "WEB_CONCURRENCY"])
def test_the_number_follows_from_the_cpus_and_is_explained(serve, variable):
    with serve(env={variable: "auto"}) as server:
        workers, cpus, _, _, kind, room = reason(server).groups()
        assert kind == "sync"
        assert int(workers) == min(2 * int(cpus) + 1, int(room))
        assert f"{workers} worker" in server.log()
        assert get(server.port).status == 200
        assert len(server.workers()) == int(workers)


@pytest.mark.skipif(not shutil.which("taskset"), reason="NOT RUN: taskset is not installed")
def test_the_affinity_counts(serve):
    cpu = str(min(os.sched_getaffinity(0)))
    with serve("--workers", "auto", "-k", "gthread", before=["taskset", "-c", cpu]) as server:
        workers, cpus, of, rule, kind, _ = reason(server).groups()
        assert (workers, cpus, kind) == ("2", "1", "gthread")
        assert rule == ", and one more"
        assert of in ("affinity", "control group") or os.cpu_count() == 1


def test_memory_bounds_the_number_and_a_reload_counts_again(serve, site):
    conf(site, 'workers = "auto"\nmax_memory_total = "4G"\nmax_memory = "3G"\n', "remuda.toml")
    with serve(app="hello:app", cwd=site) as server:
        found = reason(server)
        assert found[1] == "1"
        assert "but 4096 MiB have room for 1 (3072 MiB each, max_memory," in found[0]
        conf(
            site, 'workers = "auto"\nmax_memory_total = "4G"\nmax_memory = "1900M"\n', "remuda.toml"
        )
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert reason(server)[1] == "2"
        wait_until(lambda: len(server.workers()) == 2, "there are two workers")


def test_hooks_see_the_number(serve, site):
    file = conf(
        site,
        'workers = "auto"\n'
        "def on_starting(server):\n"
        "    print('hook:', server.cfg.workers, flush=True)\n"
        "def post_fork(server, worker):\n"
        "    print('hook:', worker.cfg.workers, flush=True)\n",
    )
    with serve("-c", str(file)) as server:
        workers = reason(server)[1]
        said = server.stdout().splitlines() + server.log().splitlines()
        said = [line for line in said if line.startswith("hook:")]
        assert set(said) == {f"hook: {workers}"}
        assert len(said) == int(workers) + 1
