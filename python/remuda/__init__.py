"""remuda: a pre-fork process supervisor with an HTTP front, in Rust, for Python web apps.

The ``remuda`` command is a native executable. This package is what it runs inside Python: the
zygote, which loads the app once and forks, and the workers. A program can serve an app of its own
with ``run`` or ``Application``. Apps may catch ``RequestTimeout``, to clean up when a request has
run for longer than it may.
"""

from typing import Any

from remuda._remuda import RequestTimeout, __version__

__all__ = ["Application", "RequestTimeout", "__version__", "run"]


def __getattr__(name: str) -> Any:
    # What only such programs need is not loaded into every zygote.
    if name in ("Application", "run"):
        from remuda import handover

        return getattr(handover, name)
    raise AttributeError(f"module 'remuda' has no attribute {name!r}")
