"""User, group, background, titles, and where what the app prints goes."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest
from test_boot import refused

from http_client import Client, get
from serving import APPS, REMUDA, conf, free_port, is_a_wish, wait_until

NOBODY = pwd.getpwnam("nobody")
WHO = """
import os
at_import = os.geteuid()
def app(environ, start_response):
    print("printed by the app", flush=True)
    who = [at_import, os.getuid(), os.geteuid(), os.getgid(), os.getgroups()]
    start_response("200 OK", [])
    return [repr(who).encode()]
"""

THREAD = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


@pytest.fixture
def open_site():
    """A folder that another user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        (Path(folder) / "who.py").write_text(WHO)
        yield Path(folder)


@pytest.fixture
def as_root(serve, open_site):
    """Start a server, as root, whose Python can be read by everybody."""
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: only root can give up its user")
    package = Path(sysconfig.get_path("platlib")) / "remuda"
    python = sys.executable
    if not can_run(python):
        # Below /root, mostly. The distribution's Python of the same version will do.
        python = f"/usr/bin/python3.{sys.version_info[1]}"
        if not can_run(python):
            pytest.skip("NOT RUN: no Python of this version that another user can read")
    shutil.copytree(package, open_site / "packages" / "remuda")
    env = {"PYTHONPATH": f"{open_site / 'packages'}:{APPS}", "GUNICORN_PYTHON": python}
    return partial(serve, cwd=open_site, app="who:app", env=env)


def can_run(python: str) -> bool:
    """Whether another user can."""
    try:
        command = [python, "-c", "import encodings.ascii, json"]
        return subprocess.run(command, user="nobody", capture_output=True, cwd="/").returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize("preload", [[], ["--preload"], ["--preload=false"]])
def test_app_and_workers_run_as_the_user_and_the_master_does_not(as_root, preload):
    with as_root("-u", "nobody", "-g", str(NOBODY.pw_gid), *preload) as s:
        uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
        assert get(s.port, "/").text == repr([uid, uid, uid, gid, []])
        assert os.stat(f"/proc/{s.pid}").st_uid == 0
        s.send(signal.SIGHUP)
        s.wait_for_log("Reload done")
        assert get(s.port, "/").text == repr([uid, uid, uid, gid, []])


def test_an_app_that_cannot_be_shared_runs_as_the_user_as_well(as_root, open_site):
    (open_site / "who.py").write_text(THREAD + WHO)
    with as_root("-u", "nobody") as server:
        assert "The application is not shared between workers" in server.log()
        assert get(server.port, "/").text.startswith(f"[{NOBODY.pw_uid}, ")


def test_logs_and_sockets_belong_to_the_user(as_root, open_site):
    conf(open_site, "user = 'nobody'\nbind = 'unix:here.sock'\numask = 0o007\n")
    logs = ["--log-file", "error.log", "--access-logfile", "access.log"]
    with as_root(*logs, bind=False, ready=False) as server:
        log = open_site / "error.log"
        wait_until(lambda: log.exists() and "ready to serve" in log.read_text(), "it serves")
        for name in ("error.log", "access.log", "here.sock"):
            assert (open_site / name).stat().st_uid == NOBODY.pw_uid, name
        assert stat.S_IMODE((open_site / "here.sock").stat().st_mode) == 0o770
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(open_site / "here.sock"))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.0 200")
        wait_until(
            lambda: '"GET / HTTP/1.0" 200' in (open_site / "access.log").read_text(), "a line"
        )
        family = server.children()
        for name in ("error.log", "access.log"):
            (open_site / name).rename(open_site / f"{name}.1")
        server.send(signal.SIGUSR1)
        access = open_site / "access.log"

        def is_written() -> bool:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(open_site / "here.sock"))
                client.sendall(b"GET /later HTTP/1.0\r\n\r\n")
                client.recv(4096)
            return access.exists() and "GET /later" in access.read_text()

        # The worker may open it later than the master has made it.
        wait_until(is_written, "a line in the new file")
        assert access.stat().st_uid == log.stat().st_uid == NOBODY.pw_uid
        assert server.children() == family


LOGGER = """
import os
from gunicorn import glogging
accesslog, errorlog = "access.log", "error.log"
class logger_class(glogging.Logger):
    def setup(self, cfg):
        super().setup(cfg)
        self.info("logger of user %s", os.geteuid())
    def access(self, resp, req, environ, request_time):
        self.access_log.info("%s asked by user %s", req.path, os.geteuid())
def on_starting(server):
    server.log.info("in the herald")
def post_fork(server, worker):
    worker.log.info("in the worker")
"""


