"""remuda: a pre-fork process supervisor with an HTTP front, in Rust, for Python web apps.

The ``remuda`` command is a native executable. This package is what it runs inside Python: the
zygote, which loads the app once and forks, and the workers.
"""

from remuda._remuda import __version__

__all__ = ["__version__"]
