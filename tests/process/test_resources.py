"""No descriptors, no room for bodies: service goes on, and the log tells it once."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from http_client import Client, get

CONNECTIONS = 60


def test_without_descriptors_connections_wait_until_others_give_way(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class}
    with serve(app="lab:app", env=env) as server:
        assert get(server.port, "/pid").status == 200
        (pid,) = server.workers()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (40, 40))
        clients = [Client(server.port) for _ in range(CONNECTIONS)]
        # All are served, one by one: those that are idle make room for others.
        for client in clients:
            assert client.request("/pid").status == 200
        server.wait_for_log("Cannot accept connections: Too many open files")
        assert server.log().count("Cannot accept connections") == 1
        for client in clients:
            client.socket.close()
        server.wait_for_log("Connections are accepted again")
        assert get(server.port, "/pid").text == str(pid)


@pytest.fixture
def small_folder(tmp_path):
    """A file system of its own with room for very little."""
    if not sys.platform.startswith("linux"):
        pytest.skip("NOT RUN: needs Linux")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"NOT RUN: cannot mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_without_room_for_a_body_it_is_refused_and_the_next_one_is_served(
    serve, wsgi_class, small_folder
):
    env = {
        "GUNICORN_WORKER_CLASS": wsgi_class,
        "GUNICORN_BODY_SPOOL_BYTES": "65536",
        "TMPDIR": str(small_folder),
    }
    large, fits = b"x" * 1_000_000, b"y" * 100_000
    with serve(app="lab:app", env=env) as server:
        for _ in range(5):
            client = Client(server.port)
            response = client.request("/echo", method="POST", body=large)
            client.socket.close()
            assert response.status == 503
        server.wait_for_log("Cannot keep request bodies in temporary files: No space left")
        assert get(server.port, "/pid").status == 200
        client = Client(server.port)
        assert client.request("/echo", method="POST", body=fits).body == fits
        client.socket.close()
        server.wait_for_log("Request bodies are kept in temporary files again")
        assert server.log().count("Cannot keep request bodies") == 1
