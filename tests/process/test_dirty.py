"""Dirty workers: gunicorn's own arbiter, forked by the zygote and supervised by the master."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

import pytest
from test_boot import refused
from test_hooks import Notes
from test_upgrade import masters, upgrade  # noqa: F401

from control import remuda
from http_client import get
from serving import APPS, LOG_LINE, conf, free_port, is_a_wish, parent_of, wait_until

APP = """
import json, os
from gunicorn.dirty import get_dirty_client, get_dirty_client_async
from either import either

def wsgi(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    try:
        answer = [200, get_dirty_client().execute("jobs:Job", name, environ["QUERY_STRING"])]
    except Exception as error:
        answer = [500, type(error).__name__]
    start_response("200 OK", [])
    return [json.dumps([*answer, os.getpid()]).encode()]

async def asgi(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    client = await get_dirty_client_async()
    name, query = scope["path"].strip("/"), scope["query_string"].decode()
    try:
        answer = [200, await client.execute_async("jobs:Job", name, query)]
    except Exception as error:
        answer = [500, type(error).__name__]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps([*answer, os.getpid()]).encode()})

app = either(wsgi, asgi)
"""
JOBS = """
import os, sys, threading, time
from gunicorn.dirty import DirtyApp, stash

class Job(DirtyApp):
    def init(self):
        {init}
    def who(self, _):
        return ["{version}", os.getpid(), os.getppid()]
    def wait_for(self, path):
        open(path + ".begun", "w").close()
        while not os.path.exists(path):
            time.sleep(0.02)
        return "{version}"
    def as_whom(self, _):
        return [os.getuid(), os.getgid(), os.getgroups()]
    def remember(self, text):
        stash.put("table", "key", text)
        return stash.get("table", "key")
    def recall(self, _):
        return stash.get("table", "key")
    def surroundings(self, _):
        main = threading.main_thread().ident
        return ["gevent" in sys.modules, threading.get_ident() != main]
    def close(self):
        {close}
"""
CONF = "dirty_apps = ['jobs:Job']\ndirty_workers = 1\n"
# Two tests that run at the same time must not want the same port.
LOOPBACK = ["-b", "127.0.0.1:0"]
ENV = {"PYTHONDONTWRITEBYTECODE": "1"}


def write(site: Path, version: str = "one", init: str = "pass", close: str = "pass") -> None:
    (site / "longer.py").write_text(APP)
    (site / "jobs.py").write_text(JOBS.format(version=version, init=init, close=close))


def ask(server, name: str, query: object = ""):
    """The answer of a dirty app, or the name of the error; and the worker's process."""
    status, answer, worker = json.loads(get(server.port, f"/{name}?{query}").text)
    return status, answer, worker


def arbiters(server) -> list[int]:
    """Process ids of all dirty arbiters so far, oldest first."""
    return [int(pid) for pid in re.findall(r"Spawned dirty arbiter \(pid: (\d+)\)", server.log())]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.fixture
