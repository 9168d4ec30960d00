"""Real gunicorn and remuda side by side: same files, environment, arguments, requests.

What differs is either a mistake of ours, or stands in ``docs/differences.md``; the tests name it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from http_client import Client, get
from serving import REMUDA, Server, conf, end, free_port, is_a_wish, wait_until

GUNICORN = Path(__file__).parents[2] / ".venv-gunicorn/bin/gunicorn"
BOTH = [GUNICORN, REMUDA]

APP = """
import json
def app(environ, start_response):
    texts = {key: value for key, value in environ.items() if isinstance(value, (str, bool, tuple))}
    texts["body"] = environ["wsgi.input"].read().decode("latin-1")
    start_response("200 Fine", [("Content-Type", "text/plain"), ("X-Out", "there")])
    return [json.dumps(texts).encode()]
def factory(name, loud=False):
    return app
nothing = None
number = 7
"""


@pytest.fixture(autouse=True)
def needs_gunicorn():
    if not GUNICORN.exists():
        pytest.skip("NOT RUN: gunicorn is not installed; `make test-python` does it")


@pytest.fixture
def site(site: Path) -> Path:
    (site / "shop.py").write_text(APP)
    return site


def environment(env: dict[str, str] | None = None) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
    return clean | (env or {})


def ended(program: Path, site: Path, *args: str, env: dict[str, str] | None = None):
    """Run a command that ends by itself; status and what it says."""
    command = [str(program), *args]
    done = subprocess.run(command, cwd=site, env=environment(env), capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@contextmanager
def running(
    program: Path,
    site: Path,
    *args: str,
    app: str | None = "shop:app",
    bind: bool = True,
    env: dict[str, str] | None = None,
) -> Iterator[Server]:
    port = free_port()
    number = len(list(site.glob("stderr*")))
    log, out = site / f"stderr{number}", site / f"stdout{number}"
    flags = ["-b", f"127.0.0.1:{port}"] if bind else []
    command = [str(program), *flags, "--no-control-socket", *args, *([app] if app else [])]
    with log.open("wb") as stderr, out.open("wb") as stdout:
        process = subprocess.Popen(
            command,
            cwd=site,
            env=environment(env),
            stderr=stderr,
            stdout=stdout,
            start_new_session=True,
        )
    server = Server(process, log, out, port)
    try:
        server.wait_for_log("Booting worker with pid")
        if bind:
            wait_until(lambda: is_open(port), "it listens")
        yield server
    finally:
        end(server)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- settings

# Each worker writes it, so it is put in its place in one step.
DUMP = """
import json, os
def post_fork(server, worker):
    values = {name: setting.get() for name, setting in worker.cfg.settings.items()}
    values.update(address=worker.cfg.address, uid=worker.cfg.uid, env=worker.cfg.env,
                  is_ssl=worker.cfg.is_ssl, class_=worker.cfg.worker_class_str)
    plain = {name: value for name, value in values.items() if not callable(value)}
    with open(f"dumping-{worker.pid}", "w") as file:
        json.dump(plain, file, default=str)
    os.replace(file.name, "dumped")
