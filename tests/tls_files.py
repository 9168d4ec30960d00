"""Certificates for a test: a CA of its own, and what it has signed."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import trustme


@dataclass
class TlsFiles:
    """Files in a folder of the test's.

    Attributes:
        folder: Where they are.
        authority: Who has signed both.
    """

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.issue()

    @property
    def cert(self) -> Path:
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def client(self) -> Path:
        return self.folder / "client.pem"

    def issue(self, name: str = "localhost") -> None:
        """Write a new pair for the server, as a renewal does: each file is replaced at once."""
        pair = self.authority.issue_cert(name, "localhost", "127.0.0.1", common_name=name)
        chain = b"".join(blob.bytes() for blob in pair.cert_chain_pems)
        for path, pem in [(self.key, pair.private_key_pem.bytes()), (self.cert, chain)]:
            fresh = path.with_suffix(".new")
            fresh.write_bytes(pem)
            os.replace(fresh, path)

    def issue_client(self, name: str, authority: trustme.CA | None = None) -> None:
        """Write a client's pair."""
        pair = (authority or self.authority).issue_cert(f"{name}@example.org", common_name=name)
        pair.private_key_and_cert_chain_pem.write_to_path(str(self.client))

    @property
    def settings(self) -> dict[str, str]:
        """What makes a server speak TLS."""
        return {"GUNICORN_CERTFILE": str(self.cert), "GUNICORN_KEYFILE": str(self.key)}

    def context(self, *protocols: str, client: bool = False) -> ssl.SSLContext:
        """What a client connects with: it verifies the server, and may show a certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if client:
            context.load_cert_chain(str(self.client))
        return context
