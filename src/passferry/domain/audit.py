"""The audit trail: one HMAC chain per org, whose links cannot be altered, removed or reordered unseen.

A record has no field that could hold a password or a hash of one: ids, counts, and codes of a fixed form.
"""

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

GENESIS = bytes(32)
"""What stands before the first link."""

EXPORTED, PRUNED = "audit.exported", "audit.pruned"
"""Kinds of records about the trail itself. ``other`` is the head up to which it was exported, or up to which
its oldest records were deleted: the base, at which the chain that remains begins."""

PASSED_ON, PASSED_ON_OUTCOME = "passed.on", "passed.on.outcome"
"""Kinds of records about what is passed on to a target for others: it is about to be sent; what came of it.

They share a ``change_id``, which is no change's. One without the other: the process ended meanwhile, or had
no room to write it down, and nobody knows whether it was done.
"""

_CODE = re.compile(r"[a-zA-Z][a-zA-Z_.]{0,63}")
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_HEAD = re.compile(r"(0(?=:0{64})|[1-9][0-9]{0,17}):([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened. ``at`` is epoch seconds."""

    kind: str  # accepted, superseded, attempt, outcome, expired, operator act, …
    at: float
    actor: str  # who did it: a source, "delivery", "operator:NAME"
    change_id: str | None = None  # or the id of a request that is passed on
    user: str | None = None
    state: str | None = None
    code: str | None = None
    evidence: str | None = None
    attempt: int | None = None
    version: str | None = None
    correlation_id: str | None = None
    other: str | None = None  # id of another change, or what else is concerned


RECORD_FIELDS = tuple(field.name for field in fields(Record))


@dataclass(frozen=True, slots=True)
class Head:
    """The newest link of a chain."""

    seq: int
    mac: bytes

    def __str__(self) -> str:
        return f"{self.seq}:{self.mac.hex()}"

    @classmethod
    def parse(cls, text: str | None) -> "Head | None":
        """The head that ``text`` shows; None when it shows none. Number 0 has a MAC of zeros alone."""
        found = _HEAD.fullmatch(text) if isinstance(text, str) else None
        return cls(int(found[1]), bytes.fromhex(found[2])) if found is not None else None


START = Head(0, GENESIS)
"""The head of a chain without records."""


@dataclass(frozen=True, slots=True)
class Link:
    """One record in its place."""

    seq: int
    record: Record
    mac: bytes


def safe_code(text: str | None) -> str | None:
    """``text`` if it has the form of a code (letters, dots, underscores; no digits), else None."""
    return text if text is not None and _CODE.fullmatch(text) else None


def safe_id(text: str | None) -> str | None:
    """``text`` if it has the form of an id, else None."""
    return text if text is not None and _ID.fullmatch(text) else None


def fields_of(record: Record) -> dict[str, Any]:
    """The fields by name. ``dataclasses.asdict`` copies deeply, at the cost of a whole accept."""
    return {name: getattr(record, name) for name in RECORD_FIELDS}


def encode(org: str, seq: int, record: Record) -> bytes:
    """The bytes that a link's MAC covers: canonical JSON of the org, the place and the record."""
    present = {name: value for name, value in fields_of(record).items() if value is not None}
    return json.dumps(
        {"org": org, "seq": seq, **present}, sort_keys=True, separators=(",", ":"), ensure_ascii=True
    ).encode()


def link(key: bytes, previous: bytes, org: str, seq: int, record: Record) -> bytes:
    """The MAC of ``record`` as number ``seq`` of the chain that so far ends in ``previous``."""
    return hmac.digest(key, previous + encode(org, seq, record), "sha256")


def verify_link(key: bytes, previous: bytes, org: str, seq: int, record: Record, mac: bytes) -> bool:
    """Whether ``mac`` is the link that belongs there. Values of other types, written by others, have none."""
    try:
        return hmac.compare_digest(link(key, previous, org, seq, record), mac)
    except TypeError:
        return False


class Fold:
    """Checks the links of one org's chain, one after another."""

    def __init__(self, key: bytes, org: str, start: Head, wanted: Mapping[int, bytes] | None = None) -> None:
        """Begin behind ``start``. ``wanted`` are MACs by number that are known from elsewhere."""
        self._key, self._org, self._wanted = key, org, wanted or {}
        self.last = start

    def take(self, found: Link) -> str | None:
        """None when ``found`` is the next link, else what is wrong; then the fold is of no more use."""
        expected = self.last.seq + 1
        if found.seq != expected:
            return _out_of_place(found.seq, expected)
        if not verify_link(self._key, self.last.mac, self._org, found.seq, found.record, found.mac):
            return f"record {found.seq} does not fit the ones before"
        if self._wanted.get(found.seq, found.mac) != found.mac:
            return f"record {found.seq} is not the one that the head names"
        self.last = Head(found.seq, found.mac)
        return None


def _out_of_place(seq: int, expected: int) -> str:
    if seq < expected:
        return f"record {seq} comes where record {expected} belongs"
    missing = f"record {expected} is" if seq == expected + 1 else f"records {expected} to {seq - 1} are"
    return f"{missing} missing"
