"""From the command to the first request: banner, log lines, errors and exit statuses."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from http_client import Client, get
from serving import APPS, REMUDA, conf, is_a_wish, memory_kib, wait_until

LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[INFO\] (.*)")


def refused(*args: str, env: dict[str, str] | None = None, cwd: Path = APPS):
    """Run a command that must not start; its exit status and its words."""
    clean = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
    result = subprocess.run(
        [str(REMUDA), *args], env=clean | (env or {}), cwd=cwd, capture_output=True, timeout=60
    )
    return result.returncode, result.stderr.decode()


RAILWAY = {
    "GUNICORN_WORKERS": "2",
    "GUNICORN_WORKER_CLASS": "gevent",
    "GUNICORN_TIMEOUT": "120",
    "GUNICORN_MAX_REQUESTS": "500",
    "GUNICORN_MAX_REQUESTS_JITTER": "50",
    "GUNICORN_WORKER_CONNECTIONS": "500",
    "LOG_LEVEL": "WARNING",
}


def test_banner_comes_first_with_a_railway_users_variables(serve):
    with serve(env=RAILWAY) as server:
        first = [LINE.fullmatch(line)[1] for line in server.log().splitlines()[:8]]
        assert first[:3] == ["Gunicorn starting with config:", "  Workers: 2", "  Timeout: 120s"]
        assert first[3:7] == [
            "  Worker class: gevent",
            "  Worker connections: 500",
            "  Max requests: 500 (jitter 50)",
            f"  Bind: 127.0.0.1:{server.port}",
        ]
        assert first[7].startswith("  Memory limit: ")
        assert "  workers = 2 (environment variable GUNICORN_WORKERS)" in server.messages()


def test_banner_is_shown_at_every_log_level_and_log_level_belongs_to_the_app(serve):
    env = {"GUNICORN_LOGLEVEL": "critical", "LOG_LEVEL": "WARNING"}
    with serve(app="show_env:app", env=env, ready=False) as server:
        wait_until(lambda: server.log().count("Bind:"), "the banner")
        wait_until(lambda: answers(server.port), "an answer")
        assert get(server.port, "/LOG_LEVEL").text == "WARNING"
        assert server.messages()[0] == "Gunicorn starting with config:"
        assert not any("Listening at" in message for message in server.messages())


def answers(port: int) -> bool:
    try:
        return get(port, "/LOG_LEVEL").status == 200
    except OSError:
        return False


def test_log_lines_are_gunicorns(serve):
    with serve("--workers", "2") as server:
        messages = server.messages()
        listening = f"Listening at: http://127.0.0.1:{server.port} ({server.pid})"
        assert listening in messages
        assert "Using worker: sync" in messages
        assert sum(m.startswith("Booting worker with pid: ") for m in messages) == 2
        assert server.stop() == 0
    messages = server.messages()
    assert "Handling signal: term" in messages
    assert "Shutting down: Master" in messages
    assert sum(m.startswith("Worker exiting (pid: ") for m in messages) == 2


def test_workers_are_children_of_a_master_without_python(serve):
    with serve("--workers", "3") as server:
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        assert "python" not in maps
        assert len(os.listdir(f"/proc/{server.pid}/task")) == 1
        assert len(server.workers()) == 3
        assert len(server.children()) == 4, "three workers and the zygote"


def test_master_stays_below_four_mebibytes(serve):
    with serve("--workers", "2") as server:
        for _ in range(100):
            get(server.port)
        pss_kib = memory_kib(server.pid, "Pss")
        assert 0 < pss_kib < 4096, f"{pss_kib} KiB"


@pytest.mark.parametrize(
    ("app", "status", "words"),
    [
        ("no_such_module", 3, "No module named 'no_such_module'"),
        ("raises_on_import", 3, "RuntimeError: the database is not there"),
        ("syntax_error", 3, "SyntaxError"),
        ("exits_on_import", 3, "the module called sys.exit(5)"),
        ("hello:nope", 4, "Failed to find attribute 'nope' in 'hello'."),
        ("factory:make()", 4, "Failed to find application object: 'make()'"),
        ("factory:NOT_CALLABLE", 4, "Application object must be callable."),
        ("hello:a[0]", 4, "Failed to parse 'a[0]' as an attribute name or function call."),
        ("hello:app.inner", 4, "Failed to find attribute 'app.inner' in 'hello'."),
        ("factory:greet(os)", 4, "Failed to parse arguments as literal values: 'greet(os)'"),
        ("factory:greet(nope=1)", 4, "TypeError"),
        ("hello.py", 3, "did you mean 'hello:application'?"),
    ],
)
@pytest.mark.parametrize("preload", ["", "false"])
def test_app_that_cannot_be_loaded_ends_the_master_like_gunicorn(
    serve, app, status, words, preload
):
    env = {"GUNICORN_PRELOAD_APP": preload}
    with serve(app=app, env=env, ready=False) as server:
        assert server.wait() == status
    assert words in server.log()
    assert f"Cannot load the application {app!r}" in server.log()
    assert "  hint: " in server.log()
    reason = "Worker failed to boot." if status == 3 else "App failed to load."
    assert f"Reason: {reason}" in server.messages()
    if words.startswith("RuntimeError"):
        assert "raises_on_import.py" in server.log(), "the traceback names the file"


def test_factory_with_arguments(serve):
    with serve(app='factory:greet("hola", mark="!")') as server:
        assert get(server.port).text == "hola!"


@pytest.mark.parametrize(
    ("app", "body"), [("site.app", "nested?"), ('site.greet("hola", mark="!")', "hola!")]
)
def test_nested_attributes(serve, app, body):
    with serve(app=f"factory:{app}") as server:
        assert get(server.port).text == body


def test_missing_gevent_is_said_before_any_worker(serve, tmp_path):
    without = tmp_path / "venv"
    make_environment_without_gevent(without)
    env = {"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_PYTHON": str(without / "bin" / "python")}
    with serve(env=env, ready=False) as server:
        assert server.wait() == 1
    log = server.log()
    assert "worker class \"gevent\" needs the package gevent: No module named 'gevent'" in log
    assert "-m pip install gevent" in log
    assert "Booting worker" not in log


def make_environment_without_gevent(folder: Path) -> None:
    """A virtual environment that has this build of remuda and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    import remuda

    site = next(folder.glob("lib/python*/site-packages"))
    shutil.copytree(Path(remuda.__file__).parent, site / "remuda")


