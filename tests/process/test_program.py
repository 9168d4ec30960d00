"""A program that serves its own app: ``remuda.run`` and gunicorn's recipe with ``Application``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from http_client import get
from serving import Server, end, free_port, is_a_wish

RUN = """
import os, remuda
greeting = "from the program"
def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{greeting} {__name__} {environ['wsgi.multiprocess']}".encode()]
def post_fork(server, worker):
    worker.log.info("hooked %s", worker.cfg.workers)
if __name__ == "__main__":
    remuda.run(app, workers=2, bind=os.environ["WHERE"], post_fork=post_fork)
"""

RECIPE = """
import os, remuda

class StandaloneApplication(remuda.Application):
    def __init__(self, app, options=None):
        self.options = options or {}
        self.application = app
        super().__init__()

    def load_config(self):
        config = {key: value for key, value in self.options.items()
                  if key in self.cfg.settings and value is not None}
        for key, value in config.items():
            self.cfg.set(key.lower(), value)

    def load(self):
        return self.application

def handler_app(environ, start_response):
    start_response("200 OK", [])
    return [b"recipe"]

if __name__ == "__main__":
    StandaloneApplication(handler_app, {"bind": os.environ["WHERE"], "unknown": 1}).run()
"""


@contextmanager
def program(site, *command: str, env: dict[str, str] | None = None):
    port = free_port()
    clean = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
    clean |= {"WHERE": f"127.0.0.1:{port}"} | (env or {})
    log, out = site / "stderr.log", site / "stdout.log"
    with log.open("wb") as stderr, out.open("wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=site, env=clean, stderr=stderr, stdout=stdout
        )
    server = Server(process, log, out, port)
    try:
        server.wait_for_log("ready to serve")
        yield server
    finally:
        end(server)


@pytest.mark.parametrize("command", [["serve.py"], ["-m", "serve"]])
def test_a_program_becomes_the_master_of_its_own_app(site, command):
    (site / "serve.py").write_text(RUN)
    with program(site, *command) as server:
        assert get(server.port, "/").text == "from the program __main__ True"
        assert "hooked 2" in server.messages()
        assert "  workers = 2 (python:remuda.program)" in server.messages()
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert get(server.port, "/").text == "from the program __main__ True"
        assert server.stop() == 0


def test_a_reload_takes_the_programs_new_code(site):
    (site / "serve.py").write_text(RUN)
    with program(site, "serve.py", env={"GUNICORN_WORKERS": "1"}) as server:
        (site / "serve.py").write_text(RUN.replace("from the program", "from its next edition"))
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert get(server.port, "/").text == "from its next edition __main__ False"


def test_gunicorns_recipe_for_custom_applications_works(site):
    (site / "serve.py").write_text(RECIPE)
    with program(site, "serve.py") as server:
        assert get(server.port, "/").text == "recipe"


def test_an_app_may_be_named(site):
    (site / "serve.py").write_text(
        "import os, remuda\nremuda.run('named:app', bind=os.environ['WHERE'])\n"
    )
    (site / "named.py").write_text("def app(e, s):\n    s('200 OK', [])\n    return [b'named']\n")
    with program(site, "serve.py") as server:
        assert get(server.port, "/").text == "named"


def test_a_program_cannot_wish_for_what_there_is_not(site):
    (site / "serve.py").write_text("import remuda\nremuda.Application().cfg.set('wrokers', 1)\n")
    done = subprocess.run([sys.executable, "serve.py"], cwd=site, capture_output=True, text=True)
    assert done.returncode == 1
    assert "AttributeError: No configuration setting for: wrokers" in done.stderr
