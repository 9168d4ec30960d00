"""The extension module: what the zygote and the workers need from Rust."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, overload

from remuda.hooks import RequestHooks

__version__: str

class _TextStream(Protocol):
    def write(self, text: str, /) -> Any: ...
    def flush(self) -> Any: ...

class RequestTimeout(BaseException):
    """Raised into a request that has run for longer than it may."""

class Journal:
    """The error log: lines in gunicorn's form, ``[time] [pid] [LEVEL] message``."""

    def __init__(self, target: str, level: str) -> None:
        """Open ``target`` (``-`` is standard error) for lines of at least ``level``.

        Raises:
            OSError: The file cannot be opened for appending.
        """

    def write(self, level: int, message: str) -> None:
        """Write a line, whatever ``hand_to`` says; ``level`` is one of Python's logging."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...
    def critical(self, message: str) -> None: ...
    def reopen(self) -> None:
        """Close its file, and those of the user's logging, and open them again by their names."""

    def send_to(self, address: str, facility: str, prefix: str) -> None:
        """From now on messages go to syslog as well.

        Raises:
            OSError: It cannot be reached.
        """

    def hand_to(self, logger: Callable[[int, str], object], reopener: Callable[[], object]) -> None:
        """From now on what zygote and workers have to say goes to ``logger(level, message)``.

        ``reopener()`` opens its files again.
        """

    def measure(self, host: str, prefix: str, tags: str) -> None:
        """From now on warnings and errors are counted as metrics.

        Raises:
            OSError: The host cannot be found.
        """

    def capture_output(self) -> None:
        """From now on standard output and error go to its file as well, if it has one."""

    def fileno(self) -> int:
        """The descriptor that lines go to."""

class Worker:
    """Serves requests: the HTTP front, the app, and the loop that drives them."""

    def __init__(
        self,
        plan: str,
        groundwork: Groundwork,
        app: Callable[..., Any],
        journal: Journal,
        errors: _TextStream,
        *,
        board: int,
        line: int,
        channel: int,
        max_requests: int,
        profiles: bool = False,
        modules: int | None = None,
        tell_sources: Callable[[], None] | None = None,
        request_hooks: RequestHooks | None = None,
        access_logger: Callable[[str], object] | None = None,
        access_recorder: Callable[[Any, Any], object] | None = None,
        wait_socket: Callable[[int, bool, float], bool] | None = None,
        schedule: Callable[[], object] | None = None,
        tasks: Any = None,
        runners: Any = None,
    ) -> None:
        """Take over the listeners of the plan.

        Args:
            plan: The master's plan, as JSON.
            groundwork: What the zygote has made of it.
            app: The WSGI or ASGI app.
            journal: Where errors of the app are logged.
            errors: ``wsgi.errors``.
            board: Descriptor of the scoreboard.
            line: This worker's line of it.
            channel: Descriptor of the channel to the master.
            max_requests: Requests after which it asks to be replaced; 0 = never.
            profiles: Whether it is the worker that ``memory_profile`` means.
            modules: How many modules were imported before the fork; the master is told of later
                ones. ``None``: it does not want to know.
            tell_sources: Called when modules have been imported after the fork.
            request_hooks: Called around each request of a WSGI app.
            access_logger: Gets each access line, in place of file and syslog.
            access_recorder: Gets each request that is over, in place of a line; see ``access.py``.
            wait_socket: Waits until a descriptor gives (if the second argument is true) or takes
                bytes, at most so many seconds, while others run; for cooperative loops. Without it
                the process blocks.
            schedule: Has ``collect`` or ``attend`` called as soon as the loop runs; for cooperative
                loops.
            tasks: What ASGI conversations need from their loop.
            runners: What runs requests of WSGI apps, to break them off; for loops that come round
                meanwhile.
        """

    def fileno(self) -> int:
        """The descriptor that a loop watches for reading."""

    def ready(self) -> None:
        """Tell the master that requests can come, and wait for its word that they shall."""

    def run_blocking(self) -> None:
        """Serve until drained."""

    def run_thread(self) -> None:
        """Serve, in one of several threads, until drained; another thread calls ``beat``."""

    def collect(self) -> bool:
        """Take what the kernel has ready; true when a leader has something to do."""

    def lead(self) -> bool:
        """Serve what is ready; true when the caller never blocked, and so may serve again."""

    def attend(self) -> None:
        """Take what the kernel has ready, start tasks, wake those whose client has moved."""

    def beat(self) -> bool:
        """Give a sign of life and apply time limits; true once the worker is done."""

    def drain(self) -> None:
        """Accept no more, finish what is held."""

    def leave(self) -> None:
        """End the loop at once, whatever is in flight."""

    def reopen_logs(self) -> None:
        """Open the log files again."""

    @property
    def draining(self) -> bool: ...
    @property
    def busy(self) -> bool:
        """Whether a request is with the app."""

    @property
    def served(self) -> int: ...
    @property
    def connections(self) -> int: ...

