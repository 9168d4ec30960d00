"""Hooks of ``gunicorn.conf.py``: the moment, the process, the arguments that users rely on."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from test_boot import refused

from http_client import get
from serving import APPS, conf, wait_until

# Each hook appends a line with its process to a file: the order of all processes in one place.
NOTE = """
import os
def note(text):
    with open({path!r}, "a") as notes:
        notes.write(f"{{os.getpid()}} {{text}}\\n")
"""


class Notes:
    """What hooks have written down."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head = NOTE.format(path=str(path))

    def lines(self) -> list[tuple[int, str]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [(int(pid), text) for pid, text in (line.split(" ", 1) for line in lines)]

    def texts(self) -> list[str]:
        return [text for _, text in self.lines()]

    def pids(self, text: str) -> set[int]:
        return {pid for pid, said in self.lines() if said.startswith(text)}

    def wait_for(self, text: str, count: int = 1) -> None:
        seen = lambda: sum(said.startswith(text) for said in self.texts()) >= count  # noqa: E731
        wait_until(seen, f"{count} times {text!r} in {self.texts()}")


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


ALL = """
def on_starting(server): note(f"on_starting {server.cfg.workers} {server.LISTENERS}")
def on_reload(server): note("on_reload")
def when_ready(server): note(f"when_ready {server.LISTENERS[0]} {len(server.WORKERS)}")
def pre_fork(server, worker): note(f"pre_fork {worker.age} {worker.pid}")
def post_fork(server, worker): note(f"post_fork {worker.age} {worker.pid == os.getpid()}")
def post_worker_init(worker): note(f"post_worker_init {callable(worker.wsgi)}")
def worker_int(worker): note("worker_int")
def worker_abort(worker): note("worker_abort")
def pre_request(worker, req): note(f"pre_request {req.method} {req.path} {req.query}")
def post_request(worker, req, environ, resp): note(f"post_request {resp.status_code}")
def child_exit(server, worker): note(f"child_exit {worker.age}")
def worker_exit(server, worker): note(f"worker_exit {worker.nr}")
def nworkers_changed(server, new, old): note(f"nworkers_changed {new} {old}")
def on_exit(server): note("on_exit")
"""


def test_every_hook_is_called_in_gunicorns_order_in_the_process_it_belongs_to(serve, site, notes):
    conf(site, notes.head + ALL)
    with serve(cwd=site) as server:
        [worker] = server.workers()
        url = f"http://127.0.0.1:{server.port}"
        assert get(server.port, "/a?b=1").status == 200
        notes.wait_for("post_request")
        assert notes.texts() == [
            "nworkers_changed 1 None",
            "on_starting 1 []",
            f"when_ready {url} 0",
            "pre_fork 1 [booting]",
            "post_fork 1 True",
            "post_worker_init True",
            "pre_request GET /a b=1",
            "post_request 200",
        ]
        for hook in ("post_fork", "post_worker_init", "pre_request", "post_request"):
            assert notes.pids(hook) == {worker}, hook
        herald = notes.pids("on_starting")
        assert notes.pids("when_ready") == notes.pids("nworkers_changed") == herald
        assert herald <= set(server.children())
        assert notes.pids("pre_fork") <= set(server.children()) - herald
        before = len(notes.texts())
        assert server.stop() == 0
        assert notes.texts()[before:] == ["worker_exit 1", "child_exit 1", "on_exit"]
        assert notes.pids("worker_exit") == {worker}
        assert notes.pids("on_exit") == notes.pids("child_exit") == herald


def test_signals_call_their_hooks_in_the_worker(serve, site, notes, worker_class):
    conf(site, notes.head + ALL)
    with serve("-k", worker_class, cwd=site, app="lab:app") as server:
        [worker] = server.workers()
        os.kill(worker, signal.SIGINT)
        notes.wait_for("child_exit")
        assert notes.pids("worker_int") == notes.pids("worker_exit") == {worker}


def test_a_hung_worker_calls_its_hook_before_it_is_given_up(serve, site, notes):
    conf(site, notes.head + ALL + "timeout = 1\n")
    with serve(cwd=site, app="lab:app") as server:
        [worker] = server.workers()
        assert get(server.port, "/sleep?20").status == 504
        notes.wait_for("child_exit")
        assert notes.pids("worker_abort") == {worker}
        server.wait_for_log("WORKER TIMEOUT")


def test_a_reload_calls_its_hook_with_the_server_that_there_was(serve, site, notes):
    text = notes.head + "def on_starting(server): server.mine = 'kept'\n"
    conf(site, text + "def on_reload(server): note('first')\n")
    with serve(cwd=site) as server:
        conf(site, text + "def on_reload(server): note(server.mine)\n")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        notes.wait_for("kept")
        assert notes.texts() == ["kept"], "of the file as it is now, before the new workers"


def test_a_thread_of_the_master_lives_across_reloads(serve, site, notes):
    beat = """
import threading, time
def beat():
    while True:
        note("beat")
        time.sleep(0.05)
def when_ready(server): threading.Thread(target=beat, daemon=True).start()
"""
    conf(site, notes.head + beat)
    with serve(cwd=site) as server:
        notes.wait_for("beat", 2)
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        notes.wait_for("beat", len(notes.texts()) + 3)
        assert len(notes.pids("beat")) == 1


def test_scaling_calls_its_hook(serve, site, notes):
    conf(site, notes.head + "def nworkers_changed(server, new, old): note(f'{new} {old}')\n")
    with serve(cwd=site) as server:
        server.send(signal.SIGTTIN)
        notes.wait_for("2 1")
        server.send(signal.SIGTTOU)
        notes.wait_for("1 2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("worker, req", "req=/x"),
        ("worker, req, environ", "environ=/x"),
        ("worker, req, environ, resp", "resp=201 Created"),
    ],
)
def test_post_request_gets_what_it_asks_for(serve, site, notes, arguments, said):
    text = f"def post_request({arguments}):\n"
    text += "    resp = vars().get('resp'); environ = vars().get('environ')\n"
    text += "    if resp: note(f'resp={resp.status} {resp.headers}')\n"
    text += "    elif environ: note('environ=' + environ['PATH_INFO'])\n"
    text += "    else: note(f'req={req.path}')\n"
    conf(site, notes.head + text)
    app = "def app(e, s):\n    s('201 Created', [('X-A', 'b')])\n    yield b'1'\n    yield b'2'\n"
    (site / "streams.py").write_text(app)
    with serve(cwd=site, app="streams:app") as server:
        assert get(server.port, "/x").text == "12"
        notes.wait_for(said)


