"""The files of TLS, read while that is possible: later they may be gone, or forbidden."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass
class File:
    """A file, and what stood in it. The front takes the text where it cannot read the file."""

    path: str
    text: str | None

    @classmethod
    def read(cls, path: Any) -> File:
        """Read it, from where it is now."""
        name = os.path.abspath(os.fsdecode(path))
        if os.path.exists(name) and not os.path.isfile(name):
            # What is read from a pipe is gone.
            return cls(name, None)
        with open(name, encoding="latin-1") as file:
            return cls(name, file.read())

    def told(self) -> dict[str, Any]:
        """What the front is told."""
        return {"path": self.path, "text": self.text}


def of_settings(tls: dict[str, Any]) -> dict[str, Any]:
    """What settings want, with the files as they are now, as ``tls_context`` tells it."""
    pair = {
        "certificate": _told(tls["certificate"]),
        "key": _told(tls["key"]) if tls["key"] else None,
        "password": None,
    }
    return {
        "pairs": [pair],
        "authorities": [_told(tls["authorities"])] if tls["authorities"] else [],
        "client_certificates": tls["client_certificates"],
        "suites": tls["ciphers"],
        "own_order": False,
        "curve": None,
        "versions": [True, True],
        "without_tickets": False,
        "protocols": tls["protocols"],
    }


def _told(path: str) -> dict[str, Any]:
    try:
        return File.read(path).told()
    except OSError:
        # The front has the words for it.
        return File(path, None).told()
