"""One app with a page for each thing that a WSGI app may do."""

import contextvars
import gc
import json
import os
import subprocess
import tempfile
import threading
import time
import traceback

import lab_asgi
from either import either

closed = []
sleeping = []
peak = [0]


paths = []


def wsgi(environ, start_response):
    paths.append(environ["PATH_INFO"])
    page = PAGES.get(environ["PATH_INFO"], not_found)
    return page(environ, start_response)


app = either(wsgi, lab_asgi.app)


def not_found(environ, start_response):
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"no such page"]


def plain(start_response, text, **headers):
    body = text.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), *headers.items()])
    return [body]


def show_environ(environ, start_response):
    shown = {key: value for key, value in environ.items() if isinstance(value, (str, bool))}
    shown["types"] = {key: type(value).__name__ for key, value in environ.items()}
    return plain(start_response, json.dumps(shown))


def show_paths(environ, start_response):
    """The paths of all requests that this worker has had."""
    return plain(start_response, json.dumps(paths))


def pid(environ, start_response):
    return plain(start_response, str(os.getpid()))


def echo(environ, start_response):
    stream = environ["wsgi.input"]
    body = stream.read()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


def body_kind(environ, start_response):
    """How the body is held, and that every way to read it agrees."""
    stream = environ["wsgi.input"]
    first = stream.readline()
    rest = b"".join(stream)
    shown = {
        "kind": type(stream).__name__,
        "first": first.decode("latin-1")[:40],
        "length": len(first) + len(rest),
        "CONTENT_LENGTH": environ.get("CONTENT_LENGTH"),
        "HTTP_TRANSFER_ENCODING": environ.get("HTTP_TRANSFER_ENCODING"),
    }
    return plain(start_response, json.dumps(shown))


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def pieces():
        for number in range(3):
            yield f"piece {number}\n".encode()
            time.sleep(0.3)

    return pieces()


def write(environ, start_response):
    send = start_response("200 OK", [("Content-Type", "text/plain")])
    send(b"written ")
    send(b"")
    send(b"twice ")
    return [b"and returned"]


class Closing:
    """An iterable that remembers that it was closed."""

    def __init__(self, pieces, name):
        self.pieces = pieces
        self.name = name

    def __iter__(self):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self):
        closed.append(self.name)


