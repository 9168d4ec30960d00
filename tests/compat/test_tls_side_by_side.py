"""The hook ``ssl_context``: real gunicorn and remuda turn the same clients away."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from test_side_by_side import BOTH, needs_gunicorn, running

from http_client import Client
from serving import Server, conf
from tls_files import TlsFiles

__all__ = ["needs_gunicorn"]

APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [environ["wsgi.url_scheme"].encode()]
"""

HEAD = """
import ssl
certfile, keyfile = {cert!r}, {key!r}
CA = {ca!r}
def ssl_context(conf, default_ssl_context_factory):
    context = default_ssl_context_factory()
"""

HOOKS = {
    "as it is": "pass",
    "only 1.3": "context.minimum_version = ssl.TLSVersion.TLSv1_3",
    "only 1.2": "context.maximum_version = ssl.TLSVersion.TLSv1_2",
    "by options": "context.options |= ssl.OP_NO_TLSv1_3",
    "suites": "context.set_ciphers('ECDHE+CHACHA20')",
    "own": "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
    "    context.load_cert_chain(certfile, keyfile)",
    "optional": "context.load_verify_locations(CA); context.verify_mode = ssl.CERT_OPTIONAL",
    "required": "context.load_verify_locations(CA); context.verify_mode = ssl.CERT_REQUIRED",
    "curve": "context.set_ecdh_curve('prime256v1')",
    "alpn": "context.set_alpn_protocols(['http/1.1'])",
    "rsa": "context.load_cert_chain(RSA)",
}


@pytest.fixture
def site(site: Path) -> Path:
    conf(site, APP, "shop.py")
    return site


def clients(tls: TlsFiles) -> dict[str, ssl.SSLContext]:
    """Clients of several kinds."""
    made = {name: tls.context() for name in ("1.2", "1.3", "aes", "rsa", "p384", "alpn")}
    made["1.2"].maximum_version = ssl.TLSVersion.TLSv1_2
    made["1.3"].minimum_version = ssl.TLSVersion.TLSv1_3
    for name, suites in [
        ("aes", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("rsa", "ECDHE-RSA-AES256-GCM-SHA384"),
    ]:
        made[name].maximum_version = ssl.TLSVersion.TLSv1_2
        made[name].set_ciphers(suites)
    made["p384"].set_ecdh_curve("secp384r1")
    made["alpn"].set_alpn_protocols(["http/1.0"])
    tls.issue_client("alice")
    made["alice"] = tls.context(client=True)
    tls.issue_client("mallory", trustme.CA())
    made["mallory"] = tls.context(client=True)
    return made


def meet(server: Server, context: ssl.SSLContext) -> str:
    """How a client fares: version, suite and the app's answer, or that it is turned away."""
    try:
        with Client(server.port, context=context) as client:
            answer = client.request("/", headers={"Connection": "close"})
            return f"{client.socket.version()} {client.socket.cipher()[0]} {answer.text}"
    except (ssl.SSLError, ConnectionError, EOFError):
        return "turned away"


@pytest.mark.parametrize("kind", ["sync", "gthread"])
@pytest.mark.parametrize("hook", HOOKS)
def test_the_same_clients_are_served_and_turned_away(site, tls, hook, kind):
    rsa = tls.folder / "rsa.pem"
    pair = tls.authority.issue_cert("localhost", key_type=trustme.KeyType.RSA)
    pair.private_key_and_cert_chain_pem.write_to_path(str(rsa))
    head = HEAD.format(cert=str(tls.cert), key=str(tls.key), ca=str(tls.ca))
    conf(site, f"{head}    {HOOKS[hook]}\n    return context\nRSA = {str(rsa)!r}\n")
    known = clients(tls)
    fared = []
    for program in BOTH:
        with running(program, site, "-k", kind) as server:
            fared.append({name: meet(server, context) for name, context in known.items()})
    theirs, ours = fared
    assert ours == theirs
    assert any(how != "turned away" for how in ours.values())


def test_without_certificate_and_key_both_speak_plain_http(site):
    conf(site, "def ssl_context(conf, factory):\n    raise AssertionError\n")
    for program in BOTH:
        with running(program, site) as server, Client(server.port) as client:
            assert client.request("/").text == "http"
