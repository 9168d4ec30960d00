"""Metrics by gunicorn's names, received by a real socket."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest

from http_client import get
from serving import wait_until


@pytest.fixture
def metrics():
    """A socket, and what has come in on it."""
    received: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def listen() -> None:
            while True:
                datagram = server.recv(2048)
                if datagram == b"end":
                    return
                received.append(datagram.decode())

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", received
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"end", server.getsockname())
        thread.join()


@pytest.mark.parametrize("access", [[], ["--access-logfile", "-"]])
def test_each_request_is_measured_with_and_without_an_access_log(
    serve, worker_class, metrics, access
):
    address, received = metrics
    args = ["--statsd-host", address, "--statsd-prefix", "my.app.", "--dogstatsd-tags", "a:b"]
    with serve("-k", worker_class, *args, *access) as server:
        assert get(server.port, "/").status == 200
        wait_until(lambda: any("status.200" in metric for metric in received), "the metrics")
        assert "my.app.gunicorn.requests:1|c|@1.0|#a:b" in received
        assert "my.app.gunicorn.request.status.200:1|c|@1.0|#a:b" in received
        [took] = [metric for metric in received if "duration" in metric]
        name, _, value = took.partition(":")
        assert name == "my.app.gunicorn.request.duration"
        assert value.endswith("|ms|#a:b") and 0 < float(value.split("|")[0]) < 60_000


def test_workers_and_errors_are_measured(serve, metrics):
    address, received = metrics
    with serve("--workers", "2", "--statsd-host", address, app="lab:app") as server:
        wait_until(lambda: "gunicorn.workers:2|g" in received, "the gauge")
        assert get(server.port, "/error").status == 500
        wait_until(lambda: "gunicorn.log.exception:1|c|@1.0" in received, "the traceback")
        wait_until(lambda: "gunicorn.request.status.500:1|c|@1.0" in received, "the request")
        os.kill(server.workers()[0], signal.SIGKILL)
        wait_until(lambda: "gunicorn.log.error:1|c|@1.0" in received, "the death of a worker")


def test_metrics_that_nobody_receives_stop_nothing(serve):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    with serve("--statsd-host", address) as server:
        assert [get(server.port, "/").status for _ in range(3)] == [200] * 3
        assert "Error" not in server.log()


def test_a_host_that_cannot_be_found_is_named():
    from test_boot import refused

    status, words = refused("--statsd-host", "nowhere.invalid", "hello:app")
    assert status == 1
    assert "statsd_host: cannot send metrics to `nowhere.invalid`" in words


def test_connections_that_wait_are_counted(serve, metrics):
    address, received = metrics
    with serve("--statsd-host", address, "--enable-backlog-metric") as server:
        wait_until(lambda: "gunicorn.backlog:0|h" in received, "an empty queue")
        [worker] = server.workers()
        os.kill(worker, signal.SIGSTOP)
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        wait_until(lambda: "gunicorn.backlog:3|h" in received, "three that wait")
        os.kill(worker, signal.SIGCONT)
        received.clear()
        wait_until(lambda: "gunicorn.backlog:0|h" in received, "an empty queue again")
        for client in clients:
            client.close()
