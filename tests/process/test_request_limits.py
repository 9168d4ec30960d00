"""Limits of time for single requests, in every worker class, over real sockets."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from http_client import Client, get
from load import Load
from serving import wait_until

CLASSES = {
    "sync": {"GUNICORN_WORKER_CLASS": "sync"},
    "gthread": {"GUNICORN_WORKER_CLASS": "gthread", "GUNICORN_THREADS": "3"},
    "gevent": {"GUNICORN_WORKER_CLASS": "gevent"},
    "asyncio": {"GUNICORN_WORKER_CLASS": "asgi", "GUNICORN_ASGI_LOOP": "asyncio"},
    "uvloop": {"GUNICORN_WORKER_CLASS": "asgi", "GUNICORN_ASGI_LOOP": "uvloop"},
}
COOPERATIVE = ["gevent", "asyncio", "uvloop"]


@pytest.fixture
def slow(serve):
    """Start the slow app: ``with slow("gevent", request_timeout="1") as server:``."""

    def start(name: str, *args: str, **settings: str):
        wishes = {f"GUNICORN_{key.upper()}": value for key, value in settings.items()}
        return serve(*args, app="slow:app", env={**CLASSES[name], **wishes})

    return start


@pytest.fixture(params=CLASSES)
def every_class(request) -> str:
    return request.param


class Asking(threading.Thread):
    """One request, asked in a thread of its own."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self.port, self.path = port, path
        self.outcome: object = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = get(self.port, self.path)
        except (OSError, EOFError) as error:
            self.outcome = error

    @property
    def answer(self):
        self.join(60)
        assert not isinstance(self.outcome, Exception), repr(self.outcome)
        assert self.outcome is not None, f"{self.path} has no answer"
        return self.outcome


def test_overdue_request_gets_504_and_its_stack_stands_in_the_log(slow, every_class, tmp_path):
    log = tmp_path / "access.log"
    with slow(every_class, request_timeout="1", accesslog=str(log)) as server:
        answer = get(server.port, "/wait?30")
        assert (answer.status, answer.reason) == (504, "Gateway Timeout")
        head = "WORKER TIMEOUT" if every_class == "sync" else "REQUEST TIMEOUT"
        server.wait_for_log(f"{head} (pid:")
        wait_until(
            lambda: ") GET /wait?30 for 1." in server.log() or ") GET /wait for 1." in server.log(),
            "named, with its age",
        )
        wait_until(lambda: "slow.py" in server.log(), "its stack")
        assert get(server.port, "/ended").status == 200
        wait_until(lambda: '"GET /wait?30 HTTP/1.1" 504' in log.read_text(), "logged as 504")


def test_request_within_the_limit_is_not_touched(slow, every_class):
    with slow(every_class, request_timeout="3") as server:
        assert get(server.port, "/wait?1").text == "waited"
        assert get(server.port, "/ended").text == ""
    assert "TIMEOUT (pid:" not in server.log()


@pytest.mark.parametrize("name", COOPERATIVE)
def test_only_the_overdue_request_is_broken_off(slow, name):
    with slow(name, request_timeout="1.5") as server:
        overdue = Asking(server.port, "/wait?30")
        time.sleep(1.2)
        other = Asking(server.port, "/wait?1")
        assert overdue.answer.status == 504
        assert other.answer.text == "waited"
        broken = "RequestTimeout" if name == "gevent" else "CancelledError"
        assert get(server.port, "/ended").text == broken
        assert server.log().count("Booting worker") == 1, "the worker goes on"


def test_thread_is_freed_where_python_can_and_its_worker_is_replaced(slow):
    with slow("gthread", request_timeout="1") as server:
        assert get(server.port, "/count?30").status == 504
        server.wait_for_log("Booting worker", count=2)
        wait_until(lambda: len(server.workers()) == 1, "the old one has left, freed of its request")


def test_worker_is_replaced_at_once_when_all_its_threads_are_stuck(slow):
    with slow("gthread", request_timeout="1") as server:
        stuck = [Asking(server.port, "/wait?60") for _ in range(3)]
        assert [asking.answer.status for asking in stuck] == [504] * 3
        assert get(server.port, "/ended").status == 200
        server.wait_for_log("was sent SIGKILL by the master: it hung")


def test_response_that_has_begun_is_cut(slow, every_class):
    with slow(every_class, request_timeout="1") as server:
        client = Client(server.port)
        with pytest.raises((OSError, EOFError)):
            client.request("/stream?30")
        client.socket.close()
        assert get(server.port, "/ended").status == 200


