"""A service manager: what it hears by ``sd_notify``, and the sockets that it hands over."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from http_client import get
from serving import wait_until


class ServiceManager:
    """The other end of ``NOTIFY_SOCKET``, as systemd is."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.setblocking(False)
        self.env = {"NOTIFY_SOCKET": address}
        self.heard: list[tuple[int, dict[str, str]]] = []

    def __enter__(self) -> ServiceManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def listen(self) -> list[dict[str, str]]:
        """Everything heard so far."""
        while True:
            try:
                data, control, _, _ = self.socket.recvmsg(4096, 1024)
            except BlockingIOError:
                return [message for _, message in self.heard]
            pid = int.from_bytes(control[0][2][:4], "little")
            lines = (line.partition("=") for line in data.decode().splitlines())
            self.heard.append((pid, {key: value for key, _, value in lines}))

    def wait_for(self, key: str, value: str | None = None, count: int = 1) -> dict[str, str]:
        """Wait for ``key=value`` to be said ``count`` times."""

        def found():
            said = [m for m in self.listen() if key in m and value in (None, m[key])]
            return said[count - 1] if len(said) >= count else None

        return wait_until(found, f"{key}={value} is said")

    def keys(self) -> list[str]:
        """The states heard, in order, without the text for people and the watchdog's food."""
        silent = {"STATUS", "WATCHDOG", "MONOTONIC_USEC"}
        return [key for message in self.listen() for key in message if key not in silent]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceManager]:
    name = f"@remuda-test-{os.getpid()}-{time.monotonic_ns()}"
    address = str(tmp_path / "notify") if request.param == "path" else name
    with ServiceManager(address) as manager:
        yield manager


def test_ready_is_said_when_the_first_worker_is_ready_and_stopping_at_once(serve, manager):
    with serve("--workers", "2", app="slow_import:app", env=manager.env, ready=False) as server:
        server.wait_for_log("importing slowly")
        assert manager.wait_for("STATUS")["STATUS"] == "Starting: 0 of 2 workers ready"
        assert manager.keys() == [], "an app that is still imported is not ready"
        server.send(signal.SIGTERM)
        server.wait()
        assert manager.keys() == ["STOPPING"]


def test_a_whole_life_is_told(serve, manager):
    with serve("--workers", "2", app="lab:app", env=manager.env) as server:
        manager.wait_for("STATUS", "2 of 2 workers ready")
        assert manager.keys() == ["READY"]
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        server.send(signal.SIGHUP)
        reloading = manager.wait_for("RELOADING", "1")
        assert before <= int(reloading["MONOTONIC_USEC"])
        assert int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        manager.wait_for("READY", "1", count=2)
        server.send(signal.SIGTTIN)
        manager.wait_for("STATUS", "3 of 3 workers ready")
        server.stop()
        assert manager.keys() == ["READY", "RELOADING", "READY", "STOPPING"]
        assert {pid for pid, _ in manager.heard} == {server.pid}


def test_a_reload_that_fails_is_ready_again(serve, manager, tmp_path):
    (tmp_path / "fragile.py").write_text("from hello import app\n")
    env = manager.env | {"PYTHONDONTWRITEBYTECODE": "1"}
    with serve(app="fragile:app", cwd=tmp_path, env=env) as server:
        (tmp_path / "fragile.py").write_text("raise RuntimeError\n")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload given up")
        manager.wait_for("READY", "1", count=2)
        assert manager.keys() == ["READY", "RELOADING", "READY"]


def test_the_watchdog_is_fed_only_as_long_as_decisions_are_made(serve, manager):
    env = manager.env | {"WATCHDOG_USEC": "400000"}
    with serve(app="lab:app", env=env) as server:
        manager.wait_for("WATCHDOG", "1", count=4)
        server.send(signal.SIGSTOP)
        time.sleep(0.2)
        fed = len([message for message in manager.listen() if "WATCHDOG" in message])
        time.sleep(0.8)
        assert len([message for message in manager.listen() if "WATCHDOG" in message]) == fed
        server.send(signal.SIGCONT)
        manager.wait_for("WATCHDOG", "1", count=fed + 2)


def test_a_watchdog_of_another_process_is_not_fed(serve, manager):
    env = manager.env | {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    with serve(app="lab:app", env=env) as server:
        manager.wait_for("STATUS", "1 of 1 workers ready")
        time.sleep(0.3)
        server.stop()
        assert not [message for message in manager.listen() if "WATCHDOG" in message]


def test_a_service_manager_that_does_not_read_holds_up_nothing(serve, manager):
    env = manager.env | {"WATCHDOG_USEC": "10000"}
    with serve(app="lab:app", env=env) as server:
        time.sleep(1.5)  # more food than any queue holds
        assert get(server.port, "/pid").status == 200
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert server.stop() == 0


def test_a_notify_socket_that_is_not_there_is_said_once(serve, tmp_path):
    with serve(app="lab:app", env={"NOTIFY_SOCKET": str(tmp_path / "nobody")}) as server:
        assert get(server.port, "/pid").status == 200
        assert server.log().count("The service manager cannot be told") == 1


def test_the_app_does_not_inherit_what_is_meant_for_the_master(serve, manager):
    env = manager.env | {"WATCHDOG_USEC": "400000"}
    with serve(app="show_env:app", env=env) as server:
        assert get(server.port, "/PYTHONPATH").text, "the page shows what there is"
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
            assert get(server.port, f"/{name}").text == ""
