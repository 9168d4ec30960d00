"""USR2: a new master beside the old one, verified, and given up when it does not serve."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_systemd import ServiceManager

from http_client import Client, get
from load import Load
from serving import APPS, REMUDA, Server, free_port, is_a_wish, parent_of, wait_until

STARTED = re.compile(r"a new master boots beside this one \(pid: (\d+)\)")


@pytest.fixture
def masters() -> Iterator[list[int]]:
    """New masters, which are nobody's children once the old one is gone; none is left behind."""
    found: list[int] = []
    yield found
    for pid in found:
        try:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "it leaves", 20)
        except ProcessLookupError:
            pass
        except AssertionError:
            os.kill(pid, signal.SIGKILL)
            raise


def upgrade(server: Server, masters: list[int], of: int | None = None) -> int:
    """Ask a master for an upgrade; the new master's number."""
    before = len(STARTED.findall(server.log()))
    os.kill(of or server.pid, signal.SIGUSR2)
    wait_until(lambda: len(STARTED.findall(server.log())) > before, "a new master boots")
    masters.append(int(STARTED.findall(server.log())[-1]))
    return masters[-1]


def write_app(folder: Path, text: str, first: str = "") -> None:
    (folder / "versioned.py").write_text(
        f"import asyncio, os, time\n{first}\n"
        "from either import asgi_text, either\n"
        "def wsgi(environ, start_response):\n"
        "    if 'slow' in environ['PATH_INFO']:\n"
        "        time.sleep(2)\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        f"    return [b'{text}']\n"
        f"text = asgi_text(lambda: '{text}')\n"
        "async def asgi(scope, receive, send):\n"
        "    if 'slow' in scope.get('path', ''):\n"
        "        await asyncio.sleep(2)\n"
        "    await text(scope, receive, send)\n"
        "app = either(wsgi, asgi)\n"
    )


