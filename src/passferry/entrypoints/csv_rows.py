"""New passwords in a CSV file (RFC 4180): bytes in, rows out; nothing is trimmed, and no value is ever shown.

UTF-8 with or without a byte order mark, lines that end in CRLF or LF. The first row names the columns. Rows
are counted as spreadsheets do: the header is row 1, a quoted line break begins no row, an empty line is one.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from passferry.domain.change import is_uuid
from passferry.domain.password import Password
from passferry.entrypoints.http_parse import rfc3339

LONGEST_LINE = 65_536
"""Characters; a request may hold far fewer."""
USERS = ("userName", "userId")
COLUMNS = (*USERS, "password", "changedAt")


@dataclass(frozen=True, slots=True)
class Row:
    """One new password. ``changed_at`` is RFC 3339, or None where the row says nothing."""

    number: int
    column: str  # "userName" or "userId"
    user: str
    password: Password = field(repr=False)
    changed_at: str | None = None

    @property
    def key(self) -> str:
        """What two rows of the same user have in common. Ids that are no UUIDs differ by letter case."""
        same_in_any_case = self.column == "userName" or "@" in self.user or is_uuid(self.user)
        return self.user.lower() if same_in_any_case else self.user


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that cannot be sent, and why: `header.unknown`, `row.fields`, `row.not.utf8`, `row.quotes`,
    `row.too.long`, `user.invalid` or `changed.at.invalid`.
    """

    number: int
    code: str


class _TooLong(Exception):
    pass


def read(file: BinaryIO) -> Iterator[Row | Mistake]:
    """The rows of ``file``, from where it stands, in order.

    After `header.unknown`, `row.quotes` and `row.too.long` nothing follows: what comes could be anything.
    """
    # Bytes that are no UTF-8 become lone surrogates, which UTF-8 cannot hold: no error has to carry them.
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _rows(csv.reader(_lines(text), strict=True))
    finally:
        text.detach()


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            raise _TooLong  # the csv module would take the rest for another row
        yield line


def _rows(records: Iterator[list[str]]) -> Iterator[Row | Mistake]:
    columns: Sequence[str] = ()
    number, end = 0, ""
    while not end:
        number += 1
        try:
            record = next(records)
        except StopIteration:
            if number == 1:  # an empty file names no columns
                yield Mistake(1, "header.unknown")
            return
        except csv.Error:
            record, end = [], "row.quotes"
        except _TooLong:
            record, end = [], "row.too.long"
        if end:
            yield Mistake(number, end)
        elif number == 1:
            columns, end = record, "" if _are_columns(record) else "header.unknown"
            if end:
                yield Mistake(1, end)
        elif record:
            yield _row(number, columns, record)


def _are_columns(names: Sequence[str]) -> bool:
    """Whether a first row names one column for users, that of passwords, and none that is not known."""
    users = sum(name in USERS for name in names)
    return users == 1 and "password" in names and len(set(names)) == len(names) and set(names) <= {*COLUMNS}


def _row(number: int, columns: Sequence[str], record: Sequence[str]) -> Row | Mistake:
    if len(record) != len(columns):
        return Mistake(number, "row.fields")
    if any("\ud800" <= c <= "\udfff" for value in record for c in value):
        return Mistake(number, "row.not.utf8")
    found = dict(zip(columns, record, strict=True))
    column = "userName" if "userName" in found else "userId"
    changed_at = found.get("changedAt") or None
    if not found[column]:
        return Mistake(number, "user.invalid")
    if changed_at is not None and rfc3339(changed_at) is None:
        return Mistake(number, "changed.at.invalid")
    return Row(number, column, found[column], Password(found["password"]), changed_at)
