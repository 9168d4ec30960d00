"""A site that was not written here: `wagtail start`, with log-in to its admin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from browser import Browser
from load import Load
from serving import serving

WAGTAIL = "wagtail==7.2.*"


@pytest.fixture(scope="module")
def wagtail(tmp_path_factory) -> tuple[Path, Path]:
    """A new site in an environment that also has this build; its folder, and the interpreter."""
    folder = tmp_path_factory.mktemp("wagtail")
    # Beside the packages of this environment, which the tests must not change.
    packages = folder / "packages"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        str(packages),
        WAGTAIL,
    ]
    result = subprocess.run(install, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"NOT RUN: wagtail cannot be installed: {result.stderr[-300:]}")
    env = environment(packages)
    start = [sys.executable, str(packages / "bin" / "wagtail"), "start", "mysite", str(folder)]
    subprocess.run(start, env=env, check=True, capture_output=True)
    for command in (
        ["migrate", "--no-input"],
        ["createsuperuser", "--no-input", "--username", "admin", "--email", "a@example.org"],
    ):
        run = [sys.executable, "manage.py", *command]
        subprocess.run(run, cwd=folder, env=env, check=True, capture_output=True)
    return folder, packages


def environment(packages: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(packages),
        "DJANGO_SUPERUSER_PASSWORD": "secret",
        "DJANGO_SETTINGS_MODULE": "mysite.settings.dev",
    }


def test_log_in_to_the_admin_works_with_gevent_and_with_sync(wagtail, tmp_path):
    # One test, since two may run in two processes, each of which would make the site.
    for worker_class, workers in (("gevent", 2), ("sync", 5)):
        log_in_to_the_admin(wagtail, worker_class, workers, tmp_path)


def log_in_to_the_admin(
    wagtail: tuple[Path, Path], worker_class: str, workers: int, tmp_path: Path
) -> None:
    """Log in, and ask for a page of the admin from several clients."""
    folder, packages = wagtail
    env = {
        "PYTHONPATH": str(packages),
        "DJANGO_SETTINGS_MODULE": "mysite.settings.dev",
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_WORKERS": str(workers),
    }
    with serving(tmp_path, app="mysite.wsgi", env=env, cwd=folder) as server:
        browser = Browser(server.port)
        assert "Welcome" in browser.open("/")[1]
        where, page = browser.log_in("/admin/login/", username="admin", password="secret")
        assert where.startswith("/admin/")
        assert "login" not in where
        assert "Sign out" in page or "Log out" in page
        assert len(server.workers()) == workers
        with Load(server.port, clients=4, path="/admin/login/", limit=200) as load:
            for thread in load._threads:
                thread.join(60)
        assert load.lost == []
