"""A small client that shows every byte: what a test of a server needs and libraries hide."""

from __future__ import annotations

import select
import socket
import ssl
from dataclasses import dataclass, field


@dataclass
class Response:
    """One response, decoded."""

    status: int
    reason: str
    version: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def get(self, name: str) -> str | None:
        """The first header of this name, in any case."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """One connection."""

    def __init__(
        self,
        port: int,
        timeout: float = 30.0,
        context: ssl.SSLContext | None = None,
        opening: bytes = b"",
    ) -> None:
        """Connect to a loopback port and send ``opening``; with ``context``, speak TLS then."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.sendall(opening)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self._buffer = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def request(
        self,
        path: str = "/",
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """Send a request and read its response."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.read(head_only=method == "HEAD")

    def _fill(self) -> bool:
        data = self.socket.recv(65536)
        self._buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if not self._fill():
                raise EOFError(f"closed before {mark!r}; got {bytes(self._buffer)!r}")
        at = self._buffer.index(mark)
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._fill():
                raise EOFError(f"closed after {len(self._buffer)} of {count} bytes")
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    def read_exactly(self, count: int) -> bytes:
        """So many bytes, whatever they are."""
        return self._exactly(count)

    def read_head(self) -> Response:
        """Read a status line and headers."""
        first, *rest = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, reason = (first + " ").split(" ", 2)
        pairs = (line.partition(":") for line in rest)
        headers = [(name, value.strip()) for name, _, value in pairs]
        return Response(int(status), reason.strip(), version, headers)

    def read(self, head_only: bool = False) -> Response:
        """Read one whole response."""
        response = self.read_head()
        if head_only or response.status in (204, 304) or response.status < 200:
            return response
        if (response.get("transfer-encoding") or "") == "chunked":
            response.body = b"".join(iter(self.read_chunk, b""))
        elif (length := response.get("content-length")) is not None:
            response.body = self._exactly(int(length))
        else:
            response.body = self.read_to_end()
        return response

    def read_chunk(self) -> bytes:
        """Read one chunk of a chunked body; empty at the last."""
        size = int(self._until(b"\r\n").split(b";")[0], 16)
        data = self._exactly(size)
        assert self._exactly(2) == b"\r\n"
        return data

    def read_to_end(self) -> bytes:
        """Read until the server closes."""
        while self._fill():
            pass
        found = bytes(self._buffer)
        self._buffer.clear()
        return found

    def has_answer(self) -> bool:
        """Whether something has come, without waiting."""
        readable, _, _ = select.select([self.socket], [], [], 0)
        return bool(self._buffer or readable)

    def is_closed(self) -> bool:
        """Wait for the server to close; false when it sends something first."""
        if self._buffer:
            return False
        try:
            return not self._fill()
        except ConnectionResetError:
            return True


def get(port: int, path: str = "/", **options: object) -> Response:
    """One request on a connection of its own."""
    with Client(port) as client:
        return client.request(path, **options)  # type: ignore[arg-type]
