"""The hook ``ssl_context``: it is called once, and its context is read for the front.

rustls makes the handshakes, and has no use for a context of Python's. Nearly everything can be
read from one; the rest was overheard (``tls_overhearing.py``). The list is in
``docs/design/042-ssl-context.md``.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from remuda import _remuda, hooks
from remuda.cfg import Cfg
from remuda.config_file import ConfigError
from remuda.glog import trace_of
from remuda.tls_overhearing import Heard, heard_by

HOOK = "ssl_context"
TLS_1_2, TLS_1_3 = 0x0303, 0x0304
# Contexts that speak one version, whatever their bounds say.
OF_ONE_VERSION = {
    ssl.PROTOCOL_TLSv1: 0x0301,
    ssl.PROTOCOL_TLSv1_1: 0x0302,
    ssl.PROTOCOL_TLSv1_2: TLS_1_2,
}
BY_REVOCATION = ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF | ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


class ImpossibleError(Exception):
    """A context that wants what cannot be done here, and would be missed: what, why, a hint."""


def ask_hook(plan: dict[str, Any], module: ModuleType | None, journal: _remuda.Journal) -> str:
    """Call the hook, and say what it wants, as JSON for the front.

    Raises:
        ConfigError: It raises, or wants what cannot be done.
    """
    hook = hooks.find_one(HOOK, plan, module)
    cfg = Cfg(plan, module, dict(os.environ))
    protocols = plan["protocols"]["tls"]["protocols"]
    try:
        context = hook(cfg, lambda: default_context(cfg, protocols))
    except (Exception, SystemExit) as error:
        raise ConfigError(f"Exception in hook {HOOK}\n{trace_of(error)}") from None
    try:
        return json.dumps(wish_of(context, journal))
    except ImpossibleError as error:
        what, why, hint = error.args
        place = f"`{HOOK}` ({place_of(hook)})"
        raise ConfigError(f"{place} {what}\n  why:  {why}\n  hint: {hint}") from None


def place_of(hook: Callable[..., Any]) -> str:
    """Where a hook stands."""
    code = getattr(hook, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(hook)


def default_context(cfg: Cfg, protocols: list[str]) -> ssl.SSLContext:
    """What gunicorn's factory makes of the settings."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cfg.ca_certs)
    context.load_cert_chain(certfile=cfg.certfile, keyfile=cfg.keyfile)
    context.verify_mode = cfg.cert_reqs
    if cfg.ciphers:
        context.set_ciphers(cfg.ciphers)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def wish_of(context: Any, journal: _remuda.Journal) -> dict[str, Any]:
    """All of a context that counts.

    Raises:
        ImpossibleError: Something of it cannot be done here, and would be missed.
    """
    if not isinstance(context, ssl.SSLContext):
        what = f"has returned an object of the type {type(context).__name__}"
        raise ImpossibleError(what, "it must return an `ssl.SSLContext`", "`return context`")
    heard = heard_by(context)
    for impossible in impossible_wishes(context, heard):
        raise ImpossibleError(*impossible)
    for warning in vain_wishes(context, heard):
        journal.warning(f"`{HOOK}` {warning}")
    return {
        "pairs": [
            {
                "certificate": certificate.told(),
                "key": key.told() if key else None,
                "password": list(password) if password is not None else None,
            }
            for certificate, key, password in heard.pairs
        ],
        "authorities": [file.told() for file in heard.authorities],
        "client_certificates": int(context.verify_mode),
        "suites": suites_of(context),
        "own_order": bool(context.options & ssl.OP_CIPHER_SERVER_PREFERENCE),
        "curve": heard.curve,
        "versions": versions_of(context),
        "without_tickets": bool(context.options & ssl.OP_NO_TICKET) or context.num_tickets == 0,
        # Without HTTP/2 there is nothing to choose. OpenSSL goes on where a client offers nothing
        # of it, rustls does not.
        "protocols": known_protocols(heard) if "h2" in heard.protocols else [],
    }