"""

# Where the two differ on purpose, or where a value has another form for the same thing.
OTHER_DEFAULTS = {
    "keepalive",
    "config",
    "forwarded_allow_ips",
    "control_socket",
    "control_socket_disable",
    "default_proc_name",
    "preload_app",
    "sendfile",
    "wsgi_app",
    "ssl_version",
    "chdir",
    "control_socket_mode",
}


def settings_of(program: Path, site: Path, *args: str, env=None) -> dict[str, object]:
    with running(program, site, *args, bind=False, env=env):
        wait_until((site / "dumped").exists, "the settings")
        values: dict[str, object] = json.loads((site / "dumped").read_text())
    (site / "dumped").unlink()
    return values


def test_hooks_see_the_same_defaults(site):
    conf(site, DUMP + "bind = '127.0.0.1:0'\n")
    theirs, ours = (settings_of(program, site) for program in BOTH)
    differ = {
        name: (theirs[name], ours.get(name, "missing"))
        for name in theirs
        if name not in OTHER_DEFAULTS and theirs[name] != ours.get(name, "missing")
    }
    assert differ == {}


SOURCES = [
    ("workers = 2\ntimeout = 40\nkeepalive = 7\n", [], {}),
    ("workers = '0x2'\nmax_requests = '10'\nreuse_port = 'TRUE'\n", [], {}),
    ("bind = ['127.0.0.1:0', 'localhost:0']\nraw_env = ['A=b=c', 'D=e']\n", [], {}),
    ("raw_env = 'A=b,c'\nbind = 'localhost:0'\n", [], {}),
    ("forwarded_allow_ips = '10.0.0.0/8,127.0.0.1'\n", [], {}),
    ("secure_scheme_headers = {'X-A': 'b'}\nforwarder_headers = 'A_B,C_D'\n", [], {}),
    ("umask = 0o22\nlimit_request_line = 100\nbacklog = 64\n", [], {}),
    ("accesslog = None\npidfile = None\nproc_name = None\n", [], {}),
    ("workers = True\nthreads = 3\n", [], {}),
    ("timeout = 40\n", ["-t", "50", "--keep-alive=9", "--worker-con", "77"], {}),
    ("", ["-w2", "-e", "A=b", "-e", "C=d", "-n", "shop", "--umask", "0022"], {}),
    ("workers = 3\n", [], {"WEB_CONCURRENCY": "2"}),
    ("", [], {"WEB_CONCURRENCY": "2", "FORWARDED_ALLOW_IPS": "10.0.0.1"}),
    ("timeout = 40\n", [], {"GUNICORN_CMD_ARGS": "--timeout 50 --log-level debug -e 'A=b c'"}),
    ("", ["-t", "60"], {"GUNICORN_CMD_ARGS": "--timeout 50"}),
]


@pytest.mark.parametrize(("text", "args", "env"), SOURCES)
def test_the_same_sources_give_the_same_settings(site, text, args, env):
    conf(site, DUMP + "bind = '127.0.0.1:0'\n" + text)
    theirs, ours = (settings_of(program, site, *args, env=env) for program in BOTH)
    skipped = OTHER_DEFAULTS - {"keepalive", "forwarded_allow_ips"}
    if "keepalive" not in text and not any("keep" in arg for arg in args):
        skipped.add("keepalive")
    differ = {
        name: (theirs[name], ours.get(name))
        for name in theirs
        if name not in skipped and theirs[name] != ours.get(name)
    }
    assert differ == {}


# --- requests


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


REQUESTS = [
    b"GET /a%20b/%C3%A9?x=1&y=%20 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET //double//slash HTTP/1.1\r\nHost: a:81\r\nConnection: close\r\n\r\n",
    b"POST /in HTTP/1.1\r\nHost: a\r\nContent-Type: text/x\r\nContent-Length: 3\r\n"
    b"Connection: close\r\n\r\nabc",
    b"POST /in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nX-Two: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"
    b"Connection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 9.9.9.9\r\n"
    b"Connection: close\r\n\r\n",
    b"GET /mounted/here HTTP/1.1\r\nHost: a\r\nSCRIPT_NAME: /mounted\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX_Under: 1\r\nX-Dash: 2\r\nConnection: close\r\n\r\n",
    b"GET http://a/path?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic dXNlcjpwYXNz\r\nConnection: close\r\n\r\n",
]


def seen(answer: bytes, port: int):
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" in head:
        body = b"".join(body.split(b"\r\n")[1::2])
    status, *fields = head.decode().split("\r\n")
    environ = json.loads(body)
    for name in ("REMOTE_PORT", "SERVER_SOFTWARE"):
        assert environ.pop(name), name
    assert environ.pop("SERVER_PORT") == str(port)
    fields = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
    for name in ("date", "server", "content-length", "transfer-encoding"):
        fields.pop(name, None)
    return status, fields, environ


@pytest.mark.parametrize("request_", REQUESTS)
def test_an_app_sees_the_same_environ(site, request_):
    answers = []
    for program in BOTH:
        with running(program, site) as server:
            answers.append(seen(raw(server.port, request_), server.port))
    (their_status, their_fields, theirs), (our_status, our_fields, ours) = answers
    assert our_status == their_status
    # What follows here stands in docs/differences.md.
    if b"HTTP/1.0" in request_:
        assert their_fields.pop("connection") == "close"
    if b"chunked" in request_:
        # The body was read before the app, so its length is known.
        assert ours.pop("CONTENT_LENGTH") == "3"
        assert theirs.pop("HTTP_TRANSFER_ENCODING") == "chunked"
    if b"Cookie" in request_:
        assert (ours.pop("HTTP_COOKIE"), theirs.pop("HTTP_COOKIE")) == ("a=1; b=2", "a=1,b=2")
    assert our_fields == their_fields
    assert ours == theirs


ATOMS = (
    "%(h)s|%(l)s|%(u)s|%(r)s|%(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(B)s|%(b)s|%(f)s|%(a)s|%({host}i)s|"
    "%({x-out}o)s|%({x-none}o)s|%({SERVER_PROTOCOL}e)s|%({wsgi.url_scheme}e)s|%%|%(nothing)s"
)


def test_access_lines_are_the_same(site):
    lines = []
    for program in BOTH:
        with running(program, site, "--access-logfile", "-", "--access-logformat", ATOMS) as server:
            for request in [*REQUESTS[:6], *REQUESTS[11:]]:
                agent = b'\r\nUser-Agent: a "quoted" one\r\nReferer: http://x/\r\n\r\n'
                head, _, body = request.partition(b"\r\n\r\n")
                raw(server.port, head + agent + body)
            wait_until(lambda s=server: s.stdout().count("\n") >= 7, "all lines")
            lines.append(server.stdout().splitlines())
    theirs, ours = lines
    # How long the answer is follows from ports and names of the servers.
    same = [re.sub(r"\|200\|\d+\|\d+\|", "|200|n|n|", line) for line in ours]
    assert same == [re.sub(r"\|200\|\d+\|\d+\|", "|200|n|n|", line) for line in theirs]


def test_a_table_of_logging_writes_access_lines_where_gunicorn_does(site):
    conf(site, "logconfig_dict = {'version': 1}\naccess_log_format = '%(r)s %(s)s'\n")
    counts = []
    for program in BOTH:
        with running(program, site) as server:
            get(server.port, "/")
            wait_until(lambda s=server: s.stdout().count("GET / HTTP/1.1 200") >= 2, "two lines")
            lines = [line for line in server.stdout().splitlines() if "GET /" in line]
            counts.append([re.sub(r".*\[INFO\]", "[INFO]", line) for line in lines])
    assert counts[0] == counts[1], "both print them twice: the default propagates"


@pytest.mark.parametrize("logger", ["gunicorn.access", "shop"])
def test_a_table_of_logging_takes_access_lines_from_their_file_if_it_names_them(site, logger):
    handlers = "'handlers': {'file': {'class': 'logging.FileHandler', 'filename': 'table.log'}}"
    loggers = f"'loggers': {{'{logger}': {{'level': 'INFO', 'handlers': ['file']}}}}"
    root = "'root': {'level': 'INFO', 'handlers': []}, 'disable_existing_loggers': False"
    conf(site, f"logconfig_dict = {{'version': 1, {handlers}, {loggers}, {root}}}\n")
    seen = []
    for program in BOTH:
        with running(program, site, "--access-logfile", "access.log") as server:
            get(server.port, "/")
            logs = [site / "table.log", site / "access.log"]
            wait_until(lambda p=logs: any("GET /" in log.read_text() for log in p), "a line")
            seen.append([log.read_text().count('"GET / HTTP/1.1" 200') for log in logs])
            for log in logs:
                log.unlink()
    named = logger == "gunicorn.access"
    assert seen == [[1, 0] if named else [0, 1]] * 2


TIMES = r"%(t)s %(T)s %(D)s %(M)s %(L)s %(p)s"


def test_times_and_processes_in_access_lines_have_the_same_form(site):
    form = re.compile(r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] 0 \d+ \d+ 0\.\d{6} <\d+>")
    for program in BOTH:
        with running(program, site, "--access-logfile", "-", "--access-logformat", TIMES) as server:
            get(server.port, "/")
            wait_until(lambda s=server: s.stdout().count("\n") >= 1, "a line")
            assert form.fullmatch(server.stdout().strip()), server.stdout()


# --- ends

ENDS = [
    (["--wrokers", "2", "shop:app"], 2),
    (["-w", "abc", "shop:app"], {2, 1}),
    (["-w", "-3", "shop:app"], 1),
    (["--header-map", "foo", "shop:app"], 1),
    ([], 1),
    (["-c", "nowhere.py", "shop:app"], 1),
    (["-k", "nosuch", "shop:app"], 1),
    (["-u", "nobody-at-all", "shop:app"], 1),
    (["--chdir", "/nowhere", "shop:app"], 1),
    (["-b", "127.0.0.1:abc", "shop:app"], 1),
    (["nomodule:app"], 3),
    (["shop:missing"], 4),
    (["shop:nothing"], 4),
    (["shop:number"], 4),
    (["shop:a.b"], 4),
    (["shop:factory()"], 4),
    (["--check-config", "shop:app"], 0),
    (["--check-config", "shop:factory('x', loud=True)"], 0),
    (["--check-config", "nomodule:app"], 1),
    (["--print-config", "shop:app"], 0),
    (["--version"], 0),
    (["--help"], 0),
]


@pytest.mark.parametrize(("args", "status"), ENDS)
def test_the_same_mistakes_end_with_the_same_status(site, args, status):
    bind = (
        [] if any(arg in ("-b", "--version", "--help") for arg in args) else ["-b", "127.0.0.1:0"]
    )
    theirs = ended(GUNICORN, site, *bind, "--no-control-socket", *args)
    ours = ended(REMUDA, site, *bind, "--no-control-socket", *args)
    if isinstance(status, set):
        # Ours reads numbers by itself, with one kind of words for all sources.
        assert {theirs[0], ours[0]} == status
        return
    assert (theirs[0], ours[0]) == (status, status), ours[2]
    assert bool(theirs[1]) == bool(ours[1]), "on the same stream"


WORDS = [
    ("shop:missing", "Failed to find attribute 'missing' in 'shop'."),
    ("shop:nothing", "Failed to find application object"),
    ("shop:number", "Application object must be callable."),
    ("shop:a[0]", "Failed to parse 'a[0]' as an attribute name or function call."),
    ("shop:factory(os)", "Failed to parse arguments as literal values: 'factory(os)'"),
    ("nomodule", "No module named 'nomodule'"),
    ("shop.py", "Failed to find application, did you mean 'shop:application'?"),
]


@pytest.mark.parametrize(("app", "words"), WORDS)
def test_an_app_that_cannot_be_loaded_gets_the_same_words(site, app, words):
    for program in BOTH:
        status, _, said = ended(program, site, "-b", "127.0.0.1:0", "--no-control-socket", app)
        assert status in (3, 4)
        assert words in said, program


# --- life

HOOKS = """
def note(text):
    with open(notes, "a") as file: file.write(text + "\\n")
