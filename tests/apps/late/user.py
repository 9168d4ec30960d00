"""Imports what starts a thread, and something harmless."""

import late.b
import late.threads  # noqa: F401
