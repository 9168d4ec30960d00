"""One app with a page for each thing that an ASGI app may do; paths as in ``lab`` where it can."""

import asyncio
import contextvars
import json
import os
import time

sleeping = []
peak = [0]
happened = []
seen = contextvars.ContextVar("seen", default=None)


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    page = PAGES.get(scope["path"], not_found)
    await page(scope, receive, send)


async def start(send, status=200, headers=(), **more):
    headers = [(b"content-type", b"text/plain"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers, **more})


async def text(send, words, status=200):
    body = words.encode()
    await start(send, status, [(b"content-length", b"%d" % len(body))])
    await send({"type": "http.response.body", "body": body})


async def read_body(receive):
    body, more = b"", True
    while more:
        event = await receive()
        assert event["type"] == "http.request", event
        body += event["body"]
        more = event["more_body"]
    return body


def query(scope):
    return scope["query_string"].decode()


async def not_found(scope, receive, send):
    await text(send, "no such page", 404)


async def pid(scope, receive, send):
    await text(send, str(os.getpid()))


async def show_scope(scope, receive, send):
    shown = {key: value for key, value in scope.items() if key not in ("raw_path", "query_string")}
    shown["raw_path"] = scope["raw_path"].decode()
    shown["query_string"] = scope["query_string"].decode()
    shown["headers"] = [
        [name.decode(), value.decode("latin-1")] for name, value in scope["headers"]
    ]
    shown["extensions"] = sorted(scope["extensions"])
    shown["types"] = {key: type(value).__name__ for key, value in scope.items()}
    await text(send, json.dumps(shown))


async def echo(scope, receive, send):
    body = await read_body(receive)
    await start(send)
    await send({"type": "http.response.body", "body": body})


async def echo_stream(scope, receive, send):
    """Sends each piece on as it comes."""
    await start(send)
    more = True
    while more:
        event = await receive()
        more = event["more_body"]
        await send({"type": "http.response.body", "body": event["body"], "more_body": more})


async def take_slowly(scope, receive, send):
    """Asks for a piece of the body only now and then."""
    sizes, more = [], True
    while more:
        await asyncio.sleep(0.05)
        event = await receive()
        sizes.append(len(event["body"]))
        more = event["more_body"]
    await text(send, json.dumps(sizes))


async def ignore_body(scope, receive, send):
    await text(send, "not interested")


async def stream(scope, receive, send):
    await start(send)
    for number in range(3):
        piece = f"piece {number}\n".encode()
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0.3)
    await send({"type": "http.response.body"})


async def big(scope, receive, send):
    await start(send)
    await send({"type": "http.response.body", "body": b"0123456789abcdef" * (1 << 18)})


async def endless(scope, receive, send):
    """Sends until the client is gone."""
    await start(send)
    try:
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    except OSError as error:
        happened.append(f"disconnect {type(error).__name__}")
        raise
    except asyncio.CancelledError:
        happened.append("disconnect cancelled")
        raise


async def wait_for_disconnect(scope, receive, send):
    await read_body(receive)
    happened.append((await receive())["type"])


async def wait_for_disconnect_later(scope, receive, send):
    """Never asks, and finds out by being cancelled."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        happened.append("cancelled")
        raise


async def listen_while_streaming(scope, receive, send):
    """As Starlette's streaming response does: one task sends, another waits for the end."""

    async def talk():
        await start(send)
        while True:
            await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
            await asyncio.sleep(0.05)

    async def listen():
        while (await receive())["type"] != "http.disconnect":
            pass
        happened.append("heard disconnect")

    talking = asyncio.create_task(talk())
    await listen()
    talking.cancel()


async def show_happened(scope, receive, send):
    await text(send, ",".join(happened))


async def receive_twice(scope, receive, send):
    """After the response, `receive` says that it is over."""
    await read_body(receive)
    await text(send, "done")
    happened.append(f"after the response: {(await receive())['type']}")


async def error(scope, receive, send):
    raise RuntimeError("broken on purpose")


async def error_after_start(scope, receive, send):
    await start(send)
    raise RuntimeError("broken after the start")


async def error_in_the_middle(scope, receive, send):
    await start(send)
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("broken in the middle")


async def nothing(scope, receive, send):
    pass


async def half(scope, receive, send):
    await start(send)
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def start_twice(scope, receive, send):
    await start(send)
    await start(send)


async def body_first(scope, receive, send):
    await send({"type": "http.response.body", "body": b"?"})


async def unknown_event(scope, receive, send):
    await send({"type": "http.response.dance"})


async def bad_header(scope, receive, send):
    await start(send, headers=[(b"x-bad", b"a\r\nInjected: yes")])
    await send({"type": "http.response.body", "body": b"never seen"})


async def text_header(scope, receive, send):
    await start(send, headers=[("x-text", "no bytes")])


async def too_long(scope, receive, send):
    await start(send, headers=[(b"content-length", b"5")])
    await send({"type": "http.response.body", "body": b"much too long"})


