"""Key pairs of the ring, for changes that sources seal to the gateway (``passferry.hand_over``).

A pair comes with a sealing key, and is announced to sources while that key is the active one. It outlives it:
a source that cannot reach the gateway goes on with the public key that it knows.
"""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from passferry.hand_over import KEY_BYTES, key_id, public_of

KEPT = 2 * 72 * 3600.0
"""Seconds for which a retired pair still opens. For 72 hours a source that never heard of the new one may
have gone on with it, and what it spooled last is handed over for 72 hours more."""
MEMBERS = frozenset({"id", "key", "created", "retired", "private"})
_ID = re.compile(r"[0-9a-f]{16}\Z")


class BadPair(Exception):
    """What about a pair in the file is wrong; holds no value from it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One X25519 pair. ``created`` and ``retired`` are RFC 3339 text, the latter None until rotation."""

    id: str  # of its public key
    key: str  # the id of the sealing key that it came with
    created: str
    private: bytes = field(repr=False)
    retired: str | None = None

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return public_of(self.private)


def new_pair(key: str, created: str, private: bytes) -> Pair:
    """A pair of 32 random bytes, that comes with the sealing key ``key``."""
    return Pair(key_id(public_of(private)), key, created, private)


def announced(pairs: Iterable[Pair], prepared: str | None) -> Pair | None:
    """The pair that sources are to seal to: the newest that did not come with the ``prepared`` key."""
    usable = [pair for pair in pairs if pair.key != prepared]
    return usable[-1] if usable else None


def retired(pairs: Iterable[Pair], active: str, when: str) -> tuple[Pair, ...]:
    """``pairs`` once ``active`` is the active sealing key: those of others are dated, if it has its own."""
    known = tuple(pairs)
    if all(pair.key != active for pair in known):
        return known
    return tuple(
        Pair(pair.id, pair.key, pair.created, pair.private, when)
        if pair.key != active and pair.retired is None
        else pair
        for pair in known
    )


def kept(pairs: Iterable[Pair], now: float) -> tuple[Pair, ...]:
    """Those of ``pairs`` that still may have to open something at ``now``, epoch seconds."""
    return tuple(pair for pair in pairs if pair.retired is None or now - _seconds(pair.retired) < KEPT)


def written(pair: Pair) -> dict[str, Any]:
    """The pair as the file has it."""
    return {
        "id": pair.id,
        "key": pair.key,
        "created": pair.created,
        "retired": pair.retired,
        "private": base64.b64encode(pair.private).decode(),
    }


def read(item: Any) -> Pair:
    """The pair in a member of the file. Raises ``BadPair``."""
    if not isinstance(item, dict) or set(item) != MEMBERS:
        raise BadPair("a key pair has missing or unknown members")
    names = (item["id"], item["key"])
    if not all(isinstance(name, str) and _ID.match(name) for name in names):
        raise BadPair("an id of a key pair is not 16 hexadecimal digits")
    if not isinstance(item["created"], str):
        raise BadPair("a key pair's time of creation is not text")
    if item["retired"] is not None and not _is_time(item["retired"]):
        raise BadPair("the time at which a key pair was retired is none")
    private = b""
    if isinstance(item["private"], str):
        with contextlib.suppress(binascii.Error, ValueError):
            private = base64.b64decode(item["private"], validate=True)
    if len(private) != KEY_BYTES:
        raise BadPair(f"a private key is not {KEY_BYTES} bytes in base64")
    return Pair(item["id"], item["key"], item["created"], private, item["retired"])


def _is_time(text: Any) -> bool:
    try:
        _seconds(text)
    except (TypeError, ValueError):
        return False
    return True


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
