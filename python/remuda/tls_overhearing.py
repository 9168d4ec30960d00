"""Overhearing what TLS contexts of Python are told, and cannot be asked for afterwards."""

from __future__ import annotations

import _ssl
import os
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from remuda.tls_files import File

# Where a context keeps what it was told.
MEMORY = "_remuda_heard"
# What OpenSSL looks for in a directory of authorities.
HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


@dataclass
class Heard:
    """What one context was told, and does not tell."""

    pairs: list[tuple[File, File | None, bytes | None]] = field(default_factory=list)
    authorities: list[File] = field(default_factory=list)
    protocols: list[str] = field(default_factory=list)
    curve: str | None = None
    ciphers: str | None = None
    psk: bool = False


def heard_by(context: ssl.SSLContext) -> Heard:
    """What a context was told so far."""
    heard: Heard = vars(context).setdefault(MEMORY, Heard())
    return heard


@contextmanager
def overhearing() -> Iterator[None]:
    """Listen to what all contexts are told meanwhile, however they were made.

    The class stays as it is: a subclass in its place would break the setters of ``ssl``, which look
    their own class up by its name, and would miss who has imported the class before.
    """
    mro = ssl.SSLContext.__mro__
    # gevent has put a class of its own over it.
    owner = mro[mro.index(_ssl._SSLContext) - 1]
    before = {name: vars(owner).get(name) for name in LISTENERS}
    for name, listen in LISTENERS.items():
        if hasattr(owner, name):
            setattr(owner, name, listening(getattr(owner, name), listen))
    try:
        yield
    finally:
        for name, method in before.items():
            if method is not None:
                setattr(owner, name, method)
            elif name in vars(owner):
                delattr(owner, name)


def listening(method: Callable[..., Any], listen: Callable[..., Any]) -> Callable[..., Any]:
    """The method, with someone who listens to its calls."""

    def overheard(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> Any:
        if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
            return method(context, *args, **kwargs)
        return listen(heard_by(context), lambda *a, **k: method(context, *a, **k), *args, **kwargs)

    return overheard


def load_cert_chain(
    heard: Heard, proceed: Any, certfile: Any, keyfile: Any = None, password: Any = None
) -> None:
    """A certificate and its key. OpenSSL would ask the terminal for a password, at each start."""
    certificate = File.read(certfile)
    key = File.read(keyfile) if keyfile is not None else None
    said: list[bytes] = []

    def answer() -> bytes:
        if password is None:
            name = (key or certificate).path
            raise ValueError(
                f"the private key in {name!r} is encrypted, and nobody is there to type its "
                "password; it can be given as load_cert_chain(…, password=…)"
            )
        text = password() if callable(password) else password
        said.append(text.encode() if isinstance(text, str) else bytes(text))
        return said[-1]

    proceed(certfile, keyfile, answer)
    heard.pairs.append((certificate, key, said[-1] if said else None))


def load_verify_locations(
    heard: Heard, proceed: Any, cafile: Any = None, capath: Any = None, cadata: Any = None
) -> None:
    """Authorities, in up to three forms."""
    found = [File.read(cafile)] if cafile is not None else []
    proceed(cafile, capath, cadata)
    found += files_in(capath) if capath is not None else []
    if isinstance(cadata, str):
        found.append(File("(cadata)", cadata))
    elif cadata is not None:
        # DER. Another context takes it apart.
        apart = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        heard_by(apart)
        _ssl._SSLContext.load_verify_locations(apart, cadata=cadata)
        pems = map(ssl.DER_cert_to_PEM_cert, apart.get_ca_certs(binary_form=True))
        found.append(File("(cadata)", "".join(pems)))
    heard.authorities += found


def set_default_verify_paths(heard: Heard, proceed: Any) -> None:
    """The authorities of this machine."""
    proceed()
    places = ssl.get_default_verify_paths()
    heard.authorities += [File.read(places.cafile)] if places.cafile else []
    heard.authorities += files_in(places.capath) if places.capath and not places.cafile else []


def files_in(folder: Any) -> list[File]:
    """The authorities of a directory, as ``openssl rehash`` leaves it."""
    name = os.fsdecode(folder)
    named = (entry for entry in sorted(os.listdir(name)) if HASHED.fullmatch(entry))
    return [File.read(os.path.join(name, entry)) for entry in named]


def set_alpn_protocols(heard: Heard, proceed: Any, alpn_protocols: Any) -> None:
    """What ALPN offers."""
    protocols = list(alpn_protocols)
    proceed(protocols)
    heard.protocols = protocols


def set_ecdh_curve(heard: Heard, proceed: Any, name: Any) -> None:
    """The only curve."""
    proceed(name)
    heard.curve = os.fsdecode(name)


def set_ciphers(heard: Heard, proceed: Any, ciphers: str) -> None:
    """Suites; which they are can be read, but not whether somebody has chosen them."""
    proceed(ciphers)
    heard.ciphers = ciphers


def set_psk_server_callback(heard: Heard, proceed: Any, *args: Any, **kwargs: Any) -> None:
    """Keys without certificates."""
    proceed(*args, **kwargs)
    heard.psk = True


LISTENERS: dict[str, Callable[..., Any]] = {
    listen.__name__: listen
    for listen in (
        load_cert_chain,
        load_verify_locations,
        set_default_verify_paths,
        set_alpn_protocols,
        set_ciphers,
        set_ecdh_curve,
        set_psk_server_callback,
    )
}
