"""Leaves something behind when it is imported: what, `LEAVES` says; and tells how that does now."""

import os
import socket
import threading
import time

LEAVES = os.environ.get("LEAVES", "")
answer = lambda: "ok"  # noqa: E731


def wait_for_ever():
    threading.Event().wait()


if LEAVES == "thread":
    threading.Thread(target=wait_for_ever, name="exporter", daemon=True).start()
elif LEAVES == "executor":
    from concurrent.futures import ThreadPoolExecutor

    executor = ThreadPoolExecutor(1, "jobs")
    executor.submit(int).result()
elif LEAVES == "two":
    for name in ("exporter", "flusher"):
        threading.Thread(target=wait_for_ever, name=name, daemon=True).start()
    peers = [socket.create_connection(("127.77.0.1", int(os.environ["PEER_PORT"]))) for _ in "12"]
elif LEAVES == "numpy":
    import numpy

    before = len(os.listdir("/proc/self/task"))
    square = numpy.ones((300, 300))
    answer = lambda: f"{before} {(square @ square)[0, 0]:g}"  # noqa: E731
elif LEAVES == "grpc":
    import grpc

    channel = grpc.insecure_channel("127.0.0.1:9")
    channel.subscribe(lambda _: None, try_to_connect=True)
    # Its threads come a little later.
    while len(os.listdir("/proc/self/task")) < 2:
        time.sleep(0.01)
elif LEAVES == "asyncio":
    import asyncio

    loop = asyncio.new_event_loop()
elif LEAVES == "uvloop":
    import uvloop

    loop = uvloop.new_event_loop()
elif LEAVES == "epoll":
    import select

    queue = select.epoll()
elif LEAVES == "postgresql":
    import psycopg2

    with psycopg2.connect(os.environ["DATABASE_URL"]) as tcp, tcp.cursor() as cursor:
        cursor.execute("SHOW unix_socket_directories")
        (folder,) = cursor.fetchone()
    port = tcp.info.port
    tcp.close()
    connection = psycopg2.connect(host=folder, port=port, user="remuda", dbname="postgres")
elif LEAVES == "redis":
    import redis

    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.ping()
    answer = lambda: str(client.ping())  # noqa: E731
elif LEAVES == "sqlalchemy":
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import StaticPool

    url = os.environ["DATABASE_URL"].replace("postgres://", "postgresql+psycopg2://")
    engine, memory = create_engine(url), create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as one, memory.begin() as two:
        one.execute(text("SELECT 1"))
        two.execute(text("CREATE TABLE kept (number INTEGER)"))
        two.execute(text("INSERT INTO kept VALUES (42)"))

    def answer():
        with engine.connect() as one, memory.connect() as two:
            backend = one.execute(text("SELECT pg_backend_pid()")).scalar()
            return f"{backend} {two.execute(text('SELECT number FROM kept')).scalar()}"

elif LEAVES == "django":
    from urllib.parse import urlsplit

    import django
    from django.conf import settings
    from django.db import connection

    parts = urlsplit(os.environ["DATABASE_URL"])
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "remuda"}
    database |= {"HOST": parts.hostname, "PORT": parts.port, "CONN_MAX_AGE": None}
    settings.configure(DATABASES={"default": database})
    django.setup()

    def answer():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return str(cursor.fetchone()[0])

    answer()
elif LEAVES == "hub":
    import gevent

    ticks = []

    def tick():
        while True:
            ticks.append(os.getpid())
            gevent.sleep(0.01)

    ticker = gevent.spawn(tick)
    gevent.sleep(0)

    def answer():
        del ticks[:]
        gevent.sleep(0.1)
        names = socket.getaddrinfo("localhost", 80)
        mine = set(ticks) == {os.getpid()}
        return f"{os.getpid()} {'ticking' if mine else 'dead'} {len(names) > 0}"


def app(environ, start_response):
    if environ["PATH_INFO"] == "/thread":
        threading.Thread(target=wait_for_ever, name="late", daemon=True).start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()}: {answer()}".encode()]
