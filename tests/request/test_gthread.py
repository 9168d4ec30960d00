"""What is the thread pool's own: requests side by side, and none that holds up the others."""

from __future__ import annotations

import json
import signal
import threading
import time

from http_client import Client, get

GTHREAD = {"GUNICORN_WORKER_CLASS": "gthread", "GUNICORN_THREADS": "4"}


def ask_all(port: int, paths: list[str]) -> list[str]:
    """Ask at the same time; the texts in order of the paths."""
    answers = [""] * len(paths)

    def ask(number: int) -> None:
        answers[number] = get(port, paths[number]).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_as_many_requests_run_side_by_side_as_there_are_threads(serve):
    with serve(app="lab:app", env=GTHREAD) as server:
        answers = ask_all(server.port, ["/sleep?0.5"] * 12)
        assert all(text.startswith("slept") for text in answers), answers
        assert get(server.port, "/peak").text == "4"


def test_threads_alone_turn_sync_into_gthread(serve):
    with serve("--threads", "3", app="lab:app") as server:
        assert "Using worker: gthread" in server.log()
        ask_all(server.port, ["/sleep?0.5"] * 6)
        assert get(server.port, "/peak").text == "3"


def test_threads_have_names_and_the_main_thread_serves_nothing(serve):
    with serve(app="lab:app", env=GTHREAD) as server:
        named = {json.loads(text)["thread"] for text in ask_all(server.port, ["/thread"] * 20)}
        assert named <= {f"remuda-{number}" for number in range(4)}


def test_each_request_has_a_context_of_its_own(serve):
    with serve(app="lab:app", env=GTHREAD) as server:
        seen = [json.loads(text)["context"] for text in ask_all(server.port, ["/thread"] * 20)]
        assert seen == [None] * 20


def test_half_a_request_head_occupies_no_thread(serve):
    with serve(app="lab:app", env=GTHREAD) as server:
        halves = [Client(server.port) for _ in range(10)]
        for client in halves:
            client.send(b"GET /pid HTTP/1.1\r\nHo")
        time.sleep(0.2)
        assert get(server.port, "/pid").status == 200
        for client in halves:
            client.send(b"st: x\r\n\r\n")
            assert client.read().status == 200
            client.socket.close()


def test_a_quick_request_overtakes_one_that_computes(serve):
    """The interpreter's lock changes hands even when an app never gives it up by itself."""
    with serve(app="lab:app", env=GTHREAD) as server, Client(server.port) as busy:
        busy.send(b"GET /spin?3 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        assert get(server.port, "/pid").status == 200
        assert not busy.has_answer()
        assert busy.read().status == 200


def test_streams_of_several_threads_keep_apart(serve):
    with serve(app="lab:app", env=GTHREAD) as server:
        expected = "".join(f"piece {number}\n" for number in range(3))
        assert ask_all(server.port, ["/stream"] * 8) == [expected] * 8


def test_interrupt_ends_a_worker_whose_threads_are_busy(serve):
    with serve(app="lab:app", env=GTHREAD) as server, Client(server.port) as busy:
        busy.send(b"GET /sleep?60 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.3)
        server.send(signal.SIGQUIT)
        server.wait(10)


def test_requests_that_a_sweep_has_seen_first_are_served(serve):
    """Sweeps look at the kernel beside the thread that waits in it, and take its events away."""
    with serve(app="beaten:app", env=GTHREAD) as server, Client(server.port) as client:
        client.request("/begin")
        for _ in range(3000):
            assert client.request("/").status == 200
        assert int(client.request("/end").text) > 0


def test_four_requests_that_wait_for_each_other_are_served(serve):
    with serve(app="lab:app", env=GTHREAD) as server:
        for _ in range(20):
            assert ask_all(server.port, ["/meet?4"] * 4) == ["met"] * 4


def test_a_request_that_waits_holds_up_nobody(serve):
    """It goes on only after others were served, on old connections and new ones."""
    with serve(app="lab:app", env=GTHREAD) as server, Client(server.port) as other:
        assert other.request("/pid").status == 200
        with Client(server.port) as waits:
            waits.send(b"GET /meet?2 HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(50):
                assert other.request("/pid").status == 200
                assert get(server.port, "/pid").status == 200
            assert not waits.has_answer()
            assert other.request("/meet?2").text == "met"
            assert waits.read().text == "met"
