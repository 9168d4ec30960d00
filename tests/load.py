"""A bounded load whose every request is accounted for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from http_client import Client


class Load:
    """Clients that ask again and again until stopped, and count what became of each request.

    A request counts as lost when the server took the connection and did not answer, or answered
    with an error. An idle kept-alive connection that the server closes is opened again, as every
    HTTP client does, unless a byte of the response had come.
    """

    def __init__(
        self,
        port: int,
        clients: int = 4,
        path: str = "/",
        keepalive: bool = True,
        on_body: Callable[[str], None] | None = None,
        limit: int = 200_000,
    ) -> None:
        self.port = port
        self.path = path
        self.keepalive = keepalive
        self.on_body = on_body
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.lost: list[str] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each client finish its request."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def answered(self) -> int:
        return self.counts["answered"]

    def _run(self) -> None:
        client: Client | None = None
        while not self._stopping.is_set() and sum(self.counts.values()) < self.limit:
            try:
                if client is None:
                    client = Client(self.port)
                headers = {} if self.keepalive else {"Connection": "close"}
                response = client.request(self.path, headers=headers)
            except ConnectionRefusedError:
                self.counts["refused"] += 1
                client = None
                time.sleep(0.05)
                continue
            except (OSError, EOFError) as error:
                self.lost.append(repr(error))
                if client:
                    client.socket.close()
                client = None
                continue
            if response.status != 200:
                self.lost.append(f"{response.status} {response.reason}")
            self.counts["answered"] += 1
            if self.on_body:
                self.on_body(response.text)
            if (response.get("Connection") or "").lower() == "close":
                client.socket.close()
                client = None
        if client:
            client.socket.close()