FAILING = """
def pre_request(worker, req):
    if req.path == "/no": raise ValueError("not you")
def post_request(worker, req, environ, resp):
    note(f"{req.path} {resp and resp.status}")
    if req.path == "/after": raise KeyError("too late")
"""
RAISES = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/raises": raise RuntimeError("mine")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def test_hooks_around_requests_may_fail_like_gunicorns(serve, site, notes, wsgi_class):
    conf(site, notes.head + FAILING)
    (site / "raises.py").write_text(RAISES)
    with serve("-k", wsgi_class, cwd=site, app="raises:app") as server:
        assert get(server.port, "/no").status == 500
        assert get(server.port, "/raises").status == 500
        assert get(server.port, "/after").text == "ok"
        assert get(server.port, "/").text == "ok"
        notes.wait_for("/ 200 OK")
        assert notes.texts() == ["/no None", "/raises None", "/after 200 OK", "/ 200 OK"]
        server.wait_for_log("Exception in post_request hook")
        assert "ValueError: not you" in server.log()
        assert "KeyError: 'too late'" in server.log()


def test_hooks_around_requests_of_an_asgi_app(serve, site, notes):
    conf(site, notes.head + FAILING)
    with serve("-k", "asgi", cwd=site) as server:
        assert get(server.port, "/no").status == 500
        assert get(server.port, "/after").status == 200
        notes.wait_for("/after 200")


def test_what_a_hook_sets_on_the_worker_counts(serve, site, notes):
    text = """
def post_fork(server, worker):
    worker.max_requests = 2
def post_worker_init(worker):
    inner = worker.wsgi
    def wrapped(environ, start_response):
        environ["PATH_INFO"] = "/WRAPPED"
        return inner(environ, start_response)
    worker.wsgi = wrapped
"""
    conf(site, text)
    with serve(cwd=site, app="show_env:app", env={"WRAPPED": "yes"}) as server:
        assert get(server.port, "/").text == "yes"
        assert get(server.port, "/").text == "yes"
        server.wait_for_log("Autorestarting worker after current request.")


def test_attributes_that_pre_fork_sets_reach_the_worker(serve, site, notes):
    text = """
def pre_fork(server, worker): worker.mine = f"slot {worker.slot}"
def post_fork(server, worker): note(worker.mine)
"""
    conf(site, notes.head + text + "workers = 2\n")
    with serve(cwd=site):
        assert sorted(notes.texts()) == ["slot 0", "slot 1"]


def test_hooks_may_be_named_in_a_variable(serve, site, notes):
    (site / "mine.py").write_text(notes.head + "def forked(server, worker): note('here')\n")
    with serve(cwd=site, env={"GUNICORN_POST_FORK": "mine.forked"}):
        assert notes.texts() == ["here"]
    status, words = refused("hello:app", cwd=site, env={"GUNICORN_POST_FORK": "mine.nothing"})
    assert status == 1
    assert "the hook post_fork cannot be found at 'mine.nothing'" in words


