"""As PID 1 of a container: everything that tini and dumb-init are used for, and hard conditions."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from http_client import get
from serving import Server, serving, wait_until

NAMESPACES = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]


def refusal() -> str:
    """Why no PID namespace can be made here; empty = it can."""
    if not shutil.which("unshare"):
        return "unshare is not installed"
    tried = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else tried.stderr.strip() or "unshare failed"


REFUSAL = refusal()
pytestmark = pytest.mark.skipif(bool(REFUSAL), reason=f"NOT RUN: {REFUSAL}")


def only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


class Container:
    """A server that is PID 1 of its namespace, seen from outside."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port = server.port
        self.master = only_child(server.pid)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.master, number)

    def family(self) -> list[int]:
        """All processes of the namespace but the master, by their numbers outside."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                inside = os.readlink(path / "ns/pid") == os.readlink(f"/proc/{self.master}/ns/pid")
            except OSError:
                continue
            if inside and int(path.name) != self.master:
                found.append(int(path.name))
        return found


@pytest.fixture
def contain(tmp_path: Path):
    """``with contain(...) as server``: as ``serve``, but as PID 1. ``prepare`` runs before."""

    @contextmanager
    def start(*args: str, prepare: str = "", **rest):
        script = f'{prepare}\nexec "$@"'
        before = [*NAMESPACES, "sh", "-ec", script, "sh"]
        with serving(tmp_path, *args, before=before, **rest) as server:
            yield server
            if server.process.poll() is None:
                # `unshare` would not pass a signal on.
                Container(server).send(signal.SIGTERM)
                server.wait()

    return start


def test_it_is_pid_1_and_serves(contain):
    with contain("--workers", "2", app="lab:app") as server:
        assert "Listening at: http://127.0.0.1" in server.log()
        assert "(1)" in next(line for line in server.messages() if "Listening" in line)
        assert get(server.port, "/pid").status == 200
        Container(server).send(signal.SIGTERM)
        assert server.wait() == 0


def test_strangers_are_reaped_and_nobody_is_replaced_for_them(contain):
    with contain(app="lab:app") as server:
        container = Container(server)
        workers = set(container.family())
        for _ in range(20):
            # Its parent, a shell, is gone at once: PID 1 inherits it.
            assert get(server.port, "/orphan?0.05").status == 200
        wait_until(lambda: set(container.family()) == workers, "all strangers were reaped")
        assert server.log().count("Booting worker") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_programs_of_the_app_that_are_left_get_term_before_they_are_killed(
    contain, tmp_path, number
):
    witness = tmp_path / "witness"
    with contain(app="lab:app", env={"WITNESS": str(witness)}) as server:
        get(server.port, "/orphan-with-witness")
        wait_until(witness.exists, "the program runs")
        container = Container(server)
        container.send(number)
        assert server.wait() == 0
        assert witness.read_text() == "started\ngot TERM\n"
        assert "1 processes that the application has started are left" in server.log()


def test_term_before_the_loop_runs_is_not_lost(contain):
    """PID 1 has no default actions: before its handlers stand, the kernel drops every signal."""
    with contain(app="slow_import:app", ready=False) as server:
        server.wait_for_log("Starting remuda")
        Container(server).send(signal.SIGTERM)
        assert server.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGALRM, signal.SIGCONT, signal.SIGURG])
def test_signals_without_a_meaning_change_nothing(contain, number):
    with contain(app="lab:app") as server:
        container = Container(server)
        before = container.family()
        container.send(number)
        time.sleep(0.1)
        assert get(server.port, "/pid").status == 200
        assert sorted(container.family()) == sorted(before)


def test_a_master_that_stood_still_kills_nobody(contain):
    env = {"GUNICORN_TIMEOUT": "1", "GUNICORN_WORKERS": "2"}
    with contain(app="lab:app", env=env) as server:
        container = Container(server)
        before = sorted(container.family())
        everybody = [container.master, *before]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1.5)
        assert get(server.port, "/pid").status == 200
        assert sorted(container.family()) == before
        assert "WORKER TIMEOUT" not in server.log()


def test_read_only_root_without_home_and_without_capabilities(contain):
    """What hardened containers look like; a hung worker is still named, with its stacks."""
    prepare = """
        mount -o remount,bind,ro /
        unset HOME XDG_RUNTIME_DIR
        touch /nobody-can-write 2>/dev/null && exit 9
        test "$(id -u)" = 0
    """
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    env = {"GUNICORN_TIMEOUT": "1"}
    with contain(app="lab:app", prepare=f'{prepare}\nset -- {" ".join(drop)} "$@"', env=env) as (
        server
    ):
        container = Container(server)
        status = Path(f"/proc/{container.master}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert get(server.port, "/pid").status == 200
        assert get(server.port, "/sleep?20").status == 504
        server.wait_for_log("WORKER TIMEOUT")
        server.wait_for_log("most recent call first")
        wait_until(lambda: get(server.port, "/pid").status == 200, "it was replaced")
        container.send(signal.SIGTERM)
        assert server.wait() == 0


def memory_group() -> tuple[Path | None, str]:
    """A new memory group (version 1 or 2) and the file with its limit, or why there is none."""
    name = f"remuda-test-{os.getpid()}-{time.monotonic_ns()}"
    mount = Path("/sys/fs/cgroup")
    for root, limit in ((mount, "memory.max"), (mount / "memory", "memory.limit_in_bytes")):
        group = root / name
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            return group, limit
        group.rmdir()
    return None, ""


def test_a_kill_by_the_kernel_is_named_as_such(contain):
    group, limit = memory_group()
    if group is None:
        pytest.skip("NOT RUN: no memory group can be made here")
    try:
        (group / limit).write_text(str(256 << 20))
        for swap in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
            if (group / swap).exists():
                (group / swap).write_text(str(256 << 20) if "memsw" in swap else "0")
        prepare = f"echo $$ > {group}/cgroup.procs"
        with contain("--workers", "2", app="lab:app", prepare=prepare) as server:
            with pytest.raises((OSError, EOFError)):
                get(server.port, "/eat?400")
            server.wait_for_log("Out of memory: the kernel has killed it")
            assert "Perhaps out of memory?" not in server.log()
            assert get(server.port, "/pid").status == 200
            Container(server).send(signal.SIGTERM)
            assert server.wait() == 0
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
        group.rmdir()


def test_usr2_is_refused_since_the_container_would_end(contain):
    with contain(app="lab:app") as server:
        Container(server).send(signal.SIGUSR2)
        server.wait_for_log("Signal usr2 ignored: as PID 1 this master cannot leave")
        assert get(server.port, "/pid").status == 200
