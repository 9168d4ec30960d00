"""Real ASGI frameworks: FastAPI, Starlette, Quart, and Django with Channels."""

from __future__ import annotations

import gzip
import json
import uuid

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from http_client import Client, get
from serving import serving, wait_until


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def start(request, tmp_path_factory):
    env = {"GUNICORN_WORKER_CLASS": "asgi", "GUNICORN_ASGI_LOOP": request.param}

    def run(app: str, **more: str):
        return serving(tmp_path_factory.mktemp("site"), app=app, env={**env, **more})

    return run


def url(server, path: str) -> str:
    return f"ws://127.0.0.1:{server.port}{path}"


def form_of(size: int) -> tuple[dict[str, str], bytes]:
    """A multipart upload: headers and body."""
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + b"x" * size + f"\r\n--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body


def test_fastapi(start):
    with start("fastapi_app:app") as server, Client(server.port) as client:
        response = client.request("/?factor=4")
        assert json.loads(response.text) == {
            "pool": "made at start",
            "doubled": 8,
            "client": "127.0.0.1",
        }
        assert response.get("X-Stamp") == "1"
        assert json.loads(client.request("/threaded").text) == {"threaded": True}
        headers = {"Content-Type": "application/json"}
        good, bad = b'{"name": "tea", "price": 1.5}', b'{"name": "tea"}'
        created = client.request("/items", method="POST", headers=headers, body=good)
        assert json.loads(created.text) == {"name": "tea", "total": 3.0}
        assert client.request("/items", method="POST", headers=headers, body=bad).status == 422
        headers, body = form_of(3_000_000)
        answer = client.request("/upload", method="POST", headers=headers, body=body)
        assert json.loads(answer.text) == {"name": "f.bin", "size": 3_000_000}
        assert client.request("/background").status == 200
        with Client(server.port) as listener:
            listener.send(b"GET /sse HTTP/1.1\r\nHost: x\r\n\r\n")
            assert listener.read_head().get("Content-Type").startswith("text/event-stream")
            assert listener.read_chunk() == b"data: 0\n\n"
        with connect(url(server, "/ws")) as socket:
            socket.send('{"a": 1}')
            assert json.loads(socket.recv()) == {"echo": {"a": 1}}
        expected = {"background done", "sse ended", "ws ended 1000"}
        wait_until(lambda: set(json.loads(get(server.port, "/events").text)) == expected, "all")
        assert get(server.port, "/fail").status == 500
        server.wait_for_log("RuntimeError: broken in fastapi")
        server.stop()
        assert "fastapi stopped" in server.stdout()


def test_starlette(start):
    with start("starlette_app:app") as server, Client(server.port) as client:
        assert json.loads(client.request("/").text) == {"url": "http://localhost/", "path": "/"}
        assert client.request("/redirect").get("Location") == "http://localhost/"
        source = client.request("/source")
        assert b"class" in source.body or b"app = Starlette" in source.body
        partial = client.request("/source", headers={"Range": "bytes=0-9"})
        assert (partial.status, partial.body) == (206, source.body[:10])
        etag = client.request("/static/hello.py").get("ETag")
        cached = client.request("/static/hello.py", headers={"If-None-Match": etag})
        assert cached.status == 304
        long = client.request("/long", headers={"Accept-Encoding": "gzip"})
        assert gzip.decompress(long.body) == b"long " * 1000
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = client.request("/form", method="POST", headers=headers, body=b"a=1&b=2")
        assert json.loads(answer.text) == {"a": "1", "b": "2"}
        assert client.request("/", method="HEAD").body == b""
        with connect(url(server, "/ws")) as socket:
            socket.send("loud")
            assert socket.recv() == "LOUD"
        with pytest.raises(InvalidStatus) as denied, connect(url(server, "/denied")):
            pass
        assert denied.value.response.status_code == 418
        assert denied.value.response.body == b'{"error":"no"}'
        assert "Error handling request" not in server.log()


def test_quart(start):
    with start("quart_app:app") as server, Client(server.port) as client:
        assert json.loads(client.request("/").text) == {"started": True, "remote": "127.0.0.1"}
        body = b"0123456789" * 100_000
        assert client.request("/echo", method="POST", body=body).body == body
        assert client.request("/stream").text == "0\n1\n2\n3\n4\n"
        with connect(url(server, "/ws")) as socket:
            socket.send("there and back")
            assert socket.recv() == "there and back"
        assert "Error handling request" not in server.log()


def test_django_with_channels(start):
    with start("channels_app:app") as server, Client(server.port) as client:
        assert json.loads(client.request("/").text) == {
            "scheme": "http",
            "path": "/",
            "method": "GET",
        }
        headers = {"X-Forwarded-Proto": "https"}
        assert json.loads(client.request("/", headers=headers).text)["scheme"] == "https"
        assert client.request("/sync").status == 200
        headers, body = form_of(3_000_000)
        answer = client.request("/upload", method="POST", headers=headers, body=body)
        assert answer.text == "3000000"
        with Client(server.port) as reader:
            reader.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reader.read_head().status == 200
            assert [reader.read_chunk() for _ in range(3)] == [b"0\n", b"1\n", b"2\n"]
        with connect(url(server, "/ws")) as socket:
            socket.send('{"a": 1}')
            assert json.loads(socket.recv()) == {"echo": {"a": 1}}
        expected = {"stream ended", "consumer ended 1000"}
        wait_until(lambda: set(json.loads(get(server.port, "/events").text)) == expected, "both")
        assert "Error handling request" not in server.log()
