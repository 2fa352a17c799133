"""A change that waits on its source's machine: sealed there to the gateway's public key, opened here.

HPKE (RFC 9180) in base mode, with X25519, HKDF-SHA256 and AES-256-GCM. Who sealed a letter cannot open it
again. ``docs/sealed-format.md`` has the format. ``cryptography`` is imported late: hooks seldom need it.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passferry.domain.password import Password

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hpke import Suite

FORMAT = 0x01
ID_BYTES = 8
KEY_BYTES = 32
HEADER_BYTES = 1 + ID_BYTES
BLOCK = 256
"""The plaintext is a multiple of so many bytes: a letter tells the length of a password only roughly."""
SUITE = "DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM"
_LABEL = b"passferry hand-over"
_OVERHEAD = 32 + 16  # the encapsulated key, and the tag


@dataclass(frozen=True, slots=True)
class Letter:
    """What is handed over: a change as ``POST /sync/password`` takes it.

    ``changed_at`` is RFC 3339, ``org`` None where the address names none.
    """

    user: str
    password: Password
    changed_at: str
    key: str  # the Idempotency-Key
    org: str | None = None

    def plaintext(self) -> bytes:
        """The letter as JSON, in blocks of spaces."""
        body = {"userId": self.user, "password": self.password.reveal(), "changedAt": self.changed_at}
        text = json.dumps({"org": self.org, "idempotencyKey": self.key, "body": body}).encode()
        return text + b" " * (-len(text) % BLOCK)


def key_id(public: bytes) -> str:
    """The id of a public key: it cannot be said of another one."""
    return hashlib.sha256(public).digest()[:ID_BYTES].hex()


def key_id_of(sealed: bytes) -> str | None:
    """The id of the key that ``sealed`` was sealed to; None when it is no letter."""
    if len(sealed) < HEADER_BYTES + _OVERHEAD or sealed[0] != FORMAT:
        return None
    return sealed[1:HEADER_BYTES].hex()


def seal(public: bytes, plaintext: bytes) -> bytes:
    """``plaintext`` for the holder of the private key to ``public`` (32 bytes).

    Raises:
        ValueError: ``public`` is no usable key.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    header = bytes([FORMAT]) + bytes.fromhex(key_id(public))
    return header + _suite().encrypt(
        plaintext, X25519PublicKey.from_public_bytes(public), info=_LABEL + header
    )


def opened(private: bytes, sealed: bytes) -> bytes | None:
    """The plaintext; None when ``sealed`` was not sealed to that key, or was altered."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    key = X25519PrivateKey.from_private_bytes(private)
    try:
        return _suite().decrypt(sealed[HEADER_BYTES:], key, info=_LABEL + sealed[:HEADER_BYTES])
    except (InvalidTag, ValueError):
        return None


def public_of(private: bytes) -> bytes:
    """The public key of a private one, 32 bytes each."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _suite() -> "Suite":
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
