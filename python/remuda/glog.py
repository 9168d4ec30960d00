"""``log``: the error log for hooks, and as the stdlib's logger ``gunicorn.error``.

Apps borrow the handlers of that logger (``app.logger.handlers = …``), so it has one that writes to
the journal, whatever the app does with logging.
"""

from __future__ import annotations

import logging
import traceback
from types import ModuleType
from typing import Any

from remuda import _remuda, logconfig

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class JournalHandler(logging.Handler):
    """Writes records as lines of the error log."""

    def __init__(self, journal: _remuda.Journal) -> None:
        super().__init__()
        self.journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. A formatter of somebody's own has its way with the message."""
        try:
            self.journal.write(record.levelno, self.format(record))
        except Exception:
            self.handleError(record)


class Log:
    """What hooks know as ``server.log`` and ``worker.log``.

    Attributes:
        error_log: ``logging.getLogger("gunicorn.error")``.
        access_log: ``logging.getLogger("gunicorn.access")``.
        loglevel: The least level that is logged.
        has_access: Whether the user's setup of logging has its own way with access lines.
    """

    def __init__(self, journal: _remuda.Journal, loglevel: str) -> None:
        self.journal = journal
        self.loglevel = LEVELS[loglevel]
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = False
        self.error_log.setLevel(self.loglevel)
        self.error_log.handlers = [JournalHandler(journal)]
        self.access_log = logging.getLogger("gunicorn.access")
        self.access_log.propagate = False
        self.access_log.setLevel(logging.INFO)
        self.has_access = False

    def configure(self, wish: dict[str, Any], module: ModuleType | None) -> None:
        """Have the user's setup of logging write what workers say, and access lines.

        Raises:
            BootError: It cannot be used.
        """
        mark = logging.NullHandler()
        self.access_log.addHandler(mark)
        logconfig.apply(wish, module)
        # A setup that names the logger takes all handlers away that it had.
        self.has_access = mark not in self.access_log.handlers
        self.access_log.removeHandler(mark)
        ours = [h for h in self.error_log.handlers if isinstance(h, JournalHandler)]
        for handler in ours if len(self.error_log.handlers) > 1 else ():
            # An INI file adds to what is there; a table replaces it.
            self.error_log.removeHandler(handler)
        self.journal.hand_to(self.error_log.log, logconfig.reopen_files)

    def debug(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.debug(message, *args, **kwargs)

    def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.info(message, *args, **kwargs)

    def warning(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.warning(message, *args, **kwargs)

    def error(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.error(message, *args, **kwargs)

    def critical(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.critical(message, *args, **kwargs)

    def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self.error_log.exception(message, *args, **kwargs)

    def log(self, level: int | str, message: str, *args: Any, **kwargs: Any) -> None:
        """Log at the level of this number or name."""
        number = LEVELS.get(level.lower(), logging.INFO) if isinstance(level, str) else level
        self.error_log.log(number, message, *args, **kwargs)

    def close_on_exec(self) -> None:
        """Nothing has to be done: whoever is executed by us inherits no log."""

    def reopen_files(self) -> None:
        """Open the log files again."""
        self.journal.reopen()


def trace_of(error: BaseException) -> str:
    """The traceback of a hook, without the frames that have called it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and _is_ours(trace):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()


def _is_ours(trace: Any) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith("remuda.")
