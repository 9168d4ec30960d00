"""The master's signals: stop, quit, reload, scale, reopen."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from http_client import Client, get
from load import Load
from serving import wait_until


def ask_in_background(port: int, path: str) -> tuple[threading.Thread, list]:
    answers: list = []

    def ask() -> None:
        try:
            answers.append(get(port, path))
        except (OSError, EOFError) as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def test_term_answers_what_is_in_flight_and_what_is_queued(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class}
    with serve(app="lab:app", env=env) as server:
        # One worker: in sync the first request runs, and the others wait in the accept queue.
        asked = [ask_in_background(server.port, "/sleep?1") for _ in range(4)]
        time.sleep(0.4)
        server.send(signal.SIGTERM)
        time.sleep(0.2)
        with pytest.raises(OSError):  # noqa: PT011
            socket.create_connection(("127.0.0.1", server.port), timeout=0.2).close()
        for thread, _ in asked:
            thread.join()
        assert [getattr(answers[0], "status", answers[0]) for _, answers in asked] == [200] * 4
        assert server.wait() == 0
    assert "Worker exiting" in server.log()


def test_term_closes_idle_connections_and_says_close_on_the_last_answer(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class}
    with serve(app="lab:app", env=env) as server, Client(server.port) as client:
        assert client.request("/pid").status == 200
        server.send(signal.SIGTERM)
        time.sleep(0.2)
        response = client.request("/pid")
        assert (response.status, response.get("Connection")) == (200, "close")
        assert client.is_closed()
        assert server.wait() == 0


def test_term_kills_after_graceful_timeout(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "GUNICORN_GRACEFUL_TIMEOUT": "1"}
    with serve(app="lab:app", env=env) as server:
        thread, answers = ask_in_background(server.port, "/sleep?30")
        time.sleep(0.4)
        server.send(signal.SIGTERM)
        assert server.wait(20) == 0
        thread.join()
    assert isinstance(answers[0], (OSError, EOFError))
    assert "Worker graceful timeout" in server.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_end_at_once_and_the_client_hears_of_it(serve, number):
    with serve(app="lab:app") as server:
        thread, answers = ask_in_background(server.port, "/sleep?30")
        time.sleep(0.4)
        server.send(number)
        assert server.wait(20) == 0
        thread.join()
    assert answers[0].status == 500


def test_term_while_the_app_is_still_being_imported(serve):
    with serve(app="slow_import:app", ready=False) as server:
        server.wait_for_log("importing slowly")
        server.send(signal.SIGTERM)
        assert server.wait(20) == 0


def write_app(folder: Path, text: str) -> None:
    (folder / "versioned.py").write_text(
        "from either import asgi_text, either\n"
        "def wsgi(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        f"    return [b'{text}']\n"
        f"app = either(wsgi, asgi_text(lambda: '{text}'))\n"
    )


def test_hup_loads_the_new_code_without_losing_a_request(serve, worker_class, tmp_path):
    write_app(tmp_path, "one")
    env = {"GUNICORN_WORKER_CLASS": worker_class, "PYTHONDONTWRITEBYTECODE": "1"}
    with serve("--workers", "2", app="versioned:app", cwd=tmp_path, env=env) as server:
        with Load(server.port) as load:
            for number, text in enumerate(["two", "three"], start=1):
                write_app(tmp_path, text)
                server.send(signal.SIGHUP)
                server.wait_for_log("Reload done", count=number)
                answers = {get(server.port).text for _ in range(200)}
                assert answers == {text}, "whoever comes after the line meets the new code"
        assert load.lost == [] and load.counts["refused"] == 0
        assert load.answered > 0
        assert "Hang up: Master" in server.messages()


def test_hup_with_broken_code_keeps_the_old_generation(serve, tmp_path):
    write_app(tmp_path, "good")
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    with serve("--workers", "2", app="versioned:app", cwd=tmp_path, env=env) as server:
        before = server.workers()
        (tmp_path / "versioned.py").write_text("raise RuntimeError('broken by the deploy')\n")
        with Load(server.port) as load:
            server.send(signal.SIGHUP)
            server.wait_for_log("Reload given up")
        assert load.lost == []
        assert "broken by the deploy" in server.log()
        assert server.workers() == before
        write_app(tmp_path, "better")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert get(server.port).text == "better"


def test_ttin_and_ttou_change_the_number_of_workers(serve):
    with serve("--workers", "1", app="lab:app") as server:
        server.send(signal.SIGTTIN)
        wait_until(lambda: len(server.workers()) == 2, "a second worker")
        server.send(signal.SIGTTOU)
        wait_until(lambda: len(server.workers()) == 1, "one worker again")
        server.send(signal.SIGTTOU)
        server.wait_for_log("Handling signal: ttou", count=2)
        assert get(server.port, "/pid").status == 200
        assert len(server.workers()) == 1, "never below one"


def test_usr1_opens_the_logs_again_in_every_process(serve, worker_class, tmp_path):
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    env = {
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_ERRORLOG": str(error),
        "GUNICORN_ACCESSLOG": str(access),
    }
    with serve(app="lab:app", env=env, ready=False) as server:
        wait_until(lambda: error.exists() and "ready to serve" in error.read_text(), "ready")
        get(server.port, "/pid?before")
        wait_until(lambda: "before" in access.read_text(), "the access line")
        error.rename(tmp_path / "error.log.1")
        access.rename(tmp_path / "access.log.1")
        server.send(signal.SIGUSR1)
        wait_until(lambda: error.exists() and access.exists(), "new files")
        wait_until(
            lambda: (
                get(server.port, "/error").status == 500
                and "broken on purpose" in error.read_text()
            ),
            "the worker's error",
        )
        has_wsgi_errors = worker_class != "asgi"
        if has_wsgi_errors:
            assert get(server.port, "/errors").status == 200
        wait_until(lambda: "/error" in access.read_text(), "an access line")
        server.stop()
        assert ("written to wsgi.errors" in error.read_text()) == has_wsgi_errors
        assert "Shutting down: Master" in error.read_text()


def test_worker_that_gets_a_strangers_signals_serves_on(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class}
    with serve(app="lab:app", env=env) as server:
        pid = int(get(server.port, "/pid").text)
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTIN):
            os.kill(pid, number)
        time.sleep(0.2)
        assert int(get(server.port, "/pid").text) == pid


def test_term_to_a_worker_drains_it_and_it_is_replaced(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class}
    with serve("--workers", "2", app="lab:app", env=env) as server, Load(server.port) as load:
        first = server.workers()[0]
        os.kill(first, signal.SIGTERM)
        wait_until(lambda: first not in server.workers() and len(server.workers()) == 2, "replaced")
        load.stop()
        assert load.lost == []


def test_workers_leave_when_the_master_is_killed(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class}
    with serve("--workers", "2", app="lab:app", env=env) as server:
        family = server.children()
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "all gone", 30)
