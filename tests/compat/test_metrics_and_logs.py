"""What real gunicorn and remuda send to StatsD and syslog, and what their loggers write."""

from __future__ import annotations

import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_side_by_side import BOTH, needs_gunicorn, running

from http_client import get
from serving import Server, conf, wait_until

__all__ = ["needs_gunicorn"]

APP = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/error":
        raise RuntimeError("oh no")
    environ["app.user"] = "ann"
    start_response("200 OK", [("X-Kind", "a")])
    return [b"hello"]
"""


@pytest.fixture
def site(site: Path) -> Path:
    conf(site, APP, "shop.py")
    return site


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A socket for datagrams: its port, and what has come in."""
    received: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def listen() -> None:
            while (datagram := server.recv(8192)) != b"end":
                received.append(datagram)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield server.getsockname()[1], received
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"end", server.getsockname())
            thread.join()


def visit(server: Server) -> None:
    """The same requests for both."""
    wait_until(lambda: is_well(server), "it answers")
    for path in ("/a", "/error", "/b?c=1"):
        get(server.port, path)


def is_well(server: Server) -> bool:
    try:
        return get(server.port, "/first").status == 200
    except OSError:
        return False


def kinds_of(datagrams: list[bytes]) -> Counter[str]:
    """How often each metric has come; lengths of time are no two times the same."""
    texts = [re.sub(r":[0-9.e-]+\|ms", ":N|ms", text.decode()) for text in datagrams]
    return Counter(texts)


LAST = b"my.shop.gunicorn.request.status.200:"


@pytest.mark.parametrize("access", [[], ["--access-logfile", "-"]], ids=["", "access"])
@pytest.mark.parametrize("worker", [["-k", "sync"], ["--threads", "2"]], ids=["sync", "gthread"])
def test_the_same_requests_send_the_same_metrics(site, worker, access):
    found = []
    for program in BOTH:
        with listening() as (port, received):
            args = ["--statsd-host", f"127.0.0.1:{port}", "--statsd-prefix", "my.shop"]
            args += ["--dogstatsd-tags", "env:test,zone:a", *worker, *access]
            with running(program, site, *args) as server:
                visit(server)
                wait_until(lambda r=received: sum(LAST in d for d in r) >= 3, "the last")
                assert server.stop() == 0
            # Ours follows workers down at the end as well: see differences.md.
            gauges = [d for d in received if b"gunicorn.workers" in d]
            found.append((kinds_of([d for d in received if d not in gauges]), gauges[0]))
    theirs, ours = found
    assert ours == theirs


def test_the_length_of_the_accept_queue_has_the_same_form(site):
    for program in BOTH:
        with listening() as (port, received):
            args = ["--statsd-host", f"127.0.0.1:{port}", "--enable-backlog-metric"]
            with running(program, site, *args):
                wait_until(lambda r=received: b"gunicorn.backlog:0|h" in r, "an empty queue")


def lines_of(datagrams: list[bytes], pids: set[int]) -> list[str]:
    """Lines for syslog without what no two runs have in common."""
    lines = []
    for datagram in datagrams:
        text = datagram.decode()
        for pid in pids:
            text = text.replace(str(pid), "PID")
        text = re.sub(r"\[\d\d/\w+/\d{4}:[\d:]+ [+-]\d{4}\]", "[TIME]", text)
        text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
        # Frames of the server itself are in gunicorn's tracebacks, and not in ours.
        text = re.sub(r"Traceback.*\n(?=\w)", "Traceback ", text, flags=re.DOTALL)
        # The length of its error pages, which gunicorn takes for 0: see differences.md.
        text = re.sub(r'(HTTP/1.1" 500) \d+', r"\1 N", text)
        lines.append(re.sub(r"\[\d+\]|\(\d+\)|pid: ?\d+", "[PID]", text))
    return lines


# What is said of one request, and at the end, by both.
SAID = ["Listening at", "Using worker", "Booting worker", "GET ", "Worker exiting", "Handling"]