ENV = {"PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize("keepalive", [True, False], ids=["keepalive", "close"])
def test_no_request_is_lost_over_two_upgrades(serve, worker_class, tmp_path, masters, keepalive):
    write_app(tmp_path, "one")
    env = ENV | {"GUNICORN_WORKER_CLASS": worker_class}
    with serve("--workers", "2", app="versioned:app", cwd=tmp_path, env=env) as server:
        seen = set()
        with Load(
            server.port, clients=4, keepalive=keepalive, on_body=seen.add, limit=5_000_000
        ) as load:
            write_app(tmp_path, "two")
            second = upgrade(server, masters)
            assert server.wait() == 0, "the old master leaves by itself"
            wait_until(lambda: "two" in seen, "the new code")
            assert server.messages().count("Master has been promoted.") == 1
            write_app(tmp_path, "three")
            upgrade(server, masters, of=second)
            wait_until(lambda: parent_of(second) is None, "the second master leaves, too")
            wait_until(lambda: get(server.port).text == "three", "the newest code")
            time.sleep(0.3)
        assert load.lost == [] and load.counts["refused"] == 0
        assert load.answered > 0


def test_what_is_in_flight_is_finished_by_the_old_master(serve, tmp_path, masters):
    write_app(tmp_path, "one")
    with serve(app="versioned:app", cwd=tmp_path, env=ENV) as server:
        with Load(server.port, clients=1, path="/slow") as load:
            time.sleep(0.3)
            write_app(tmp_path, "two")
            upgrade(server, masters)
            server.wait_for_log("Upgrade done")
            assert get(server.port).text == "two"
            assert server.process.poll() is None, "a request of two seconds is not over"
            assert server.wait() == 0
        assert load.lost == []


def test_new_code_that_does_not_run_changes_nothing(serve, tmp_path, masters):
    write_app(tmp_path, "one")
    with serve("--workers", "2", app="versioned:app", cwd=tmp_path, env=ENV) as server:
        before = server.workers()
        with Load(server.port) as load:
            write_app(tmp_path, "two", first="raise RuntimeError('broken by the deploy')")
            new = upgrade(server, masters)
            server.wait_for_log("Upgrade given up")
            wait_until(lambda: parent_of(new) is None, "the new master is gone")
        assert load.lost == [] and load.counts["refused"] == 0
        assert "it exited with code 3" in server.log()
        assert server.workers() == before
        write_app(tmp_path, "three")
        upgrade(server, masters)
        assert server.wait() == 0, "the next upgrade has its turn"
        assert get(server.port).text == "three"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_new_master_that_dies_while_it_boots_changes_nothing(serve, masters, number):
    with serve(app="slow_import:app", env={"SLOW_IMPORT_S": "3"}) as server:
        before = server.workers()
        new = upgrade(server, masters)
        server.wait_for_log("importing slowly", count=2)
        os.kill(new, number)
        server.wait_for_log("Upgrade given up")
        assert get(server.port).status == 200
        assert server.workers() == before


def test_a_new_master_that_is_never_ready_is_killed(serve, tmp_path, masters):
    write_app(tmp_path, "one")
    env = ENV | {"GUNICORN_BOOT_TIMEOUT": "6", "GUNICORN_GRACEFUL_TIMEOUT": "2"}
    with serve(app="versioned:app", cwd=tmp_path, env=env) as server:
        before = server.workers()
        new = upgrade(server, masters)
        os.kill(new, signal.SIGSTOP)
        server.wait_for_log("it was not ready within twice boot_timeout")
        wait_until(lambda: parent_of(new) is None, "it is killed")
        assert get(server.port).text == "one"
        assert server.workers() == before


def test_a_second_usr2_while_one_is_under_way_is_refused(serve, masters):
    with serve(app="slow_import:app", env={"SLOW_IMPORT_S": "2"}) as server:
        new = upgrade(server, masters)
        server.send(signal.SIGUSR2)
        server.wait_for_log("Signal usr2 ignored: an upgrade is under way")
        # Before it listens to signals, this one would end it.
        server.wait_for_log("Starting remuda", count=2)
        os.kill(new, signal.SIGUSR2)
        server.wait_for_log("Signal usr2 ignored: the master before this one has not left yet")
        assert server.wait() == 0
        assert get(server.port).status == 200


def test_gunicorns_dance_by_hand_still_works(serve, masters):
    """USR2, then TERM for the old one, however early: the new one goes on."""
    with serve(app="slow_import:app", env={"SLOW_IMPORT_S": "2"}) as server:
        upgrade(server, masters)
        server.send(signal.SIGWINCH)
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        server.wait_for_log("the new master has to go on alone")
        assert get(server.port).status == 200, "it has waited in the accept queue"
        server.wait_for_log("Master has been promoted.")


def kill_at_hand_over(server: Server, new: int) -> None:
    """KILL the new master when it has taken over, and the old one still finishes something."""
    server.wait_for_log("Upgrade done")
    assert server.process.poll() is None
    os.kill(new, signal.SIGKILL)
    server.wait_for_log("Upgrade undone: the new master was ended by SIGKILL")


def test_a_new_master_that_is_killed_right_after_it_took_over_gives_the_service_back(
    serve, worker_class, tmp_path, masters
):
    write_app(tmp_path, "one")
    pidfile, control = tmp_path / "remuda.pid", tmp_path / "control"
    flags = ["--workers", "2", "--pid", str(pidfile), "--control-socket", str(control)]
    env = ENV | {"GUNICORN_WORKER_CLASS": worker_class}
    with serve(*flags, app="versioned:app", cwd=tmp_path, env=env) as server:
        slow = Load(server.port, clients=1, path="/slow", keepalive=False)
        with slow, Load(server.port, clients=4, keepalive=False) as load:
            wait_until(lambda: load.answered > 0, "load")
            new = upgrade(server, masters)
            kill_at_hand_over(server, new)
            masters.remove(new)
            wait_until(lambda: len(server.workers()) == 2, "new workers of the old master")
            before = load.answered
            wait_until(lambda: load.answered > before + 50, "the service goes on")
        assert slow.lost == [] and load.lost == []
        assert load.counts["refused"] == 0
        assert pidfile.read_text() == f"{server.pid}\n"
        assert not Path(f"{pidfile}.2").exists()
        asked = subprocess.run(
            [str(REMUDA), "status", "--control-socket", str(control)],
            capture_output=True,
            text=True,
        )
        assert str(server.pid) in asked.stdout, asked
        upgrade(server, masters)
        assert server.wait() == 0, "the next upgrade has its turn"
        assert get(server.port).status == 200


def test_a_new_master_that_is_told_to_leave_after_it_took_over_ends_the_service(
    serve, tmp_path, masters
):
    write_app(tmp_path, "one")
    with serve(app="versioned:app", cwd=tmp_path, env=ENV) as server:
        with Load(server.port, clients=1, path="/slow", keepalive=False):
            time.sleep(0.3)
            new = upgrade(server, masters)
            server.wait_for_log("Upgrade done")
            os.kill(new, signal.SIGTERM)
            assert server.wait() == 0
            assert "Upgrade undone" not in server.log()


def test_the_pid_file_names_whoever_serves(serve, tmp_path, masters):
    pidfile = tmp_path / "remuda.pid"
    env = {"SLOW_IMPORT_S": "1", "GUNICORN_PIDFILE": str(pidfile)}
    with serve(app="slow_import:app", env=env) as server:
        new = upgrade(server, masters)
        second = tmp_path / "remuda.pid.2"
        wait_until(second.exists, "the new one's file")
        assert (pidfile.read_text(), second.read_text()) == (f"{server.pid}\n", f"{new}\n")
        assert server.wait() == 0
        assert pidfile.read_text() == f"{new}\n"
        assert not second.exists()
        os.kill(new, signal.SIGTERM)
        wait_until(lambda: not pidfile.exists(), "the file goes with the last master")


def test_a_socket_file_stays_until_the_last_master_leaves(serve, tmp_path, masters):
    path = tmp_path / "app.sock"

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return client.recv(100).startswith(b"HTTP/1.1 200")

    with serve("--bind", f"unix:{path}", app="lab:app", bind=False) as server:
        new = upgrade(server, masters)
        assert server.wait() == 0
        assert answers()
        os.kill(new, signal.SIGTERM)
        wait_until(lambda: not path.exists(), "the last one removes it")


def test_a_new_master_that_fails_leaves_the_socket_file_alone(serve, tmp_path, masters):
    path = tmp_path / "app.sock"
    write_app(tmp_path, "one")
    bind = ["--bind", f"unix:{path}"]
    with serve(*bind, app="versioned:app", cwd=tmp_path, env=ENV, bind=False) as server:
        write_app(tmp_path, "two", first="raise RuntimeError")
        upgrade(server, masters)
        server.wait_for_log("Upgrade given up")
        assert path.exists()


def test_the_service_manager_learns_who_the_main_process_is(serve, tmp_path, masters):
    address = str(tmp_path / "notify")
    with ServiceManager(address) as manager, serve(app="lab:app", env=manager.env) as server:
        new = upgrade(server, masters)
        assert server.wait() == 0
        manager.wait_for("MAINPID", str(new))
        manager.wait_for("READY", "1", count=2)
        said = [(pid, key) for pid, message in manager.heard for key in message if key != "STATUS"]
        assert said == [(server.pid, "READY"), (server.pid, "MAINPID"), (new, "READY")]


def test_the_app_does_not_see_that_it_was_upgraded(serve, masters):
    with serve(app="show_env:app") as server:
        upgrade(server, masters)
        assert server.wait() == 0
        for name in ("GUNICORN_FD", "GUNICORN_PID", "REMUDA_UPGRADE"):
            assert get(server.port, f"/{name}").text == ""
        assert "is not a setting" not in server.log()


def test_a_running_gunicorn_is_upgraded_to_remuda(tmp_path, masters):
    """The same dance as from one gunicorn to the next: its launcher now starts remuda."""
    pytest.importorskip("gunicorn", reason="NOT RUN: gunicorn is not installed")
    launcher = tmp_path / "gunicorn"
    launcher.write_text("from gunicorn.app.wsgiapp import run\nrun()\n")
    port, log, pidfile = free_port(), tmp_path / "log", tmp_path / "pid"
    command = [sys.executable, str(launcher), "--bind", f"127.0.0.1:{port}", "--pid", str(pidfile)]
    env = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
    env |= {"PYTHONPATH": str(APPS), "HOME": str(tmp_path)}
    with log.open("wb") as stderr:
        old = subprocess.Popen([*command, "lab:app"], env=env, cwd=APPS, stderr=stderr)
    try:
        wait_until(lambda: "Booting worker" in log.read_text(), "gunicorn serves")
        wait_until(lambda: get(port, "/pid").status == 200, "it answers")
        launcher.write_text(
            f"import os, sys\nos.execv({str(REMUDA)!r}, ['remuda', *sys.argv[1:]])\n"
        )
        with Load(port, clients=2, keepalive=False) as load:
            old.send_signal(signal.SIGUSR2)
            wait_until(lambda: "ready to serve" in log.read_text(), "remuda serves")
            new = int((tmp_path / "pid.2").read_text())
            masters.append(new)
            old.terminate()
            assert old.wait(30) == 0
            wait_until(lambda: "Master has been promoted." in log.read_text(), "promotion")
            time.sleep(0.3)
        assert load.counts["refused"] == 0
        assert pidfile.read_text() == f"{new}\n"
        assert get(port, "/pid").status == 200
    finally:
        if old.poll() is None:
            old.kill()
            old.wait()


HOOK = """
import time
def pre_exec(server):
    server.log.info("pre_exec of %s", server.pid)
    {more}
"""


def test_the_hook_before_a_new_master_is_waited_for(serve, tmp_path, masters):
    (tmp_path / "gunicorn.conf.py").write_text(
        HOOK.format(more="time.sleep(1); open('prepared', 'w').close()")
    )
    with serve(cwd=tmp_path) as server:
        new = upgrade(server, masters)
        assert (tmp_path / "prepared").exists()
        log = server.log()
        assert log.index(f"pre_exec of {server.pid}") < log.index("a new master boots")
        assert server.wait() == 0
        assert get(server.port, "/").status == 200
        assert Path(f"/proc/{new}").exists()


def test_a_hook_that_raises_keeps_the_new_master_from_starting(serve, tmp_path, masters):
    (tmp_path / "gunicorn.conf.py").write_text(HOOK.format(more="raise RuntimeError('not now')"))
    with serve(cwd=tmp_path) as server:
        server.send(signal.SIGUSR2)
        server.wait_for_log("RuntimeError: not now")
        server.wait_for_log("Upgrade given up")
        assert not STARTED.findall(server.log())
        assert get(server.port, "/").status == 200


# Both go on when the test says so.
PAUSED = """
import os, time
def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.02)
def pre_exec(server):
    server.log.info("pre_exec of %s", server.pid)
    wait_for("hook goes on")
    open("hook is done", "w").close()
def app(environ, start_response):
    open("request has begun", "w").close()
    wait_for("request goes on")
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
"""


@pytest.fixture
def paused(serve, tmp_path):
    """Serves with a hook and an app that wait."""
    (tmp_path / "gunicorn.conf.py").write_text(PAUSED)
    (tmp_path / "paused.py").write_text(PAUSED)
    with serve(app="paused:app", cwd=tmp_path) as server:
        yield server
    assert not STARTED.findall(server.log())


@contextmanager
def a_request_under_way(server: Server, folder: Path) -> Iterator[Client]:
    """A client whose request waits in the app until "request goes on" is there."""
    with Client(server.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until((folder / "request has begun").exists, "a request is under way")
        yield client


def test_a_stop_while_the_hook_runs_ends_the_upgrade(paused, tmp_path):
    with a_request_under_way(paused, tmp_path) as client:
        paused.send(signal.SIGUSR2)
        paused.wait_for_log("pre_exec of")
        paused.send(signal.SIGTERM)
        paused.wait_for_log("Shutting down: Master")
        (tmp_path / "hook goes on").touch()
        wait_until((tmp_path / "hook is done").exists, "the hook is done")
        paused.wait_for_log("Upgrade given up")
        (tmp_path / "request goes on").touch()
        assert client.read().status == 200
    assert paused.wait() == 0


def test_a_stop_does_not_wait_for_the_hook(paused):
    paused.send(signal.SIGUSR2)
    paused.wait_for_log("pre_exec of")
    family = paused.children()
    paused.send(signal.SIGTERM)
    assert paused.wait() == 0
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "all gone")
    # That would have been the end of its patience, after ten seconds.
    assert "The hook pre_exec takes too long" not in paused.log()


def test_an_upgrade_while_a_stop_is_under_way_does_not_call_the_hook(paused, tmp_path):
    with a_request_under_way(paused, tmp_path) as client:
        paused.send(signal.SIGTERM)
        paused.wait_for_log("Shutting down: Master")
        paused.send(signal.SIGUSR2)
        paused.wait_for_log("Handling signal: usr2")
        (tmp_path / "request goes on").touch()
        assert client.read().status == 200
    assert paused.wait() == 0
    assert "pre_exec of" not in paused.log()
