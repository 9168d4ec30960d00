"""Where a service listens: files, descriptors, families of addresses, and several at once."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from http_client import Client, get
from serving import APPS, REMUDA, free_port, wait_until


def ask_unix(path: Path, target: str = "/environ") -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(f"GET {target} HTTP/1.0\r\nHost: example.org\r\n\r\n".encode())
        data = b""
        while piece := connection.recv(65536):
            data += piece
    return json.loads(data.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(("umask", "mode"), [(None, 0o777), ("0007", 0o770), ("0o117", 0o660)])
def test_unix_socket_lacks_the_bits_of_the_umask(serve, tmp_path, umask, mode):
    path = tmp_path / "app.sock"
    args = ["--umask", umask] if umask else []
    with serve("--bind", f"unix:{path}", *args, app="lab:app", bind=False):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert ask_unix(path)["REMOTE_ADDR"] == ""


def test_umask_is_for_the_socket_only(serve, tmp_path):
    """gunicorn's docs say so, and so do its workers."""
    before = os.umask(0o027)
    try:
        with serve("--umask", "0", app="lab:app") as server:
            for pid in (server.pid, *server.workers()):
                status = Path(f"/proc/{pid}/status").read_text()
                assert "Umask:\t0027" in status
    finally:
        os.umask(before)


def test_ipv6_and_several_binds_of_all_kinds(serve, tmp_path):
    four, six = free_port(), free_port()
    path = tmp_path / "app.sock"
    binds = [f"127.0.0.1:{four}", f"[::1]:{six}", f"unix:{path}"]
    args = [argument for bind in binds for argument in ("--bind", bind)]
    with serve(*args, app="lab:app", bind=False):
        assert json.loads(get(four, "/environ").text)["SERVER_PORT"] == str(four)
        assert ask_unix(path)["SERVER_NAME"] == "example.org"
        with socket.create_connection(("::1", six)) as connection:
            connection.sendall(b"GET /environ HTTP/1.0\r\n\r\n")
            data = b""
            while piece := connection.recv(65536):
                data += piece
        shown = json.loads(data.partition(b"\r\n\r\n")[2])
        assert (shown["SERVER_NAME"], shown["REMOTE_ADDR"]) == ("::1", "::1")


def test_every_interface_takes_both_families(serve):
    port = free_port()
    with serve("--bind", f":{port}", app="lab:app", bind=False):
        assert json.loads(get(port, "/environ").text)["REMOTE_ADDR"] == "127.0.0.1"
        with socket.create_connection(("::1", port)) as connection:
            connection.sendall(b"GET /pid HTTP/1.0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.0 200 OK")


def listening() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def run_with_fds(command: list[str], env: dict[str, str], listener: socket.socket, log: Path):
    """Start a server that inherits a listener as descriptor 3."""
    with log.open("wb") as stderr:
        # What a service manager does: the process id is known only after the fork.
        code = (
            "import os, sys\n"
            f"os.dup2({listener.fileno()}, 3)\n"
            "os.environ['LISTEN_PID'] = str(os.getpid())\n"
            f"os.execv({command[0]!r}, {command!r})\n"
        )
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env={**{k: v for k, v in os.environ.items() if k != "PORT"}, **env},
            cwd=APPS,
            stderr=stderr,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )


@pytest.mark.parametrize(
    ("args", "env"),
    [(["--bind", "fd://3"], {}), ([], {"LISTEN_FDS": "1"})],
    ids=["fd", "LISTEN_FDS"],
)
def test_inherited_listener_is_used_and_stays_open_for_its_owner(tmp_path, args, env):
    log = tmp_path / "log"
    with listening() as listener:
        port = listener.getsockname()[1]
        with run_with_fds([str(REMUDA), *args, "lab:app"], env, listener, log) as process:
            try:
                wait_until(lambda: "ready to serve" in log.read_text(), "it serves")
                assert json.loads(get(port, "/environ").text)["SERVER_PORT"] == str(port)
                assert f"Listening at: http://127.0.0.1:{port} " in log.read_text()
            finally:
                process.terminate()
                process.wait(20)
        # A socket that somebody else owns goes on taking connections after us.
        with socket.create_connection(("127.0.0.1", port), 5):
            pass


def test_a_descriptor_that_is_no_listener_is_explained(serve):
    with serve("--bind", "fd://77", app="lab:app", bind=False, ready=False) as server:
        assert server.wait() == 1
        assert "cannot listen on fd://77" in server.log()


def test_two_services_can_share_an_address(serve):
    port = free_port()
    bind = ["--bind", f"127.0.0.1:{port}", "--reuse-port"]
    with serve(*bind, app="lab:app", bind=False) as first:
        with serve(*bind, app="lab:app", bind=False) as second:
            both = {*first.workers(), *second.workers()}
            seen: set[int] = set()

            def all_seen() -> bool:
                seen.add(int(get(port, "/pid").text))
                return seen == both

            wait_until(all_seen, "both services get connections")
        # The kernel sends nobody to the one that has gone.
        for _ in range(20):
            assert int(get(port, "/pid").text) in first.workers()


def test_workers_of_a_service_share_one_socket_with_reuse_port(serve):
    """A socket for each worker would reset what waits in it whenever that worker is replaced."""
    with serve("--reuse-port", "--workers", "2", app="lab:app") as server:
        inodes = {listener_of(pid, server.port) for pid in (server.pid, *server.workers())}
        assert len(inodes) == 1
        with Client(server.port) as client:
            assert client.request("/pid").status == 200


def listener_of(pid: int, port: int) -> str:
    """The one listening socket of this port that a process holds."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    inodes = {f[9] for f in fields if f[1].endswith(f":{port:04X}") and f[3] == "0A"}
    held = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    (inode,) = {inode for inode in inodes if f"socket:[{inode}]" in held}
    return inode
