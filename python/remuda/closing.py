"""Closing what an import or a warm-up has opened, by each library's own interface.

Only what its library opens again by itself when it is next needed: then nobody can tell that it was
closed, and the app can be forked.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from contextlib import suppress
from typing import Any

# For threads that are about to end.
PATIENCE_S = 0.5


def close_connections() -> None:
    """Close connections of Django and SQLAlchemy, and end the pools of asgiref and gevent."""
    _django()
    _sqlalchemy()
    sync_to_async: Any = getattr(sys.modules.get("asgiref.sync"), "SyncToAsync", None)
    if executor := getattr(sync_to_async, "single_thread_executor", None):
        # Its thread would be gone in the workers, and whoever waits for it would wait for ever.
        executor.shutdown(wait=True)
        sync_to_async.single_thread_executor = type(executor)(max_workers=1)
    if (hub := sys.modules.get("gevent._hub_local")) and (current := hub.get_hub_if_exists()):
        pool = getattr(current, "_threadpool", None)
        if pool is not None:
            pool.kill()
    end = time.monotonic() + PATIENCE_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(max(0, end - time.monotonic()))


def _django() -> None:
    if db := sys.modules.get("django.db"):
        for connection in db.connections.all(initialized_only=True):
            connection.close()
            if hasattr(connection, "close_pool"):
                connection.close_pool()
    if cache := sys.modules.get("django.core.cache"):
        cache.close_caches()
        # Some backends keep their connections beyond that; a cache is made anew when next used.
        for alias in list(cache.caches):
            with suppress(AttributeError):
                del cache.caches[alias]


def _sqlalchemy() -> None:
    """What SQLAlchemy's manual asks for before a fork; connections in use are left alone.

    Databases in memory stay: they would end with their connection. An async engine would need its
    loop for this.
    """
    engine_type = getattr(sys.modules.get("sqlalchemy.engine"), "Engine", None)
    pool_type = getattr(sys.modules.get("sqlalchemy.pool"), "QueuePool", None)
    if not engine_type or not pool_type:
        return
    # Not isinstance, which would wake lazy objects up.
    for engine in [each for each in gc.get_objects() if type(each) is engine_type]:
        is_in_memory = "memory" in str(engine.url.database)
        if isinstance(engine.pool, pool_type) and not engine.dialect.is_async and not is_in_memory:
            engine.dispose()
