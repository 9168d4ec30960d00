"""The user's setup of Python's logging: tables, JSON and INI files."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_boot import refused

from http_client import get
from serving import conf, wait_until

APP = """
import logging
def app(environ, start_response):
    logging.getLogger("shop").warning("by the app")
    if environ["PATH_INFO"] == "/error":
        raise RuntimeError("oh no")
    start_response("200 OK", [])
    return [b""]
"""
TABLE = """
import json, logging
class Json(logging.Formatter):
    def format(self, record):
        said = {"logger": record.name, "level": record.levelname, "said": record.getMessage()}
        return json.dumps(said)
logconfig_dict = {
    "formatters": {"json": {"()": Json}},
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "app.log",
                          "formatter": "json"}},
    "root": {"level": "INFO", "handlers": ["file"]},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["file"], "propagate": False},
                "gunicorn.access": {"level": "INFO", "handlers": ["file"], "propagate": False}},
}
def post_fork(server, worker):
    worker.log.info("from a hook")
"""


def test_a_table_formats_what_app_hooks_worker_and_access_log_say(serve, site, wsgi_class):
    (site / "shop.py").write_text(APP)
    conf(site, TABLE)
    with serve("-k", wsgi_class, cwd=site, app="shop:app") as server:
        assert get(server.port, "/").status == 200
        assert get(server.port, "/error").status == 500
        log = site / "app.log"
        wait_until(lambda: '"GET /error' in log.read_text().replace("\\", ""), "the last line")
        said = [json.loads(line) for line in log.read_text().splitlines()]
        by_logger = {(line["logger"], line["said"].split("\n")[0]) for line in said}
        assert ("shop", "by the app") in by_logger
        assert ("gunicorn.error", "from a hook") in by_logger
        assert ("gunicorn.error", "Error handling request GET /error") in by_logger
        [failure] = [line for line in said if line["said"].startswith("Error handling")]
        assert "RuntimeError: oh no" in failure["said"] and failure["level"] == "ERROR"
        access = [line["said"] for line in said if line["logger"] == "gunicorn.access"]
        assert len(access) == 2 and '"GET / HTTP/1.1" 200 0' in access[0]
        # The master has no Python; its lines stay where they were.
        assert "Listening at" in server.log() and "by the app" not in server.log()


@pytest.mark.parametrize("names_it", [True, False])
def test_access_lines_go_to_one_place(serve, site, names_it):
    (site / "shop.py").write_text(APP)
    conf(site, TABLE if names_it else TABLE.replace('"gunicorn.access"', '"other"'))
    with serve("--access-logfile", "access.log", cwd=site, app="shop:app") as server:
        get(server.port, "/")
        writes, stays = site / "app.log", site / "access.log"
        if not names_it:
            writes, stays = stays, writes
        wait_until(lambda: "GET / HTTP" in writes.read_text().replace("\\", ""), "the line")
        assert writes.read_text().count("GET / HTTP") == 1
        assert "GET / HTTP" not in stays.read_text()


def test_a_json_file_sets_logging_up_and_a_missing_one_does_nothing(serve, site):
    (site / "shop.py").write_text(APP)
    handler = {"class": "logging.FileHandler", "filename": "app.log"}
    table = {"handlers": {"file": handler}, "root": {"level": "INFO", "handlers": ["file"]}}
    loggers = {"gunicorn.error": {"handlers": ["file"], "propagate": False}}
    (site / "log.json").write_text(json.dumps(table | {"loggers": loggers}))
    with serve("--log-config-json", "log.json", cwd=site, app="shop:app") as server:
        get(server.port, "/")
        wait_until(lambda: "by the app" in (site / "app.log").read_text(), "its words")
    with serve("--log-config-json", "nowhere.json", cwd=site, app="shop:app") as server:
        assert get(server.port, "/").status == 200


INI = """
[loggers]
keys=root,gunicorn.error
[handlers]
keys=file
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=file
[logger_gunicorn.error]
level=INFO
handlers=file
propagate=0
qualname=gunicorn.error
[handler_file]
class=FileHandler
formatter=plain
args=("%(here)s/app.log",)
[formatter_plain]
format=%(name)s %(levelname)s %(message)s
"""


def test_an_ini_file_sets_logging_up(serve, site):
    (site / "shop.py").write_text(APP)
    (site / "log.ini").write_text(INI)
    with serve("--log-config", "log.ini", cwd=site, app="shop:app") as server:
        get(server.port, "/error")
        log = site / "app.log"
        wait_until(lambda: "gunicorn.error ERROR Error handling" in log.read_text(), "its words")
        assert "shop WARNING by the app\n" in log.read_text()
        assert "Error handling" not in server.log()
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")


@contextmanager
def syslog_daemon(path: Path) -> Iterator[list[str]]:
    """A socket that is read all the time, as a daemon's is: its queue holds ten lines."""
    lines: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))

        def listen() -> None:
            while (line := daemon.recv(65536)) != b"end":
                lines.append(line.decode())

        thread = threading.Thread(target=listen)
        thread.start()
        yield lines
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", str(path))
        thread.join()


@pytest.mark.parametrize(
    ("more", "has_access"),
    [("", True), ("disable_redirect_access_to_syslog = True\n", False)],
)
def test_syslog_gets_the_lines_of_master_worker_and_requests(serve, site, more, has_access):
    (site / "shop.py").write_text(APP)
    with syslog_daemon(site / "log") as lines:
        where = f"syslog_addr = 'unix://{site / 'log'}'\n"
        conf(site, f"syslog = True\nsyslog_facility = 'local0'\n{where}{more}")
        with serve(cwd=site, app="shop:app") as server:
            get(server.port, "/error")
            assert server.stop() == 0
    pid = server.pid
    assert any(
        line.startswith(f"<134>gunicorn.shop.app.error: [{pid}] Listening") for line in lines
    )
    failures = [line for line in lines if "Error handling request GET /error" in line]
    assert len(failures) == 1 and failures[0].startswith("<131>gunicorn.shop.app.error: [")
    access = [line for line in lines if line.startswith("<134>gunicorn.shop.app.access: [")]
    assert len(access) == has_access and all('"GET /error HTTP/1.1" 500' in line for line in access)
    assert "Listening" in server.log(), "and the log itself has them as well"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("logconfig = 'nowhere.ini'\n", "nowhere.ini' not found"),
        ("logconfig_dict = {'handlers': {'x': {'class': 'no.Such'}}}\n", "cannot be used"),
        ("syslog = True\nsyslog_facility = 'loud'\n", "unknown facility name: loud"),
        ("syslog = True\nsyslog_addr = 'tcp://localhost'\n", "invalid syslog address"),
        ("logconfig_dict = 7\n", "`logconfig_dict` must be"),
    ],
)
def test_what_cannot_be_used_keeps_it_from_starting(site, text, words):
    (site / "shop.py").write_text(APP)
    conf(site, "bind = '127.0.0.1:0'\n" + text)
    status, said = refused("shop:app", cwd=site)
    assert (status, words in said) == (1, True), said
    assert refused("--check-config", "shop:app", cwd=site)[0] == 1
