"""No request is lost, whatever is done to the service; every one is counted.

Only what was inside a worker that was killed may be lost: of each loss it is shown that a killed
worker held its connection, and of each request that was with the app in such a worker that it is
counted as lost. The short run is part of ``make test``; ``make soak`` asks a million times.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from clients import CLIENT, Books, Clients
from faults import Faults
from service import Service

REQUESTS = int(os.environ.get("REQUESTS", "0"))
SEED = int(os.environ.get("SEED", "1"))
# Without REQUESTS a class is tried for this long; with it, until all are asked.
SHORT_S = 8.0
SHORT_REQUESTS = 60_000
LONG_S = 7000.0

SETTINGS = {
    "GUNICORN_WORKERS": "3",
    "GUNICORN_MAX_REQUESTS": "50",
    "GUNICORN_MAX_REQUESTS_JITTER": "20",
    "GUNICORN_BODY_SPOOL_BYTES": "65536",
    "GUNICORN_GRACEFUL_TIMEOUT": "20",
    "GUNICORN_TIMEOUT": "20",
    "GUNICORN_BOOT_TIMEOUT": "30",
    "GUNICORN_LOGLEVEL": "debug",
}
CLASSES = {
    "sync": {"GUNICORN_WORKER_CLASS": "sync"},
    "gthread": {"GUNICORN_WORKER_CLASS": "gthread", "GUNICORN_THREADS": "4"},
    "gevent": {"GUNICORN_WORKER_CLASS": "gevent"},
    "asgi": {"GUNICORN_WORKER_CLASS": "asgi"},
    "sync, alone": {"GUNICORN_WORKER_CLASS": "sync", "GUNICORN_WORKERS": "1"},
    "gthread, own socket": {"GUNICORN_WORKER_CLASS": "gthread", "GUNICORN_THREADS": "4"},
}
# Whose socket is gone while nobody serves: new clients are refused then, as they must be.
OWN_SOCKET = "gthread, own socket"


@pytest.mark.timeout(0 if REQUESTS else 240)
@pytest.mark.parametrize("name", CLASSES)
def test_nothing_is_lost_but_what_was_inside_a_killed_process(tmp_path: Path, name: str):
    if not CLIENT.exists():
        pytest.fail(f"NOT RUN: {CLIENT} does not exist; `make load` builds it")
    service = Service(tmp_path, {**SETTINGS, **CLASSES[name]}, inherits=name != OWN_SOCKET)
    clients = None
    try:
        service.start()
        requests, seconds = (
            (REQUESTS // len(CLASSES), LONG_S) if REQUESTS else (SHORT_REQUESTS, SHORT_S)
        )
        began, began_at = time.monotonic(), time.time()
        clients = Clients(service.port, requests, seconds, tmp_path)
        faults = Faults(service, SEED)
        faults.commit_all()
        while not clients.are_done():
            faults.commit_one()
        books = clients.books()
        service.stop()
        tell(name, books, faults, service, time.monotonic() - began)
        for loss in unexplained_losses(books, faults):
            print(loss)
            # It is not known when a request was given back unread.
            if "ended_s" in loss:
                print(service.log_around(began_at + loss["ended_s"]))
        judge(books, faults, may_refuse=name == OWN_SOCKET)
    finally:
        if clients is not None:
            clients.stop()
        service.close()


def unexplained_losses(books: Books, faults: Faults) -> list[dict[str, Any]]:
    """What was lost though no killed worker held its connection."""
    held = set().union(*(killed.held for killed in faults.killed))
    failures = [one for one in books.failures if one["what"] != "connection refused"]
    return [one for one in failures + books.unread if one["port"] not in held]


def judge(books: Books, faults: Faults, may_refuse: bool) -> None:
    """Every loss lies inside a killed process, and all that was inside is a loss."""
    inside = set().union(*(killed.inside for killed in faults.killed))
    failures = [one for one in books.failures if one["what"] != "connection refused"]
    assert unexplained_losses(books, faults) == []
    # A kept connection that is reset unread is no loss to a client: it asks again.
    gone = {(one["client"], one["number"]) for one in failures + books.unread}
    assert inside <= gone, f"answered though their process was killed: {inside - gone}"
    assert books.counts["lost"] == len(failures)
    for never in ("not 2xx", "connect_timed_out", "not_sent", "timed_out"):
        assert books.counts[never] == 0, never
    assert may_refuse or books.counts["refused"] == 0
    for fault, times in faults.done.items():
        assert times > 0, fault


def tell(name: str, books: Books, faults: Faults, service: Service, seconds: float) -> None:
    """One line of JSON for each class, where TELL says; docs/reliability.md shows them."""
    log = service.log()
    told = {
        "class": name,
        "seconds": round(seconds, 1),
        **books.counts,
        "inside killed processes": sum(len(killed.inside) for killed in faults.killed),
        "workers": log.count("Booting worker"),
        "recycled": len(re.findall(r"Worker drains .*cause: max_requests", log)),
        "reloads done": log.count("Reload done"),
        "reloads given up": log.count("Reload given up"),
        "faults": dict(sorted(faults.done.items())),
    }
    line = json.dumps(told)
    print(line)
    if path := os.environ.get("TELL"):
        with open(path, "a") as file:
            file.write(line + "\n")
