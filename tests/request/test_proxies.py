"""Which headers are believed, and from whom: the same in every worker class."""

from __future__ import annotations

import json

import pytest

from http_client import Client, Response

CLASSES = ["sync", "gthread", "gevent", "asgi"]


@pytest.fixture(params=CLASSES)
def ask(request, serve):
    """``ask(setting=value, …)(header, …)``: the scheme and the headers that the app sees."""

    def start(**settings: str):
        env = {f"GUNICORN_{name.upper()}": value for name, value in settings.items()}
        env["GUNICORN_WORKER_CLASS"] = request.param
        app = "echo_asgi:app" if request.param == "asgi" else "lab:app"
        return Asked(serve(app=app, env=env), request.param)

    return start


class Asked:
    """A server that is asked what its app sees."""

    def __init__(self, serving, worker_class: str) -> None:
        self._serving = serving
        self.worker_class = worker_class

    def __enter__(self) -> Asked:
        self.server = self._serving.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._serving.__exit__(*error)

    def raw(self, *headers: str, path: str = "/environ") -> Response:
        lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]
        with Client(self.server.port) as client:
            client.send("\r\n".join(lines).encode())
            return client.read()

    def __call__(self, *headers: str) -> tuple[str, dict[str, str]]:
        shown = json.loads(self.raw(*headers).text)
        if self.worker_class == "asgi":
            return shown["scheme"], dict(shown["headers"])
        found = {
            key.removeprefix("HTTP_").lower(): value
            for key, value in shown.items()
            if key.startswith("HTTP_")
        }
        return shown["wsgi.url_scheme"], found


UNDERSCORES = ("Remote_User: eve", "X-Fine: yes")


def test_headers_with_underscores_are_dropped(ask):
    with ask() as seen:
        assert "remote_user" not in seen(*UNDERSCORES)[1]
        _, headers = seen(*UNDERSCORES)
        assert "yes" in headers.values()


def test_headers_with_underscores_can_be_refused(ask):
    with ask(header_map="refuse", forwarder_headers="NOTHING") as seen:
        answer = seen.raw(*UNDERSCORES)
        assert answer.status == 400
        assert "Invalid HTTP header name" in answer.text
        assert seen("X-Fine: yes")[0] == "http"


def test_headers_with_underscores_can_be_let_through(ask):
    with ask(header_map="dangerous", forwarded_allow_ips="10.0.0.0/8") as seen:
        assert seen(*UNDERSCORES)[1]["remote_user"] == "eve"


def test_a_proxy_may_send_the_headers_with_underscores_that_are_its_own(ask):
    with ask(forwarder_headers="Remote_User,PATH_INFO") as seen:
        _, headers = seen(*UNDERSCORES, "Other_One: no")
        assert headers["remote_user"] == "eve" and "other_one" not in headers
    with ask(forwarder_headers="*") as seen:
        assert seen("Other_One: yes")[1]["other_one"] == "yes"
    with ask(forwarder_headers="*", forwarded_allow_ips="10.0.0.0/8,::1") as seen:
        assert "other_one" not in seen("Other_One: no")[1], "it is not one of the proxies"


@pytest.mark.parametrize(
    ("allowed", "believed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.0/8", True),
        ("*", True),
        ("10.0.0.0/8, 127.0.0.0/30", True),
        ("10.0.0.0/8", False),
        ("127.0.0.2", False),
    ],
)
def test_the_scheme_is_believed_of_addresses_and_networks(ask, allowed, believed):
    with ask(forwarded_allow_ips=allowed) as seen:
        expected = "https" if believed else "http"
        assert seen("X-Forwarded-Proto: https")[0] == expected
        contradiction = ("X-Forwarded-Proto: https", "X-Forwarded-Ssl: off")
        answer = seen.raw(*contradiction)
        assert answer.status == (400 if believed else 200)
        assert ("Contradictory scheme headers" in answer.text) is believed


def test_the_headers_that_say_the_scheme_can_be_set(ask):
    with ask(secure_scheme_headers="X-SCHEME=HTTPS,Front-End-Https=on") as seen:
        assert seen("x-scheme: HTTPS")[0] == "https"
        assert seen("X-Scheme: https")[0] == "http", "the value is compared as it is"
        assert seen("Front-End-HTTPS: on")[0] == "https"
        assert seen("X-Forwarded-Proto: https")[0] == "http"
        assert seen.raw("X-Scheme: HTTPS", "Front-End-Https: off").status == 400


def test_the_headers_that_say_the_scheme_can_be_a_table(serve, tmp_path):
    (tmp_path / "remuda.toml").write_text('secure_scheme_headers = { X-SCHEME = "tls" }\n')
    path = str(tmp_path / "remuda.toml")
    with serve("--config", path, app="lab:app") as server, Client(server.port) as client:
        shown = client.request("/environ", headers={"X-Scheme": "tls"})
        assert json.loads(shown.text)["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_script_name_comes_from_the_proxy_or_the_environment(serve, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "SCRIPT_NAME": "/mount"}
    with serve(app="lab:app", env=env) as server, Client(server.port) as client:
        shown = json.loads(client.request("/mount/environ").text)
        assert (shown["SCRIPT_NAME"], shown["PATH_INFO"]) == ("/mount", "/environ")
        headers = {"SCRIPT_NAME": "/mount/mount"}
        shown = json.loads(client.request("/mount/mount/environ", headers=headers).text)
        assert (shown["SCRIPT_NAME"], shown["PATH_INFO"]) == ("/mount/mount", "/environ")
        assert shown["HTTP_SCRIPT_NAME"] == "/mount/mount", "as under gunicorn"
        refused = client.request("/elsewhere")
        assert refused.status == 500
        server.wait_for_log("Invalid request from ip=127.0.0.1: Configuration problem: Request")


def test_script_name_of_a_stranger_is_dropped(serve):
    with serve("--forwarded-allow-ips", "10.0.0.1", app="lab:app") as server:
        with Client(server.port) as client:
            shown = json.loads(client.request("/environ", headers={"SCRIPT_NAME": "/x"}).text)
            assert shown["SCRIPT_NAME"] == "" and "HTTP_SCRIPT_NAME" not in shown
