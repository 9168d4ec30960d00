"""``wsgi.file_wrapper``: files that the kernel sends, however slow the client."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from http_client import Client, get
from serving import Server, serving, wait_until

CLASSES = ["sync", "gthread", "gevent"]
LARGE = os.urandom(1 << 16) * (50 << 4)  # 50 MiB
SMALL = b"0123456789"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "small").write_bytes(SMALL)
    (folder / "large").write_bytes(LARGE)
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture(scope="module", params=CLASSES)
def lab(request, tmp_path_factory, files):
    env = {"GUNICORN_WORKER_CLASS": request.param, "LAB_FILES": str(files)}
    folder = tmp_path_factory.mktemp(request.param)
    with serving(folder, "--keep-alive", "60", app="lab:app", env=env) as server:
        yield server


def path_of(name: str, position: str = "", declared: str = "", kind: str = "plain") -> str:
    return f"/file-of?{name}:{position}:{declared}:{kind}"


@pytest.mark.parametrize("kind", ["plain", "raw", "temporary", "iterated"])
@pytest.mark.parametrize("name", ["small", "large", "empty"])
def test_file_arrives_whole_and_the_connection_goes_on(lab, kind, name):
    expected = {"small": SMALL, "large": LARGE, "empty": b""}[name]
    with Client(lab.port) as client:
        answer = client.request(path_of(name, kind=kind))
        assert hashlib.sha1(answer.body).digest() == hashlib.sha1(expected).digest()
        if kind != "iterated":
            assert answer.get("Content-Length") == str(len(expected)), "the length is known"
        assert client.request("/pid").status == 200


@pytest.mark.parametrize("kind", ["plain", "raw", "temporary"])
def test_file_is_sent_from_its_position_on(lab, kind):
    with Client(lab.port) as client:
        assert client.request(path_of("small", "4", kind=kind)).body == SMALL[4:]
        assert client.request(path_of("small", "4", "3", kind=kind)).body == SMALL[4:7]
        assert client.request(path_of("small", "10", kind=kind)).body == b""
        assert client.request("/pid").status == 200


def test_file_that_is_shorter_than_declared_cuts_the_connection(lab):
    with Client(lab.port) as client:
        client.send(f"GET {path_of('small', '', '11')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(EOFError):
            client.read()


def test_only_bytes_of_plain_files_are_sent_by_the_kernel(lab):
    (Path(get_env(lab)) / "text").write_bytes(b"text in small letters")
    assert get(lab.port, path_of("text", kind="masked")).body == b"TEXT IN SMALL LETTERS"


def get_env(lab: Server) -> str:
    """The folder of files, from the environment of the process itself."""
    variables = Path(f"/proc/{lab.pid}/environ").read_bytes().decode().split("\0")
    return next(value.partition("=")[2] for value in variables if value.startswith("LAB_FILES="))


def test_responses_without_a_body_send_no_file(lab):
    with Client(lab.port) as client:
        head = client.request(path_of("large"), method="HEAD")
        assert (head.status, head.get("Content-Length")) == (200, str(len(LARGE)))
        assert client.request(path_of("small", kind="304")).status == 304
        assert client.request(path_of("small", kind="204")).status == 204
        assert client.request("/pid").status == 200


def test_http_1_0_gets_a_file(lab):
    with Client(lab.port) as client:
        client.send(f"GET {path_of('large')} HTTP/1.0\r\n\r\n".encode())
        assert client.read().body == LARGE


def closed(lab: Server) -> list[str]:
    return get(lab.port, "/closed").text.split(",")


def test_file_is_closed_once_it_is_sent_and_not_before(lab, files):
    shutil.copy(files / "large", files / "slowly-read")
    with Client(lab.port) as client:
        client.send(f"GET {path_of('slowly-read')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.read_head()
        time.sleep(0.2)
        assert "slowly-read" not in closed(lab), "the client has not read it yet"
        assert client._exactly(len(LARGE)) == LARGE
    wait_until(lambda: "slowly-read" in closed(lab), "close() was called")


def test_file_is_closed_when_the_client_leaves(lab, files):
    shutil.copy(files / "large", files / "left-alone")
    with Client(lab.port) as client:
        client.send(f"GET {path_of('left-alone')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.read_head()
    wait_until(lambda: "left-alone" in closed(lab), "close() was called")
    (worker,) = lab.workers()
    wait_until(lambda: not links(worker, "left-alone"), "no descriptor is left")


def links(pid: int, name: str) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except OSError:
            continue
    return [link for link in found if link.endswith(f"/{name}")]


def test_clients_that_do_not_read_hold_up_nobody(lab):
    with ExitStack() as opened:
        for _ in range(20):
            client = opened.enter_context(Client(lab.port))
            client.send(f"GET {path_of('large')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for _ in range(20):
            assert get(lab.port, "/pid").status == 200


def test_file_that_shrinks_meanwhile_cuts_the_connection(lab, files):
    shutil.copy(files / "large", files / "shrinking")
    with Client(lab.port) as client:
        client.send(f"GET {path_of('shrinking')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.read_head()
        os.truncate(files / "shrinking", 1 << 20)
        with pytest.raises(EOFError):
            client._exactly(len(LARGE))
    assert get(lab.port, "/pid").status == 200


@pytest.mark.parametrize("worker_class", CLASSES)
def test_a_stop_waits_until_the_file_is_sent(serve, files, worker_class):
    env = {"GUNICORN_WORKER_CLASS": worker_class, "LAB_FILES": str(files)}
    with serve(app="lab:app", env=env) as server, Client(server.port) as client:
        client.send(f"GET {path_of('large')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.read_head()
        server.process.terminate()
        time.sleep(0.3)
        assert client._exactly(len(LARGE)) == LARGE
        assert server.wait() == 0


@pytest.mark.parametrize(
    ("env", "used"),
    [({}, True), ({"SENDFILE": "0"}, False), ({"GUNICORN_SENDFILE": "false"}, False)],
    ids=["default", "SENDFILE", "setting"],
)
def test_sendfile_is_used_unless_it_is_switched_off(serve, files, tmp_path, env, used):
    if not shutil.which("strace"):
        pytest.skip("NOT RUN: strace is not installed")
    with serve(app="lab:app", env={"LAB_FILES": str(files), **env}) as server:
        (worker,) = server.workers()
        trace = tmp_path / "trace"
        command = ["strace", "-f", "-e", "trace=sendfile", "-o", str(trace), "-p", str(worker)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert "attached" in tracer.stderr.readline()
            assert get(server.port, path_of("large")).body == LARGE
            tracer.terminate()
        calls = re.findall(r"sendfile\(.*= (\d+)", trace.read_text())
        assert (sum(map(int, calls)) == len(LARGE)) if used else not calls