def test_a_logger_class_is_made_and_called_as_the_user(as_root, open_site):
    conf(open_site, LOGGER)
    with as_root("-u", "nobody", ready=False) as server:
        log, access = open_site / "error.log", open_site / "access.log"
        wait_until(lambda: log.exists() and "in the worker" in log.read_text(), "a worker")
        get(server.port, "/first")
        wait_until(lambda: access.exists() and access.read_text(), "a line")
        assert access.read_text() == f"/first asked by user {NOBODY.pw_uid}\n"
        assert access.stat().st_uid == log.stat().st_uid == NOBODY.pw_uid
        # The herald stays who the master is, as its hooks expect; zygote and worker do not.
        lines = log.read_text().splitlines()
        users = [line.rpartition(" ")[2] for line in lines if "logger of user" in line]
        assert sorted(users) == sorted(["0", str(NOBODY.pw_uid)])
        family = server.children()
        for path in (log, access):
            path.rename(path.with_suffix(".old"))
        server.send(signal.SIGUSR1)
        wait_until(lambda: log.exists() and access.exists(), "new files")

        def is_written() -> bool:
            get(server.port, "/second")
            return "/second asked by" in access.read_text()

        # The worker may open it later than the master has made it.
        wait_until(is_written, "a line in the new file")
        assert server.children() == family


TLS_1_3 = """
import ssl
def ssl_context(conf, factory):
    context = factory()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
"""


@pytest.mark.parametrize("first", ["", THREAD], ids=["shared", "not shared"])
@pytest.mark.parametrize("text", ["", TLS_1_3], ids=["settings", "hook"])
def test_certificates_may_be_for_root_only(as_root, open_site, tls, text, first):
    assert stat.S_IMODE(tls.folder.parent.stat().st_mode) == 0o700
    (open_site / "who.py").write_text(first + WHO)
    conf(open_site, f"{text}certfile, keyfile = {str(tls.cert)!r}, {str(tls.key)!r}\n")
    with as_root("-u", "nobody") as server:
        assert ("not shared between workers" in server.log()) == bool(first)
        with Client(server.port, context=tls.context()) as client:
            assert client.request("/").text.startswith(f"[{NOBODY.pw_uid}, ")
            assert client.socket.version() == "TLSv1.3"
        # The worker looks at the files, which it cannot see, and has nothing to say.
        time.sleep(2.5)
        get(server.port)
        assert "ertificate" not in server.log().partition("ready to serve")[2]


def test_a_directory_that_the_user_may_not_enter_is_named(as_root, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with as_root("-u", "nobody", "--chdir", str(closed), ready=False) as server:
        assert server.wait() == 1
        assert f"cannot enter '{closed}': Permission denied" in server.log()


def test_all_groups_of_the_user_only_if_asked_for(as_root):
    groups = os.getgrouplist("daemon", pwd.getpwnam("daemon").pw_gid)
    with as_root("-u", "daemon", "-g", "daemon", "--initgroups") as s:
        assert get(s.port, "/").text.endswith(f"{sorted(groups)}]")


@pytest.mark.parametrize(
    ("flag", "words"),
    [("--user", "No such user: 'nobody-at-all'"), ("--group", "No such group: 'nobody-at-all'")],
)
def test_who_is_not_there_is_named(flag, words):
    status, said = refused("hello:app", flag, "nobody-at-all")
    assert (status, words in said) == (1, True)


def test_only_root_can_give_up_its_user(open_site):
    environ = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
    command = [str(REMUDA), "-u", "daemon", "hello:app"]
    done = subprocess.run(command, env=environ, cwd=open_site, capture_output=True, user="nobody")
    assert done.returncode == 1
    assert b"only root can give up its user" in done.stderr


def test_the_background_is_gone_to_and_left_by_the_pidfile(site):
    port = free_port()
    conf(
        site,
        "daemon = True\npidfile = 'run.pid'\nerrorlog = 'error.log'\ndef on_exit(server): pass\n",
    )
    environ = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
    environ["PYTHONPATH"] = str(APPS)
    command = [str(REMUDA), "-b", f"127.0.0.1:{port}", "hello:app"]
    done = subprocess.run(command, cwd=site, env=environ, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    pidfile, log = site / "run.pid", site / "error.log"
    wait_until(lambda: log.exists() and "ready to serve" in log.read_text(), "it serves")
    pid = int(pidfile.read_text())
    try:
        assert get(port, "/").status == 200
        assert os.getsid(pid) != os.getsid(0)
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pidfile.exists(), "the pidfile goes")
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or zombie(pid), "the master goes")


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_top_shows_who_is_who(serve):
    with serve("--workers", "2") as server:
        names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in server.children()]
        assert sorted(names) == ["remuda: w0", "remuda: w1", "remuda: z1"]


