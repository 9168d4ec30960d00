"""What an app may do under WSGI, in both worker classes."""

from __future__ import annotations

import json
import time

import pytest

from http_client import Client, get
from serving import wait_until


@pytest.fixture(scope="module", params=["sync", "gthread", "gevent"])
def lab(request, tmp_path_factory):
    from serving import serving

    folder = tmp_path_factory.mktemp(request.param)
    env = {"GUNICORN_WORKER_CLASS": request.param}
    with serving(folder, app="lab:app", env=env) as server:
        yield server


def test_environ_is_what_gunicorn_builds(lab):
    with Client(lab.port) as client:
        peer_port = client.socket.getsockname()[1]
        headers = {
            "X-Some-Thing": "a",
            "x-some-thing": "b",
            "Content-Type": "text/x",
            "X_Under": "n",
        }
        shown = json.loads(client.request("/environ?q=%20x", headers=headers).text)
    assert shown["REQUEST_METHOD"] == "GET"
    assert shown["SCRIPT_NAME"] == ""
    assert shown["PATH_INFO"] == "/environ"
    assert shown["QUERY_STRING"] == "q=%20x"
    assert shown["RAW_URI"] == "/environ?q=%20x"
    assert "REQUEST_URI" not in shown
    assert shown["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert (shown["SERVER_NAME"], shown["SERVER_PORT"]) == ("127.0.0.1", str(lab.port))
    assert (shown["REMOTE_ADDR"], shown["REMOTE_PORT"]) == ("127.0.0.1", str(peer_port))
    assert shown["HTTP_X_SOME_THING"] == "a,b"
    assert shown["CONTENT_TYPE"] == "text/x" and "HTTP_CONTENT_TYPE" not in shown
    assert "HTTP_X_UNDER" not in shown
    assert shown["wsgi.url_scheme"] == "http"
    assert shown["wsgi.run_once"] is False
    assert shown["wsgi.multiprocess"] is False
    assert shown["wsgi.input_terminated"] is True
    assert shown["SERVER_SOFTWARE"].startswith("remuda/")
    assert shown["types"]["wsgi.version"] == "tuple"
    assert "wsgi.file_wrapper" in shown["types"] and "wsgi.errors" in shown["types"]


def test_path_is_decoded_as_latin1(lab):
    response = get(lab.port, "/mount/%65nviron")
    assert json.loads(response.text)["PATH_INFO"] == "/mount/environ"
    assert json.loads(response.text)["RAW_URI"] == "/mount/%65nviron"


def test_trusted_proxy_says_https(lab):
    shown = json.loads(get(lab.port, "/environ", headers={"X-Forwarded-Proto": "https"}).text)
    assert shown["wsgi.url_scheme"] == "https"


def test_contradictory_scheme_headers_are_refused(lab):
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"}
    response = get(lab.port, "/environ", headers=headers)
    assert response.status == 400
    assert "Contradictory scheme headers" in response.text


def test_cookies_are_joined_by_semicolons(lab):
    with Client(lab.port) as client:
        client.send(b"GET /environ HTTP/1.1\r\nHost: x\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n")
        assert json.loads(client.read().text)["HTTP_COOKIE"] == "a=1; b=2"


def test_script_name_header_of_a_trusted_peer_is_honoured(lab):
    with Client(lab.port) as client:
        shown = json.loads(client.request("/mount/environ", headers={"SCRIPT_NAME": "/mount"}).text)
        assert (shown["SCRIPT_NAME"], shown["PATH_INFO"]) == ("/mount", "/environ")
        wrong = client.request("/other", headers={"SCRIPT_NAME": "/mount"})
    assert wrong.status == 500
    assert "does not start with SCRIPT_NAME" in wrong.text


def test_response_has_server_and_date(lab):
    response = get(lab.port, "/pid")
    assert response.get("Server") == "remuda"
    assert response.get("Date").endswith("GMT")
    assert response.get("Content-Type") == "text/plain"
    assert response.get("Content-Length") == str(len(response.body))


def test_iterable_is_sent_piece_by_piece(lab):
    with Client(lab.port) as client:
        client.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_head().get("Transfer-Encoding") == "chunked"
        arrivals = []
        while chunk := client.read_chunk():
            arrivals.append((time.monotonic(), chunk))
    assert b"".join(chunk for _, chunk in arrivals) == b"piece 0\npiece 1\npiece 2\n"
    assert arrivals[0][0] < arrivals[-1][0], "all pieces came at once"


def test_http_1_0_stream_ends_with_the_connection(lab):
    with Client(lab.port) as client:
        client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        response = client.read()
    assert response.get("Transfer-Encoding") is None
    assert response.body == b"piece 0\npiece 1\npiece 2\n"


def test_write_callable_comes_before_the_iterable(lab):
    assert get(lab.port, "/write").text == "written twice and returned"


def test_close_is_called_after_success_and_after_an_error(lab):
    assert get(lab.port, "/close-after-success").text == "ab"
    with Client(lab.port) as client:
        client.send(b"GET /close-after-error HTTP/1.1\r\nHost: x\r\n\r\n")
        client.read_head()
        assert client.read_chunk() == b"a"
        with pytest.raises(EOFError):
            client.read_chunk()
    names = get(lab.port, "/closed").text.split(",")
    assert "success" in names and "error" in names
    assert "in the middle" in lab.log()


def test_close_is_called_when_the_client_leaves(lab):
    with Client(lab.port) as client:
        client.send(b"GET /close-after-disconnect HTTP/1.1\r\nHost: x\r\n\r\n")
        client.read_head()
    wait_until(lambda: "disconnect" in get(lab.port, "/closed").text, "close() was called")


def test_error_is_logged_with_traceback_and_answered_with_500(lab):
    response = get(lab.port, "/error")
    assert response.status == 500
    assert "<title>Internal Server Error</title>" in response.text
    assert "Error handling request GET /error" in lab.log()
    assert "RuntimeError: broken on purpose" in lab.log()
    assert get(lab.port, "/pid").status == 200


@pytest.mark.parametrize(
    ("page", "logged"),
    [
        ("/error-after-start", "broken after start_response"),
        ("/start-twice", "Response headers already set!"),
        ("/never-started", "start_response() was not called"),
        ("/text-body", "a response body must yield bytes"),
        ("/bad-header", "Invalid response header"),
        ("/bad-status", "Invalid response status: 'fine'"),
    ],
)
def test_mistakes_of_the_app_end_in_a_500(lab, page, logged):
    response = get(lab.port, page)
    assert response.status == 500
    assert response.get("Injected") is None
    assert logged in lab.log()


def test_exc_info_replaces_a_head_that_was_not_sent(lab):
    response = get(lab.port, "/exc-info")
    assert (response.status, response.reason, response.text) == (503, "Changed Mind", "sorry")


def test_exc_info_is_raised_when_the_head_was_sent(lab):
    with Client(lab.port) as client:
        client.send(b"GET /exc-info-too-late HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_head().status == 200
        assert client.read_chunk() == b"sent already"
        with pytest.raises(EOFError):
            client.read_chunk()
    assert "ValueError: too late to change" in lab.log()


def test_hop_by_hop_and_server_headers_of_the_app_are_dropped(lab):
    response = get(lab.port, "/hop-by-hop")
    assert response.get("X-Kept") == "yes"
    assert response.get("Server") == "remuda"
    assert response.get("Keep-Alive") is None
    assert response.get("Connection") is None


def test_reason_repeated_and_latin1_headers_survive(lab):
    response = get(lab.port, "/odd-headers")
    assert (response.status, response.reason) == (299, "Sehr gut")
    assert [v for k, v in response.headers if k.lower() == "set-cookie"] == ["a=1", "b=2"]
    assert response.get("X-Latin") == "\xe9"


def test_body_that_is_too_short_cuts_the_connection(lab):
    with Client(lab.port) as client:
        client.send(b"GET /too-short HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(EOFError):
            client.read()


def test_body_that_is_too_long_is_cut(lab):
    with Client(lab.port) as client:
        assert client.request("/too-long").body == b"much "
        assert client.request("/pid").status == 200


def test_empty_bodies(lab):
    with Client(lab.port) as client:
        assert client.request("/empty").body == b""
        assert client.request("/no-content").status == 204
        head = client.request("/big", method="HEAD")
        assert head.status == 200 and head.body == b""
        assert client.request("/pid").status == 200


def test_large_responses_arrive_whole(lab):
    assert get(lab.port, "/big").body == b"0123456789abcdef" * (1 << 18)
    assert get(lab.port, "/big-stream").body == b"0123456789abcdef" * (4096 * 64)


def test_file_wrapper(lab):
    assert get(lab.port, "/file").body.startswith(b'"""One app with a page for each')


def test_wsgi_errors_goes_to_the_error_log(lab):
    assert get(lab.port, "/errors").text == "ok"
    assert "written to wsgi.errors" in lab.log()


def test_small_body_is_read_ahead(lab):
    shown = json.loads(get(lab.port, "/body-kind", method="POST", body=b"one\ntwo").text)
    assert shown["kind"] == "BytesIO"
    assert (shown["first"], shown["length"], shown["CONTENT_LENGTH"]) == ("one\n", 7, "7")


def test_large_body_is_spooled_to_a_file(lab):
    body = b"first line\n" + b"x" * (2 << 20)
    shown = json.loads(get(lab.port, "/body-kind", method="POST", body=body).text)
    assert shown["kind"] == "BufferedReader"
    assert (shown["first"], shown["length"]) == ("first line\n", len(body))


def test_chunked_body_gets_its_length(lab):
    with Client(lab.port) as client:
        client.send(b"POST /body-kind HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"4\r\nab\nc\r\n3;ext=1\r\ndef\r\n0\r\nTrailer: x\r\n\r\n")
        shown = json.loads(client.read().text)
    assert (shown["first"], shown["length"], shown["CONTENT_LENGTH"]) == ("ab\n", 7, "7")
    assert shown["HTTP_TRANSFER_ENCODING"] is None


def test_app_is_wsgi_conformant_under_the_validator(serve, wsgi_class):
    env = {"GUNICORN_WORKER_CLASS": wsgi_class}
    with serve(app="validated:app", env=env) as server, Client(server.port) as client:
        assert client.request("/").text == "valid"
        assert client.request("/x?y=1", method="POST", body=b"data").text == "valid data"
        assert client.request("/", method="HEAD").status == 200
    assert "AssertionError" not in server.log()
    assert "Error handling" not in server.log()


def test_each_gevent_request_has_a_fresh_context(serve):
    with serve(app="lab:app", env={"GUNICORN_WORKER_CLASS": "gevent"}) as server:
        with Client(server.port) as client:
            assert [client.request("/context").text for _ in range(3)] == ["fresh"] * 3


def test_headers_that_change_from_request_to_request_are_never_taken_for_those_of_before(lab):
    """What an app says again and again is read once; what it makes anew is read anew."""
    with Client(lab.port) as client:
        for number in range(300):
            response = client.request(f"/new-headers?{number}")
            assert response.reason == f"Number {number % 7}"
            assert response.get(f"X-{number % 100}") == f"value {number}"
            assert response.get("X-Always") == "the same"


def test_no_environ_outlives_its_request(serve, wsgi_class):
    """Not even one that the access log shows something of."""
    env = {
        "GUNICORN_WORKER_CLASS": wsgi_class,
        "GUNICORN_ACCESSLOG": "-",
        "GUNICORN_ACCESS_LOG_FORMAT": "%(m)s %({REMOTE_ADDR}e)s",
    }
    with serve(app="lab:app", env=env) as server, Client(server.port) as client:
        before = int(client.request("/environs").text)
        for page in ["/pid", "/stream", "/error", "/write"] * 5:
            client.request(page)
        assert int(client.request("/environs").text) == before