def test_interpreter_without_the_package_is_explained(serve, tmp_path):
    bare = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with serve(env={"GUNICORN_PYTHON": str(bare / "bin" / "python")}, ready=False) as server:
        assert server.wait() == 1
    assert "cannot run the package remuda" in server.log()
    assert "hint: " in server.log() and "pip install remuda" in server.log()


def test_missing_interpreter_is_explained():
    status, words = refused("hello:app", "--python", "/nonexistent/python")
    assert status == 1
    assert "no Python interpreter was found" in words and "hint: " in words


def test_without_a_neighbour_the_interpreter_is_the_first_in_the_search_path(tmp_path):
    alone = tmp_path / "remuda"
    shutil.copy(REMUDA, alone)

    def check(path: Path) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(path)}
        command = [str(alone), "--check-config", "hello:app"]
        return subprocess.run(
            command, cwd=APPS, env=env, capture_output=True, text=True, timeout=60, check=False
        )

    found = check(Path(REMUDA).parent)
    assert found.returncode == 0, found.stderr
    missing = check(tmp_path)
    assert missing.returncode == 1
    assert f"looked for `python` and `python3` in {tmp_path} and in PATH" in missing.stderr


def test_bad_values_are_reported_together_with_their_origin():
    env = {"GUNICORN_WORKERS": "many", "GUNICORN_TIMEOUT": "-5", "GUNICORN_WORKER_CLASS": "gevnt"}
    status, words = refused("hello:app", "--backlog", "x", env=env)
    assert status in (1, 2)
    status, words = refused("hello:app", env=env)
    assert status == 1
    for expected in ("GUNICORN_WORKERS", "many", "GUNICORN_TIMEOUT", "-5", "gevnt", "gevent"):
        assert expected in words


