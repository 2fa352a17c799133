"""The audit trail: one HMAC chain per org, whose links cannot be altered, removed or reordered unseen.

A record has no field that could hold a password or a hash of one: ids, counts, and codes of a fixed form.
"""

import hmac
import json
import re
from dataclasses import dataclass, fields
from typing import Any

GENESIS = bytes(32)
"""What stands before the first link."""

_CODE = re.compile(r"[a-zA-Z][a-zA-Z_.]{0,63}")
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened. ``at`` is epoch seconds."""

    kind: str  # accepted, superseded, attempt, outcome, expired, operator act, …
    at: float
    actor: str  # who did it: a source, "delivery", "operator:NAME"
    change_id: str | None = None
    user: str | None = None
    state: str | None = None
    code: str | None = None
    evidence: str | None = None
    attempt: int | None = None
    version: str | None = None
    correlation_id: str | None = None
    other: str | None = None  # id of another change concerned


RECORD_FIELDS = tuple(field.name for field in fields(Record))


@dataclass(frozen=True, slots=True)
class Head:
    """The newest link of a chain."""

    seq: int
    mac: bytes

    def __str__(self) -> str:
        return f"{self.seq}:{self.mac.hex()}"


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
