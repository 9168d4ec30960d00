"""What a fork would break is found before the fork, and `fork_check` says what follows."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from contextlib import contextmanager

import pytest

from databases import postgresql, redis
from http_client import get
from serving import APPS, REMUDA, conf, wait_until

UNSHARED = "The application is not shared between workers: importing it has left behind"
FORKED = "The application is forked nevertheless: importing it has left behind"
THREAD = """\
      breaks: it does not run in workers, and who waits for it or its locks waits for ever
      fix: start it in the hook `post_worker_init`, or in the first request
"""
CONNECTION = """\
      breaks: all workers would talk on it: one gets the answers of another, and encryption breaks
      fix: close it at the end of the import, or connect in the hook `post_worker_init`, or in the \
first request
"""
LOOP = """\
      breaks: workers would share its events: each is woken for others, and misses its own
      fix: make it in the hook `post_worker_init`, or in the first request; `asyncio.run` closes \
its own
"""


@pytest.fixture
def leaving(serve):
    """A server whose app leaves something behind."""

    @contextmanager
    def start(what: str, *args: str, **more: str):
        ready = more.pop("ready", True)
        with serve(*args, app="leftovers:app", env={"LEAVES": what, **more}, ready=ready) as server:
            yield server

    return start


@contextmanager
def listener(port: int = 0):
    """Somebody to connect to, at an address where nobody else is."""
    with socket.create_server(("127.77.0.1", port)) as peer:
        yield str(peer.getsockname()[1])


def line_of(text: str) -> int:
    lines = (APPS / "leftovers.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def is_shared(server) -> bool:
    return "shared by all workers: yes" in server.log()


def answers(server, count: int) -> dict[str, str]:
    """What each worker says, by its process id, once ``count`` have answered."""
    found: dict[str, str] = {}

    def ask() -> bool:
        pid, _, text = get(server.port).text.partition(": ")
        found[pid] = text
        return len(found) == count

    wait_until(ask, f"{count} workers answer")
    return found


def test_each_finding_says_what_breaks_and_how_to_fix_it(leaving):
    with listener() as port, leaving("two", PEER_PORT=port) as server:
        place = f"{APPS}/leftovers.py:{line_of('name=name')}"
        found = (
            f"{UNSHARED} what a fork breaks\n"
            f"    thread 'exporter', started at {place}\n"
            f"    thread 'flusher', started at {place}\n{THREAD}"
            f"    connection to 127.77.0.1:{port} (2 times)\n{CONNECTION}"
            "  cost: each worker imports it by itself, about "
        )
        assert found in server.log()
        hint = "`fork_check` warn shares it nevertheless, `preload_app` false silences this"
        assert f"\n  hint: {hint}\n" in server.log()
        assert server.log().count(UNSHARED) == 1
        assert get(server.port).status == 200


def test_a_thread_of_an_executor_is_found_where_the_app_has_started_it(leaving):
    with leaving("executor") as server:
        place = f"{APPS}/leftovers.py:{line_of('executor.submit')}"
        assert f"    thread 'jobs_0', started at {place}\n" in server.log()


def test_the_service_behind_a_connection_is_named_by_its_port(leaving):
    with listener(6379) as port, leaving("two", PEER_PORT=port) as server:
        assert "    connection to 127.77.0.1:6379 (Redis) (2 times)\n" in server.log()


@pytest.mark.parametrize(
    ("what", "found"),
    [
        (
            "asyncio",
            "    event loop of asyncio (asyncio.unix_events._UnixSelectorEventLoop)\n" + LOOP,
        ),
        ("uvloop", "    event loop of asyncio (uvloop.Loop)\n" + LOOP),
        ("epoll", "    queue of events (epoll)\n" + LOOP),
    ],
)
def test_event_loops_are_found(leaving, what, found):
    with leaving(what) as server:
        assert f"{UNSHARED} what a fork breaks\n{found}  cost:" in server.log()


def test_grpc_is_found_by_its_threads(leaving):
    with leaving("grpc") as server:
        log = server.log()
        assert re.search(
            r"^    (\d+ native threads|native thread) '\w+' \(gRPC\)$", log, re.MULTILINE
        )
        assert (
            "      breaks: channels and servers that are there before a fork hang or crash after "
            "it\n      fix: make channels in the hook `post_worker_init`, or in the first request\n"
        ) in log
        assert not is_shared(server)


def test_native_threads_that_end_before_a_fork_are_no_reason(leaving):
    with leaving("numpy", "--workers", "2") as server:
        assert is_shared(server)
        for text in answers(server, 2).values():
            tasks, number = text.split()
            assert int(tasks) > 1, "numpy has started no threads, so this shows nothing"
            assert number == "300"


def test_a_connection_to_postgresql_and_one_to_redis_are_named(leaving, tmp_path):
    with postgresql() as url, leaving("postgresql", DATABASE_URL=url) as server:
        port = re.search(r":(\d+)/", url)[1]
        found = rf"^    connection to unix socket '.*/\.s\.PGSQL\.{port}' \(PostgreSQL\)$"
        assert re.search(found, server.log(), re.MULTILINE)
        assert not is_shared(server)
    with redis(tmp_path) as url, leaving("redis", "-w", "2", REDIS_URL=url) as server:
        assert f"    connection to {re.search(r'//(.*)/', url)[1]}\n{CONNECTION}" in server.log()
        assert set(answers(server, 2).values()) == {"True"}


@pytest.mark.parametrize("library", ["django", "sqlalchemy"])
def test_connections_that_their_library_opens_again_are_closed(leaving, library):
    with (
        postgresql() as url,
        leaving(library, "-w", "2", DATABASE_URL=url) as server,
    ):
        place = re.search(r"@(.*)/", url)[1]
        closed = f"Closed what importing the application had opened: connection to {place}\n"
        assert closed in server.log()
        assert is_shared(server)
        found = answers(server, 2)
        assert len(set(found.values())) == 2, "each has a connection of its own"
        if library == "sqlalchemy":
            assert {text.split()[1] for text in found.values()} == {"42"}, "memory is kept"


def test_refuse_ends_the_start_with_its_own_status(leaving):
    with leaving("thread", "--fork-check", "refuse", ready=False) as server:
        assert server.wait() == 65
        place = f"{APPS}/leftovers.py:{line_of('name=' + chr(34) + 'exporter')}"
        found = (
            "The application is not forked (`fork_check` is refuse): importing it has left behind "
            f"what a fork breaks\n    thread 'exporter', started at {place}\n{THREAD}"
        )
        assert found in server.log()
        assert "A fork would break the application (fork_check)." in server.log()


def test_refuse_gives_a_reload_up_and_the_old_code_serves_on(serve, site):
    good = (APPS / "hello.py").read_text()
    (site / "changing.py").write_text(good)
    env = {"GUNICORN_FORK_CHECK": "refuse"}
    with serve(app="changing:app", cwd=site, env=env) as server:
        bad = "import threading\nthreading.Timer(600, print).start()\n"
        (site / "changing.py").write_text(bad + good)
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload given up: the new code does not run (a fork would break it)")
        assert get(server.port).status == 200
        (site / "changing.py").write_text(good)
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")


@pytest.mark.parametrize("wish", [["--fork-check", "warn"], ["--preload"]])
def test_warn_forks_nevertheless_and_says_so_once(leaving, wish):
    # What warm-up requests leave behind makes the app be loaded again.
    wishes = [*wish, "-w", "2", "--warmup-paths", "/thread", "--warmup-requests", "1"]
    with leaving("thread", *wishes) as server:
        log = server.log()
        assert log.count(f"{FORKED} what a fork breaks\n    thread 'exporter', started at") == 1
        assert is_shared(server)
        if wish == ["--preload"]:
            left = "Loading the application again without warm-up: its warm-up requests have left"
        else:
            left = "Forking nevertheless: warm-up requests have left"
        assert f"{left} behind what a fork would break\n    thread 'late', started at" in log
        assert "  hint: choose other pages for `warmup_paths`\n" in log


def test_refuse_also_looks_at_what_warm_up_has_left(leaving):
    wishes = ["--fork-check", "refuse", "--warmup-paths", "/thread"]
    with leaving("", *wishes, ready=False) as server:
        assert server.wait() == 65
        assert "its warm-up requests have left behind what a fork would break\n" in server.log()


def test_off_does_not_look(leaving):
    with leaving("thread", "--fork-check", "off") as server:
        assert is_shared(server)
        assert "left behind" not in server.log()


def test_a_configuration_check_says_what_refuse_would_refuse():
    command = [REMUDA, "--check-config", "--fork-check", "refuse", "leftovers:app"]
    run = subprocess.run(
        command, cwd=APPS, env={"LEAVES": "thread"}, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    assert "The application is not forked (`fork_check` is refuse)" in run.stderr


def test_a_hub_of_gevent_in_another_class_is_found(leaving):
    with leaving("hub") as server:
        found = (
            f"{UNSHARED} what a fork breaks\n    a hub of gevent\n"
            "      breaks: workers would share its events: only `worker_class` gevent makes a hub "
            "anew\n"
            "      fix: use `worker_class` gevent, or touch gevent only in the hook "
            "`post_worker_init`, or in the first request\n"
        )
        assert found in server.log()


def test_remuda_makes_no_hub_of_gevent_in_the_zygote(serve, site):
    file = conf(
        site,
        "import sys\n"
        "def pre_fork(server, worker):\n"
        "    hub = sys.modules['gevent._hub_local'].get_hub_if_exists()\n"
        "    print('hub before the fork:', hub, file=sys.stderr, flush=True)\n",
    )
    with serve("-k", "gevent", "-w", "2", "-c", str(file)) as server:
        assert get(server.port).status == 200
        assert server.log().count("hub before the fork: None") == 2


def test_a_hub_that_the_app_has_made_is_made_anew_in_each_worker(leaving):
    with leaving("hub", "-k", "gevent", "-w", "2") as server:
        assert is_shared(server)
        for pid, text in answers(server, 2).items():
            assert text == f"{pid} ticking True"
