"""TLS: handshakes, clients' certificates, renewal, and what is not TLS."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import warnings
from datetime import datetime
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from http_client import Client, get
from serving import REMUDA, wait_until
from tls_files import TlsFiles


def settings(tls: TlsFiles, worker_class: str, **more: str) -> dict[str, str]:
    return {"GUNICORN_WORKER_CLASS": worker_class, **tls.settings, **more}


def app_for(worker_class: str) -> str:
    return "scope:app" if worker_class == "asgi" else "lab:app"


def test_requests_come_by_https_on_a_connection_that_is_kept(serve, tls, worker_class):
    with serve(app=app_for(worker_class), env=settings(tls, worker_class)) as server:
        assert f"Listening at: https://127.0.0.1:{server.port}" in server.log()
        with Client(server.port, context=tls.context()) as client:
            for _ in range(3):
                shown = json.loads(client.request("/environ").text)
                assert shown.get("wsgi.url_scheme", shown.get("scheme")) == "https"


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_both_versions_are_spoken_and_named(serve, tls, worker_class, version):
    context = tls.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with serve(app=app_for(worker_class), env=settings(tls, worker_class)) as server:
        with Client(server.port, context=context) as client:
            shown = json.loads(client.request("/environ").text)
            cipher = client.socket.cipher()[0]
    if worker_class == "asgi":
        number = {"TLSv1_2": 0x0303, "TLSv1_3": 0x0304}[version]
        assert shown["tls"]["tls_version"] == number
        assert shown["tls"]["server_cert"] in tls.cert.read_text()
        assert shown["tls"]["client_cert_name"] is None
        assert shown["tls"]["client_cert_chain"] == []
    else:
        assert shown["SSL_PROTOCOL"] == version.replace("_", ".")
        assert shown["SSL_CIPHER"] == cipher
        assert shown["SSL_CLIENT_VERIFY"] == "NONE"
        assert "SSL_CLIENT_CERT" not in shown


def test_older_versions_are_turned_away(serve, tls):
    context = tls.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        # Python, too, thinks that they are too old.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with serve(app="lab:app", env=settings(tls, "sync")) as server:
        with pytest.raises(ssl.SSLError):
            Client(server.port, context=context)
        server.wait_for_log("Invalid request from ip=127.0.0.1: TLS handshake:")


def test_large_bodies_go_both_ways(serve, tls, worker_class):
    body = os.urandom(3 << 20)
    page = "/upload" if worker_class == "asgi" else "/echo"
    with serve(app=app_for(worker_class), env=settings(tls, worker_class)) as server:
        with Client(server.port, context=tls.context()) as client:
            answer = client.request(page, method="POST", body=body)
            if worker_class == "asgi":
                assert json.loads(answer.text)["length"] == len(body)
                assert client.request("/stream").body == b"x" * (1 << 20)
            else:
                assert answer.body == body


def test_plain_http_on_a_tls_port_is_told_so(serve, tls, worker_class):
    with serve(app=app_for(worker_class), env=settings(tls, worker_class)) as server:
        for _ in range(3):
            answer = get(server.port)
            assert (answer.status, answer.get("Content-Type")) == (400, "text/plain")
            assert "HTTPS" in answer.text
        server.wait_for_refusals("plain HTTP on a port that speaks TLS", 3)
        with Client(server.port, context=tls.context()) as client:
            assert client.request("/").status == 200


def test_whoever_says_nothing_or_nonsense_costs_no_worker_and_little_log(serve, tls):
    env = settings(tls, "sync", GUNICORN_HEAD_TIMEOUT="1")
    with serve(app="lab:app", env=env) as server:
        before = server.workers()
        silent = [Client(server.port) for _ in range(20)]
        half = [Client(server.port) for _ in range(20)]
        for client in half:
            # The beginning of a ClientHello, and then nothing.
            client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        nonsense = [Client(server.port) for _ in range(20)]
        for number, client in enumerate(nonsense):
            client.send(b"\x16\x03\x01\x00\x05" + bytes([number]) * 5 + b"\x00\xff" * 50)
        with Client(server.port, context=tls.context()) as client:
            assert client.request("/pid").status == 200
        for client in [*silent, *half, *nonsense]:
            client.read_to_end()
            client.socket.close()
        server.wait_for_refusals("TLS handshake", 40)
        time.sleep(1)
        assert server.refusals("") == 40
        # A flood of them is no flood of lines.
        assert server.log().count("Invalid request") < 40
        assert server.workers() == before


def test_a_client_that_leaves_without_goodbye_is_no_event(serve, tls):
    with serve(app="lab:app", env=settings(tls, "sync")) as server:
        client = Client(server.port, context=tls.context())
        assert client.request("/pid").status == 200
        plain = socket.socket(fileno=client.socket.detach())
        plain.close()
        with Client(server.port, context=tls.context()) as other:
            assert other.request("/pid").status == 200
        time.sleep(1.2)
        assert "Invalid request" not in server.log()


@pytest.mark.parametrize("headers", [{"Connection": "close"}, {}], ids=["asked", "idle"])
def test_the_end_of_a_connection_is_said(serve, tls, headers):
    env = settings(tls, "sync", GUNICORN_KEEPALIVE="1")
    with serve(app="lab:app", env=env) as server:
        with Client(server.port, context=tls.context()) as client:
            client.socket.suppress_ragged_eofs = False
            client.request("/pid", headers=headers)
            # A missing goodbye would be an SSLEOFError.
            assert client.read_to_end() == b""


def test_sessions_are_resumed_by_any_worker(serve, tls):
    context = tls.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serve("--workers", "3", app="lab:app", env=settings(tls, "sync")) as server:
        with Client(server.port, context=context) as client:
            client.request("/pid")
            session = client.socket.session
        reused, pids = [], set()
        for _ in range(60):
            plain = socket.create_connection(("127.0.0.1", server.port), 30)
            wrapped = context.wrap_socket(plain, server_hostname="localhost", session=session)
            reused.append(wrapped.session_reused)
            wrapped.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            pids.add(wrapped.makefile("rb").read().split(b"\r\n\r\n")[1])
            wrapped.close()
        assert all(reused)
        assert len(pids) > 1


class TestClientCertificates:
    """mTLS: not asked for, asked for, demanded."""

    def test_required_and_shown(self, serve, tls, worker_class):
        tls.issue_client("alice")
        env = settings(tls, worker_class, GUNICORN_CA_CERTS=str(tls.ca), GUNICORN_CERT_REQS="2")
        with serve(app=app_for(worker_class), env=env) as server:
            with Client(server.port, context=tls.context(client=True)) as client:
                for _ in range(2):
                    shown = json.loads(client.request("/environ").text)
        if worker_class == "asgi":
            extension = shown["tls"]
            assert extension["client_cert_name"].startswith("CN=alice,OU=")
            assert extension["client_cert_chain"][0] in tls.client.read_text()
            assert extension["client_cert_error"] is None
        else:
            assert shown["SSL_CLIENT_VERIFY"] == "SUCCESS"
            assert shown["SSL_CLIENT_S_DN"].startswith("CN=alice,OU=")
            assert "trustme" in shown["SSL_CLIENT_I_DN"]
            assert shown["SSL_CLIENT_CERT"] in tls.client.read_text()
            assert int(shown["SSL_CLIENT_M_SERIAL"], 16) > 0

    def test_required_and_missing(self, serve, tls):
        env = settings(tls, "sync", GUNICORN_CA_CERTS=str(tls.ca), GUNICORN_CERT_REQS="2")
        with serve(app="lab:app", env=env) as server:
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                # TLS 1.3 clients learn it only when they read.
                with Client(server.port, context=tls.context()) as client:
                    client.request("/")
            server.wait_for_log("TLS handshake: peer sent no certificates")

    @pytest.mark.parametrize("wanted", ["1", "2"])
    def test_of_an_authority_that_does_not_count(self, serve, tls, wanted):
        tls.issue_client("mallory", trustme.CA())
        env = settings(tls, "sync", GUNICORN_CA_CERTS=str(tls.ca), GUNICORN_CERT_REQS=wanted)
        with serve(app="lab:app", env=env) as server:
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                with Client(server.port, context=tls.context(client=True)) as client:
                    client.request("/")
            server.wait_for_log("TLS handshake: invalid peer certificate: UnknownIssuer")

    def test_optional(self, serve, tls):
        tls.issue_client("bob")
        env = settings(tls, "sync", GUNICORN_CA_CERTS=str(tls.ca), GUNICORN_CERT_REQS="1")
        with serve(app="lab:app", env=env) as server:
            for shows, verified in [(True, "SUCCESS"), (False, "NONE")]:
                with Client(server.port, context=tls.context(client=shows)) as client:
                    shown = json.loads(client.request("/environ").text)
                    assert shown["SSL_CLIENT_VERIFY"] == verified

    def test_headers_cannot_pretend_to_be_certificates(self, serve, tls):
        env = settings(tls, "sync", GUNICORN_CA_CERTS=str(tls.ca), GUNICORN_CERT_REQS="1")
        with serve(app="lab:app", env=env) as server:
            with Client(server.port, context=tls.context()) as client:
                headers = {"SSL-Client-Verify": "SUCCESS", "SSL_CLIENT_VERIFY": "SUCCESS"}
                shown = json.loads(client.request("/environ", headers=headers).text)
                assert shown["SSL_CLIENT_VERIFY"] == "NONE"


class TestRenewal:
    """Files that change while we serve."""

    def subject(self, server, tls) -> str:
        with Client(server.port, context=tls.context()) as client:
            client.request("/")
            names = dict(pair[0] for pair in client.socket.getpeercert()["subject"])
            return names["commonName"]

    def test_new_connections_get_the_new_certificate(self, serve, tls, worker_class):
        app = app_for(worker_class)
        with serve("--workers", "2", app=app, env=settings(tls, worker_class)) as server:
            before = server.workers()
            with Client(server.port, context=tls.context()) as kept:
                kept.request("/")
                tls.issue("renewed")
                server.wait_for_log("Certificate renewed from", count=2)
                assert {self.subject(server, tls) for _ in range(8)} == {"renewed"}
                assert kept.request("/").status == 200
            assert server.workers() == before

    def test_what_cannot_be_used_changes_nothing(self, serve, tls):
        with serve(app="lab:app", env=settings(tls, "sync")) as server:
            key = tls.key.read_bytes()
            tls.key.write_text("nonsense")
            server.wait_for_log("The certificate of before stays in use: there is no private key")
            assert self.subject(server, tls) == "localhost"
            tls.key.unlink()
            server.wait_for_log("cannot read the private key")
            assert self.subject(server, tls) == "localhost"
            tls.key.write_bytes(key)
            server.wait_for_log("Certificate renewed from")
            time.sleep(2.5)
            assert server.log().count("stays in use") == 2
            assert self.subject(server, tls) == "localhost"

    def test_a_worker_that_is_born_later_has_the_new_certificate_at_once(self, serve, tls):
        with serve("--max-requests", "3", app="lab:app", env=settings(tls, "sync")) as server:
            tls.issue("renewed")
            server.wait_for_log("Certificate renewed from")

            def born() -> bool:
                assert self.subject(server, tls) == "renewed"
                return server.log().count("Booting worker with pid") > 2

            wait_until(born, "two workers are replaced")

    def test_hup_takes_the_new_files(self, serve, tls):
        with serve(app="lab:app", env=settings(tls, "sync")) as server:
            tls.issue("reloaded")
            server.send(signal.SIGHUP)
            wait_until(lambda: self.subject(server, tls) == "reloaded", "the new certificate")
            # Until then the old worker may take a connection as well.
            server.wait_for_log("Reload done")
            assert self.subject(server, tls) == "reloaded"


class TestFilesAtStart:
    """One clear error instead of a crash loop."""

    def refusal(self, tmp_path: Path, **env: str) -> str:
        """What a start that fails says."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GUNICORN_")}
        done = subprocess.run(
            [REMUDA, "hello:app"],
            cwd=Path(__file__).parents[1] / "apps",
            env={**clean, "GUNICORN_BIND": "127.0.0.1:0", **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1, done.stderr
        assert done.stderr.count("Booting worker") == 0
        return done.stderr

    def test_missing(self, tmp_path, tls):
        tls.cert.unlink()
        said = self.refusal(tmp_path, **tls.settings)
        assert f"cannot read the certificate `{tls.cert}`" in said
        assert "No such file or directory" in said

    def test_no_certificate_in_it(self, tmp_path, tls):
        tls.cert.write_bytes(b"\x30\x82\x01\x01 this is DER or something else")
        said = self.refusal(tmp_path, **tls.settings)
        assert f"there is no certificate in `{tls.cert}`" in said
        assert "openssl x509 -inform der" in said

    def test_a_broken_certificate_is_named_with_its_line(self, tmp_path, tls):
        good = tls.cert.read_text()
        bad = "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkq\n-----END CERTIFICATE-----\n"
        tls.cert.write_text(good + bad)
        line = good.count("\n") + 1
        said = self.refusal(tmp_path, **tls.settings)
        assert f"cannot use the certificate in `{tls.cert}`, line {line}" in said

    def test_key_of_another_pair(self, tmp_path, tls):
        other = trustme.CA().issue_cert("localhost")
        other.private_key_pem.write_to_path(str(tls.key))
        said = self.refusal(tmp_path, **tls.settings)
        assert f"the private key in `{tls.key}` does not belong to the certificate" in said

    def test_no_key(self, tmp_path, tls):
        said = self.refusal(tmp_path, GUNICORN_CERTFILE=str(tls.cert))
        assert f"there is no private key in `{tls.cert}`" in said
        assert "`keyfile`" in said

    def test_an_encrypted_key(self, tmp_path, tls):
        encrypted = tls.folder / "encrypted.key"
        subprocess.run(
            ["openssl", "pkcs8", "-topk8", "-in", tls.key, "-out", encrypted, "-passout", "pass:x"],
            check=True,
        )
        said = self.refusal(
            tmp_path, GUNICORN_CERTFILE=str(tls.cert), GUNICORN_KEYFILE=str(encrypted)
        )
        assert f"the private key in `{encrypted}`, line 1, is encrypted" in said
        assert "openssl pkey" in said

    def test_key_and_certificate_in_one_file(self, serve, tls):
        both = tls.folder / "both.pem"
        both.write_bytes(tls.key.read_bytes() + tls.cert.read_bytes())
        with serve(app="lab:app", env={"GUNICORN_CERTFILE": str(both)}) as server:
            with Client(server.port, context=tls.context()) as client:
                assert client.request("/").status == 200

    def test_an_expired_certificate_is_a_warning(self, serve, tls):
        expired = datetime(2020, 2, 2)
        pair = tls.authority.issue_cert("localhost", not_after=expired)
        pair.private_key_pem.write_to_path(str(tls.key))
        pair.cert_chain_pems[0].write_to_path(str(tls.cert))
        with serve(app="lab:app", env=tls.settings) as server:
            assert f"The certificate in `{tls.cert}` has expired on 2020-02-02" in server.log()


def test_only_the_ciphers_that_were_asked_for_are_spoken(serve, tls):
    env = settings(tls, "sync", GUNICORN_CIPHERS="ECDHE+CHACHA20:!aNULL")
    with serve(app="lab:app", env=env) as server:
        context = tls.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with Client(server.port, context=context) as client:
            assert client.socket.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"
        context.set_ciphers("ECDHE+AESGCM")
        with pytest.raises(ssl.SSLError):
            Client(server.port, context=context)
        with Client(server.port, context=tls.context()) as client:
            assert client.socket.version() == "TLSv1.3"


def test_no_request_is_lost_when_an_encrypted_service_stops(serve, tls, worker_class):
    page = "/stream" if worker_class == "asgi" else "/sleep?0.5"
    with serve(app=app_for(worker_class), env=settings(tls, worker_class)) as server:
        clients = [Client(server.port, context=tls.context()) for _ in range(5)]
        for client in clients:
            client.send(f"GET {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        server.send(signal.SIGTERM)
        for client in clients:
            answer = client.read()
            assert answer.status == 200
            client.socket.close()
        assert server.wait() == 0


def test_trusted_headers_say_the_scheme_over_tls_too(serve, tls):
    with serve(app="lab:app", env=settings(tls, "sync")) as server:
        with Client(server.port, context=tls.context()) as client:
            headers = {"X-Forwarded-Proto": "http"}
            shown = json.loads(client.request("/environ", headers=headers).text)
            assert shown["wsgi.url_scheme"] == "http"


def test_websockets_are_encrypted_like_all_else(serve, tls):
    env = settings(tls, "asgi", GUNICORN_HTTP_PROTOCOLS="h2,h1")
    with serve(app="lab_websocket:app", env=env) as server:
        asyncio.run(talk_until_it_stops(server, tls.context("http/1.1")))
        assert server.wait() == 0


async def talk_until_it_stops(server, context: ssl.SSLContext) -> None:
    """On one thread: the package's other client reads on a second one, and until Python 3.13 a TLS
    connection that is used by two threads loses what they write."""
    address = f"wss://localhost:{server.port}"
    async with connect(f"{address}/scope", ssl=context) as client:
        shown = json.loads(await client.recv())
        assert (shown["scheme"], "tls" in shown["extensions"]) == ("wss", True)
    async with connect(f"{address}/echo", ssl=context, max_size=None) as client:
        large = os.urandom(3 << 20)
        for message in ["text", b"", large, "end"]:
            await client.send(message)
            assert await client.recv() == message
        server.send(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1012
