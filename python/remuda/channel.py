"""The zygote's end of its channel to the master: one JSON object a packet.

The C socket type is used by itself, since gevent replaces ``socket.socket`` by one that would run
its hub while the zygote waits.
"""

from __future__ import annotations

import _socket
import json
from typing import Any

CHANNEL_FD = 3
SCOREBOARD_FD = 4
MESSAGE_BYTES_MAX = 64 * 1024
FD_BYTES = 4


class Channel:
    """A connected ``SOCK_SEQPACKET`` socket: packets stay whole."""

    def __init__(self, fd: int = CHANNEL_FD, flags: int = 0) -> None:
        self._socket = _socket.socket(fileno=fd)
        self._flags = flags

    def send(self, **message: Any) -> None:
        """Send a message; ``type`` says which.

        A master that is gone is not an error here: the next ``receive`` says so.
        """
        try:
            self._socket.send(json.dumps(message).encode()[:MESSAGE_BYTES_MAX], self._flags)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self) -> tuple[dict[str, Any], int | None] | None:
        """Wait for a message.

        Returns:
            The message and the descriptor that came with it, or ``None`` when the master is gone.
        """
        try:
            packet, ancillary, _, _ = self._socket.recvmsg(
                MESSAGE_BYTES_MAX, _socket.CMSG_LEN(FD_BYTES), _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return None
        if not packet:
            return None
        fd = None
        for level, kind, data in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fd = int.from_bytes(data[:FD_BYTES], "little", signed=True)
        return json.loads(packet), fd

    def close(self) -> None:
        """Close this process's end."""
        self._socket.close()
