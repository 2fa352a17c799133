"""What became of the rows of a file so far: beside it, so that an import that was ended goes on where it was.

Numbers of rows, ids of changes and codes, one JSON array a line; no user and no password. A line that was cut
off is dropped: its row is sent again under the same Idempotency-Key, and is the same change.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ENDING = ".import"
VERSION = 1
STALE = "change.stale"
"""Of a refused row: a newer change of its user was accepted before. The only refusal that nobody can mend."""


DRY_RUN = "dry.run"
"""Of a pending change that would have been written, were its org not in a dry run."""


class Busy(Exception):
    """Another import of the same file runs."""


def identity(found: os.stat_result) -> str:
    """What tells a file from another, and from itself after a change. Nothing of its content is in it.

    Its device is left out, whose number may be another after a restart of the machine.
    """
    text = f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(slots=True)
class Journal:
    """Of each row that was answered: the change's id or the refusal's code; and how the change ended.

    ``rehearsed`` are the rows whose org is in a dry run: they wait for its end, and nothing is written down.
    """

    file: IO[bytes] = field(repr=False)
    path: Path
    changes: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    ended: dict[int, tuple[str, str]] = field(default_factory=dict)  # state and code
    rehearsed: set[int] = field(default_factory=set)

    def accepted(self, row: int, change_id: str) -> None:
        """The row is the change of that id."""
        self.changes[row] = change_id
        self._write(row, "change", change_id)

    def refuse(self, row: int, code: str) -> None:
        """The row was not accepted. Only `change.stale` is written down.

        All else is sent again by the next run, since somebody may have mended its cause.
        """
        self.refused[row] = code
        if code == STALE:
            self._write(row, "refused", code)

    def end(self, row: int, state: str, code: str) -> None:
        """The row's change ended; one that is parked may go on, and is looked at again the next time."""
        self.ended[row] = (state, code)
        if state != "parked":
            self._write(row, "ended", state, code)

    def answered(self, row: int) -> bool:
        """Whether the row need not be sent any more, in this run at least."""
        return row in self.changes or row in self.refused

    def not_arrived(self) -> list[dict[str, Any]]:
        """What is reported of each row that was refused, or whose change ended otherwise than applied.

        One is `superseded` when a newer change of its user was accepted before it (`change.stale`) or after
        it: that one is delivered instead. Whether it arrives is not known here.
        """
        refused = [
            {"row": row, "status": "superseded" if code == STALE else "refused", "code": code}
            for row, code in self.refused.items()
        ]
        ended = [
            {"row": row, "status": state, "code": code, "changeId": self.changes[row]}
            for row, (state, code) in self.ended.items()
            if state != "applied"
        ]
        return sorted(refused + ended, key=lambda one: int(str(one["row"])))

    def waiting(self) -> list[dict[str, Any]]:
        """What is reported of each row that waits until its org's dry run ends."""
        return [
            {"row": row, "status": "pending", "code": DRY_RUN, "changeId": self.changes[row]}
            for row in sorted(self.rehearsed)
        ]

    def remove(self) -> None:
        """Delete it: everything is done."""
        self.path.unlink(missing_ok=True)

    def _write(self, *values: Any) -> None:
        self.file.write(json.dumps(values).encode() + b"\n")
        self.file.flush()

    def _take(self, line: list[Any]) -> None:
        match line:
            case [int(row), "change", str(change_id)]:
                self.changes[row] = change_id
            case [int(row), "refused", str(code)]:
                self.refused[row] = code
            case [int(row), "ended", str(state), str(code)]:
                self.ended[row] = (state, code)


@contextmanager
def open_journal(beside: Path, whose: str) -> Iterator[Journal]:
    """The journal of the file ``beside``, begun anew unless it is of ``whose``.

    That names file, gateway, key and org: with another key it may be another org that is sent to.

    Raises ``Busy`` and ``OSError``.
    """
    path = beside.with_name(beside.name + ENDING)
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(opened, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy from None
        journal = Journal(file, path)
        good = _load(journal, [VERSION, whose])
        file.truncate(good)
        file.seek(good)
        if not good:
            journal._write(VERSION, whose)
        yield journal


def _load(journal: Journal, head: list[Any]) -> int:
    """Read what is whole; how many bytes that is, 0 where it is of something else."""
    good = 0
    for line in journal.file:
        values = _values(line)
        if values is None or (not good and values != head):
            break
        journal._take(values)
        good += len(line)
    return good


def _values(line: bytes) -> list[Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, list) else None
