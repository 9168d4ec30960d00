"""One app, WSGI and ASGI, whose pages take their time in all the ways that limits are about."""

import asyncio
import ctypes
import time

from either import either

ended = []


def wsgi(environ, start_response):
    seconds = float(environ["QUERY_STRING"] or 0)
    return PAGES[environ["PATH_INFO"]](environ, start_response, seconds)


def answer(start_response, text):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


def wait(environ, start_response, seconds):
    try:
        time.sleep(seconds)
    except BaseException as error:
        ended.append(type(error).__name__)
        raise
    return answer(start_response, "waited")


def count(environ, start_response, seconds):
    """Python code that is never long in C."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    return answer(start_response, "counted")


def stream(environ, start_response, seconds):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    time.sleep(seconds)
    yield b"second"


def extend(environ, start_response, seconds):
    environ["remuda.extend_timeout"](60)
    time.sleep(seconds)
    return answer(start_response, "extended")


def extend_wrongly(environ, start_response, seconds):
    try:
        environ["remuda.extend_timeout"](-1)
    except ValueError as error:
        return answer(start_response, str(error))


def swallow(environ, start_response, seconds):
    """Does not let itself be broken off."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass
    return answer(start_response, "swallowed")


def dead_lock():
    """C code that keeps the interpreter's lock, for ever: no line of Python can run."""
    mutex = ctypes.create_string_buffer(64)
    libc = ctypes.PyDLL(None)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def hold_the_lock(environ, start_response, seconds):
    dead_lock()


def show_ended(environ, start_response, seconds):
    return answer(start_response, ",".join(ended))


PAGES = {
    "/": show_ended,
    "/ended": show_ended,
    "/wait": wait,
    "/count": count,
    "/stream": stream,
    "/extend": extend,
    "/extend-wrongly": extend_wrongly,
    "/swallow": swallow,
    "/hold-the-lock": hold_the_lock,
}


async def asgi(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    seconds = float(scope["query_string"] or 0)
    await ASGI_PAGES[scope["path"]](scope, send, seconds)


async def reply(send, text):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


async def asgi_wait(scope, send, seconds):
    try:
        await asyncio.sleep(seconds)
    except BaseException as error:
        ended.append(type(error).__name__)
        raise
    await reply(send, "waited")


async def asgi_stream(scope, send, seconds):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await asyncio.sleep(seconds)
    await send({"type": "http.response.body", "body": b"second"})


async def asgi_extend(scope, send, seconds):
    scope["extensions"]["remuda.extend_timeout"](60)
    await asyncio.sleep(seconds)
    await reply(send, "extended")


async def asgi_extend_wrongly(scope, send, seconds):
    try:
        scope["extensions"]["remuda.extend_timeout"](-1)
    except ValueError as error:
        await reply(send, str(error))


async def asgi_swallow(scope, send, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            pass
    await reply(send, "swallowed")


async def asgi_hold_the_lock(scope, send, seconds):
    dead_lock()


async def asgi_show_ended(scope, send, seconds):
    await reply(send, ",".join(ended))


async def background(scope, send, seconds):
    """Work after the response, as Starlette's background tasks."""
    await reply(send, "at once")
    await asyncio.sleep(seconds)
    ended.append("background")


ASGI_PAGES = {
    "/": asgi_show_ended,
    "/ended": asgi_show_ended,
    "/wait": asgi_wait,
    "/count": asgi_wait,
    "/stream": asgi_stream,
    "/extend": asgi_extend,
    "/extend-wrongly": asgi_extend_wrongly,
    "/swallow": asgi_swallow,
    "/hold-the-lock": asgi_hold_the_lock,
    "/background": background,
}

app = either(wsgi, asgi)