def test_usage_errors_exit_2():
    assert refused("hello:app", "--no-such-flag")[0] == 2


def test_missing_app_is_an_error():
    status, words = refused()
    assert status == 1 and "No application module specified." in words


def test_address_in_use_is_tried_again_then_explained(serve):
    with serve() as first:
        env = {"GUNICORN_BIND": f"127.0.0.1:{first.port}"}
        status, words = refused("hello:app", env=env)
        assert status == 1
        assert words.count("Connection in use") == 4
        assert "hint: stop the other process" in words
        assert get(first.port).status == 200


def test_pidfile_is_written_and_removed(serve, tmp_path):
    path = tmp_path / "remuda.pid"
    with serve("--pid", str(path)) as server:
        assert path.read_text() == f"{server.pid}\n"
        status, words = refused("hello:app", "--pid", str(path), "--bind", "127.0.0.1:0")
        assert status == 1 and f"Already running on PID {server.pid}" in words
        server.stop()
    assert not path.exists()


def test_chdir_and_pythonpath_find_the_app(serve, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "site" / "mysite.py").write_text(
        "import mylib, os\n"
        "def application(e, s):\n"
        "    s('200 OK', [])\n"
        "    return [(mylib.NAME + os.getcwd()).encode()]\n"
    )
    (tmp_path / "lib" / "mylib.py").write_text("NAME = 'mylib in '\n")
    args = ["--chdir", str(tmp_path / "site"), "--pythonpath", str(tmp_path / "lib")]
    with serve(*args, app="mysite", cwd=tmp_path) as server:
        assert get(server.port).text == f"mylib in {tmp_path / 'site'}"


def test_python_dash_m_is_the_same_command():
    result = subprocess.run(
        [sys.executable, "-m", "remuda", "--version"], capture_output=True, timeout=60
    )
    assert result.returncode == 0 and b"remuda" in result.stdout


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"GUNICORN_ACCESSLOG": "/nonexistent/access.log"}, "cannot open the log file"),
        (
            {"GUNICORN_ACCESSLOG": "-", "GUNICORN_ACCESS_LOG_FORMAT": "%h"},
            "access_log_format: `%` at column 1",
        ),
        ({"GUNICORN_ERRORLOG": "/nonexistent/error.log"}, "cannot open the log file"),
    ],
)
def test_log_that_cannot_be_written_ends_the_start_and_is_named(serve, env, words):
    with serve(env=env, ready=False) as server:
        assert server.wait() == 1
    assert words in server.log()
    assert "Booting worker" not in server.log()


def test_port_and_web_concurrency_of_the_platform_are_honoured(serve):
    from serving import free_port

    port = free_port()
    env = {"PORT": str(port), "WEB_CONCURRENCY": "2"}
    with serve(env=env, bind=False, port=port) as server:
        assert get(port).status == 200
        assert len(server.workers()) == 2


READY_WHEN_TOLD = """
import pathlib, time

def post_worker_init(worker):
    pathlib.Path("here").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
"""


def test_a_worker_that_is_ready_takes_no_request_before_the_master_says_so(
    serve, site, worker_class
):
    """Until then it may be killed, since it holds nothing."""
    app = "echo_asgi:app" if worker_class == "asgi" else "lab:app"
    file = conf(site, READY_WHEN_TOLD)
    options = ("--config", str(file), "--worker-class", worker_class)
    with serve(*options, app=app, cwd=site, ready=False) as server:
        wait_until((site / "here").exists, "the worker is nearly ready")
        server.send(signal.SIGSTOP)
        with Client(server.port) as client:
            client.send(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
            (site / "go").touch()
            time.sleep(1.5)
            try:
                assert not client.has_answer()
            finally:
                server.send(signal.SIGCONT)
            assert client.read().status == 200