def test_app_can_give_a_request_more_time(slow, every_class):
    with slow(every_class, request_timeout="1", timeout="2") as server:
        assert get(server.port, "/extend?4").text == "extended"
        assert get(server.port, "/extend-wrongly").text == (
            "seconds must be a number from 0 up, not -1"
        )
        assert get(server.port, "/wait?30").status == 504, "and others no more"
    assert "worker.overdue" not in server.log()


def test_slow_request_is_told_once_and_goes_on(slow, every_class):
    with slow(every_class, slow_request_log="0.5") as server:
        if every_class == "gthread":
            assert get(server.port, "/count?2").text == "counted"
        else:
            assert get(server.port, "/wait?2").text == "waited"
        assert server.log().count("Slow request (pid:") == 1, server.log()
        told = server.log().partition("Slow request (pid:")[2]
        assert ") GET /" in told.splitlines()[0]
        assert "slow.py" in told


@pytest.mark.parametrize("name", COOPERATIVE)
def test_request_that_swallows_its_end_has_its_worker_replaced(slow, name):
    with slow(name, request_timeout="1", graceful_timeout="2") as server:
        old = server.workers()
        with Load(server.port, keepalive=False) as load:
            assert get(server.port, "/swallow?60").status == 504
            server.wait_for_log("a request outlives request_timeout: GET /swallow")
            server.wait_for_log("Worker graceful timeout (pid:")
            wait_until(lambda: not set(old) & set(server.workers()), "it is gone")
        assert load.lost == []
        assert "the oldest is GET /swallow" in server.log()
        assert "in asgi_swallow" in server.log() or "in swallow" in server.log()


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_work_after_the_response_has_no_limit(slow, name):
    with slow(name, request_timeout="1", graceful_timeout="30") as server:
        assert get(server.port, "/background?6").text == "at once"
        wait_until(lambda: get(server.port, "/ended").text == "background", "it has ended")
        assert server.log().count("Booting worker") == 1
    assert "TIMEOUT (pid:" not in server.log() and "outlives" not in server.log()


def test_worker_that_keeps_the_interpreters_lock_is_named_and_replaced(slow, every_class):
    with slow(every_class, "--workers", "2", timeout="1") as server:
        held = Asking(server.port, "/hold-the-lock")
        server.wait_for_log("WORKER TIMEOUT (pid:")
        assert ") GET /hold-the-lock for " in server.log()
        server.wait_for_log("in dead_lock")
        server.wait_for_log("was sent SIGKILL by the master: it hung")
        assert held.answer.status == 504, "the front can still speak"
        wait_until(lambda: len(server.workers()) == 2, "two workers again")
        assert get(server.port, "/ended").status == 200


@pytest.mark.parametrize("name", COOPERATIVE)
def test_hung_worker_shows_who_else_waited_in_it(serve, name):
    env = {**CLASSES[name], "GUNICORN_TIMEOUT": "1"}
    with serve(app="lab:app", env=env) as server:
        Asking(server.port, "/sleep?3")
        time.sleep(0.3)
        Asking(server.port, "/spin?60")
        server.wait_for_log("WORKER TIMEOUT (pid:")
        server.wait_for_log("Greenlet" if name == "gevent" else "Task Task-")
        wait_until(lambda: "in sleep" in server.log() and "in spin" in server.log(), "both")


def test_worker_that_does_not_finish_in_time_shows_what_held_it(slow, every_class):
    with slow(every_class, graceful_timeout="1") as server:
        Asking(server.port, "/wait?60")
        time.sleep(0.5)
        server.send(signal.SIGHUP)
        server.wait_for_log("Worker graceful timeout (pid:")
        assert "the oldest is GET /wait" in server.log()
        wait_until(lambda: "slow.py" in server.log(), "its stack")
        wait_until(lambda: len(server.workers()) == 1, "it is gone")


def test_suspended_machine_ends_nobody(slow, every_class):
    limits = {"timeout": "1", "request_timeout": "2", "slow_request_log": "0"}
    with slow(every_class, "--workers", "2", **limits) as server:
        workers = server.workers()
        asked = Asking(server.port, "/wait?0.8")
        time.sleep(0.2)
        family = [server.pid, *server.children()]
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(5)
        for pid in family:
            os.kill(pid, signal.SIGCONT)
        assert asked.answer.text == "waited"
        time.sleep(2.5)
        assert server.workers() == workers
    assert "TIMEOUT (pid:" not in server.log()


def test_worker_whose_own_import_hangs_is_given_up(serve):
    # The zygote, which does not import the app, must make it on a loaded machine.
    env = {"GUNICORN_BOOT_TIMEOUT": "4", "GUNICORN_PRELOAD_APP": "false"}
    with serve(app="slow_import:app", env=env, ready=False) as server:
        server.wait_for_log("Worker was not ready within boot_timeout and is killed (pid:")
