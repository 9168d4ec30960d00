"""``gunicorn.glogging`` where gunicorn is not installed: the base of people's logger classes.

The names, and which method calls which, are gunicorn's, since subclasses override and call them.
It is only a base: without a class of the user's, remuda writes its lines without Python.
"""

from __future__ import annotations

import base64
import logging
import logging.config
import logging.handlers
import os
import socket
import sys
import time
import traceback
from datetime import timedelta
from typing import Any, ClassVar

from remuda import logconfig

CONFIG_DEFAULTS = logconfig.DEFAULTS


class SafeAtoms(dict[str, Any]):
    """Values for a line: quotes escaped, headers in any case, ``-`` for what is missing."""

    def __init__(self, atoms: dict[str, Any]) -> None:
        super().__init__()
        for name, value in atoms.items():
            self[name] = value.replace('"', '\\"') if isinstance(value, str) else value

    def __getitem__(self, name: str) -> Any:
        return self.get(name.lower() if name.startswith("{") else name, "-")


class Logger:
    """Writes the loggers ``gunicorn.error`` and ``gunicorn.access`` to where the settings say.

    Attributes:
        cfg: The settings.
        error_log: ``logging.getLogger("gunicorn.error")``.
        access_log: ``logging.getLogger("gunicorn.access")``.
    """

    LOG_LEVELS: ClassVar[dict[str, int]] = {
        "critical": logging.CRITICAL,
        "error": logging.ERROR,
        "warning": logging.WARNING,
        "info": logging.INFO,
        "debug": logging.DEBUG,
    }
    loglevel = logging.INFO
    error_fmt = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
    datefmt = "[%Y-%m-%d %H:%M:%S %z]"
    access_fmt = "%(message)s"
    syslog_fmt = "[%(process)d] %(message)s"
    atoms_wrapper_class: type = SafeAtoms

    def __init__(self, cfg: Any) -> None:
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = False
        self.access_log = logging.getLogger("gunicorn.access")
        self.access_log.propagate = False
        self.error_handlers: list[logging.Handler] = []
        self.access_handlers: list[logging.Handler] = []
        self.cfg = cfg
        self.setup(cfg)

    def setup(self, cfg: Any) -> None:
        """Give both loggers their handlers."""
        self.cfg = cfg
        self.loglevel = self.LOG_LEVELS.get(str(cfg.loglevel).lower(), logging.INFO)
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        for log in (self.error_log, self.access_log):
            for handler in [h for h in log.handlers if getattr(h, "_gunicorn", False)]:
                log.removeHandler(handler)
        error_format = logging.Formatter(self.error_fmt, self.datefmt)
        self._set_handler(self.error_log, cfg.errorlog, error_format)
        access_format = logging.Formatter(self.access_fmt)
        self._set_handler(self.access_log, cfg.accesslog, access_format, sys.stdout)
        if cfg.syslog:
            self._set_syslog_handler(self.error_log, cfg, self.syslog_fmt, "error")
            if not cfg.disable_redirect_access_to_syslog:
                self._set_syslog_handler(self.access_log, cfg, self.syslog_fmt, "access")
        wish = logconfig.wish_of(cfg)
        if wish is not None:
            logconfig.apply(wish, None)

    def _set_handler(self, log: logging.Logger, output: Any, fmt: Any, stream: Any = None) -> None:
        if output is None:
            return
        handler = logging.StreamHandler(stream) if output == "-" else logging.FileHandler(output)
        self._add(log, handler, fmt)

    def _set_syslog_handler(self, log: logging.Logger, cfg: Any, fmt: str, name: str) -> None:
        address, kind = _syslog_address(cfg.syslog_addr)
        handler = logging.handlers.SysLogHandler(
            address, logging.handlers.SysLogHandler.facility_names[cfg.syslog_facility], kind
        )
        prefix = cfg.syslog_prefix or cfg.proc_name.replace(":", ".")
        self._add(log, handler, logging.Formatter(f"gunicorn.{prefix}.{name}: {fmt}"))

    def _add(self, log: logging.Logger, handler: logging.Handler, fmt: Any) -> None:
        handler.setFormatter(fmt)
        vars(handler)["_gunicorn"] = True
        log.addHandler(handler)

    def critical(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.critical(msg, *args, **kwargs)

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.error(msg, *args, **kwargs)

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.warning(msg, *args, **kwargs)

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.info(msg, *args, **kwargs)

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at this level."""
        self.error_log.debug(msg, *args, **kwargs)

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self.error_log.exception(msg, *args, **kwargs)

    def log(self, lvl: int | str, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at the level of this number or name."""
        number = self.LOG_LEVELS.get(lvl.lower(), logging.INFO) if isinstance(lvl, str) else lvl
        self.error_log.log(number, msg, *args, **kwargs)

    @property
    def access_log_enabled(self) -> bool:
        """Whether requests are logged at all."""
        cfg = self.cfg
        by_syslog = cfg.syslog and not cfg.disable_redirect_access_to_syslog
        return bool(cfg.accesslog or logconfig.wish_of(cfg) or by_syslog)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log a request that is over."""
        if not self.access_log_enabled:
            return
        atoms = self.atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
        try:
            self.access_log.info(self.cfg.access_log_format, atoms)
        except Exception:
            self.error(traceback.format_exc())

    def atoms(
        self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta
    ) -> dict[str, Any]:
        """What a line may show, by gunicorn's letters."""
        seconds, micros = request_time.seconds, request_time.microseconds
        sent = getattr(resp, "sent", None)
        status = resp.status
        target = [environ[key] for key in ("REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL")]
        atoms = {
            "h": environ.get("REMOTE_ADDR", "-"),
            "l": "-",
            "u": _user_of(environ) or "-",
            "t": self.now(),
            "r": " ".join(target),
            "s": status.split(None, 1)[0] if isinstance(status, str) else status,
            "m": environ.get("REQUEST_METHOD"),
            "U": environ.get("PATH_INFO"),
            "q": environ.get("QUERY_STRING"),
            "H": environ.get("SERVER_PROTOCOL"),
            "b": "-" if sent is None else str(sent),
            "B": sent,
            "f": environ.get("HTTP_REFERER", "-"),
            "a": environ.get("HTTP_USER_AGENT", "-"),
            "T": seconds,
            "D": seconds * 1_000_000 + micros,
            "M": seconds * 1000 + micros // 1000,
            "L": f"{seconds}.{micros:06d}",
            "p": f"<{os.getpid()}>",
        }
        headers = getattr(req, "headers", req)
        for letter, pairs in (("i", headers), ("o", resp.headers), ("e", environ)):
            items = pairs.items() if hasattr(pairs, "items") else pairs
            atoms.update({f"{{{item[0].lower()}}}{letter}": item[1] for item in items})
        return atoms

    def now(self) -> str:
        """The time as access lines have it."""
        return time.strftime("[%d/%b/%Y:%H:%M:%S %z]")

    def reopen_files(self) -> None:
        """Open log files again by their names."""
        logconfig.reopen_files()

    def close_on_exec(self) -> None:
        """Nothing has to be done: Python's files are closed by themselves."""


def _user_of(environ: dict[str, Any]) -> str | None:
    kind, _, secret = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(secret.strip()).decode().partition(":")[0]
    except ValueError:
        return None


def _syslog_address(address: str) -> tuple[Any, Any]:
    if address.startswith("unix://"):
        return address.removeprefix("unix://").removesuffix("#dgram"), socket.SOCK_DGRAM
    host, _, port = address.removeprefix("udp://").rpartition(":")
    if not port.isdigit():
        host, port = address.removeprefix("udp://"), "514"
    return (host.strip("[]") or "localhost", int(port)), socket.SOCK_DGRAM