def close_after_success(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing([b"a", b"b"], "success")


def close_after_error(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing([b"a", ValueError("in the middle")], "error")


def close_after_disconnect(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def endless():
        while True:
            yield b"x" * 65536

    return Closing(endless(), "disconnect")


def show_closed(environ, start_response):
    return plain(start_response, ",".join(closed))


def error(environ, start_response):
    raise RuntimeError("broken on purpose")


def error_after_start(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    raise RuntimeError("broken after start_response")


def exc_info(environ, start_response):
    import sys

    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError("changed my mind")
    except ValueError:
        start_response("503 Changed Mind", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"sorry"]


def exc_info_too_late(environ, start_response):
    import sys

    send = start_response("200 OK", [("Content-Type", "text/plain")])
    send(b"sent already")
    try:
        raise ValueError("too late to change")
    except ValueError:
        start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"never seen"]


def start_twice(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"never seen"]


def never_started(environ, start_response):
    return [b"no start_response"]


def text_body(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["text is not bytes"]


def bad_header(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Bad", "a\r\nInjected: yes")])
    return [b"never seen"]


def bad_status(environ, start_response):
    start_response("fine", [("Content-Type", "text/plain")])
    return [b"never seen"]


def hop_by_hop(environ, start_response):
    headers = [("Connection", "x"), ("Server", "mine"), ("Keep-Alive", "9"), ("X-Kept", "yes")]
    start_response("200 OK", headers)
    return [b"ok"]


def odd_headers(environ, start_response):
    start_response(
        "299 Sehr gut", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Latin", "\xe9")]
    )
    return [b"ok"]


def environs(environ, start_response):
    """How many environs there are in this process, this one included."""
    gc.collect()
    count = sum(type(o) is dict and "wsgi.early_hints" in o for o in gc.get_objects())
    return plain(start_response, str(count))


def new_headers(environ, start_response):
    """Strings that are made for this request, beside constants."""
    number = int(environ["QUERY_STRING"])
    headers = [(f"X-{number % 100}", f"value {number}"), ("X-Always", "the same")]
    start_response(f"299 Number {number % 7}", headers)
    return [b"ok"]


def too_short(environ, start_response):
    start_response("200 OK", [("Content-Length", "10")])
    return [b"short"]


def too_long(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"much too long"]


def empty(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return []


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def big(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"0123456789abcdef" * (1 << 18)]


def big_stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"0123456789abcdef" * 4096 for _ in range(64))


def file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/x-python")])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def trailers(environ, start_response):
    environ["gunicorn.http2.send_trailers"]([("X-Sum", "7")])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"whole"]


def late_trailers(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"in "
    yield b"pieces"
    environ["gunicorn.http2.send_trailers"]([("X-Sum", "8")])


FILES = os.environ.get("LAB_FILES", "")


class NoPlainFile:
    """Has a descriptor, but its bytes are not what its reader gets: as a ``GzipFile``."""

    def __init__(self, file):
        self.inner = file

    def fileno(self):
        return self.inner.fileno()

    def tell(self):
        return self.inner.tell()

    def read(self, size):
        return self.inner.read(size).upper()


def file_of(environ, start_response):
    """``/file-of?NAME:POSITION:DECLARED:KIND``: a file, from a position, with a declared length."""
    name, position, declared, kind = environ["QUERY_STRING"].split(":")
    path = os.path.join(FILES, name)
    if kind == "temporary":
        file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed once it is sent
        with open(path, "rb") as original:
            file.write(original.read())
        file.seek(0)
    else:
        file = open(path, "rb", buffering=0 if kind == "raw" else -1)  # noqa: SIM115 - as above
    if position:
        file.read(int(position))
    headers = [("Content-Type", "application/octet-stream")]
    if declared:
        headers.append(("Content-Length", declared))
    status = {"304": "304 Not Modified", "204": "204 No Content"}.get(kind, "200 OK")
    start_response(status, headers)
    if kind == "masked":
        file = NoPlainFile(file)
    wrapper = environ["wsgi.file_wrapper"](Named(file, name), 4096)
    if kind == "iterated":
        return iter(list(wrapper))
    return wrapper


class Named:
    """A file that remembers that it was closed, as Django's ``File`` wraps another."""

    def __init__(self, file, name):
        self.file = file
        self.name = name
        self.read = file.read
        self.fileno = file.fileno
        self.tell = file.tell

    def close(self):
        self.file.close() if hasattr(self.file, "close") else None
        closed.append(self.name)


def hints(environ, start_response):
    early = environ["wsgi.early_hints"]
    early([("Link", "</style.css>; rel=preload"), ("X-Hint", "one")])
    early([(b"Link", b"</script.js>; rel=preload")])
    answer = plain(start_response, "ok")
    early([("Link", "</late.css>")])
    return answer


def hints_after(environ, start_response):
    """Hints that come too late, in the middle of the response."""
    write = start_response("200 OK", [("Content-Length", "4")])
    write(b"ab")
    environ["wsgi.early_hints"]([("Link", "</late.css>")])
    return [b"cd"]


def bad_hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "a\r\nInjected: yes")])
    return plain(start_response, "never seen")


def read_input(environ, start_response):
    """``/read-input?METHOD:ARGUMENT``: what a method of ``wsgi.input`` gives, piece by piece."""
    method, argument = environ["QUERY_STRING"].split(":")
    stream = environ["wsgi.input"]
    arguments = [int(argument)] if argument else []
    if method == "iterate":
        pieces = list(stream)
    elif method == "readlines":
        pieces = stream.readlines(*arguments)
    else:
        pieces = []
        while piece := getattr(stream, method)(*arguments):
            pieces.append(piece)
    held.append(stream)
    lengths = [len(piece) for piece in pieces]
    return plain(start_response, json.dumps({"lengths": lengths[:50], "total": sum(lengths)}))


held = []


def held_closed(environ, start_response):
    """Whether each body that the app still holds is closed."""
    return plain(start_response, json.dumps([stream.closed for stream in held]))


def socket(environ, start_response):
    """Who is on the other side of ``gunicorn.socket``, if there is one."""
    given = environ.get("gunicorn.socket")
    if given is None:
        return plain(start_response, "none")
    held.append(given)
    return plain(start_response, json.dumps([type(given).__module__, given.getpeername()[1]]))


def errors(environ, start_response):
    environ["wsgi.errors"].write("written to wsgi.errors\n")
    environ["wsgi.errors"].flush()
    return plain(start_response, "ok")


def sleep(environ, start_response):
    seconds = float(environ["QUERY_STRING"] or 1)
    sleeping.append(1)
    peak.append(len(sleeping))
    time.sleep(seconds)
    sleeping.pop()
    return plain(start_response, f"slept {os.getpid()}")


def show_peak(environ, start_response):
    """How many requests have slept at the same time."""
    return plain(start_response, str(max(peak)))


meeting = threading.Condition()
met = [0]


def meet(environ, start_response):
    """Goes on once so many requests are here at the same time."""
    party = int(environ["QUERY_STRING"])
    with meeting:
        met[0] += 1
        full = -(-met[0] // party) * party
        meeting.notify_all()
        meeting.wait_for(lambda: met[0] >= full)
    return plain(start_response, "met")


seen = contextvars.ContextVar("seen", default=None)


def thread(environ, start_response):
    """Who runs this, and what an earlier request has left in the context."""
    shown = {"thread": threading.current_thread().name, "context": seen.get()}
    seen.set(environ["PATH_INFO"])
    time.sleep(0.01)
    return plain(start_response, json.dumps(shown))


def spin(environ, start_response):
    """Python code that never gives way: a request that hangs."""
    end = time.monotonic() + float(environ["QUERY_STRING"] or 60)
    while time.monotonic() < end:
        sum(range(1000))
    return plain(start_response, "spun")


def hang_in_c(environ, start_response):
    """C code that dead-locks while it holds the interpreter's lock: no Python handler can run."""
    import ctypes

    mutex = ctypes.create_string_buffer(64)
    libc = ctypes.PyDLL(None)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
    return plain(start_response, "woke")


def crash(environ, start_response):
    os.kill(os.getpid(), 11)
    time.sleep(10)


def leave(environ, start_response):
    os._exit(7)


def orphan(environ, start_response):
    """A program that nobody waits for: its parent, a shell, is gone at once."""
    command = f"sleep {float(environ['QUERY_STRING'])} &"
    subprocess.run(["sh", "-c", command], stdout=subprocess.DEVNULL, check=True)
    return plain(start_response, "left behind")


GOODBYE = """
trap 'echo got TERM >> "$WITNESS"; exit 0' TERM
echo started > "$WITNESS.new"; mv "$WITNESS.new" "$WITNESS"
while :; do sleep 0.05; done
"""


def orphan_with_witness(environ, start_response):
    """The same, and it writes down which signal it got."""
    subprocess.run(["sh", "-c", 'sh -c "$0" &', GOODBYE], stdout=subprocess.DEVNULL, check=True)
    return plain(start_response, "left behind")


def eat(environ, start_response):
    """So many MiB, each page of them touched."""
    eaten = b"x" * (int(environ["QUERY_STRING"]) << 20)
    return plain(start_response, str(len(eaten)))


def context(environ, start_response):
    """Whether a context variable of an earlier request is still set."""
    before = VARIABLE.get()
    VARIABLE.set("set by a request")
    return plain(start_response, before)


def stack(environ, start_response):
    return plain(start_response, "".join(traceback.format_stack()))


import contextvars  # noqa: E402

VARIABLE = contextvars.ContextVar("VARIABLE", default="fresh")

PAGES = {
    "/": pid,
    "/environ": show_environ,
    "/mount/environ": show_environ,
    "/pid": pid,
    "/seen": show_paths,
    "/echo": echo,
    "/body-kind": body_kind,
    "/stream": stream,
    "/write": write,
    "/close-after-success": close_after_success,
    "/close-after-error": close_after_error,
    "/close-after-disconnect": close_after_disconnect,
    "/closed": show_closed,
    "/error": error,
    "/error-after-start": error_after_start,
    "/exc-info": exc_info,
    "/exc-info-too-late": exc_info_too_late,
    "/start-twice": start_twice,
    "/never-started": never_started,
    "/text-body": text_body,
    "/bad-header": bad_header,
    "/bad-status": bad_status,
    "/hop-by-hop": hop_by_hop,
    "/odd-headers": odd_headers,
    "/environs": environs,
    "/new-headers": new_headers,
    "/too-short": too_short,
    "/too-long": too_long,
    "/empty": empty,
    "/no-content": no_content,
    "/big": big,
    "/big-stream": big_stream,
    "/file": file,
    "/trailers": trailers,
    "/late-trailers": late_trailers,
    "/file-of": file_of,
    "/hints": hints,
    "/hints-after": hints_after,
    "/bad-hints": bad_hints,
    "/read-input": read_input,
    "/held-closed": held_closed,
    "/socket": socket,
    "/errors": errors,
    "/sleep": sleep,
    "/peak": show_peak,
    "/meet": meet,
    "/thread": thread,
    "/spin": spin,
    "/hang-in-c": hang_in_c,
    "/crash": crash,
    "/leave": leave,
    "/orphan": orphan,
    "/orphan-with-witness": orphan_with_witness,
    "/eat": eat,
    "/context": context,
    "/stack": stack,
}
for path in list(PAGES):
    PAGES.setdefault("/mount" + path, PAGES[path])
