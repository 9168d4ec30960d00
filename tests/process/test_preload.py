"""Whether the app is shared between workers: unset, true and false."""

from __future__ import annotations

import socket

from http_client import get


def imported_in(server) -> list[str]:
    return [line for line in server.log().splitlines() if line.startswith("imported by ")]


def test_app_is_imported_once_by_default(serve):
    with serve("--workers", "3", app="counted:app") as server:
        assert len(imported_in(server)) == 1
        assert get(server.port).text != imported_in(server)[0].split()[-1], "not in a worker"


def test_app_is_imported_by_each_worker_when_preload_is_false(serve):
    with serve(
        "--workers", "3", app="counted:app", env={"GUNICORN_PRELOAD_APP": "false"}
    ) as server:
        assert len(imported_in(server)) == 3


def test_thread_at_import_is_found_and_each_worker_imports_by_itself(serve):
    with serve("--workers", "2", app="threaded:app") as server:
        assert get(server.port).text.endswith("ticking")
        log = server.log()
        assert "The application is not shared between workers" in log
        assert "thread 'exporter'" in log
        assert "cost: " in log and "hint: " in log


def test_connection_at_import_is_found_and_named(serve):
    with socket.create_server(("127.0.0.1", 0)) as peer:
        port = peer.getsockname()[1]
        env = {"PEER_PORT": str(port)}
        with serve("--workers", "2", app="connected:app", env=env) as server:
            assert f"connection to 127.0.0.1:{port}" in server.log()
            assert "not shared between workers" in server.log()
            assert get(server.port).status == 200


def test_preload_true_shares_in_spite_of_a_thread_and_warns(serve):
    env = {"GUNICORN_PRELOAD_APP": "true"}
    with serve("--workers", "2", app="threaded:app", env=env) as server:
        assert "what a fork breaks" in server.log()
        assert get(server.port).text.endswith("dead")


def test_gevent_is_patched_before_the_app_is_imported(serve):
    env = {"GUNICORN_WORKER_CLASS": "gevent"}
    with serve(app="patched:app", env=env) as server:
        assert get(server.port).text == "patched at import: True"
