"""What is done to a service under load, one thing after another."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service import BROKEN, GOOD, Service


@dataclass
class Killed:
    """A worker that was killed, and what it held at that moment.

    Attributes:
        inside: Client and number of the requests that were with the app.
        held: Ports of the clients whose connections it held: each may have a request in the
            kernel's buffers, in the front's, or on its way out.
    """

    inside: set[tuple[str, int]]
    held: set[int]


class Faults:
    """Chooses and commits faults, and remembers what they may have cost.

    Attributes:
        done: How often each fault was committed.
        killed: The workers that were killed.
    """

    def __init__(self, service: Service, seed: int) -> None:
        self._service = service
        self._random = random.Random(seed)
        self._broken = False
        self._extra = 0
        self.done: Counter[str] = Counter()
        self.killed: list[Killed] = []
        self._all: list[tuple[int, Callable[[], None]]] = [
            (6, self.reload),
            (2, self.more_workers),
            (2, self.fewer_workers),
            (1, self.stop_and_start),
            (2, self.kill_worker),
            (1, self.kill_zygote),
            (2, self.kill_candidate),
            (2, self.suspend_worker),
            (1, self.suspend_zygote),
            (1, self.suspend_candidate),
        ]

    def commit_all(self) -> None:
        """Each fault once, in some order."""
        faults = [fault for _, fault in self._all]
        self._random.shuffle(faults)
        for fault in faults:
            self._commit(fault)

    def commit_one(self) -> None:
        """One of the faults."""
        weights = [weight for weight, _ in self._all]
        (fault,) = self._random.choices([fault for _, fault in self._all], weights)
        self._commit(fault)

    def _commit(self, fault: Callable[[], None]) -> None:
        fault()
        assert self._service.is_alive(), self._service.log()[-4000:]
        self.done[fault.__name__] += 1
        time.sleep(self._random.uniform(0.2, 0.5))

    def reload(self) -> None:
        """Good and broken code in turn."""
        self._broken = not self._broken
        self._service.write_code(BROKEN if self._broken else GOOD)
        self._service.send(signal.SIGHUP)

    def more_workers(self) -> None:
        """Up to two more than at the start."""
        if self._extra < 2:
            self._extra += 1
            self._service.send(signal.SIGTTIN)

    def fewer_workers(self) -> None:
        """Down to one less than at the start."""
        if self._extra > -1:
            self._extra -= 1
            self._service.send(signal.SIGTTOU)

    def stop_and_start(self) -> None:
        """TERM; a new master takes over the same socket, or binds the same address."""
        self._service.stop()
        self._extra = 0
        self._service.start()

    def kill_worker(self) -> None:
        """KILL to any worker: what it holds may be lost."""
        pid = self._choose(self._service.workers())
        if pid is not None:
            self._kill(pid)

    def kill_zygote(self) -> None:
        """KILL to the oldest zygote."""
        for pid in self._service.zygotes()[:1]:
            self._kill(pid)

    def kill_candidate(self) -> None:
        """A reload whose zygote is killed while it loads, or a moment later."""
        before = self._begin_good_reload()
        time.sleep(self._random.uniform(0, 0.15))
        for pid in set(self._service.zygotes()) - before:
            self._kill(pid)

    def suspend_worker(self) -> None:
        """STOP for a while: its requests are late and not lost."""
        self._suspend(self._choose(self._service.workers()))

    def suspend_zygote(self) -> None:
        """STOP to the oldest zygote for a while."""
        self._suspend(self._choose(self._service.zygotes()[:1]))

    def suspend_candidate(self) -> None:
        """A reload whose zygote stands still for a while."""
        before = self._begin_good_reload()
        time.sleep(self._random.uniform(0, 0.15))
        self._suspend(self._choose(sorted(set(self._service.zygotes()) - before)))

    def _begin_good_reload(self) -> set[int]:
        before = set(self._service.zygotes())
        self._broken = False
        self._service.write_code(GOOD)
        self._service.send(signal.SIGHUP)
        return before

    def _kill(self, pid: int) -> None:
        """KILL, after it was stopped and looked at.

        Zygotes hold nothing. But what looks like one may be a worker that the log does not tell of
        yet, and that has begun to serve by now.
        """
        if self._signal(pid, signal.SIGSTOP) and self._is_stopped(pid):
            self.killed.append(Killed(self._service.inside(pid), self._service.held(pid)))
            self._signal(pid, signal.SIGKILL)

    def _choose(self, pids: list[int]) -> int | None:
        return self._random.choice(pids) if pids else None

    def _suspend(self, pid: int | None) -> None:
        if pid is not None and self._signal(pid, signal.SIGSTOP):
            time.sleep(self._random.uniform(0.1, 0.6))
            self._signal(pid, signal.SIGCONT)

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> bool:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    @staticmethod
    def _is_stopped(pid: int) -> bool:
        """Wait for all its threads; false when the process has ended by itself before.

        One that is stopped late may be about to take a connection, in the middle of a system call.
        """
        while True:
            try:
                states = {thread_state(task) for task in Path(f"/proc/{pid}/task").iterdir()}
            except (FileNotFoundError, ProcessLookupError):
                return False
            if states & {"Z", "X"}:
                return False
            if states == {"T"}:
                return True
            time.sleep(0.001)


def thread_state(task: Path) -> str:
    """The letter that the kernel shows for a thread."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
