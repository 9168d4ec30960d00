"""What is gevent's own: many requests at a time on one loop."""

from __future__ import annotations

import threading
import time

from http_client import Client, get

GEVENT = {"GUNICORN_WORKER_CLASS": "gevent"}


def test_sleeping_requests_run_side_by_side(serve):
    with serve(app="lab:app", env=GEVENT) as server:
        threads = [threading.Thread(target=get, args=(server.port, "/sleep?2")) for _ in range(30)]
        for thread in threads:
            thread.start()
        assert get(server.port, "/pid").status == 200
        for thread in threads:
            thread.join()
        assert int(get(server.port, "/peak").text) > 1


def test_each_request_looks_like_a_greenlet_of_its_own(serve):
    with serve(app="greenlets:app", env=GEVENT) as server:
        threads = []
        answers: list[str] = []
        for number in range(20):
            ask = lambda n=number: answers.append(get(server.port, f"/{n}").text)  # noqa: E731
            threads.append(threading.Thread(target=ask))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == sorted(f"{number} kept" for number in range(20))


def test_pipelined_requests_after_one_that_blocks(serve):
    with serve(app="lab:app", env=GEVENT) as server, Client(server.port) as client:
        client.send(
            b"GET /sleep?0.2 HTTP/1.1\r\nHost: x\r\n\r\n"
            + b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n" * 5
        )
        assert client.read().text.startswith("slept")
        assert [client.read().status for _ in range(5)] == [200] * 5


def test_background_greenlet_of_the_app_runs_between_requests(serve):
    with serve(app="greenlets:app", env=GEVENT) as server:
        get(server.port, "/spawn")
        time.sleep(0.3)
        assert int(get(server.port, "/ticks").text) > 0