TITLED = """
import json, os, sys, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(2)
    start_response("200 OK", [])
    return [json.dumps([sys.argv[1:], dict(os.environ)]).encode()]
"""


def titles_of(server) -> list[str]:
    command = ["ps", "-ww", "-o", "args=", "-p", ",".join(map(str, server.children()))]
    return sorted(subprocess.check_output(command, text=True).splitlines())


@pytest.fixture
def titled(site) -> Path:
    """An app in a place where the package setproctitle cannot be imported."""
    conf(site, TITLED, "titled.py")
    conf(site, "raise ImportError", "setproctitle.py")
    return site


def test_ps_shows_who_is_who_and_in_what_state(serve, titled):
    with serve("--workers", "2", cwd=titled, app="titled:app") as server:
        assert titles_of(server) == [
            "remuda: worker 0 [titled:app] serving",
            "remuda: worker 1 [titled:app] serving",
            "remuda: zygote 1 [titled:app] ready",
        ]
        with Client(server.port) as client:
            client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.5)
            server.send(signal.SIGTERM)
            is_draining = re.compile(r"remuda: worker \d \[titled:app\] draining").fullmatch
            wait_until(lambda: any(map(is_draining, titles_of(server))), "one drains")
            assert client.read().status == 200


@pytest.mark.parametrize("length", [1, 3000])
def test_a_title_takes_no_more_room_than_there_is(serve, titled, length):
    name = length * "ñandú"
    with serve("--name", name, cwd=titled, app="titled:app", env={"SHOWN": "yes"}) as server:
        arguments, environ = json.loads(get(server.port, "/").text)
        assert (arguments, environ["SHOWN"]) == ([], "yes")
        worker = Path(f"/proc/{server.workers()[0]}")
        assert b"SHOWN=yes" in (worker / "environ").read_bytes().split(b"\0")
        title = (worker / "cmdline").read_bytes().rstrip(b"\0").decode()
        assert f"remuda: worker 0 [{name}] serving".startswith(title)
        assert len(title) > 100 or title.endswith("serving")


def test_a_title_that_the_app_has_set_stays(serve, site):
    conf(site, "import setproctitle\n" + TITLED, "titled.py")
    conf(
        site,
        "import setproctitle\n"
        "def post_fork(server, worker): setproctitle.setproctitle(f'shop {worker.slot}')\n",
    )
    with serve(cwd=site, app="titled:app") as server:
        assert titles_of(server) == ["remuda: zygote 1 [titled:app] ready", "shop 0"]


def test_what_the_app_prints_goes_to_the_log_file_also_after_rotation(serve, site):
    (site / "who.py").write_text(WHO)
    log = site / "error.log"
    args = ["--capture-output", "--log-file", str(log)]
    with serve(*args, cwd=site, app="who:app", ready=False) as server:
        wait_until(lambda: log.exists() and "ready to serve" in log.read_text(), "it serves")
        get(server.port, "/")
        wait_until(lambda: "printed by the app" in log.read_text(), "what was printed")
        log.rename(site / "error.log.1")
        server.send(signal.SIGUSR1)
        wait_until(log.exists, "a new file")

        def said() -> bool:
            get(server.port, "/")
            return "printed by the app" in log.read_text()

        wait_until(said, "what was printed stands in the new file")
        # A worker that is forked after the rotation has the new file as well.
        [worker] = [
            int(p) for p in server.children() if "w0" in Path(f"/proc/{p}/comm").read_text()
        ]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: log.read_text().count("Booting worker") == 1, "a successor")
        before = log.read_text().count("printed by the app")
        wait_until(lambda: get_or_none(server.port), "an answer")
        wait_until(lambda: log.read_text().count("printed by the app") > before, "its words")
        assert server.stdout() == ""


def get_or_none(port: int):
    try:
        return get(port, "/")
    except OSError:
        return None