def on_starting(server): note("on_starting")
def on_reload(server): note("on_reload")
def when_ready(server): note(f"when_ready {len(server.LISTENERS)} {len(server.WORKERS)}")
def pre_fork(server, worker): note(f"pre_fork {worker.age} {worker.pid} {worker.booted}")
def post_fork(server, worker): note(f"post_fork {worker.age}")
def post_worker_init(worker): note(f"post_worker_init {worker.booted} {worker.nr} {worker.alive}")
def worker_int(worker): note("worker_int")
def pre_request(worker, req):
    note(f"pre {req.method} {req.uri} {req.path} {req.query} {req.version}")
    note(f"pre {req.headers} {req.scheme}")
def post_request(worker, req, environ, resp):
    note(f"post {resp.status} {resp.status_code} {environ['PATH_INFO']} {worker.nr}")
def child_exit(server, worker): note(f"child_exit {worker.age}")
def worker_exit(server, worker): note("worker_exit")
def nworkers_changed(server, new, old): note(f"nworkers_changed {new} {old}")
def on_exit(server): note("on_exit")
"""


def notes_of(program: Path, site: Path, number: signal.Signals) -> list[str]:
    notes = site / f"notes-{program.name}-{number.name}"
    conf(site, f"notes = {str(notes)!r}\n" + HOOKS)
    with running(program, site) as server:
        wait_until(lambda: "post_worker_init" in notes.read_text(), "a worker")
        raw(server.port, b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-A: b\r\nConnection: close\r\n\r\n")
        wait_until(lambda: "post 200" in notes.read_text(), "a request")
        server.send(number)
        assert server.wait() == 0
    return notes.read_text().splitlines()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_hooks_are_called_in_the_same_order_with_the_same_arguments(site, number):
    theirs, ours = (notes_of(program, site, number) for program in BOTH)
    # gunicorn counts a request before it is served, we after.
    same = [line.replace("/a 1", "/a 0") for line in theirs]
    assert ours == same


LINES = [
    r"Listening at: http://127\.0\.0\.1:\d+ \(\d+\)",
    r"Using worker: sync",
    r"Booting worker with pid: \d+",
    r"Handling signal: ttin",
    r"Handling signal: ttou",
    r"Handling signal: usr1",
    r"Handling signal: hup",
    r"Hang up: Master",
    r"Handling signal: term",
    r"Shutting down: Master",
]


def test_lines_that_people_search_for_are_the_same_and_in_the_same_order(site):
    for program in BOTH:
        with running(program, site) as server:
            get(server.port, "/")
            for name in ("TTIN", "TTOU", "USR1", "HUP"):
                server.send(getattr(signal, f"SIG{name}"))
                server.wait_for_log(f"Handling signal: {name.lower()}")
            wait_until(lambda s=server: is_well(s), "it answers")
            assert server.stop() == 0
        messages = iter(server.messages())
        for line in LINES:
            assert any(re.fullmatch(line, message) for message in messages), (program, line)
        assert re.search(r"Worker exiting \(pid: \d+\)", server.log())


def is_well(server: Server) -> bool:
    try:
        return get(server.port, "/").status == 200
    except OSError:
        return False


def test_a_printed_configuration_has_the_same_form(site):
    conf(site, "workers = 2\ndef post_fork(server, worker): pass\n")
    pages = []
    for program in BOTH:
        status, page, _ = ended(program, site, "--print-config", "shop:app")
        assert status == 0
        lines = [line.split(" = ", 1) for line in page.splitlines()]
        pages.append({name.strip(): value.partition("  # ")[0] for name, value in lines})
        assert [name for name, _ in lines] == sorted(name for name, _ in lines)
    theirs, ours = pages
    assert set(theirs) <= set(ours)
    for name in ("workers", "timeout", "post_fork", "worker_class", "pidfile", "backlog"):
        assert ours[name] == theirs[name]
    assert ast.literal_eval(theirs["bind"]) == [ours["bind"]]


def test_a_kept_connection_serves_in_both_where_gunicorn_keeps_it(site):
    for program in BOTH:
        with running(program, site, "--threads", "2") as server, Client(server.port) as client:
            for path in ("/1", "/2"):
                answer = client.request(path)
                assert json.loads(answer.text)["PATH_INFO"] == path
