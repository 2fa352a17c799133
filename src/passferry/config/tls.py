"""The certificate of ``serve``: its files, checked, as a context for TLS connections."""

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from passferry.config.settings import TlsFiles

MOST_BYTES = 1_048_576
"""Of one file; a bundle of every public root is a fifth of that."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """``what`` is wrong with the file that the setting ``key`` names, and a hint."""

    key: str
    what: str
    hint: str


class TlsUnusable(Exception):
    """The files cannot be used; ``mistakes`` is everything that was found, and holds nothing of a key."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("; ".join(f"{each.key} {each.what}" for each in mistakes))
        self.mistakes = tuple(mistakes)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """A context with these files, for TLS 1.2 and 1.3; with ``client_ca`` it demands certificates of clients.

    Raises ``TlsUnusable``.
    """
    mistakes = [each for each in (_cert(files.cert), _key(files.key), _client_ca(files.client_ca)) if each]
    if mistakes:
        raise TlsUnusable(mistakes)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    mistake = _loaded(context, files)
    if mistake is not None:
        raise TlsUnusable([mistake])
    return context


def _loaded(context: ssl.SSLContext, files: TlsFiles) -> Mistake | None:
    try:
        # The empty passphrase: a key that wants one must not ask the terminal for it.
        context.load_cert_chain(files.cert, files.key, password="")
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            return Mistake(
                "tls_key", "is not the key of the certificate", "give the two that belong together"
            )
        return Mistake(
            "tls_cert", f"cannot be used: {error.reason}", "give a PEM file, our certificate first"
        )
    except OSError as error:
        return Mistake("tls_cert", f"cannot be read: {error.strerror}", "check its path and permissions")
    if files.client_ca is None:
        return None
    try:
        context.load_verify_locations(files.client_ca)
    except OSError:  # an SSLError is one, too
        return Mistake("tls_client_ca", "cannot be used", "give a PEM file of CA certificates")
    context.verify_mode = ssl.CERT_REQUIRED
    # Who is listed is trusted, be it an issuing CA without its root; OpenSSL would want the root, too.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if context.cert_store_stats()["x509_ca"]:
        return None
    return Mistake(
        "tls_client_ca", "holds no certificate of a CA", "give who signs the clients' certificates"
    )


# --- one file --------------------------------------------------------------------------------


def _cert(path: Path) -> Mistake | None:
    return _certificates("tls_cert", path, "give our certificate, then those that lead to its root")


def _client_ca(path: Path | None) -> Mistake | None:
    if path is None:
        return None
    return _certificates("tls_client_ca", path, "give the certificates of who signs those of clients")


def _certificates(key: str, path: Path, hint: str) -> Mistake | None:
    from cryptography import x509

    content = _content(key, path)
    if isinstance(content, Mistake):
        return content
    try:
        x509.load_pem_x509_certificates(content)
    except ValueError:
        return Mistake(key, "holds no certificate in PEM", hint)
    return None


def _key(path: Path) -> Mistake | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _content("tls_key", path)
    if isinstance(content, Mistake):
        return content
    if stat.S_IMODE(path.stat().st_mode) & 0o007:
        # The group may: certificate managers hand keys over that way.
        return Mistake("tls_key", "may be used by everybody on this machine", "chmod o= the file")
    try:
        load_pem_private_key(content, None)
    except TypeError:  # it wants a passphrase, which nobody is there to enter
        return Mistake("tls_key", "has a passphrase", "store it without one, readable by this account only")
    except (ValueError, UnsupportedAlgorithm):
        return Mistake("tls_key", "holds no private key in PEM", "give the key of the certificate")
    return None


def _content(key: str, path: Path) -> bytes | Mistake:
    reason = "is too large"
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        content, reason = None, f"cannot be read: {os.strerror(error.errno) if error.errno else 'no file'}"
    if content is not None and len(content) <= MOST_BYTES:
        return content
    return Mistake(key, reason, "check its path, owner and permissions")
