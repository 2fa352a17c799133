"""What every command shares: exit codes, errors with a hint, passwords in, tables and JSON out.

Passwords come from a prompt, from standard input or from a file, never from the argument list, which every
user of the machine can read.
"""

import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperCommand

from passferry.entrypoints.change_view import utc

if TYPE_CHECKING:
    from passferry.domain.change import Reference
    from passferry.domain.password import Password

MOST_BYTES = 16 * 1024
"""What a request may hold; a password cannot be longer. Reading stops there."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Code(IntEnum):
    """Exit codes, the same for every command."""

    DONE = 0
    FAILED = 1  # refused or failed
    USAGE = 2  # usage or configuration
    UNREACHABLE = 3  # try again
    PENDING = 4  # accepted, not delivered yet or not known to be; for `verify`: nothing to compare with


def fail(what: str, hint: str = "", code: int = Code.FAILED) -> NoReturn:
    """Say on standard error what is wrong, then what to do about it, and end with ``code``."""
    print(f"passferry: {what}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    raise typer.Exit(code)


# --- passwords -------------------------------------------------------------------------------


def read_password(file: Path | None, *, confirm: bool = False) -> "Password":
    """The password from ``file``, else from a prompt (twice when ``confirm``), else from standard input.

    From a file or standard input it is the exact bytes but for one trailing newline, as UTF-8. Ends the
    command when it cannot be read, or when others could read the file.
    """
    from passferry.domain.password import Password

    if file is not None:
        return Password(_decoded(_file_bytes(file), str(file)))
    if sys.stdin is None:
        fail("there is no standard input to read the password from", "use --password-file", Code.USAGE)
    if sys.stdin.isatty():
        return Password(_prompted(confirm))
    return Password(_decoded(sys.stdin.buffer.read(MOST_BYTES + 2), "standard input"))


def _prompted(confirm: bool) -> str:
    import getpass

    try:
        text = getpass.getpass("Password: ")
        again = getpass.getpass("Again: ") if confirm else text
    except (EOFError, KeyboardInterrupt):
        text = again = ""
        ended = True
    else:
        ended = False
    if ended:
        print(file=sys.stderr)
        fail("no password was given")
    if again != text:
        fail("the two passwords differ", "type the same password twice")
    return _unicode(text, "the prompt")


def _file_bytes(file: Path) -> bytes:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}", "name a file that you may read", Code.USAGE)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISFIFO(found.st_mode):
            fail(f"{file} is not a file", "name a file that holds the password", Code.USAGE)
        if found.st_mode & 0o077:
            fail(f"other users may use {file}", f"chmod 600 {file}", Code.USAGE)
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            return stream.read(MOST_BYTES + 2)
    finally:
        os.close(descriptor)


def _decoded(data: bytes, origin: str) -> str:
    data = data.removesuffix(b"\n")
    if len(data) > MOST_BYTES:
        fail(f"the password from {origin} is longer than {MOST_BYTES} bytes")
    # The error of a failed decoding holds the bytes: nothing is raised while it is about.
    text = None
    with suppress(UnicodeDecodeError):
        text = data.decode("utf-8")
    if text is None:
        fail(
            f"the password from {origin} is not valid UTF-8", "passwords are sent as UTF-8; convert it first"
        )
    return text


def _unicode(text: str, origin: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        fail(f"the password from {origin} is not valid UTF-8", "set the terminal to UTF-8")
    return text


# --- what people and programs read -----------------------------------------------------------


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    print(json.dumps(value, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """A table for a person at a terminal; aligned columns, nothing cut off, where it goes elsewhere."""
    if not rows:
        print(empty, file=sys.stderr)
        return
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        for row in (headings, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(table)


STYLES = {
    "applied": "green",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "running": "green",
    "refused": "red",
    "expired": "red",
    "broken": "red",
    "parked": "yellow",
    "paused": "yellow",
    "pending": "cyan",
    "delivering": "cyan",
    "superseded": "dim",
    "cancelled": "dim",
    "revoked": "dim",
}
"""Colours of words that stand alone in a cell."""


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, one pair a line; what is not known is left out."""
    shown = {name: value for name, value in fields.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{name.ljust(width)}  {value}")


def timestamp(at: float | None) -> str | None:
    """RFC 3339 in UTC with milliseconds, as the HTTP interface writes it."""
    if at is None:
        return None
    return utc(at)


def moment(text: str, now: float) -> float | None:
    """Epoch seconds of an RFC 3339 time with offset, or of ``30m``, ``2h``, ``3d`` ago; else None."""
    if text and text[:-1].isascii() and text[:-1].isdigit() and text[-1] in _UNITS and len(text) < 9:
        return now - timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]]).total_seconds()
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed.timestamp() if parsed.tzinfo is not None else None


def reference(user: str, *, uuid_ids: bool) -> "Reference":
    """``user`` as the HTTP interface reads it: with ``@`` a userName, else the target's id.

    ``uuid_ids``: ids at the org's target are UUIDs, which are kept in lower case.
    """
    from passferry.domain.change import Reference, is_uuid

    if "@" in user:
        return Reference("userName", user)
    return Reference("id", user.lower() if uuid_ids and is_uuid(user) else user)


BY_ID_ALONE = (
    "a name stands for its user once a change that was sent by that name was tried;"
    " what came by id alone (SCIM) is found by the id"
)
"""Why nothing may be found of a user who has changes."""


class NoMoreArguments(TyperCommand):
    """A command that takes a password, but never as an argument: what should not be there is not repeated."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click; an argument too many ends the command with its usage, and without its text."""
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            fail(
                "there are more arguments than this command takes",
                "a password is no argument: give it at the prompt, on standard input or as --password-file",
                Code.USAGE,
            )
        return rest
