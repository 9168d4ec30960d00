"""remuda: a pre-fork process supervisor with an HTTP front, in Rust, for Python web apps.

The ``remuda`` command is a native executable. This package is what it runs inside Python: the
zygote, which loads the app once and forks, and the workers. Apps may catch ``RequestTimeout``, to
clean up when a request has run for longer than it may.
"""

from remuda._remuda import RequestTimeout, __version__

__all__ = ["RequestTimeout", "__version__"]
