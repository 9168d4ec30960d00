"""Real gunicorn and remuda side by side, by uwsgi: the same packets, and the same nginx.

What differs is named here, and stands in ``docs/differences.md``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from test_side_by_side import APP, BOTH, needs_gunicorn, running

from http_client import Client, Response
from nginx import needs_nginx, nginx
from serving import wait_until
from uwsgi_client import Variables, packet, request

__all__ = ["needs_gunicorn"]

UWSGI = ["--protocol", "uwsgi"]

ASGI_APP = """
import json
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event["body"], event["more_body"]
    names = ("type", "http_version", "method", "scheme", "path", "root_path")
    shown = {name: scope[name] for name in names}
    for name in ("raw_path", "query_string"):
        shown[name] = scope[name].decode("latin-1")
    shown["headers"] = sorted([k.decode(), v.decode("latin-1")] for k, v in scope["headers"])
    shown["client"], shown["server"] = scope["client"][0], scope["server"][0]
    shown["body"] = body.decode("latin-1")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-out", b"there")]})
    await send({"type": "http.response.body", "body": json.dumps(shown).encode()})
"""


@pytest.fixture
def site(site: Path) -> Path:
    (site / "shop.py").write_text(APP)
    (site / "async_shop.py").write_text(ASGI_APP)
    return site


def ask(port: int, sent: bytes) -> Response:
    """One answer: gunicorn keeps some connections for another request."""
    with Client(port) as client:
        client.send(sent)
        return client.read()


def told(response: Response) -> dict:
    environ = json.loads(response.body)
    for name in ("REMOTE_PORT", "SERVER_SOFTWARE", "SERVER_PORT"):
        environ.pop(name, None)
    return environ


SOMETHING: Variables = [
    ("UWSGI_SCRIPT", "shop"),
    ("SCRIPT_NAME", "/shop"),
    ("HTTP_SCRIPT_NAME", "/in"),
    ("HTTP_X_A", "b"),
    ("HTTP_X_FORWARDED_PROTO", "https"),
    ("HTTP_X_FORWARDED_FOR", "9.9.9.9"),
    ("HTTP_CONNECTION", "close"),
    ("FOO", "bar"),
]

# With a type, since an empty one reaches gunicorn's apps.
TYPE = ("CONTENT_TYPE", "text/x")

REQUESTS = {
    "usual": request("/in/here?x=1&y=%20", TYPE),
    "others": request("/in", TYPE, *SOMETHING),
    "body": request("/in", TYPE, method="POST", body=b"abc"),
    "of the client": request(
        "/in", TYPE, ("HTTP_CONTENT_TYPE", "text/x"), ("HTTP_CONTENT_LENGTH", "3"), body=b"abc"
    ),
    "encrypted": request("/in", TYPE, ("HTTPS", "ON")),
    "not encrypted": request("/in", TYPE, ("HTTPS", "off")),
    "scheme": request("/in", TYPE, ("wsgi.url_scheme", "https")),
    "host": request("/in", TYPE, ("HTTP_HOST", "a:81"), ("HTTP_HOST", "b:82")),
    "later ones": request("/in", TYPE, ("PATH_INFO", "/a"), ("REQUEST_URI", "/b")),
    "nothing": packet([]),
    "modifier2": packet([("PATH_INFO", "/a")], modifier2=7),
    "a thousand": packet([(f"A{n}", "b") for n in range(1000)]),
    "star": request("*", TYPE, method="OPTIONS"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_an_app_sees_the_same_environ(site, name):
    answers = []
    for program in BOTH:
        with running(program, site, *UWSGI) as server:
            answers.append(ask(server.port, REQUESTS[name]))
    theirs, ours = map(told, answers)
    # Left out like an empty type.
    if theirs.get("CONTENT_LENGTH") == "":
        del theirs["CONTENT_LENGTH"]
    assert ours == theirs
    assert answers[0].status == answers[1].status == 200
    assert (answers[0].version, answers[1].version) == ("HTTP/1.1", "HTTP/1.0")
    for answer in answers:
        assert answer.get("x-out") == "there"
        assert answer.get("transfer-encoding") is None


@pytest.mark.parametrize("name", ["usual", "body", "encrypted", "host", "nothing"])
def test_an_asgi_app_sees_the_same_scope(site, name):
    scopes = []
    for program in BOTH:
        with running(program, site, *UWSGI, "-k", "asgi", app="async_shop:app") as server:
            scopes.append(json.loads(ask(server.port, REQUESTS[name]).body))
    theirs, ours = scopes
    theirs["headers"] = [field for field in theirs["headers"] if field != ["content-length", ""]]
    assert ours == theirs


# What stands in docs/differences.md: names of what differs, theirs and ours.
DIFFERENT = {
    "decoded twice": (
        request("/in", TYPE, ("PATH_INFO", "/a%41"), ("REQUEST_URI", "/a%2541")),
        {"PATH_INFO": ("/aA", "/a%41"), "RAW_URI": ("/a%41", "/a%2541")},
    ),
    "not ASCII": (
        request("/in", TYPE, ("PATH_INFO", "/é"), ("REQUEST_URI", "/%C3%A9")),
        {"PATH_INFO": ("/Ã\x83Â©", "/Ã©"), "RAW_URI": ("/Ã©", "/%C3%A9")},
    ),
    "empty": (
        request("/in"),
        {"CONTENT_LENGTH": ("", None), "CONTENT_TYPE": ("", None)},
    ),
    "twice": (
        request("/in", TYPE, ("HTTP_X_A", "1"), ("HTTP_X_A", "2"), ("CONTENT_LENGTH", "0")),
        {"HTTP_X_A": ("2", "1,2")},
    ),
    "coding": (
        request("/in", TYPE, ("HTTP_TRANSFER_ENCODING", "chunked"), body=b"abc"),
        {"HTTP_TRANSFER_ENCODING": ("chunked", None)},
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_an_environ_differs_where_it_is_said(site, name):
    sent, expected = DIFFERENT[name]
    environs = []
    for program in BOTH:
        with running(program, site, *UWSGI) as server:
            environs.append(told(ask(server.port, sent)))
    theirs, ours = environs
    differ = {
        key: (theirs.get(key), ours.get(key))
        for key in theirs.keys() | ours.keys()
        if theirs.get(key) != ours.get(key) and (name == "empty" or key != "CONTENT_LENGTH")
    }
    assert differ == expected


REFUSED = [
    (packet([], modifier1=5), 501),
    (packet([("A", "")] * 1001), 400),
    (b"\0\x03\0\0\x09\0a", 400),
]


def test_what_is_no_packet_gets_a_status_that_says_whose_mistake_it_is(site):
    statuses = []
    for program in BOTH:
        with running(program, site, *UWSGI) as server:
            statuses.append([ask(server.port, sent).status for sent, _ in REFUSED])
    assert statuses == [[500, 500, 500], [status for _, status in REFUSED]]


@pytest.mark.parametrize(
    ("allowed", "theirs", "ours"),
    [
        ("10.0.0.1", 500, 403),
        ("*", 200, 200),
        ("::1,127.0.0.1", 200, 200),
        ("127.0.0.0/8", 500, 200),
    ],
)
def test_who_may_speak_it(site, allowed, theirs, ours):
    for program, status in zip(BOTH, [theirs, ours], strict=True):
        with running(program, site, *UWSGI, "--uwsgi-allow-from", allowed) as server:
            assert ask(server.port, REQUESTS["usual"]).status == status


def test_access_lines_are_the_same(site):
    lines = []
    for program in BOTH:
        with running(program, site, *UWSGI, "--access-logfile", "-") as server:
            for name in ("usual", "body", "nothing"):
                ask(server.port, REQUESTS[name])
            wait_until(lambda s=server: s.stdout().count("\n") >= 3, "three lines")
            lines.append(re.sub(r"\[.*?\]| 200 \d+ ", "…", server.stdout()))
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/in/here?x=%20", "/in/here?x=%20"),
        ("/%69n", "/%69n"),
        ("//a//b", "/a/b"),
        ("/a/../in?x", "/in?x"),
    ],
)
def test_behind_the_same_nginx_an_app_sees_the_same(site, tmp_path, path, target):
    needs_nginx()
    environs = []
    for program in BOTH:
        with running(program, site, *UWSGI) as server:
            folder = tmp_path / f"nginx{len(environs)}"
            with (
                nginx(folder, f"uwsgi_pass 127.0.0.1:{server.port};") as port,
                Client(port) as client,
            ):
                headers = {"X-A": "b", "Content-Type": "text/x", "Cookie": "a=1; b=2"}
                answer = client.request(path, "POST", headers, body=b"abc")
                environs.append(told(answer))
    theirs, ours = environs
    # Ours is what the client has written, where nginx has not changed what that says.
    assert theirs.pop("RAW_URI").endswith(ours["QUERY_STRING"])
    assert ours.pop("RAW_URI") == target
    assert ours == theirs