def short():
    """A folder whose path leaves room for the name of a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def dirty(serve, site, short):
    """Start a server with a dirty app; what a test has to say of it goes into its file."""

    def start(*args: str, more: str = "", env=ENV, **options):
        if not (site / "longer.py").exists():
            write(site)
        conf(site, CONF + more)
        env = {"TMPDIR": str(short), **env}
        return serve(*args, app="longer:app", cwd=site, env=env, **options)

    return start


def test_apps_of_every_class_call_dirty_apps(dirty, worker_class, short):
    with dirty("-w", "2", "-k", worker_class) as server:
        answers = [ask(server, "who") for _ in range(8)]
        assert {answer[0] for answer in answers} == {200}, answers
        [arbiter] = arbiters(server)
        assert all(answer[1][2] == arbiter for answer in answers)
        assert ask(server, "remember", "it")[:2] == (200, "it")
        assert ask(server, "recall")[:2] == (200, "it")
        assert ask(server, "nothing")[:2] == (500, "DirtyAppError")
        [folder] = short.glob("remuda-dirty-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert server.stop() == 0
    assert list(short.glob("remuda-dirty-*")) == []
    assert "CRITICAL" not in server.log() and "ERROR" not in server.log().replace(
        "[ERROR] Error executing", ""
    )


def test_dirty_workers_know_nothing_of_gevent(dirty):
    with dirty("-k", "gevent") as server:
        # asyncio and its threads would stand still with it.
        assert ask(server, "surroundings")[:2] == (200, [False, True])


def test_no_time_limit_means_none(dirty):
    with dirty(more="dirty_timeout = 0\n") as server:
        assert ask(server, "who")[0] == 200


HOOKS = """
def on_dirty_starting(arbiter): note(f"on_dirty_starting {len(arbiter.workers)}")
def dirty_post_fork(arbiter, worker): note(f"dirty_post_fork {worker.pid != os.getpid()}")
def dirty_worker_init(worker): note(f"dirty_worker_init {worker.pid == os.getpid()}")
def dirty_worker_exit(arbiter, worker): note(f"dirty_worker_exit {worker.age}")
"""


def test_hooks_are_called_where_gunicorn_calls_them(dirty, tmp_path):
    notes = Notes(tmp_path / "notes")
    with dirty(more=notes.head + HOOKS) as server:
        notes.wait_for("dirty_post_fork")
        notes.wait_for("dirty_worker_init")
        [arbiter] = arbiters(server)
        worker = ask(server, "who")[1][1]
        assert server.stop() == 0
    lines = notes.lines()
    assert lines[0] == (arbiter, "on_dirty_starting 0")
    assert (arbiter, "dirty_post_fork True") in lines
    assert (worker, "dirty_worker_init True") in lines
    assert lines[-1] == (arbiter, "dirty_worker_exit 1") and len(lines) == 4


def test_hooks_and_lines_are_those_of_gunicorn(dirty, site, tmp_path):
    def notes_of(start) -> tuple[list[str], set[str]]:
        notes = Notes(tmp_path / f"notes{len(list(tmp_path.glob('notes*')))}")
        messages = start(notes)
        said = {
            re.sub(r"\d+|/\S+\.sock", "N", text)
            for text in messages
            if "irty" in text and text[0] != " "
        }
        return sorted(notes.texts()), said

    def theirs(notes: Notes) -> list[str]:
        write(site)
        conf(site, CONF + notes.head + HOOKS)
        clean = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
        command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "longer:app"]
        log = tmp_path / "gunicorn.log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [*command, "-b", f"127.0.0.1:{free_port()}"],
                cwd=site,
                env=clean | {"PYTHONPATH": str(APPS)},
                stderr=stderr,
            )
        try:
            wait_until(lambda: re.search("Dirty worker .* listening", log.read_text()), "it runs")
            wait_until(lambda: "Spawned dirty worker" in log.read_text(), "it says so")
        finally:
            process.terminate()
            process.wait(60)
        found = (LOG_LINE.match(line) for line in log.read_text().splitlines())
        return [match["message"] for match in found if match]

    def ours(notes: Notes) -> list[str]:
        with dirty(more=notes.head + HOOKS) as server:
            server.wait_for_log("Dirty worker ")
            server.wait_for_log("Spawned dirty worker")
            assert server.stop() == 0
        return server.messages()

    (hooks, lines), (our_hooks, our_lines) = notes_of(theirs), notes_of(ours)
    assert our_hooks == hooks
    # The path of the socket stands in the arbiter's own line.
    renamed = {line.replace(" at N", "") for line in lines} - {"Spawning dirty arbiter..."}
    # gunicorn counts its master's exit before that of the arbiter now and then.
    late = {"Dirty arbiter (pid:N) exited"}
    assert our_lines - late == renamed - late


@pytest.mark.parametrize("kind", ["sync", "gevent"])
def test_a_reload_loses_no_call_and_takes_new_code(dirty, site, tmp_path, kind):
    with dirty("-k", kind) as server:
        held, answers = tmp_path / "held", []
        call = threading.Thread(target=lambda: answers.append(ask(server, "wait_for", held)))
        call.start()
        wait_until(held.with_suffix(".begun").exists, "the job runs")
        write(site, "two")
        server.send(signal.SIGHUP)
        wait_until(lambda: len(arbiters(server)) == 2, "an arbiter of the new code")
        if kind == "gevent":
            # Until then the old worker takes requests, which wait for the only dirty worker.
            server.wait_for_log("Reload done")
        wait_until(lambda: ask(server, "who")[1][0] == "two", "the new code")
        old, new = arbiters(server)
        assert not is_gone(old) and parent_of(old) == server.pid
        held.touch()
        call.join()
        assert answers[0][:2] == (200, "one"), answers
        wait_until(lambda: is_gone(old), "the old arbiter has left")
        assert ask(server, "who")[1][::2] == ["two", new]
        assert server.messages().count(f"Dirty arbiter (pid:{old}) exited") == 1


def test_old_workers_serve_until_the_apps_of_new_ones_are_loaded(dirty, site, tmp_path):
    loaded = tmp_path / "loaded"
    with dirty() as server:
        init = f"while not os.path.exists({str(loaded)!r}): time.sleep(0.02)"
        write(site, "two", init=init)
        server.send(signal.SIGHUP)
        server.wait_for_log("Spawned dirty worker", 2)
        before = [ask(server, "who") for _ in range(20)]
        assert {(status, answer[0]) for status, answer, _ in before} == {(200, "one")}
        loaded.touch()
        seen = []
        wait_until(lambda: seen.append(ask(server, "who")) or seen[-1][1][0] == "two", "new code")
        assert {status for status, *_ in seen} == {200}


def test_one_that_is_killed_comes_again_and_its_workers_go_with_it(dirty, home):
    with dirty(env=ENV | home) as server:
        [first] = arbiters(server)
        old_worker = ask(server, "who")[1][1]
        os.kill(first, signal.SIGSTOP)
        shown = remuda("status", env=home).stdout
        assert f"dirty arbiter {first}: running, generation 1\n" in shown, shown
        os.kill(first, signal.SIGKILL)
        server.wait_for_log(f"Dirty arbiter (pid:{first}) was ended by SIGKILL")
        wait_until(lambda: is_gone(old_worker), "nobody would end it")
        seen = []
        wait_until(lambda: seen.append(ask(server, "who")) or seen[-1][0] == 200, "it is back")
        assert {answer for status, answer, _ in seen if status == 500} <= {"DirtyConnectionError"}
        assert seen[-1][1][2] == arbiters(server)[1]
        assert len({worker for *_, worker in seen}) == 1, "the worker has served all the time"


def test_the_zygote_that_follows_a_lost_one_keeps_its_arbiter(dirty):
    with dirty() as server:
        [arbiter] = arbiters(server)
        assert ask(server, "remember", "it")[:2] == (200, "it")
        [zygote] = re.findall(r"zygote pid: (\d+)", server.log())
        os.kill(int(zygote), signal.SIGKILL)
        server.wait_for_log("zygote pid:", 2)
        [worker] = server.workers()
        os.kill(worker, signal.SIGKILL)
        server.wait_for_log("Booting worker", 2)
        wait_until(lambda: ask(server, "recall")[1] == "it", "the new worker shares the stash")
        os.kill(arbiter, signal.SIGKILL)
        wait_until(lambda: ask(server, "who")[0] == 200, "the new zygote can fork it again")


def test_a_stop_kills_a_dirty_worker_that_does_not_leave(dirty, site):
    write(site, close="time.sleep(600)")
    with dirty(more="dirty_graceful_timeout = 1\n") as server:
        worker = ask(server, "who")[1][1]
        assert server.stop() == 0
        assert is_gone(worker)
        assert "is killed with its workers" not in server.log(), "the arbiter has seen to it"


def test_a_stop_kills_an_arbiter_that_does_not_leave(dirty):
    with dirty(more="dirty_graceful_timeout = 0\n") as server:
        [arbiter] = arbiters(server)
        worker = ask(server, "who")[1][1]
        os.kill(arbiter, signal.SIGSTOP)
        assert server.stop() == 0
        assert f"Dirty arbiter (pid:{arbiter}) has not left" in server.log()
        assert is_gone(arbiter) and is_gone(worker)


def test_a_stop_ends_it_at_once_while_it_begins(dirty, site, tmp_path):
    write(site, init=f"open({str(tmp_path / 'begun')!r}, 'w').close(); time.sleep(600)")
    with dirty(more="dirty_graceful_timeout = 1\n", ready=False) as server:
        wait_until((tmp_path / "begun").exists, "the app is being loaded")
        assert server.stop() == 0
        wait_until(lambda: is_gone(arbiters(server)[0]), "it is gone")


def test_nobody_outlives_a_master_that_is_killed(dirty):
    with dirty() as server:
        [arbiter] = arbiters(server)
        worker = ask(server, "who")[1][1]
        server.process.kill()
        wait_until(lambda: is_gone(arbiter) and is_gone(worker), "they leave")


def test_quit_ends_it_as_well(dirty):
    with dirty() as server:
        [arbiter] = arbiters(server)
        server.send(signal.SIGQUIT)
        assert server.wait() == 0
        assert is_gone(arbiter)


def test_an_upgrade_has_one_of_its_own(dirty, site, masters):  # noqa: F811
    with dirty() as server:
        [old] = arbiters(server)
        write(site, "two")
        upgrade(server, masters)
        assert server.wait() == 0
        assert is_gone(old)
        assert ask(server, "who")[:2] == (200, ["two", *ask(server, "who")[1][1:]])
        assert parent_of(arbiters(server)[1]) == masters[0]


@pytest.mark.parametrize("kind", ["sync", "gevent"])
def test_log_files_are_opened_again_everywhere(dirty, tmp_path, kind):
    log = tmp_path / "error.log"
    with dirty("-k", kind, "--log-file", str(log), "--capture-output", ready=False) as server:
        wait_until(lambda: log.exists() and "ready to serve" in log.read_text(), "it serves")
        log.rename(tmp_path / "rotated.log")
        server.send(signal.SIGUSR1)
        wait_until(log.exists, "a new file")

        # The error of an action stands in the log of the dirty worker.
        def said() -> bool:
            ask(server, "nothing")
            return "Error executing jobs:Job.nothing" in log.read_text()

        wait_until(said, "the dirty worker writes there")


@pytest.mark.parametrize("more", ["dirty_workers = 0\n", "dirty_apps = []\n"])
def test_without_apps_or_workers_nothing_is_there(dirty, more, short):
    with dirty(more=more) as server:
        assert len(server.children()) == 2, "zygote and worker"
        assert list(short.glob("remuda-dirty-*")) == []
        assert ask(server, "who")[:2] == (500, "DirtyError")


def test_a_missing_module_is_named_at_the_start(site):
    write(site)
    flags = [*LOOPBACK, "--dirty-app", "no_such:Job", "--dirty-workers", "1"]
    status, words = refused("longer:app", *flags, cwd=site)
    assert status == 1
    assert "`dirty_apps`: 'no_such:Job' cannot be loaded: there is no module 'no_such'" in words


def test_an_app_without_class_is_named_at_the_start_and_by_check_config(site):
    write(site)
    flags = [*LOOPBACK, "longer:app", "--dirty-app", "jobs", "--dirty-workers", "1"]
    for args in (flags, ["--check-config", *flags]):
        status, words = refused(*args, cwd=site)
        assert status == 1
        assert "`dirty_apps`: 'jobs' cannot be loaded: that is not `module:Class`" in words


def test_gunicorn_without_dirty_workers_is_an_error_at_the_start(site, tmp_path):
    (tmp_path / "old" / "gunicorn").mkdir(parents=True)
    (tmp_path / "old" / "gunicorn" / "__init__.py").write_text("__version__ = '23.0.0'\n")
    (site / "plain.py").write_text("def app(environ, start_response): ...\n")
    flags = [*LOOPBACK, "--dirty-app", "plain:Job", "--dirty-workers", "1"]
    env = {"PYTHONPATH": str(tmp_path / "old")}
    status, words = refused("plain:app", *flags, cwd=site, env=env)
    assert status == 1
    assert "`dirty_apps` needs the package gunicorn, 25 or newer: No module named" in words
    assert "hint:" in words and "-m pip install 'gunicorn>=25'" in words


def test_a_path_that_is_too_long_for_a_socket_is_an_error_at_the_start(site, tmp_path):
    write(site)
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    flags = [*LOOPBACK, "longer:app", "--dirty-app", "jobs:Job", "--dirty-workers", "1"]
    status, words = refused(*flags, cwd=site, env={"TMPDIR": str(folder)})
    assert status == 1
    assert f"There is no place for the socket of dirty workers in {folder}" in words
    assert "hint: TMPDIR names another folder" in words


def test_a_hook_that_raises_is_told_and_the_service_serves(dirty):
    with dirty(more="def on_dirty_starting(arbiter): 1 / 0\n") as server:
        server.wait_for_log("ZeroDivisionError")
        server.wait_for_log("exited with code 1; another one is started after")
        assert ask(server, "who")[:2] == (500, "DirtyConnectionError")


def test_a_missing_class_is_named_and_the_service_serves(dirty, site):
    with dirty("--dirty-app", "jobs:Nobody") as server:
        server.wait_for_log("The dirty app jobs:Nobody cannot be loaded")
        server.wait_for_log("exited with code 4; another one is started after")
        assert ask(server, "who")[:2] == (500, "DirtyConnectionError")


@pytest.mark.parametrize("broken", ["import nothing_of_that_name", "class Job: pass", "init"])
def test_a_reload_to_dirty_apps_that_do_not_load_is_given_up(dirty, site, broken):
    with dirty() as server:
        version, *_ = ask(server, "who")[1]
        assert version == "one"
        if broken == "init":
            write(site, "two", init="1 / 0")
        else:
            (site / "jobs.py").write_text(broken + "\n")
        server.send(signal.SIGHUP)
        server.wait_for_log("The dirty apps of the new code cannot be loaded")
        server.wait_for_log("Reload given up: the new code does not run (importing it failed)")
        assert ask(server, "who")[1][0] == "one"
        write(site, "three")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert ask(server, "who")[1][0] == "three"
        assert server.stop() == 0


def test_it_runs_as_the_user_of_the_workers(serve, tmp_path_factory):
    nobody = pwd.getpwnam("nobody")
    site = Path("/tmp") / f"remuda-test-{os.getpid()}-{time.monotonic_ns()}"
    site.mkdir(mode=0o755)
    try:
        run_as_nobody(serve, site, nobody)
    finally:
        shutil.rmtree(site)


def run_as_nobody(serve, site: Path, nobody: pwd.struct_passwd) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: only root can give up its user")
    python = f"/usr/bin/python3.{sys.version_info[1]}"
    if not Path(python).exists():
        pytest.skip("NOT RUN: no Python of this version that another user can read")
    packages = site / "packages"
    for name in ("remuda", "gunicorn", "packaging"):
        found = Path(sysconfig.get_path("platlib")) / name
        shutil.copytree(found, packages / name)
    write(site)
    conf(site, CONF)
    env = {"PYTHONPATH": f"{packages}:{APPS}", "GUNICORN_PYTHON": python}
    who = ["-u", "nobody", "-g", str(nobody.pw_gid)]
    with serve(*who, app="longer:app", cwd=site, env=env) as server:
        assert ask(server, "as_whom")[:2] == (200, [nobody.pw_uid, nobody.pw_gid, []])
        assert server.stop() == 0
