"""The example site under remuda: every page, SQLite and PostgreSQL, both worker classes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from databases import find, postgresql, redis
from http_client import Client, get
from load import Load
from serving import serving, wait_until

SITE = Path(__file__).parents[2] / "examples" / "proyecto"


def prepared(folder: Path, env: dict[str, str]) -> Path:
    """A copy of the site with its database made and seeded."""
    site = folder / "proyecto"
    shutil.copytree(SITE, site, ignore=shutil.ignore_patterns("db.sqlite3*", "__pycache__"))
    command = [sys.executable, "manage.py", "prepare"]
    clean = {**os.environ, "DJANGO_SETTINGS_MODULE": "proyecto.settings.prod", **env}
    subprocess.run(command, cwd=site, env=clean, check=True, capture_output=True)
    return site


@pytest.fixture(
    scope="module", params=["sync", "gthread", "gevent", "asgi", "gevent+postgresql+redis"]
)
def site(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    worker_class, *servers = request.param.split("+")
    app = "proyecto.asgi" if worker_class == "asgi" else "proyecto.wsgi"
    env = {
        "DJANGO_SETTINGS_MODULE": "proyecto.settings.prod",
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_WORKERS": "2",
    }
    if not servers:
        with serving(folder, app=app, env=env, cwd=prepared(folder, env)) as server:
            yield server
        return
    missing = [name for name in ("initdb", "postgres", "redis-server") if not find(name)]
    if missing:
        pytest.skip(f"NOT RUN: {', '.join(missing)} not found; install postgresql, redis-server")
    with postgresql() as database, redis(folder) as cache:
        env |= {"DATABASE_URL": database, "REDIS_URL": cache}
        with serving(folder, app=app, env=env, cwd=prepared(folder, env)) as server:
            yield server


def test_list_and_detail_come_from_the_database(site):
    page = get(site.port, "/").text
    assert "<html" in page.lower()
    assert page.count("/articulo/") >= 10
    assert get(site.port, "/?page=2").status == 200
    number = page.split("/articulo/")[1].split("/")[0]
    assert get(site.port, f"/articulo/{number}/").status == 200


def test_export_is_streamed_csv(site):
    response = get(site.port, "/export.csv")
    assert response.get("Transfer-Encoding") == "chunked"
    assert response.get("Content-Type").startswith("text/csv")
    assert len(response.text.splitlines()) > 2000


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_upload_by_length_and_by_chunks(site, size):
    body = bytes(range(256)) * (size // 256 + 1)
    wanted = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    by_length = json.loads(get(site.port, "/upload/", method="POST", body=body).text)
    assert wanted.items() <= by_length.items()
    with Client(site.port) as client:
        client.send(
            b"POST /upload/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for start in range(0, len(body), 50_000):
            piece = body[start : start + 50_000]
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert wanted.items() <= json.loads(client.read().text).items()


def test_pages_that_sleep_burn_leak_and_fail(site):
    for path in ("/sleep/?s=0.1", "/cpu/?ms=20", "/leak/?kb=10", "/cache/", "/whoami/", "/health/"):
        assert get(site.port, path).status == 200, path
    assert get(site.port, "/error/").status == 500
    assert get(site.port, "/nowhere/").status == 404


def test_session_is_kept_across_workers(site):
    from browser import Browser

    browser = Browser(site.port)
    pages = [browser.open("/session/")[1] for _ in range(3)]
    assert len(set(pages)) == 3, "the count grows"


def test_railways_settings_recycle_dozens_of_times_and_lose_nothing(tmp_path):
    env = {
        "DJANGO_SETTINGS_MODULE": "proyecto.settings.prod",
        "GUNICORN_WORKER_CLASS": "gevent",
        "GUNICORN_WORKERS": "2",
        "GUNICORN_MAX_REQUESTS": "50",
        "GUNICORN_MAX_REQUESTS_JITTER": "5",
    }
    pids: set[str] = set()
    site = prepared(tmp_path, env)
    with serving(tmp_path, app="proyecto.wsgi", env=env, cwd=site) as server:
        seen = lambda text: pids.add(str(json.loads(text)["pid"]))  # noqa: E731
        with Load(server.port, clients=8, path="/whoami/", on_body=seen) as load:
            wait_until(lambda: len(pids) >= 24, "two dozen workers", deadline_s=150)
        assert load.lost == []
        assert load.counts["refused"] == 0