def impossible_wishes(context: ssl.SSLContext, heard: Heard) -> Iterator[tuple[str, str, str]]:
    """What would be missed: what, why, and a hint."""
    asks = context.verify_mode != ssl.CERT_NONE
    if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        yield (
            "has returned a context for clients",
            "a server cannot use it",
            "make it with `default_ssl_context_factory()`, or for `ssl.Purpose.CLIENT_AUTH`",
        )
    if not heard.pairs:
        yield (
            "has returned a context without a certificate",
            "it was not told to `load_cert_chain` in the hook or the configuration file",
            "call `default_ssl_context_factory()`, or `context.load_cert_chain(…)` in the hook",
        )
    if not any(versions_of(context)):
        yield (
            "allows no version of TLS that is spoken here",
            "those are 1.2 and 1.3",
            "look at `minimum_version`, `maximum_version` and `options` of its context",
        )
    if not suites_of(context):
        yield (
            "allows no cipher suite that is there",
            "rustls has only those that are safe today",
            f"name some of these: {', '.join(_remuda.cipher_suites())}",
        )
    if asks and not heard.authorities:
        yield (
            "has clients show certificates, but nobody may sign them",
            "`verify_mode` is not `CERT_NONE`, and there are no authorities",
            "name their file in `ca_certs`, or load it: `context.load_verify_locations(…)`",
        )
    if context.verify_flags & BY_REVOCATION:
        yield (
            "wants lists of revoked certificates",
            "they are not read here",
            "leave `verify_flags` alone; have a proxy in front do it",
        )
    if context.post_handshake_auth and asks:
        yield (
            "asks for certificates after the handshake",
            "they are asked for in the handshake, or never",
            "leave `post_handshake_auth` alone",
        )
    if context.sni_callback is not None:
        yield (
            "has a `sni_callback`",
            "every name is served with the same certificate",
            "use one certificate for all names, or a proxy in front",
        )
    if heard.psk:
        yield ("has keys without certificates (PSK)", "rustls has none", "load a certificate")
    if "sslsocket_class" in vars(context):
        yield (
            "has a socket class of its own",
            "no socket of Python's is used",
            "leave `sslsocket_class` alone",
        )


def vain_wishes(context: ssl.SSLContext, heard: Heard) -> Iterator[str]:
    """What changes nothing, and does no harm by that."""
    if 0 < bounds(context)[0] < TLS_1_2 and not context.options & ssl.OP_NO_TLSv1_1:
        yield "allows TLS below 1.2, which is not spoken: old clients are turned away"
    names = [suite["name"] for suite in context.get_ciphers()]
    missing = [name for name in names if name not in _remuda.cipher_suites()]
    if heard.ciphers and missing:
        yield f"allows cipher suites that are not there: {', '.join(missing)}"
    unknown = [name for name in heard.protocols if name not in known_protocols(heard)]
    if unknown:
        yield f"offers protocols that are not spoken: {', '.join(unknown)}"
    if context.keylog_filename:
        yield "sets `keylog_filename`, which has no effect: keys of sessions are not written"


def suites_of(context: ssl.SSLContext) -> list[str]:
    """The suites that there are, in the context's order."""
    ours = _remuda.cipher_suites()
    return [suite["name"] for suite in context.get_ciphers() if suite["name"] in ours]


def versions_of(context: ssl.SSLContext) -> tuple[bool, bool]:
    """Whether TLS 1.2 is allowed, and whether 1.3 is."""
    lowest, highest = bounds(context)
    first = lowest <= TLS_1_2 <= highest and not context.options & ssl.OP_NO_TLSv1_2
    second = lowest <= TLS_1_3 <= highest and not context.options & ssl.OP_NO_TLSv1_3
    return first, second


def bounds(context: ssl.SSLContext) -> tuple[int, int]:
    """The least and the highest version; 0 where there is no least one."""
    if context.protocol in OF_ONE_VERSION:
        only = OF_ONE_VERSION[context.protocol]
        return only, only
    words = {ssl.TLSVersion.MINIMUM_SUPPORTED: 0, ssl.TLSVersion.MAXIMUM_SUPPORTED: TLS_1_3}
    lowest, highest = context.minimum_version, context.maximum_version
    return int(words.get(lowest, lowest)), int(words.get(highest, highest))


def known_protocols(heard: Heard) -> list[str]:
    """What of its ALPN is spoken here."""
    return [name for name in heard.protocols if name in ("h2", "http/1.1")]
