"""Audit records as lines of a file that is verified with the key ring alone.

A line is the JSON of the record as its MAC covers it, with two members more: ``mac``, and ``previous``, the
MAC of the record before. There is one way to write a line, so nothing can hide in it from other readers.
"""

import json
from dataclasses import dataclass

from passferry.domain.audit import RECORD_FIELDS, Fold, Head, Link, Record, encode


@dataclass(frozen=True, slots=True)
class Line:
    """A record in its place, and the MAC of the one before."""

    org: str
    previous: bytes
    link: Link


def to_text(line: Line) -> str:
    """``line`` as JSON, ASCII only, without the end of the line."""
    covered = json.loads(encode(line.org, line.link.seq, line.link.record))
    return _canonical({**covered, "mac": line.link.mac.hex(), "previous": line.previous.hex()})


def from_text(text: str) -> Line:
    """The line that ``text`` is. Raises ``ValueError`` when it is none, or is written in another way."""
    try:
        found = json.loads(text)
        record = Record(**{name: found.get(name) for name in RECORD_FIELDS})
        macs = bytes.fromhex(found["previous"]), bytes.fromhex(found["mac"])
        line = Line(found["org"], macs[0], Link(found["seq"], record, macs[1]))
        same = to_text(line) == text and type(found["org"]) is str and type(found["seq"]) is int
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        same = False
    if not same:
        raise ValueError("no audit record")
    return line


def _canonical(members: dict[str, object]) -> str:
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


class Files:
    """Checks the lines of one export, or of several in the order in which they were made.

    They may overlap; between two there must be no gap. Each org has a chain of its own.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._before: dict[str, Head] = {}  # up to where the files before this one reach
        self._folds: dict[str, Fold] = {}  # of this file
        self.starts: dict[str, Head] = {}

    @property
    def heads(self) -> dict[str, Head]:
        """Up to where each org's chain was followed."""
        return {**self._before, **{org: fold.last for org, fold in self._folds.items()}}

    def take(self, line: Line) -> str | None:
        """None when ``line`` fits what came before, else what is wrong."""
        if line.org not in self._folds:
            start = Head(line.link.seq - 1, line.previous)
            before = self._before.get(line.org)
            if before is not None and (wrong := _join(before, start)) is not None:
                return wrong
            wanted = {before.seq: before.mac} if before is not None else {}
            self.starts.setdefault(line.org, start)
            self._folds[line.org] = Fold(self._key, line.org, start, wanted)
        fold = self._folds[line.org]
        if line.previous != fold.last.mac:
            return f"record {line.link.seq} does not fit the ones before"
        return fold.take(line.link)

    def file_ends(self) -> str | None:
        """What follows is in another file. None, or what is wrong with the one that ended."""
        for org, fold in self._folds.items():
            before = self._before.get(org)
            if before is not None and fold.last.seq < before.seq:
                return f"it ends at record {fold.last.seq} of org {org}, the file before at {before.seq}"
        self._before, self._folds = self.heads, {}
        return None


def _join(before: Head, start: Head) -> str | None:
    if start.seq > before.seq:
        return f"it begins at record {start.seq + 1}, and the file before ends at {before.seq}"
    if start.seq == before.seq and start.mac != before.mac:
        return f"record {start.seq} is not the one that the file before ends with"
    return None
