"""Warm-up of a site with a real database and a real cache: nothing open reaches the workers."""

from __future__ import annotations

import pytest

from databases import find, postgresql, redis
from http_client import get
from serving import serving
from test_proyecto import prepared


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent", "asgi"])
def test_warm_up_leaves_no_connection_behind(worker_class, tmp_path):
    missing = [name for name in ("initdb", "postgres", "redis-server") if not find(name)]
    if missing:
        pytest.skip(f"NOT RUN: {', '.join(missing)} not found; install postgresql, redis-server")
    app = "proyecto.asgi" if worker_class == "asgi" else "proyecto.wsgi"
    with postgresql() as database, redis(tmp_path) as cache:
        env = {
            "DJANGO_SETTINGS_MODULE": "proyecto.settings.prod",
            "DATABASE_URL": database,
            "REDIS_URL": cache,
            "GUNICORN_WORKER_CLASS": worker_class,
            "GUNICORN_WORKERS": "2",
            "GUNICORN_WARMUP_PATHS": "/,/cache/,/session/",
        }
        with serving(tmp_path, app=app, env=env, cwd=prepared(tmp_path, env)) as server:
            assert "Warmed up with 60 requests" in server.log()
            assert "/ 200, /cache/ 200, /session/ 200" in server.log()
            assert "without warm-up" not in server.log()
            for _ in range(10):
                assert get(server.port, "/").status == 200
                assert get(server.port, "/cache/").status == 200
