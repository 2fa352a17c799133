"""One directory object as LDIF (RFC 2849): bytes in, a name and its attributes out.

Only what directories write is read: values in the line or in base64, folded lines, comments. A value that
stands elsewhere (``:<``) is refused, never fetched.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MOST_BYTES = 4 * 1024 * 1024
"""Of one object; a directory's photographs are smaller."""

_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.-]*(?:;[A-Za-z0-9-]+)*")


class NotLdif(ValueError):
    """It is not one whole object. The text names the fault and never a value."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object. Attribute names are in lower case, values as they came; none of it is shown."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]] = field(repr=False)

    def first(self, name: str) -> bytes | None:
        """The first value of an attribute, whatever the case of its name; None without one."""
        values = self.attributes.get(name.lower())
        return values[0] if values else None

    def text(self, name: str) -> str | None:
        """The same as text; None when it is not UTF-8, too."""
        value = self.first(name)
        return None if value is None else utf8(value)


def utf8(value: bytes) -> str | None:
    """``value`` as text; None when it is not UTF-8. No error that could hold it is left behind."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def read_entry(data: bytes) -> Entry:
    """The object that ``data`` holds.

    It has to end with an empty line: without one it may have been cut off, and half a password in base64
    looks like a whole one.

    Raises:
        NotLdif: it is none, more than one, cut off, or longer than ``MOST_BYTES``.
    """
    if len(data) > MOST_BYTES:
        raise NotLdif("the object is too long")
    pairs = [parse_line(line) for line in unfold(_only_object(data))]
    if pairs and pairs[0][0] == "version":
        del pairs[0]
    if not pairs or pairs[0][0] != "dn":
        raise NotLdif("the first line is no dn")
    dn = utf8(pairs[0][1])
    if dn is None:
        raise NotLdif("the dn is not UTF-8")
    found: dict[str, tuple[bytes, ...]] = {}
    for name, value in pairs[1:]:
        if name == "dn":
            raise NotLdif("there is more than one dn")
        found[name] = (*found.get(name, ()), value)
    return Entry(dn, found)


def _only_object(data: bytes) -> bytes:
    lines = data.replace(b"\r\n", b"\n").lstrip(b"\n")
    whole, end, rest = lines.partition(b"\n\n")
    if not end:
        raise NotLdif("there is no empty line at the end: it was cut off")
    if rest.strip(b"\n"):
        raise NotLdif("there is more than one object")
    return whole


def unfold(block: bytes) -> Iterator[bytes]:
    """The lines of ``block``, continuations joined and comments left out. Raises NotLdif."""
    logical: list[bytes] = []
    for line in block.split(b"\n"):
        if not line.startswith(b" "):
            logical.append(line)
        elif logical:
            logical[-1] += line[1:]
        else:
            raise NotLdif("the first line continues nothing")
    return (line for line in logical if line and not line.startswith(b"#"))


def parse_line(line: bytes) -> tuple[str, bytes]:
    """Name in lower case, and value, of one unfolded line. Raises NotLdif."""
    name, colon, rest = line.partition(b":")
    if not colon or _NAME.fullmatch(name) is None:
        raise NotLdif("a line has no attribute")
    lower = name.decode("ascii").lower()
    if rest.startswith(b"<"):
        raise NotLdif("a value stands elsewhere")
    if rest.startswith(b":"):
        return lower, unbase64(rest[1:].strip(b" "))
    if b"\0" in rest or b"\r" in rest:
        raise NotLdif("a value in clear holds what only base64 may")
    return lower, rest.lstrip(b" ")


def unbase64(coded: bytes) -> bytes:
    """What ``coded`` stands for; only whole, canonical base64 is taken. Raises NotLdif."""
    try:
        value = base64.b64decode(coded, validate=True)
    except ValueError:
        value = None
    if value is None or base64.b64encode(value) != coded:
        raise NotLdif("a value is no base64")
    return value