class StartResponse:
    """PEP 3333's ``start_response`` and ``write``, and what else an app may call; one a request."""

    @overload
    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]: ...
    @overload
    def __call__(self, status: bytes) -> None:
        """Send a piece of the body: the ``write`` that ``start_response`` returns."""

    @overload
    def __call__(self, status: float) -> None:
        """Let the request run for so many seconds more: ``remuda.extend_timeout``."""

    @overload
    def __call__(self, status: list[tuple[str, str]]) -> None:
        """Send a ``103 Early Hints`` with these headers: ``wsgi.early_hints``."""

    def send_trailers(self, trailers: list[tuple[str, str]]) -> None:
        """``gunicorn.http2.send_trailers``: fields that leave when the body has."""

class FileWrapper:
    """PEP 3333's ``wsgi.file_wrapper``; a plain file is sent by the kernel."""

    filelike: Any
    blksize: int

    def __init__(self, filelike: Any, blksize: int = 8192) -> None: ...
    def __iter__(self) -> FileWrapper: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None: ...

class ClientDisconnected(OSError):
    """Raised by ASGI's ``send`` when the client has left."""

class HttpConversation:
    """ASGI's ``receive`` and ``send``, one for each request."""

    def receive(self) -> Awaitable[dict[str, Any]]: ...
    def send(self, event: dict[str, Any]) -> Awaitable[None]: ...

class WebSocketConversation:
    """ASGI's ``receive`` and ``send``, one for each WebSocket connection."""

    def receive(self) -> Awaitable[dict[str, Any]]: ...
    def send(self, event: dict[str, Any]) -> Awaitable[None]: ...

class Groundwork:
    """What workers get from their zygote: certificate, key, and what is shared of them."""

    @property
    def warnings(self) -> list[str]:
        """What the operator should know."""

def lay_groundwork(plan: str, context: str | None = None) -> Groundwork:
    """Look at what only workers use, before there are any: peers, access log, certificates.

    Args:
        plan: The plan, as JSON.
        context: What TLS is made from, as JSON, where the plan does not say it all.

    Raises:
        ValueError: A value cannot be read, or TLS cannot be had from its files.
        OSError: The access log cannot be opened.
    """

def cipher_suites() -> list[str]:
    """The names of the cipher suites that there are, as OpenSSL has them."""

def fork_without_hooks() -> int:
    """Fork without running Python's fork hooks; 0 in the child."""

def await_middle(pid: int, pipe: int, timeout: float) -> None:
    """Wait until the middle process has written to ``pipe`` and has exited, and reap it.

    Raises:
        TimeoutError: It took longer than ``timeout`` seconds, and was killed.
    """

def die_with_parent(signal: int = ...) -> None:
    """Ask the kernel for a signal, by default SIGTERM, when the parent dies."""

def is_known(channel: int) -> bool:
    """Wait until the master knows this process; false when it never will."""

def interrupt_thread(thread: int) -> None:
    """Raise ``RequestTimeout`` in another thread, as soon as that runs Python code."""

def calm_thread(thread: int) -> None:
    """Take back what ``interrupt_thread`` has not raised yet."""

def name_process(short: str, name: str, state: str) -> None:
    """Set what ``top`` shows, cut to 15 bytes, and what ``ps`` shows."""

def show_state(state: str) -> None:
    """Change the state that ``ps`` shows, unless the app has set another title."""

def trim_heap() -> None:
    """Give free heap pages back to the kernel."""

def flush_c_streams() -> None:
    """Write what C's own streams hold."""

def release_file_pages() -> None:
    """Unmap clean pages of files; they are mapped again when they are needed."""

def can_make_immortal() -> bool:
    """Whether this interpreter's count of references is one that ``make_immortal`` knows."""

def make_immortal(inert: list[type], through: list[type]) -> int:
    """Make objects immortal that live as long as the process; how many.

    Args:
        inert: More types whose instances can be.
        through: Types that may stand between an owner and what it owns, and whose own end nobody
            notices.

    Raises:
        RuntimeError: The interpreter is another one than ``can_make_immortal`` wants.
    """
