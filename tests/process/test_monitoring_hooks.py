"""The hooks that packages document for gunicorn, with the packages themselves."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from databases import find, postgresql
from http_client import get
from serving import conf, wait_until

PROMETHEUS = """
from prometheus_client import multiprocess
workers = 2
def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
"""
METRICS = """
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, multiprocess
served = Counter("served", "Requests")
alive = Gauge("alive", "Workers", multiprocess_mode="livesum")
def app(environ, start_response):
    served.inc()
    alive.set(1)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [generate_latest(registry)]
"""


def metric(text: str, name: str) -> float:
    [value] = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(value)


def gauge_of(folder: Path, pid: int) -> Path:
    return folder / f"gauge_livesum_{pid}.db"


def test_prometheus_forgets_the_gauges_of_workers_that_are_gone(serve, site, tmp_path):
    folder = tmp_path / "prometheus"
    folder.mkdir()
    conf(site, PROMETHEUS)
    (site / "metrics.py").write_text(METRICS)
    env = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with serve(cwd=site, app="metrics:app", env=env) as server:
        assert metric(get(server.port, "/").text, "served_total") == 1
        # The zygote has files of its own: it has made the metrics, and counts nothing.
        answered = [pid for pid in server.workers() if gauge_of(folder, pid).exists()]
        [worker] = answered
        gauge = gauge_of(folder, worker)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not gauge.exists(), "the gauge of the dead worker is gone")
        text = get(server.port, "/").text
        assert metric(text, "alive") == 1, "only of the worker that answers"
        assert metric(text, "served_total") == 2, "counters outlive their worker"


OPENTELEMETRY = """
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)
    resource = Resource.create(attributes={"service.name": "api-service"})
    trace.set_tracer_provider(TracerProvider(resource=resource))
    processor = BatchSpanProcessor(ConsoleSpanExporter(), schedule_delay_millis=100)
    trace.get_tracer_provider().add_span_processor(processor)
"""
TRACED = """
from opentelemetry import trace
tracer = trace.get_tracer("site")
def app(environ, start_response):
    with tracer.start_as_current_span("a page"):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
"""


def test_opentelemetrys_batches_leave_from_each_worker(serve, site, wsgi_class):
    conf(site, OPENTELEMETRY)
    (site / "traced.py").write_text(TRACED)
    with serve("-k", wsgi_class, cwd=site, app="traced:app") as server:
        [worker] = server.workers()
        assert f"Worker spawned (pid: {worker})" in server.messages()
        assert "shared by all workers: yes" in server.log()
        assert get(server.port, "/").text == "ok"
        wait_until(lambda: '"name": "a page"' in server.stdout(), "the span")


PSYCOGREEN = """
worker_class = "gevent"
def post_fork(server, worker):
    from psycogreen.gevent import patch_psycopg
    patch_psycopg()
    worker.log.info("Made Psycopg2 Green")
"""
DATABASE = """
import os
import psycopg2
def app(environ, start_response):
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    with connection.cursor() as cursor:
        seconds = environ["PATH_INFO"][1:]
        cursor.execute(f"select {seconds}::text || pg_sleep({seconds})::text")
        [text] = cursor.fetchone()
    connection.close()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text.encode()]
"""


def test_psycogreen_lets_other_requests_run_while_one_waits_for_the_database(serve, site):
    if not (find("initdb") and find("postgres")):
        pytest.skip("NOT RUN: PostgreSQL is not installed")
    conf(site, PSYCOGREEN)
    (site / "database.py").write_text(DATABASE)
    with (
        postgresql() as url,
        serve(cwd=site, app="database:app", env={"DATABASE_URL": url}) as server,
    ):
        assert "Made Psycopg2 Green" in server.messages()
        ended = []
        with ThreadPoolExecutor(2) as pool:
            slow = pool.submit(lambda: ended.append(get(server.port, "/3").text))
            wait_until(lambda: not slow.done(), "the slow one is under way")
            ended.append(get(server.port, "/0").text)
            slow.result()
        assert ended == ["0", "3"], "one worker, and the quick one did not wait"


NEW_RELIC = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "watched":
            print("before the app is imported", flush=True)
        return None
sys.meta_path.insert(0, Finder())
"""


def test_an_agent_that_hooks_the_import_system_is_there_before_the_app(serve, site):
    conf(site, NEW_RELIC)
    (site / "watched.py").write_text("from hello import app\n")
    with serve(cwd=site, app="watched:app") as server:
        assert "before the app is imported" in server.stdout()
