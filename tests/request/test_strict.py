"""Request smuggling, as RFC 9112 has it: what could be read in two ways is not read at all."""

from __future__ import annotations

import json

import pytest

import nasty
from http_client import Client, Response, get
from serving import Server, serving

CLASSES = ["sync", "gthread", "gevent", "asgi"]


@pytest.fixture(scope="module", params=CLASSES)
def server(request, tmp_path_factory):
    app = "echo_asgi:app" if request.param == "asgi" else "lab:app"
    env = {"GUNICORN_WORKER_CLASS": request.param}
    with serving(tmp_path_factory.mktemp(request.param), app=app, env=env) as server:
        yield server


def answers(server: Server, sent: bytes) -> list[Response]:
    """All answers on one connection, which the server has to close."""
    with Client(server.port, timeout=10) as client:
        client.send(sent)
        found = []
        while not client.is_closed():
            found.append(client.read())
        return found


@pytest.mark.parametrize("case", nasty.CASES, ids=[case.name for case in nasty.CASES])
def test_each_message_is_answered_once_or_refused(server, case):
    found = answers(server, case.sent)
    assert tuple(answer.status for answer in found) == case.statuses
    if case.sent.endswith(nasty.TAIL):
        check_refusal(found[-1])


def check_refusal(answer: Response) -> None:
    """A refusal is a whole response, in gunicorn's form, and says that it is the last one."""
    assert answer.get("Date").endswith(" GMT")
    assert answer.get("Server") == "remuda"
    assert answer.get("Connection") == "close"
    assert answer.get("Content-Type") == "text/html"
    assert answer.get("Content-Length") == str(len(answer.body))
    assert answer.text.startswith(f"<html>\n  <head>\n    <title>{answer.reason}</title>\n")


def test_nothing_behind_a_bad_message_reaches_the_app(server):
    for case in nasty.CASES:
        answers(server, case.sent)
    paths = json.loads(get(server.port, "/seen").text)
    assert "/smuggled" not in paths
    assert "/seen" in paths, "the app was asked"


def test_what_came_before_a_bad_message_is_answered_first(server):
    sent = nasty.head("Content-Length: 5") + b"hello" + b"GET / HTTP/1.1\n\n"
    assert [answer.status for answer in answers(server, sent)] == [200, 400]


def test_refusals_are_logged_once_a_second_with_a_count(server):
    server.wait_for_log("Invalid request from ip=127.0.0.1: ")
    lines = [line for line in server.messages() if line.startswith("Invalid request from")]
    for _ in range(300):
        answers(server, b"GET / HTTP/1.1\nHost: x\n\n")
    server.wait_for_log(" more)")
    more = [line for line in server.messages() if line.startswith("Invalid request from")]
    assert len(more) - len(lines) < 30, "a flood of requests became a flood of lines"