async def too_long_in_pieces(scope, receive, send):
    await start(send, headers=[(b"content-length", b"5")])
    await send({"type": "http.response.body", "body": b"1234", "more_body": True})
    await send({"type": "http.response.body", "body": b"5678"})


async def too_short(scope, receive, send):
    await start(send, headers=[(b"content-length", b"10")])
    await send({"type": "http.response.body", "body": b"short"})


async def whole_and_an_empty_end(scope, receive, send):
    """As Starlette's middleware does: all of the declared length, then an empty end, then work."""
    await start(send, headers=[(b"content-length", b"4")])
    await send({"type": "http.response.body", "body": b"full", "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    await asyncio.sleep(0.1)
    happened.append("worked on")


async def no_content(scope, receive, send):
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


async def odd_headers(scope, receive, send):
    headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-latin", b"\xe9")]
    await start(send, 299, headers)
    await send({"type": "http.response.body", "body": memoryview(b"ok")})


async def trailers(scope, receive, send):
    assert "http.response.trailers" in scope["extensions"]
    await start(send, headers=[(b"trailer", b"x-sum")], trailers=True)
    await send({"type": "http.response.body", "body": b"body"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"42")]})


async def early_hint(scope, receive, send):
    assert "http.response.early_hint" in scope["extensions"]
    links = [b"</style.css>; rel=preload; as=style"]
    await send({"type": "http.response.early_hint", "links": links})
    await asyncio.sleep(0.1)
    await text(send, "page")


async def sleep(scope, receive, send):
    sleeping.append(1)
    peak.append(len(sleeping))
    await asyncio.sleep(float(query(scope) or 1))
    sleeping.pop()
    await text(send, f"slept {os.getpid()}")


async def show_peak(scope, receive, send):
    await text(send, str(max(peak)))


async def context(scope, receive, send):
    """Whether a context variable of an earlier request is still set."""
    before = seen.get()
    seen.set("set by a request")
    await text(send, str(before))


async def state(scope, receive, send):
    """What the lifespan has left; a request's own changes are its own."""
    scope["state"]["changed"] = True
    await text(send, json.dumps(sorted(scope["state"])))


async def spin(scope, receive, send):
    """Python code that never gives way: the whole loop hangs."""
    end = time.monotonic() + float(query(scope) or 60)
    while time.monotonic() < end:
        sum(range(1000))
    await text(send, "spun")


async def hang_in_c(scope, receive, send):
    """C code that dead-locks while it holds the interpreter's lock: no Python handler can run."""
    import ctypes

    mutex = ctypes.create_string_buffer(64)
    libc = ctypes.PyDLL(None)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


async def leave(scope, receive, send):
    os._exit(7)


async def send_from_a_task(scope, receive, send):
    """`send` and `receive` as coroutines of tasks of the app's own."""
    event = await asyncio.create_task(receive())
    await asyncio.wait_for(start(send), 5)
    await asyncio.gather(send({"type": "http.response.body", "body": event["type"].encode()}))


async def current_task(scope, receive, send):
    task = asyncio.current_task()
    await asyncio.sleep(0)
    await text(send, str(task is asyncio.current_task() and task is not None))


async def wait_briefly_for_disconnect(scope, receive, send):
    """A `receive` that is given up, and asked again."""
    await read_body(receive)
    for _ in range(3):
        try:
            await asyncio.wait_for(receive(), 0.02)
        except asyncio.TimeoutError:
            pass
    await text(send, "still here")


PAGES = {
    "/": pid,
    "/pid": pid,
    "/scope": show_scope,
    "/sc\xf6pe \u20ac": show_scope,
    "/echo": echo,
    "/echo-stream": echo_stream,
    "/take-slowly": take_slowly,
    "/ignore-body": ignore_body,
    "/stream": stream,
    "/big": big,
    "/close-after-disconnect": endless,
    "/wait-for-disconnect": wait_for_disconnect,
    "/cancelled": wait_for_disconnect_later,
    "/listen": listen_while_streaming,
    "/closed": show_happened,
    "/receive-twice": receive_twice,
    "/error": error,
    "/error-after-start": error_after_start,
    "/error-in-the-middle": error_in_the_middle,
    "/nothing": nothing,
    "/half": half,
    "/start-twice": start_twice,
    "/body-first": body_first,
    "/unknown-event": unknown_event,
    "/bad-header": bad_header,
    "/text-header": text_header,
    "/too-long": too_long,
    "/too-long-in-pieces": too_long_in_pieces,
    "/too-short": too_short,
    "/whole-and-empty": whole_and_an_empty_end,
    "/no-content": no_content,
    "/odd-headers": odd_headers,
    "/trailers": trailers,
    "/early-hint": early_hint,
    "/sleep": sleep,
    "/peak": show_peak,
    "/context": context,
    "/state": state,
    "/spin": spin,
    "/hang-in-c": hang_in_c,
    "/leave": leave,
    "/task": send_from_a_task,
    "/current-task": current_task,
    "/wait-briefly": wait_briefly_for_disconnect,
}
