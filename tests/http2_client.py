"""An HTTP/2 client for tests: every frame is seen, and may be held back or sent at a bad moment."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions


@dataclass
class Answer:
    """What has come on one stream."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    hints: list[list[tuple[str, str]]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] | None = None
    ended: bool = False
    reset: int | None = None

    def get(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def text(self) -> str:
        return self.body.decode()


class Http2:
    """One connection."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext | None = None,
        timeout: float = 30.0,
        take: bool = True,
        opening: bytes = b"",
    ) -> None:
        """Connect, and send ``opening`` before everything else.

        With ``take`` false, no room is made for more of a body than the first window.
        """
        sock = socket.create_connection(("127.0.0.1", port), timeout)
        sock.sendall(opening)
        if context:
            sock = context.wrap_socket(sock, server_hostname="localhost")
            assert sock.selected_alpn_protocol() == "h2"
        self.socket = sock
        config = h2.config.H2Configuration(header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.goaway: tuple[int, int] | None = None
        self.closed = False
        self.pongs = 0
        self._holding = False
        self._buffer = b""
        self._take = take
        self._next_stream = 1
        self.flush()

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        """Send what h2 has ready, unless it is held back."""
        if not self._holding:
            self.socket.sendall(self.h2.data_to_send())

    def hold(self) -> None:
        """Send nothing for a while, so that it will all come at once."""
        self._holding = True

    def release(self) -> None:
        """Send what was held back."""
        self._holding = False
        self.flush()

    def start(
        self,
        path: str = "/",
        method: str = "GET",
        headers: list[tuple[str, str]] | None = None,
        end: bool = True,
        authority: str = "localhost",
    ) -> int:
        """Send a request's head; the stream's number."""
        stream = self._next_stream
        self._next_stream += 2
        scheme = "https" if isinstance(self.socket, ssl.SSLSocket) else "http"
        pseudo = [(":method", method), (":scheme", scheme), (":path", path)]
        if authority:
            pseudo.append((":authority", authority))
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, [*pseudo, *(headers or [])], end_stream=end)
        self.flush()
        return stream

    def send_body(self, stream: int, body: bytes, end: bool = True) -> None:
        """Send a body as the server makes room for it."""
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.receive()
                continue
            piece, body = body[:room], body[room:]
            self.h2.send_data(stream, piece)
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def settle(self) -> None:
        """Wait until the server has read all that was sent."""
        before = self.pongs
        self.h2.ping(b"settled?")
        self.flush()
        while self.pongs == before:
            if not self.receive():
                raise EOFError("closed")

    def reset(self, stream: int, code: int = 8) -> None:
        """Take a request back."""
        self.h2.reset_stream(stream, code)
        self.flush()

    def make_room(self, stream: int, count: int) -> None:
        """Let the server send so many bytes more."""
        self.h2.acknowledge_received_data(count, stream)
        self.flush()

    def receive(self) -> bool:
        """Take what has come, waiting for something; false at the end of the connection."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return False
        self._buffer += data
        while (frame := self._next_frame()) is not None:
            for event in self.h2.receive_data(frame):
                self._on(event)
        self.flush()
        return True

    def _next_frame(self) -> bytes | None:
        length = 9 + int.from_bytes(self._buffer[:3], "big")
        if len(self._buffer) < max(length, 9):
            return None
        frame, self._buffer = self._buffer[:length], self._buffer[length:]
        return frame

    def _on(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                answer = self.answers[event.stream_id]
                answer.headers = [(str(key), str(value)) for key, value in event.headers]
                answer.status = int(answer.get(":status") or 0)
            case h2.events.InformationalResponseReceived():
                hints = [(str(key), str(value)) for key, value in event.headers]
                self.answers[event.stream_id].hints.append(hints)
            case h2.events.DataReceived():
                self.answers[event.stream_id].body += event.data
                if self._take:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                trailers = [(str(key), str(value)) for key, value in event.headers]
                self.answers[event.stream_id].trailers = trailers
            case h2.events.StreamEnded():
                self.answers[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.answers[event.stream_id].reset = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.goaway = (event.last_stream_id, int(event.error_code))
                # hyper-h2 takes it for the end of everything; but it is the end of new streams.
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            case h2.events.PingAckReceived():
                self.pongs += 1
            case _:
                pass

    def read(self, stream: int) -> Answer:
        """Wait for the end of a stream, good or bad."""
        answer = self.answers[stream]
        while not answer.ended and answer.reset is None:
            if not self.receive():
                raise EOFError(f"closed in the middle of {answer}")
        return answer

    def request(self, path: str = "/", body: bytes = b"", **options: object) -> Answer:
        """Send a request and read its answer."""
        method = options.pop("method", "POST" if body else "GET")
        stream = self.start(path, method, end=not body, **options)  # type: ignore[arg-type]
        if body:
            self.send_body(stream, body)
        return self.read(stream)

    def read_to_end(self) -> None:
        """Read until the server closes."""
        while self.receive():
            pass
