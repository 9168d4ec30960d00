"""A real PostgreSQL and a real Redis for a test, on loopback, from the distribution's packages."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving import free_port, wait_until


def find(program: str) -> str | None:
    """A program of the distribution; PostgreSQL's servers are not on the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(program) or next(
        (str(folder / program) for folder in folders if (folder / program).exists()), None
    )


def unprivileged() -> dict[str, str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    return {"user": user, "group": pwd.getpwnam(user).pw_gid}


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a server with an empty database; its ``DATABASE_URL``."""
    initdb, server = find("initdb"), find("postgres")
    assert initdb and server
    who = unprivileged()
    port = free_port()
    # Not in the test's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        if who:
            shutil.chown(folder, who["user"])
        data = f"{folder}/data"
        create = [initdb, "-D", data, "-U", "remuda", "-A", "trust", "--no-sync"]
        subprocess.run(create, check=True, capture_output=True, cwd=folder, **who)
        command = [server, "-D", data, "-p", str(port), "-k", folder, "-c", "fsync=off"]
        command += ["-c", "listen_addresses=127.0.0.1"]
        log = open(f"{folder}/log", "wb")  # noqa: SIM115
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **who)
        try:
            isready = find("pg_isready") or "pg_isready"
            ask = [isready, "-h", "127.0.0.1", "-p", str(port), "-q"]
            wait_until(lambda: subprocess.run(ask).returncode == 0, "PostgreSQL answers")
            yield f"postgres://remuda@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(2)
            process.wait(30)
            log.close()


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run a server; its ``REDIS_URL``."""
    server = find("redis-server")
    assert server
    port = free_port()
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        from http_client import Client

        def answers() -> bool:
            try:
                with Client(port) as client:
                    client.send(b"PING\r\n")
                    return client.socket.recv(16).startswith(b"+PONG")
            except OSError:
                return False

        wait_until(answers, "Redis answers")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)
