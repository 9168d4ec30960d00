"""``logger_class``: classes of people's own write what Python logs, with gunicorn or without it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from test_boot import refused
from test_worker_class import without

from http_client import get
from serving import conf, wait_until

# What is in use: lines about health checks left out, by both ways, and lines in JSON.
CLASSES = """
import json, logging
from gunicorn import glogging

class NoHealth(logging.Filter):
    def filter(self, record):
        return "/health" not in record.getMessage() and record.args["U"] != "/quiet"

class Filtered(glogging.Logger):
    def setup(self, cfg):
        super().setup(cfg)
        logging.getLogger("gunicorn.access").addFilter(NoHealth())

class Skipping(glogging.Logger):
    error_fmt = "%(levelname)s|%(message)s"
    def access(self, resp, req, environ, request_time):
        if req.path in ["/health", "/quiet"]:
            return
        super().access(resp, req, environ, request_time)

class Json(glogging.Logger):
    def atoms(self, resp, req, environ, request_time):
        atoms = super().atoms(resp, req, environ, request_time)
        atoms["doubled"] = str(2 * int(atoms["B"]))
        return atoms
    def access(self, resp, req, environ, request_time):
        atoms = self.atoms(resp, req, environ, request_time)
        names = ["h", "m", "U", "q", "s", "B", "H", "doubled", "{user-agent}i", "{x-kind}o", "r",
                 "{app.user}e", "u"]
        line = {name: atoms.get(name) for name in names}
        line["timed"] = request_time.total_seconds() >= 0 and atoms["D"] >= 0
        self.access_log.info(json.dumps(line))
