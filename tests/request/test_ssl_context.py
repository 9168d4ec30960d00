"""The hook ``ssl_context``: what its context says is what clients meet."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from http2_client import Http2
from http_client import Client, get
from serving import APPS, REMUDA, conf, is_a_wish, wait_until
from tls_files import TlsFiles

TURNED_AWAY = (ssl.SSLError, ConnectionError, EOFError)

DOCUMENTED = """
def ssl_context(conf, default_ssl_context_factory):
    import ssl
    context = default_ssl_context_factory()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
"""

HEAD = """
import ssl, os
certfile, keyfile = {cert!r}, {key!r}
CA, CLIENTS = {ca!r}, ssl.Purpose.CLIENT_AUTH
def ssl_context(conf, factory):
"""


def write(site: Path, tls: TlsFiles, body: str, more: str = "") -> None:
    """A configuration file whose hook has this body."""
    head = HEAD.format(cert=str(tls.cert), key=str(tls.key), ca=str(tls.ca))
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    conf(site, head + lines + more)


def changed(line: str) -> str:
    """The body of a hook that changes one thing of the default."""
    return f"context = factory()\n{line}\nreturn context"


def limited(tls: TlsFiles, version: str) -> ssl.SSLContext:
    """A client that speaks one version."""
    context = tls.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    return context


def environ(server, context: ssl.SSLContext) -> dict[str, object]:
    with Client(server.port, context=context) as client:
        return json.loads(client.request("/environ").text)


def is_turned_away(server, context: ssl.SSLContext) -> None:
    with pytest.raises(TURNED_AWAY):
        # TLS 1.3 clients learn it only when they read.
        environ(server, context)


def test_the_documented_example_turns_clients_of_tls_1_2_away(serve, site, tls, worker_class):
    app = "scope:app" if worker_class == "asgi" else "lab:app"
    conf(site, DOCUMENTED)
    with serve("-k", worker_class, cwd=site, app=app, env=tls.settings) as server:
        assert f"Listening at: https://127.0.0.1:{server.port}" in server.log()
        assert get_version(server, tls.context()) == "TLSv1.3"
        is_turned_away(server, limited(tls, "TLSv1_2"))


def get_version(server, context: ssl.SSLContext) -> str | None:
    with Client(server.port, context=context) as client:
        assert client.request("/").status == 200
        return client.socket.version()


VERSIONS = [
    ("context.maximum_version = ssl.TLSVersion.TLSv1_2", "TLSv1_2", "TLSv1_3"),
    ("context.options |= ssl.OP_NO_TLSv1_2", "TLSv1_3", "TLSv1_2"),
    ("context.options |= ssl.OP_NO_TLSv1_3", "TLSv1_2", "TLSv1_3"),
    ("context.minimum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED", "TLSv1_3", "TLSv1_2"),
]


@pytest.mark.parametrize(("line", "spoken", "not_spoken"), VERSIONS)
def test_versions_can_be_said_in_several_ways(serve, site, tls, line, spoken, not_spoken):
    write(site, tls, changed(line))
    with serve(cwd=site, app="lab:app") as server:
        assert environ(server, limited(tls, spoken))["SSL_PROTOCOL"] == spoken.replace("_", ".")
        is_turned_away(server, limited(tls, not_spoken))


OWN = {
    "class": "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
    "context.load_cert_chain({cert!r}, {key!r})\nreturn context",
    "named": "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
    "context.load_cert_chain(keyfile={key!r}, certfile=os.fsencode({cert!r}))\nreturn context",
    "default": "context = ssl.create_default_context(CLIENTS)\n"
    "context.load_cert_chain({cert!r}, {key!r})\nreturn context",
    "one version": "context = ssl.SSLContext(ssl.PROTOCOL_TLSv1_2)\n"
    "context.load_cert_chain({cert!r}, {key!r})\nreturn context",
    "made before": "return PREPARED",
}
PREPARED = """
from ssl import SSLContext
PREPARED = SSLContext(ssl.PROTOCOL_TLS_SERVER)
PREPARED.load_cert_chain({cert!r}, {key!r})
"""


@pytest.mark.parametrize("kind", ["sync", "gevent"])
@pytest.mark.parametrize("way", OWN)
def test_a_context_of_its_own_needs_no_file_of_the_settings(serve, site, tls, way, kind):
    files = {"cert": str(tls.cert), "key": str(tls.key)}
    more = PREPARED.format(**files) if way == "made before" else ""
    write(site, tls, OWN[way].format(**files), more + "certfile = keyfile = 'not/there'\n")
    with serve("-k", kind, cwd=site, app="lab:app") as server:
        shown = environ(server, tls.context())
        assert shown["SSL_PROTOCOL"] == ("TLSv1.2" if way == "one version" else "TLSv1.3")


def test_a_hook_is_asked_with_a_key_alone_as_in_gunicorn(serve, site, tls):
    body = OWN["class"].format(cert=str(tls.cert), key=str(tls.key))
    write(site, tls, body, "certfile = None\n")
    with serve(cwd=site, app="lab:app") as server:
        assert get_version(server, tls.context()) == "TLSv1.3"


def test_without_certificate_and_key_it_is_not_called_as_in_gunicorn(serve, site):
    conf(site, "def ssl_context(conf, factory):\n    raise AssertionError\n")
    with serve(cwd=site) as server:
        assert get(server.port).status == 200
        why = "has no effect without `certfile` or `keyfile`, as in gunicorn"
        assert f"`ssl_context` {why}" in server.log()


def test_a_hook_of_a_module_is_found_where_the_app_is(serve, site, tls):
    (site / "there").mkdir()
    conf(site, DOCUMENTED, "there/secure.py")
    env = {**tls.settings, "GUNICORN_SSL_CONTEXT": "secure.ssl_context"}
    with serve("--chdir", "there", cwd=site, app="lab:app", env=env) as server:
        is_turned_away(server, limited(tls, "TLSv1_2"))


def test_the_hook_sees_settings_and_environment_of_the_app(serve, site, tls):
    (site / "there").mkdir()
    os.replace(tls.key, site / "there" / "relative.key")
    body = "assert (os.environ['SEEN'], conf.workers) == ('yes', 2)\nreturn factory()"
    more = "keyfile = 'relative.key'\nchdir = 'there'\nraw_env = ['SEEN=yes']\nworkers = 2\n"
    write(site, tls, body, more)
    with serve(cwd=site, app="lab:app") as server:
        assert get_version(server, tls.context()) == "TLSv1.3"


AUTHORITIES = {
    "file": "context.load_verify_locations(CA)",
    "text": "context.load_verify_locations(cadata=open(CA).read())",
    "DER": "context.load_verify_locations(cadata=ssl.PEM_cert_to_DER_cert(open(CA).read()))",
    "folder": "context.load_verify_locations(capath=os.path.join(os.path.dirname(CA), 'hashed'))",
}


@pytest.mark.parametrize("way", AUTHORITIES)
def test_clients_show_certificates_of_the_authorities_that_the_hook_has_loaded(
    serve, site, tls, way
):
    tls.issue_client("alice")
    (tls.folder / "hashed").mkdir()
    (tls.folder / "hashed" / "0123abcd.0").symlink_to(tls.ca)
    required = "\ncontext.verify_mode = ssl.CERT_REQUIRED"
    write(site, tls, changed(AUTHORITIES[way] + required))
    with serve(cwd=site, app="lab:app") as server:
        shown = environ(server, tls.context(client=True))
        assert shown["SSL_CLIENT_S_DN"].startswith("CN=alice,OU=")
        is_turned_away(server, tls.context())
        tls.issue_client("mallory", trustme.CA())
        is_turned_away(server, tls.context(client=True))


def test_the_authorities_of_the_machine_can_be_those_of_clients(serve, site, tls):
    load = "context.load_default_certs(CLIENTS)\ncontext.load_verify_locations(CA)"
    write(site, tls, changed(f"{load}\ncontext.verify_mode = ssl.CERT_OPTIONAL"))
    tls.issue_client("alice")
    with serve(cwd=site, app="lab:app") as server:
        assert environ(server, tls.context(client=True))["SSL_CLIENT_VERIFY"] == "SUCCESS"


def test_a_hook_can_relax_what_settings_ask_of_clients(serve, site, tls):
    more = "ca_certs, cert_reqs = CA, 2\n"
    write(site, tls, changed("context.verify_mode = ssl.CERT_OPTIONAL"), more)
    with serve(cwd=site, app="lab:app") as server:
        assert environ(server, tls.context())["SSL_CLIENT_VERIFY"] == "NONE"


def encrypt(tls: TlsFiles, *how: str) -> None:
    """Give the key a password."""
    into = tls.folder / "encrypted"
    command = ["openssl", *how, "-in", tls.key, "-out", into, "-passout", "pass:öpen"]
    subprocess.run(command, check=True)
    os.replace(into, tls.key)


PASSWORDS = ["'öpen'", "'öpen'.encode()", "lambda: 'öpen'"]


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_password_of_a_key_is_what_the_hook_says(serve, site, tls, password):
    encrypt(tls, "pkcs8", "-topk8")
    load = f"context.load_cert_chain(certfile, keyfile, password={password})"
    write(site, tls, f"context = ssl.create_default_context(CLIENTS)\n{load}\nreturn context")
    with serve(cwd=site, app="lab:app") as server:
        assert get_version(server, tls.context()) == "TLSv1.3"
        tls.issue("renewed")
        encrypt(tls, "pkcs8", "-topk8")
        wait_until(lambda: subject(server, tls) == "renewed", "the new certificate")


def subject(server, tls: TlsFiles) -> str:
    with Client(server.port, context=tls.context()) as client:
        client.request("/")
        return dict(pair[0] for pair in client.socket.getpeercert()["subject"])["commonName"]


def test_files_that_the_hook_has_written_may_be_gone_after_it(serve, site, tls):
    body = """
