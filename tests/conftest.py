"""Fixtures: a running server, and the worker classes that every promise is tested for."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "site")]

from serving import REMUDA, serving  # noqa: E402
from tls_files import TlsFiles  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    if not REMUDA.exists():
        raise pytest.UsageError(f"{REMUDA} does not exist: run `make build` first")


@pytest.fixture(params=["sync", "gthread", "gevent", "asgi"])
def worker_class(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["sync", "gthread", "gevent"])
def wsgi_class(request: pytest.FixtureRequest) -> str:
    """The worker classes that run WSGI apps."""
    return request.param


@pytest.fixture
def serve(tmp_path: Path):
    """Start servers whose logs live in the test's folder: ``with serve("--workers", "2"):``."""
    return partial(serving, tmp_path)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An empty directory to start in; the apps of ``tests/apps`` can be imported from there."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose masters meet nobody else's."""
    (tmp_path / "run").mkdir(mode=0o700)
    return {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def tls(tmp_path: Path) -> TlsFiles:
    """Certificates for a server and its clients."""
    folder = tmp_path / "tls"
    folder.mkdir()
    return TlsFiles(folder)
