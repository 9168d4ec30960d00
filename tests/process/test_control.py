"""The control socket: what operators ask, and what nobody can do to it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from control import ask, path_of, remuda
from http_client import get
from load import Load
from serving import wait_until


def write_app(folder: Path, text: str) -> None:
    (folder / "versioned.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        f"    return [b'{text}']\n"
    )


def test_status_shows_every_worker_and_what_it_does(serve, home, worker_class):
    env = home | {"GUNICORN_WORKER_CLASS": worker_class}
    with serve("--workers", "2", app="lab:app", env=env) as server:
        for _ in range(3):
            get(server.port, "/pid")
        slow = threading.Thread(target=get, args=(server.port, "/sleep?3"))
        slow.start()

        def busy():
            status = json.loads(remuda("status", "--json", env=env).stdout)
            return status if any(worker["in_flight"] for worker in status["workers"]) else None

        status = wait_until(busy, "a request is in flight")
        table = remuda("status", env=env).stdout
        slow.join()
        assert (status["pid"], status["stage"]) == (server.pid, "serving")
        assert (status["ready"], status["wanted"]) == (2, 2)
        assert [worker["slot"] for worker in status["workers"]] == [0, 1]
        assert {worker["pid"] for worker in status["workers"]} == set(server.workers())
        assert {worker["state"] for worker in status["workers"]} == {"serving"}
        assert sum(worker["requests"] for worker in status["workers"]) >= 3
        assert all(worker["private_bytes"] > 1 << 20 for worker in status["workers"])
        (oldest,) = [w["oldest"] for w in status["workers"] if w["in_flight"]]
        assert (oldest["method"], oldest["path"]) == ("GET", "/sleep")
        assert "serving, 2 of 2 workers ready" in table
        assert "GET /sleep (" in table


def test_reload_answers_when_the_new_code_serves_or_says_why_it_does_not(serve, home, tmp_path):
    write_app(tmp_path, "one")
    with serve("--workers", "2", app="versioned:app", cwd=tmp_path, env=home) as server:
        write_app(tmp_path, "two")
        with Load(server.port) as load:
            done = remuda("reload", env=home)
        assert done.returncode == 0 and done.stdout.startswith("generation 2 serves after ")
        assert get(server.port).text == "two"
        assert load.lost == []
        (tmp_path / "versioned.py").write_text("raise RuntimeError('broken by the deploy')\n")
        failed = remuda("reload", env=home)
        assert failed.returncode == 1
        assert "the new code does not run" in failed.stderr
        assert "generation 2 serves on" in failed.stderr
        assert get(server.port).text == "two"


def test_two_reloads_at_once_are_answered_each_by_one_of_its_own(serve, home):
    with serve(app="lab:app", env=home):
        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda: answers.append(remuda("reload", env=home).stdout))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        assert len(answers) == 2 and all(" serves after " in answer for answer in answers)


def test_stop_returns_when_the_master_is_gone_and_nothing_is_lost(serve, home):
    with serve(app="lab:app", env=home) as server:
        slow: list = []
        thread = threading.Thread(target=lambda: slow.append(get(server.port, "/sleep?1")))
        thread.start()
        time.sleep(0.4)
        stopped = remuda("stop", env=home)
        assert stopped.returncode == 0
        assert server.wait(5) == 0
        thread.join()
        assert slow[0].status == 200
        assert not path_of(server, home).exists(), "the socket goes with the master"


def test_stop_now_breaks_off(serve, home):
    with serve(app="lab:app", env=home) as server:
        thread = threading.Thread(target=lambda: get(server.port, "/sleep?30"))
        thread.start()
        time.sleep(0.4)
        assert remuda("stop", "--now", env=home).returncode == 0
        assert server.wait(10) == 0
        thread.join()


def test_upgrade_answers_when_the_new_master_serves(serve, home):
    with serve(app="lab:app", env=home) as server:
        done = remuda("upgrade", env=home)
        assert done.stdout.startswith("a new master serves (pid "), done
        assert server.wait() == 0
        new = json.loads(remuda("status", "--json", env=home).stdout)
        assert new["pid"] != server.pid and f"(pid {new['pid']})" in done.stdout
        assert remuda("stop", env=home).returncode == 0
        assert "no service of this user runs here" in remuda("status", env=home).stderr


def test_a_named_socket_is_taken_over_by_the_new_master(serve, home, tmp_path):
    path = tmp_path / "named.ctl"
    args = ["--control-socket", str(path)]
    with serve(*args, app="lab:app", env=home) as server:
        assert remuda("upgrade", *args, env=home).returncode == 0
        assert server.wait() == 0
        status = json.loads(remuda("status", "--json", *args, env=home).stdout)
        assert status["pid"] != server.pid
        assert remuda("stop", *args, env=home).returncode == 0
    assert not path.exists()


def test_of_several_services_one_has_to_be_chosen(serve, home):
    with serve(app="lab:app", env=home) as first, serve(app="lab:app", env=home) as second:
        refused = remuda("status", env=home)
        assert refused.returncode == 1 and "choose one with `--pid`" in refused.stderr
        for server in (first, second):
            shown = remuda("status", "--json", "--pid", str(server.pid), env=home)
            assert json.loads(shown.stdout)["pid"] == server.pid


def test_wrong_usage_is_status_2_and_help_is_0(home):
    assert remuda("status", "--nonsense", env=home).returncode == 2
    assert remuda("stop", "--help", env=home).returncode == 0


def test_the_socket_is_private(serve, home):
    with serve(app="lab:app", env=home) as server:
        path = path_of(server, home)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_another_user_is_refused_whatever_the_mode(serve, home, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: only root can become another user")
    path = Path("/tmp") / f"remuda-test-{os.getpid()}-{time.monotonic_ns()}.ctl"
    args = ["--control-socket", str(path), "--control-socket-mode", "0o666"]
    with serve(*args, app="lab:app", env=home) as server:
        # It may be sent away before it has asked.
        code = (
            "import socket\n"
            "client = socket.socket(socket.AF_UNIX)\n"
            f"client.connect({str(path)!r})\n"
            'try: client.sendall(b\'{"command":"quit"}\\n\')\n'
            "except BrokenPipeError: pass\n"
            "print(client.recv(1000).decode())\n"
        )
        asked = subprocess.run(
            ["/usr/bin/python3", "-c", code], user=65534, capture_output=True, text=True, timeout=20
        )
        assert "user 65534 is neither this service's user nor root" in asked.stdout, asked
        assert get(server.port, "/pid").status == 200


def test_garbage_by_the_thousands_disturbs_nobody(serve, home):
    """Every client lies, is cut off, or vanishes, while requests are answered and counted."""
    rng = random.Random(7)
    with serve("--workers", "2", app="lab:app", env=home) as server, Load(server.port) as load:
        path = path_of(server, home)
        before = server.workers()
        good = b'{"command":"status"}\n'
        for number in range(3000):
            match number % 4:
                case 0:
                    line = rng.randbytes(rng.randrange(1, 200))
                case 1:
                    line = good[: rng.randrange(len(good) - 1)]
                case 2:
                    line = b"[" * rng.randrange(1, 6000) + b"\n"
                case _:
                    line = bytearray(good)
                    line[rng.randrange(len(line))] = rng.randrange(256)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(path))
                try:
                    client.sendall(line)
                    if rng.random() < 0.5:
                        client.shutdown(socket.SHUT_WR)
                        client.recv(65536)
                except (BrokenPipeError, ConnectionResetError):
                    pass
        assert json.loads(ask(path, good))["ok"]
        assert server.workers() == before
        load.stop()
        assert load.lost == [] and load.answered > 0
        assert server.log().count("\n") < 100, "nobody can fill the log"


def test_clients_that_only_sit_there_keep_nobody_out_for_long(serve, home):
    with serve(app="lab:app", env=home) as server:
        path = path_of(server, home)
        sitting = []
        try:
            for number in range(40):
                client = socket.socket(socket.AF_UNIX)
                sitting.append(client)
                client.settimeout(1)
                try:
                    client.connect(str(path))
                except (BlockingIOError, TimeoutError):
                    break
                client.sendall(b'{"command":'[: number % 12])
            began = time.monotonic()
            assert get(server.port, "/pid").status == 200
            assert time.monotonic() - began < 5, "requests do not wait for operators"
            wait_until(lambda: remuda("status", env=home).returncode == 0, "its turn comes", 30)
        finally:
            for client in sitting:
                client.close()


def test_a_client_that_does_not_read_holds_up_nothing(serve, home):
    with serve(app="lab:app", env=home) as server:
        path = path_of(server, home)
        with socket.socket(socket.AF_UNIX) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.connect(str(path))
            client.sendall(b'{"command":"status"}\n' * 50)
            assert remuda("status", env=home).returncode == 0
            assert get(server.port, "/pid").status == 200


def test_a_client_that_vanishes_while_it_waits_changes_nothing(serve, home):
    with serve(app="lab:app", env=home) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path_of(server, home)))
            client.sendall(b'{"command":"reload"}\n')
        server.wait_for_log("Reload done")
        assert remuda("status", env=home).returncode == 0


def test_a_living_services_socket_is_never_stolen(serve, home, tmp_path):
    path = tmp_path / "shared.ctl"
    args = ["--control-socket", str(path)]
    with serve(*args, app="lab:app", env=home) as first:
        with serve(*args, app="lab:app", env=home) as second:
            assert "There is no control socket" in second.log()
            assert get(second.port, "/pid").status == 200
        status = json.loads(remuda("status", "--json", *args, env=home).stdout)
        assert status["pid"] == first.pid


def test_what_killed_masters_have_left_is_removed(serve, home):
    with serve(app="lab:app", env=home) as server:
        left = path_of(server, home)
        server.process.kill()
        server.wait()
        assert left.exists()
    with serve(app="lab:app", env=home):
        assert not left.exists()
        assert remuda("status", env=home).returncode == 0


@pytest.mark.parametrize("args", [["--no-control-socket"], ["--control-socket", "none"]])
def test_it_can_be_left_out(serve, home, args):
    with serve(*args, app="lab:app", env=home) as server:
        assert not path_of(server, home).exists()


def test_a_folder_that_cannot_be_written_is_no_trouble(serve, home):
    env = home | {"XDG_RUNTIME_DIR": "/proc/nowhere"}
    with serve(app="lab:app", env=env) as server:
        assert get(server.port, "/pid").status == 200
        assert "control" not in server.log()


def test_the_control_socket_says_what_it_is_at_level_debug(serve, home):
    with serve("--log-level", "debug", app="lab:app", env=home) as server:
        assert f"Control socket listening at {path_of(server, home)}" in server.log()
        server.send(signal.SIGTERM)