import shutil
shutil.copy(keyfile, "secret.key")
context = ssl.create_default_context(CLIENTS)
context.load_cert_chain(certfile, "secret.key")
os.unlink("secret.key")
return context
"""
    write(site, tls, body)
    with serve("--workers", "2", cwd=site, app="lab:app") as server:
        for _ in range(4):
            assert get_version(server, tls.context()) == "TLSv1.3"


def test_files_that_the_hook_has_named_are_renewed(serve, site, tls):
    write(site, tls, "return factory()")
    with serve(cwd=site, app="lab:app") as server:
        assert subject(server, tls) == "localhost"
        tls.issue("renewed")
        server.wait_for_log("Certificate renewed from")
        assert subject(server, tls) == "renewed"


@pytest.mark.parametrize("kind", ["sync", "asgi"])
def test_a_client_gets_the_certificate_of_the_kind_that_it_knows(serve, site, tls, kind):
    pair = tls.authority.issue_cert("localhost", key_type=trustme.KeyType.RSA)
    rsa = tls.folder / "rsa.pem"
    pair.private_key_and_cert_chain_pem.write_to_path(str(rsa))
    write(site, tls, changed(f"context.load_cert_chain({str(rsa)!r})"))
    app = "scope:app" if kind == "asgi" else "lab:app"
    with serve("-k", kind, cwd=site, app=app) as server:
        for name, file in [("ECDSA", tls.cert), ("RSA", rsa)]:
            context = limited(tls, "TLSv1_2")
            context.set_ciphers(f"ECDHE-{name}-AES128-GCM-SHA256")
            shown = environ(server, context)
            if kind == "asgi":
                assert shown["tls"]["server_cert"] in file.read_text()
            else:
                assert shown["SSL_CIPHER"] == f"ECDHE-{name}-AES128-GCM-SHA256"
        assert get_version(server, tls.context()) == "TLSv1.3"


def test_a_certificate_of_the_same_kind_takes_the_place_of_the_first(serve, site, tls):
    first = tls.cert.read_bytes(), tls.key.read_bytes()
    for name, content in zip(("first.pem", "first.key"), first, strict=True):
        (tls.folder / name).write_bytes(content)
    tls.issue("second")
    files = [str(tls.folder / name) for name in ("first.pem", "first.key")]
    write(
        site,
        tls,
        changed("context.load_cert_chain(SECOND[0], SECOND[1])"),
        f"SECOND = certfile, keyfile\ncertfile, keyfile = {files!r}\n",
    )
    with serve(cwd=site, app="lab:app") as server:
        assert subject(server, tls) == "second"


def test_suites_are_those_of_the_context_and_what_is_missing_is_told(serve, site, tls):
    write(site, tls, changed("context.set_ciphers('ECDHE+CHACHA20:AES256-SHA256')"))
    with serve(cwd=site, app="lab:app") as server:
        said = "`ssl_context` allows cipher suites that are not there: AES256-SHA256"
        assert server.log().count(said) == 1
        context = limited(tls, "TLSv1_2")
        assert environ(server, context)["SSL_CIPHER"] == "ECDHE-ECDSA-CHACHA20-POLY1305"
        context.set_ciphers("ECDHE+AESGCM")
        is_turned_away(server, context)
        assert get_version(server, tls.context()) == "TLSv1.3"


def test_the_order_of_suites_is_the_servers_as_in_openssl(serve, site, tls):
    order = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"
    context = limited(tls, "TLSv1_2")
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305")
    lines = {
        "CHACHA20": f"context.set_ciphers({order!r})",
        "AES128": f"context.set_ciphers({order!r})\n"
        "context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE",
    }
    for chosen, line in lines.items():
        write(site, tls, changed(line))
        with serve(cwd=site, app="lab:app") as server:
            assert chosen in environ(server, context)["SSL_CIPHER"]


def test_a_curve_is_the_only_one(serve, site, tls):
    write(site, tls, changed("context.set_ecdh_curve('secp384r1')"))
    with serve(cwd=site, app="lab:app") as server:
        context = tls.context()
        context.set_ecdh_curve("secp384r1")
        assert get_version(server, context) == "TLSv1.3"
        context.set_ecdh_curve("prime256v1")
        is_turned_away(server, context)


NO_TICKETS = ["context.options |= ssl.OP_NO_TICKET", "context.num_tickets = 0", "pass"]


@pytest.mark.parametrize("line", NO_TICKETS)
def test_without_tickets_no_session_is_resumed(serve, site, tls, line):
    write(site, tls, changed(line))
    with serve(cwd=site, app="lab:app") as server:
        context = tls.context()
        with Client(server.port, context=context) as client:
            client.request("/")
            session = client.socket.session
        plain = Client(server.port)
        with context.wrap_socket(
            plain.socket, server_hostname="localhost", session=session
        ) as again:
            again.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert again.recv(9) == b"HTTP/1.1 "
            assert again.session_reused == (line == "pass")


def test_alpn_of_the_hook_is_offered(serve, site, tls):
    write(site, tls, changed("context.set_alpn_protocols(['h2', 'spdy/3', 'http/1.1'])"))
    with serve(cwd=site, app="lab:app") as server:
        with Http2(server.port, tls.context("h2")) as client:
            assert client.request("/").status == 200
        assert "`ssl_context` offers protocols that are not spoken: spdy/3" in server.log()
    # OpenSSL goes on with a client that wants none of these; so do we.
    write(site, tls, changed("context.set_alpn_protocols(['http/1.1'])"))
    with serve(cwd=site, app="lab:app") as server:
        assert get_version(server, tls.context("http/1.0")) == "TLSv1.3"


def test_clients_of_the_configuration_file_are_left_alone(serve, site, tls):
    more = """
