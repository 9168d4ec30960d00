"""Ends its process, unless that is a child of the master: a worker."""

import os
from pathlib import Path

if Path(f"/proc/{os.getppid()}/comm").read_text() != "remuda\n":
    os._exit(7)
