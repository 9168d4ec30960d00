"""Requests and loops that hang: named, dumped, replaced; the others serve on."""

from __future__ import annotations

import threading

import pytest

from http_client import get
from load import Load
from serving import wait_until


def ask(port: int, path: str, answers: list) -> threading.Thread:
    def run() -> None:
        try:
            answers.append(get(port, path))
        except (OSError, EOFError) as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("page", ["/spin?60", "/hang-in-c"])
def test_hung_worker_is_dumped_and_replaced_while_others_serve(serve, worker_class, page):
    if (worker_class, page) == ("gthread", "/spin?60"):
        pytest.skip("not a hang: other threads go on, as in gunicorn")
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_TIMEOUT": "1"}
    answers: list = []
    with serve("--workers", "2", app="lab:app", env=env) as server:
        thread = ask(server.port, page, answers)
        server.wait_for_log("WORKER TIMEOUT (pid:")
        path = page.partition("?")[0]
        assert f") GET {path} for " in server.log()
        server.wait_for_log("most recent call first")
        with Load(server.port, keepalive=False) as load:
            thread.join()
            wait_until(lambda: load.answered > 20, "others are served")
        assert load.lost == []
        function = {"/spin": "in spin", "/hang-in-c": "in hang_in_c"}[path]
        assert function in server.log(), "the stack names the function that hangs"
        wait_until(lambda: len(server.workers()) == 2, "two workers again")
    assert answers[0].status == 504


def test_request_that_only_waits_is_no_hang_in_gevent(serve):
    env = {"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_TIMEOUT": "1"}
    with serve(app="lab:app", env=env) as server:
        assert get(server.port, "/sleep?3").text.startswith("slept")
    assert "WORKER TIMEOUT" not in server.log()


def test_sync_request_longer_than_timeout_is_ended(serve):
    answers: list = []
    with serve(app="lab:app", env={"GUNICORN_TIMEOUT": "1"}) as server:
        ask(server.port, "/sleep?30", answers).join()
        assert answers[0].status == 504
        assert get(server.port, "/pid").status == 200
        assert "Error handling request GET /sleep?30" in server.log()


def test_timeout_zero_means_never(serve):
    with serve(app="lab:app", env={"GUNICORN_TIMEOUT": "0"}) as server:
        assert get(server.port, "/sleep?2").text.startswith("slept")


def test_idle_workers_are_never_taken_for_hung(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_TIMEOUT": "1"}
    with serve(app="lab:app", env=env) as server:
        pid = get(server.port, "/pid").text
        threading.Event().wait(4)
        assert get(server.port, "/pid").text == pid
    assert "WORKER TIMEOUT" not in server.log()


def test_import_that_hangs_is_given_up_after_boot_timeout(serve):
    env = {"GUNICORN_BOOT_TIMEOUT": "1"}
    with serve(app="slow_import:app", env=env, ready=False) as server:
        assert server.wait() != 0
    assert "longer than boot_timeout" in server.log()


def test_an_interpreter_that_hangs_is_not_taken_for_one_without_the_package(serve, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(60)\n")
    env = {"GUNICORN_BOOT_TIMEOUT": "1", "PYTHONPATH": str(tmp_path)}
    with serve(app="lab:app", env=env, ready=False) as server:
        assert server.wait() != 0
    assert "longer than boot_timeout" in server.log()
    assert "cannot run the package" not in server.log()