"""
GONE = pytest.mark.parametrize("gone", [(), ("gunicorn",)], ids=["gunicorn", "alone"])


@pytest.fixture
def shop(site: Path) -> Path:
    """A directory with these classes."""
    conf(site, CLASSES, "shop_logs.py")
    return site


@GONE
@pytest.mark.parametrize("name", ["Filtered", "Skipping"])
def test_health_checks_are_left_out_of_the_access_log(serve, shop, worker_class, name, gone):
    app = "scope:app" if worker_class == "asgi" else "lab:app"
    args = ["-k", worker_class, "--access-logfile", "-", "--logger-class", f"shop_logs.{name}"]
    with serve(*args, cwd=shop, app=app, env=without(shop, *gone)) as server:
        for path in ("/health", "/quiet", "/", "/health?b=1"):
            get(server.port, path)
        get(server.port, "/last?c=%22")
        wait_until(lambda: "/last" in server.stdout(), "the last line")
        lines = server.stdout().splitlines()
        assert len(lines) == 2
        assert '"GET / HTTP/1.1" ' in lines[0] and lines[0].startswith("127.0.0.1 - - [")
        assert '"GET /last?c=%22 HTTP/1.1" ' in lines[1]


@GONE
def test_a_class_of_the_file_gets_each_request_as_gunicorn_tells_of_it(serve, shop, gone):
    conf(shop, "from shop_logs import Json\nlogger_class = Json\naccesslog = 'access.log'\n")
    conf(
        shop,
        "def app(environ, start_response):\n"
        "    environ['app.user'] = 'ann'\n"
        "    start_response('201 Made', [('X-Kind', 'a'), ('X-Kind', 'b')])\n"
        "    return [b'12', b'345']\n",
        "shop.py",
    )
    args = ["--access-logformat", "%({app.user}e)s"]
    with serve(*args, cwd=shop, app="shop:app", env=without(shop, *gone)) as server:
        headers = {"user-agent": 'me "too"', "authorization": "Basic YW5uOng="}
        assert get(server.port, "/a%20b?c=1", headers=headers).status == 201
        log = shop / "access.log"
        wait_until(lambda: log.exists() and log.read_text(), "a line")
        expected = {
            "h": "127.0.0.1", "m": "GET", "U": "/a b", "q": "c=1", "s": "201", "B": 5,
            "H": "HTTP/1.1", "doubled": "10", "{user-agent}i": 'me "too"', "{x-kind}o": "b",
            "r": "GET /a%20b?c=1 HTTP/1.1", "{app.user}e": "ann", "u": "ann", "timed": True,
        }  # fmt: skip
        assert json.loads(log.read_text()) == expected


@GONE
def test_lines_of_worker_app_and_hooks_are_written_by_the_class(serve, shop, gone):
    text = (
        "from shop_logs import Skipping\n"
        "def logger_class(): return Skipping\n"
        "def post_fork(server, worker): worker.log.info('from %s', 'a hook')\n"
        "def on_starting(server): server.log.info('in the herald')\n"
    )
    conf(shop, text)
    errors = ["--error-logfile", "errors.log"]
    with serve(*errors, cwd=shop, app="lab:app", env=without(shop, *gone), ready=False) as server:
        log = shop / "errors.log"
        wait_until(lambda: log.exists() and "INFO|from a hook" in log.read_text(), "the worker")
        assert get(server.port, "/error").status == 500
        wait_until(lambda: "ERROR|Error handling request GET /error" in log.read_text(), "it")
        assert "INFO|in the herald" in log.read_text()
        # The master has no Python: its lines keep their form.
        assert "[INFO] Listening at" in log.read_text()
        log.rename(shop / "errors.1")
        server.send(signal.SIGUSR1)
        wait_until(log.exists, "a new file")
        # The worker may open it later than the master.
        wait_until(lambda: get(server.port, "/error") and "ERROR|Error" in log.read_text(), "it")


def test_a_table_of_logging_is_set_up_by_the_class(serve, shop):
    conf(
        shop,
        "from shop_logs import Filtered as logger_class\n"
        "import logging\n"
        "class Loud(logging.Formatter):\n"
        "    def format(self, record): return 'LOUD ' + record.getMessage()\n"
        "file = {'class': 'logging.FileHandler', 'filename': 'table.log', 'formatter': 'loud'}\n"
        "logconfig_dict = {'formatters': {'loud': {'()': Loud}}, 'handlers': {'file': file},\n"
        "    'root': {'level': 'INFO', 'handlers': []}, 'loggers': {\n"
        "    'gunicorn.access': {'level': 'INFO', 'handlers': ['file'], 'propagate': False}}}\n",
    )
    with serve(cwd=shop, app="lab:app") as server:
        get(server.port, "/health")
        get(server.port, "/")
        log = shop / "table.log"
        wait_until(lambda: log.exists() and "GET / HTTP" in log.read_text(), "the line")
        [line] = log.read_text().splitlines()
        assert line.startswith("LOUD 127.0.0.1 - - [")


def test_gunicorns_own_classes_need_no_python(serve, shop):
    conf(shop, "from gunicorn.glogging import Logger as logger_class\n")
    for args in ([], ["--logger-class", "gunicorn.instrument.statsd.Statsd"]):
        with serve(*args, "--access-logfile", "-", cwd=shop) as server:
            get(server.port, "/")
            wait_until(lambda server=server: "GET / HTTP" in server.stdout(), "the line")


def test_a_class_that_fails_in_a_request_says_so_and_the_request_goes_on(serve, shop):
    conf(
        shop,
        "from gunicorn.glogging import Logger\n"
        "class logger_class(Logger):\n"
        "    def access(self, *args): raise RuntimeError('no disk')\n",
    )
    with serve(cwd=shop) as server:
        assert get(server.port, "/").status == 200
        server.wait_for_log("Exception in the access log")
        server.wait_for_log("RuntimeError: no disk")
        assert get(server.port, "/").status == 200


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere.Log", "ModuleNotFoundError: No module named 'nowhere'"),
        ("shop_logs.Nope", "AttributeError: module 'shop_logs' has no attribute 'Nope'"),
        ("shop_logs.NoHealth.filter", "ModuleNotFoundError: No module named 'shop_logs.NoHealth'"),
    ],
)
@pytest.mark.parametrize("check", [[], ["--check-config"]])
def test_a_class_that_cannot_be_had_is_named(shop, name, why, check):
    status, said = refused("--logger-class", name, *check, "hello:app", cwd=shop)
    assert status != 0
    assert f"logger_class: {name} cannot be used" in said and why in said