def test_a_hook_that_fails_before_there_are_workers_keeps_it_from_starting(site):
    for hook in ("on_starting", "when_ready"):
        conf(
            site, f"bind = '127.0.0.1:0'\ndef {hook}(server):\n    raise ValueError('not today')\n"
        )
        status, words = refused("hello:app", cwd=site)
        assert status == 1, hook
        assert f"the hook `{hook}` has failed" in words
        assert f'gunicorn.conf.py", line 3, in {hook}' in words
        assert "ValueError: not today" in words


def test_a_hook_that_fails_in_the_first_worker_ends_the_service_with_gunicorns_status(site):
    conf(site, "bind = '127.0.0.1:0'\ndef post_fork(server, worker):\n    raise ValueError('no')\n")
    env = {"PYTHONPATH": str(APPS)}
    status, words = refused("hello:app", cwd=site, env=env)
    assert status == 3
    assert "Exception in worker process" in words and "ValueError: no" in words


def test_a_hook_of_the_master_that_fails_or_hangs_does_not_stop_the_service(serve, site):
    text = """
import time
def child_exit(server, worker):
    if worker.age == 1: raise ValueError("oh no")
    time.sleep(600)
def on_exit(server): pass
"""
    conf(site, text)
    with serve(cwd=site) as server:
        for count in (2, 3, 4):
            os.kill(server.workers()[0], signal.SIGKILL)
            server.wait_for_log("Booting worker with pid", count)
        server.wait_for_log("Exception in hook child_exit")
        assert "ValueError: oh no" in server.log()
        wait_until(lambda: get(server.port, "/").status == 200, "an answer")
        assert server.stop() == 0
        server.wait_for_log("The hook on_exit takes too long")


def test_the_service_outlives_the_process_that_calls_its_hooks(serve, site, notes):
    conf(site, notes.head + "def child_exit(server, worker): note('gone')\n" + ALL.split("\n")[1])
    with serve(cwd=site) as server:
        [herald] = notes.pids("on_starting")
        os.kill(herald, signal.SIGKILL)
        server.wait_for_log("The process that calls the hooks of the master has ended")
        assert get(server.port, "/").status == 200
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        # A reload starts another one.
        notes.wait_for("gone")
        assert server.stop() == 0


def test_cfg_and_log_are_what_hooks_commonly_touch(serve, site, notes):
    text = """
workers = 1
raw_env = ["A=b"]
keepalive = 5
def post_fork(server, worker):
    cfg = worker.cfg
    note(f"{cfg.workers} {cfg.keepalive} {cfg.env} {cfg.is_ssl} {cfg.worker_class_str}")
    note(f"{cfg.settings['keepalive'].value} {cfg.uid} {cfg.pidfile} {cfg.post_fork.__name__}")
    cfg.set("keepalive", 7)
    note(f"{cfg.keepalive} {server.pid == os.getppid()} {worker.ppid == os.getppid()}")
    try: cfg.workers = 3
    except AttributeError as error: note(f"{error}")
    worker.log.info("to the %s", "log")
    worker.log.error_log.warning("by the logger")
    try: 1 / 0
    except ZeroDivisionError: worker.log.exception("with traceback")
    worker.log.debug("not shown")
"""
    conf(site, notes.head + text)
    with serve(cwd=site) as server:
        [worker] = server.workers()
        assert notes.texts() == [
            "1 5 {'A': 'b'} None sync",
            f"5 {os.geteuid()} None post_fork",
            "7 True True",
            "Invalid access!",
        ]
        log = server.log()
        assert re.search(rf"\[{worker}\] \[INFO\] to the log\n", log)
        assert re.search(rf"\[{worker}\] \[WARNING\] by the logger\n", log)
        assert re.search(rf"\[{worker}\] \[ERROR\] with traceback\nTraceback", log)
        assert "not shown" not in log


def test_apps_can_borrow_the_handlers_of_gunicorns_logger(serve, site):
    borrow = """
import logging
mine = logging.getLogger("mine")
mine.handlers = logging.getLogger("gunicorn.error").handlers
mine.setLevel(logging.getLogger("gunicorn.error").level)
def app(environ, start_response):
    mine.info("borrowed")
    start_response("200 OK", [])
    return [b""]
"""
    (site / "borrow.py").write_text(borrow)
    with serve(cwd=site, app="borrow:app") as server:
        assert get(server.port, "/").status == 200
        server.wait_for_log("[INFO] borrowed")


def test_a_pool_of_threads_calls_hooks_around_requests_from_each_thread(serve, site, notes):
    text = "import threading\ndef pre_request(worker, req): note(threading.current_thread().name)\n"
    conf(site, notes.head + text + "threads = 2\n")
    with serve(cwd=site) as server:
        for _ in range(4):
            assert get(server.port, "/").status == 200
        assert all(text.startswith("remuda-") for text in notes.texts())
        assert len(notes.texts()) == 4
