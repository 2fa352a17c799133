"""AES-256-GCM under the key ring, in the format that ``docs/sealed-format.md`` specifies.

The nonce is fresh for each seal and never given by a caller. Padding hides how long a password is. The header
and all that a value belongs to are associated data, so a value that was moved to another row does not open.
"""

import contextlib
import hmac
import os
import struct
from collections.abc import Callable, Collection

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from passferry.adapters.keyring import ID_BYTES, KeyRing
from passferry.ports import Binding, SealBroken, UnknownKey

FORMAT = 0x01
NONCE_BYTES = 12
TAG_BYTES = 16
BLOCK = 64
MAX_PLAINTEXT = 65_535
HEADER_BYTES = 1 + ID_BYTES
_SMALLEST = HEADER_BYTES + NONCE_BYTES + BLOCK + TAG_BYTES


class RingSealer:
    """The ``Sealer`` port over one key ring. Safe to use from several threads."""

    def __init__(self, ring: KeyRing, random: Callable[[int], bytes] = os.urandom) -> None:
        """Take the keys of ``ring``; ``random`` gives nonces and must be a cryptographic source."""
        self._active = ring.active
        self._ciphers = {key.id: AESGCM(key.key) for key in ring.keys.values()}
        self._mac_key = ring.mac_key
        self._random = random

    def seal(self, plaintext: bytes, binding: Binding) -> bytes:
        """``plaintext`` sealed to ``binding`` under the active key.

        Raises:
            ValueError: it is longer than 65,535 bytes.
        """
        header = bytes([FORMAT]) + bytes.fromhex(self._active)
        nonce = self._random(NONCE_BYTES)
        sealed = self._ciphers[self._active].encrypt(nonce, pad(plaintext), associated(header, binding))
        return header + nonce + sealed

    def open(self, sealed: bytes, binding: Binding) -> bytes:
        """The plaintext.

        Raises:
            UnknownKey: the ring lacks the key that the header names; its id is the argument.
            SealBroken: anything else than what ``seal`` gave for this binding.
        """
        if len(sealed) < _SMALLEST or sealed[0] != FORMAT:
            raise SealBroken
        header, nonce = sealed[:HEADER_BYTES], sealed[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
        key_id = header[1:].hex()
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnknownKey(key_id)
        padded = None
        with contextlib.suppress(InvalidTag):  # ours is raised below, with nothing of the library's behind it
            padded = cipher.decrypt(nonce, sealed[HEADER_BYTES + NONCE_BYTES :], associated(header, binding))
        if padded is None:
            raise SealBroken
        return unpad(padded)

    def mac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 (RFC 2104) of ``data``; MACs of different purposes never equal by construction."""
        return hmac.digest(self._mac_key, _field(purpose) + data, "sha256")

    def knows(self, key_id: str) -> bool:
        """Whether the ring holds the sealing key ``key_id`` (16 hexadecimal digits)."""
        return key_id in self._ciphers

    def use(self, key_id: str) -> bool:
        """Seal under the key ``key_id`` from now on, if the ring holds it; whether it does."""
        if key_id in self._ciphers:
            self._active = key_id
        return key_id in self._ciphers

    def missing(self, needed: Collection[str] | None = None) -> frozenset[str]:
        """None: this ring never changes, and what needs another key was refused when it was opened."""
        return frozenset()


def key_id_of(sealed: bytes) -> str:
    """The id of the key that ``sealed`` names, without opening it.

    Raises:
        SealBroken: it is not in a format that is known.
    """
    if len(sealed) < _SMALLEST or sealed[0] != FORMAT:
        raise SealBroken
    return sealed[1:HEADER_BYTES].hex()


def pad(plaintext: bytes) -> bytes:
    """Length (2 bytes, big-endian), ``plaintext``, zeros up to a multiple of 64 bytes."""
    if len(plaintext) > MAX_PLAINTEXT:
        raise ValueError(f"cannot seal more than {MAX_PLAINTEXT} bytes")
    framed = struct.pack(">H", len(plaintext)) + plaintext
    return framed + bytes(-len(framed) % BLOCK)


def unpad(padded: bytes) -> bytes:
    """What ``pad`` was given. Raises ``SealBroken`` for anything that ``pad`` does not give."""
    if len(padded) < BLOCK:
        raise SealBroken
    (length,) = struct.unpack(">H", padded[:2])
    plaintext = padded[2 : 2 + length]
    if len(plaintext) != length or pad(plaintext) != padded:
        raise SealBroken
    return plaintext


def associated(header: bytes, binding: Binding) -> bytes:
    """The associated data: header, then purpose, org, user and change id, each with its length in front.

    Lengths make it unambiguous: no two bindings give the same bytes.
    """
    parts = (binding.purpose, binding.org, binding.user, binding.change_id)
    return header + b"".join(_field(part) for part in parts)


def _field(text: str) -> bytes:
    # surrogatepass: an encoding error would carry the text, and must not stop an open.
    encoded = text.encode("utf-8", "surrogatepass")
    return struct.pack(">I", len(encoded)) + encoded