@pytest.mark.parametrize("prefix", [[], ["--log-syslog-prefix", "books"]], ids=["", "prefix"])
@pytest.mark.parametrize(
    "access", [[], ["--disable-redirect-access-to-syslog"]], ids=["access", ""]
)
def test_syslog_gets_the_same_lines(site, prefix, access):
    found = []
    for program in BOTH:
        with listening() as (port, received):
            args = ["--log-syslog", "--log-syslog-to", f"udp://127.0.0.1:{port}", *prefix, *access]
            args += ["--log-syslog-facility", "local3"]
            with running(program, site, *args) as server:
                visit(server)
                server.send(signal.SIGTERM)
                assert server.wait() == 0
            lines = [line for line in lines_of(received, {server.pid}) if is_said(line)]
            found.append(sorted(set(lines)))
    theirs, ours = found
    assert ours == theirs
    assert any("GET /b?c=1" in line for line in ours) == (not access)


def is_said(line: str) -> bool:
    return any(word in line for word in SAID) and "remuda" not in line


LOGGER = """
import logging
from gunicorn import glogging
class Filter(logging.Filter):
    def filter(self, record):
        return "/a " not in record.getMessage()
class Log(glogging.Logger):
    error_fmt = "%(levelname)s %(message)s"
    def setup(self, cfg):
        super().setup(cfg)
        logging.getLogger("gunicorn.access").addFilter(Filter())
    def atoms(self, resp, req, environ, request_time):
        atoms = super().atoms(resp, req, environ, request_time)
        atoms["extra"] = f"{req.method} {req.path} {req.query} {resp.status} {resp.sent}"
        return atoms
logger_class = Log
accesslog = "access.log"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s "%(a)s" %(extra)s %({x-kind}o)s %({host}i)s'
def post_fork(server, worker):
    worker.log.warning("a %s", "hook")
"""


def test_a_logger_class_writes_the_same_lines(site):
    found = []
    for program in BOTH:
        conf(site, LOGGER)
        with running(program, site) as server:
            wait_until(lambda s=server: "WARNING a hook" in s.log(), "the hook's line")
            visit(server)
            log = site / "access.log"
            wait_until(lambda log=log: "/b?c=1" in log.read_text(), "the last line")
            lines = log.read_text().replace(f":{server.port}", ":PORT").splitlines()
            found.append(sorted({line for line in lines if "/error" not in line}))
            log.unlink()
    theirs, ours = found
    assert ours == theirs
    assert not any("/a " in line for line in ours)


def test_values_of_the_environ_are_the_same_in_access_lines(site):
    names = ["REQUEST_METHOD", "PATH_INFO", "RAW_URI", "QUERY_STRING", "HTTP_HOST", "app.user"]
    names += ["REMOTE_ADDR", "SERVER_PROTOCOL", "nothing", "http_user_agent"]
    form = " ".join(f"%({{{name}}}e)s" for name in names)
    found = []
    for program in BOTH:
        args = ["--access-logfile", "-", "--access-logformat", form]
        with running(program, site, *args) as server:
            visit(server)
            wait_until(lambda s=server: "/b?c=1" in s.stdout(), "the last line")
            lines = server.stdout().replace(str(server.port), "PORT").splitlines()
            found.append(sorted({line for line in lines if "/error" not in line}))
    theirs, ours = found
    assert ours == theirs


INI = "[app:main]\npaste.app_factory = made:make\n[app:other]\npaste.app_factory = made:make\nb=2\n"
MADE = """
import json
def make(global_conf, **local_conf):
    words = json.dumps([dict(global_conf), local_conf], sort_keys=True).encode()
    def app(environ, start_response):
        start_response("200 OK", [])
        return [words]
    return app
"""


@pytest.mark.parametrize("section", ["", "#other"])
def test_pastedeploy_makes_the_same_app(site, section):
    conf(site, INI, "shop.ini")
    conf(site, MADE, "made.py")
    found = []
    for program in BOTH:
        args = ["--paste", f"shop.ini{section}", "--paste-global", r"a=b=c\=d"]
        with running(program, site, *args, app=None) as server:
            wait_until(lambda s=server: is_well(s), "it answers")
            found.append(get(server.port, "/").text)
    theirs, ours = found
    assert ours == theirs and '"a": "b=c=d"' in ours