import urllib.request
outgoing = ssl.create_default_context(cafile=CA)
before = set(vars(ssl.SSLContext))
def post_fork(server, worker):
    own = outgoing.__dict__, [name for name in vars(ssl.SSLContext) if "load_" in name]
    server.log.info("left: %s", own)
"""
    write(site, tls, "return factory()", more)
    with serve(cwd=site, app="lab:app") as server:
        server.wait_for_log("left: ({}, ['_load_windows_store_certs', 'load_default_certs'])")


def refused(site: Path, *args: str) -> tuple[int, str]:
    """Status and words of a command that ends by itself."""
    clean = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
    done = subprocess.run(
        [str(REMUDA), "-b", "127.0.0.1:0", *args, "lab:app"],
        cwd=site,
        env={**clean, "PYTHONPATH": str(APPS)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    said = done.stderr.decode()
    assert "Booting worker" not in said
    return done.returncode, said


IMPOSSIBLE = {
    "nothing": ("pass", "has returned an object of the type NoneType"),
    "a client's": ("return ssl.create_default_context()", "has returned a context for clients"),
    "no certificate": ("return ssl.create_default_context(CLIENTS)", "without a certificate"),
    "old versions": (
        changed("context.maximum_version = ssl.TLSVersion.TLSv1_1"),
        "allows no version of TLS that is spoken here",
    ),
    "no version": (
        changed("context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3"),
        "allows no version of TLS that is spoken here",
    ),
    "old suites": (
        changed(
            "context.set_ciphers('AES256-SHA256')\ncontext.maximum_version = ssl.TLSVersion.TLSv1_2"
        ),
        "no cipher suite is left for TLSv1_2",
    ),
    "no authorities": (
        changed("context.verify_mode = ssl.CERT_REQUIRED"),
        "has clients show certificates, but nobody may sign them",
    ),
    "revocation": (
        changed("context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF"),
        "wants lists of revoked certificates",
    ),
    "names": (changed("context.sni_callback = lambda *_: None"), "has a `sni_callback`"),
    "a curve": (changed("context.set_ecdh_curve('secp521r1')"), "no curve `secp521r1`"),
}

if sys.version_info >= (3, 13):
    IMPOSSIBLE["PSK"] = (
        changed("context.set_psk_server_callback(lambda identity: b'key')"),
        "has keys without certificates (PSK)",
    )


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_done_is_one_error_at_the_start_and_in_a_check(site, tls, case):
    body, words = IMPOSSIBLE[case]
    write(site, tls, body)
    for args in [(), ("--check-config",)]:
        status, said = refused(site, *args)
        assert (status, words in said) == (1, True), said
        assert "Traceback" not in said
    if words.startswith("has "):
        assert f"`ssl_context` ({site}/gunicorn.conf.py:5) {words}" in said
        assert "  why:  " in said and "  hint: " in said


def test_an_exception_of_the_hook_is_shown_with_its_line(site, tls):
    write(site, tls, "raise RuntimeError('oh no')")
    for args in [(), ("--check-config",)]:
        status, said = refused(site, *args)
        assert status == 1
        assert "Exception in hook ssl_context" in said
        assert 'gunicorn.conf.py", line 6, in ssl_context' in said
        assert "RuntimeError: oh no" in said
        assert "remuda/tls_context.py" not in said


def test_a_missing_file_is_named(site, tls):
    tls.key.unlink()
    write(site, tls, "return factory()")
    status, said = refused(site)
    assert (status, f"No such file or directory: '{tls.key}'" in said) == (1, True), said


def test_nobody_is_asked_for_a_password(site, tls):
    encrypt(tls, "pkcs8", "-topk8")
    write(site, tls, "return factory()")
    status, said = refused(site)
    assert (status, f"the private key in '{tls.key}' is encrypted" in said) == (1, True), said


def test_a_key_that_is_encrypted_in_the_old_way_is_refused_with_a_way_out(site, tls):
    encrypt(tls, "ec", "-aes256")
    load = "context.load_cert_chain(certfile, keyfile, password='öpen')"
    write(site, tls, f"context = ssl.create_default_context(CLIENTS)\n{load}\nreturn context")
    status, said = refused(site)
    assert status == 1
    assert f"cannot decrypt the private key in `{tls.key}`, line 1" in said
    assert f"openssl pkcs8 -topk8 -in {tls.key} -out new.key" in said


def test_a_reload_takes_a_new_hook_and_keeps_the_old_one_of_a_broken_file(serve, site, tls):
    conf(site, DOCUMENTED)
    with serve(cwd=site, app="lab:app", env=tls.settings) as server:
        conf(site, DOCUMENTED.replace("TLSv1_3", "TLSv1_2"))
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert get_version(server, limited(tls, "TLSv1_2")) == "TLSv1.2"
        wait_until(lambda: len(server.workers()) == 1, "the worker of before is gone")
        workers = server.workers()
        conf(site, DOCUMENTED.replace("return context", "raise RuntimeError('oh no')"))
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload given up")
        assert "RuntimeError: oh no" in server.log()
        assert server.workers() == workers
        assert get_version(server, limited(tls, "TLSv1_2")) == "TLSv1.2"
        os.kill(workers[0], signal.SIGKILL)
        server.wait_for_log("Booting worker with pid", 3)
        assert get_version(server, limited(tls, "TLSv1_2")) == "TLSv1.2"


def test_an_app_that_cannot_be_shared_has_the_same_context(serve, site, tls):
    conf(site, DOCUMENTED)
    with serve(cwd=site, app="threaded:app", env=tls.settings) as server:
        assert "The application is not shared between workers" in server.log()
        is_turned_away(server, limited(tls, "TLSv1_2"))
        with Client(server.port, context=tls.context()) as client:
            assert client.request("/").status == 200


def test_only_who_has_the_hook_pays_for_pythons_ssl():
    names = "import sys, remuda.zygote, remuda.worker; print('ssl' in sys.modules)"
    command = [sys.executable, "-c", names]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"False\n"
