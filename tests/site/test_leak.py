"""A page that leaks, under load: workers are replaced in time, and nobody notices."""

from __future__ import annotations

import time

import pytest

from http_client import get
from serving import pss_mib, serving
from test_proyecto import prepared

REQUESTS = 3200
PAUSE_S = 0.006


@pytest.mark.parametrize(
    ("limit", "said", "most_mib"),
    [
        # Two workers at their hard limit, and what the others take.
        ("MAX_MEMORY=40M", "above max_memory (40 MiB)", 160),
        # The hard limit.
        ("MAX_MEMORY_TOTAL=110M", "above max_memory_total (110 MiB)", 132),
    ],
)
def test_a_leaking_site_stays_within_its_limit_and_loses_no_request(
    limit, said, most_mib, tmp_path
):
    name, value = limit.split("=")
    env = {
        "DJANGO_SETTINGS_MODULE": "proyecto.settings.prod",
        "GUNICORN_WORKERS": "2",
        f"GUNICORN_{name}": value,
        "GUNICORN_WARMUP_PATHS": "/",
    }
    site = prepared(tmp_path, env)
    with serving(tmp_path, app="proyecto.wsgi", env=env, cwd=site) as server:
        first = most = pss_mib([server.pid, *server.children()])
        for answered in range(REQUESTS):
            assert get(server.port, "/leak/?kb=40").status == 200
            if answered % 50 == 0:
                most = max(most, pss_mib([server.pid, *server.children()]))
            time.sleep(PAUSE_S)
        log = server.log()
        assert first + REQUESTS * 40 / 1024 > most_mib, "the limit would never be met"
        assert said in log
        replaced = log.count("is replaced")
        assert 1 <= replaced <= 20, log
        assert "is killed" not in log and "SIGKILL" not in log
        assert len(server.workers()) >= 2
        assert most < most_mib, f"{most:.0f} MiB\n{log}"
