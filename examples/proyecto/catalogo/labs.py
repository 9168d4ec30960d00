"""Pages that misbehave on purpose, to see what a server makes of it."""

from __future__ import annotations

import os
import sys
import threading
import time

from django.http import HttpRequest, HttpResponse, JsonResponse

LEAKED: list[bytes] = []


def sleep(request: HttpRequest) -> HttpResponse:
    """Waits: `?s=1.5`."""
    seconds = min(float(request.GET.get("s", 1)), 600)
    time.sleep(seconds)
    return HttpResponse(f"slept {seconds} s\n", content_type="text/plain")


def cpu(request: HttpRequest) -> HttpResponse:
    """Burns processor time: `?ms=100`."""
    milliseconds = min(int(request.GET.get("ms", 100)), 600_000)
    end = time.process_time() + milliseconds / 1000
    rounds = 0
    while time.process_time() < end:
        sum(range(1000))
        rounds += 1
    return HttpResponse(f"{rounds} rounds in {milliseconds} ms\n", content_type="text/plain")


def leak(request: HttpRequest) -> JsonResponse:
    """Keeps memory for ever: `?kb=100`."""
    LEAKED.append(os.urandom(min(int(request.GET.get("kb", 100)), 102_400) * 1024))
    return JsonResponse({"pid": os.getpid(), "leaked_kb": sum(map(len, LEAKED)) // 1024})


def error(request: HttpRequest) -> HttpResponse:
    """Fails."""
    raise RuntimeError("this page fails on purpose")


def whoami(request: HttpRequest) -> JsonResponse:
    """Which process answers, and what the server says of itself."""
    environ = getattr(request, "environ", {})
    flags = {key: value for key, value in environ.items() if isinstance(value, bool)}
    return JsonResponse(
        {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "python": sys.version.split()[0],
            "server": environ.get("SERVER_SOFTWARE"),
            "thread": threading.current_thread().name,
            "wsgi": flags,
        }
    )


def health(request: HttpRequest) -> HttpResponse:
    """Says that the app runs, and asks nobody else."""
    return HttpResponse("ok\n", content_type="text/plain")
