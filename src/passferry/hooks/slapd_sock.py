"""The blocks of text that slapd's ``sock`` overlay sends (slapd-sock(5)): bytes in, a block out.

One block per connection, ended by an empty line: the operation's name, a head of ``name: value`` lines, then
what the operation carries, as LDIF. Of that only what concerns passwords is kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from passferry.hooks.ldif import NotLdif, parse_line, unbase64, unfold, utf8

PASSWORD = frozenset({"userpassword", "2.5.4.35"})
EXOP = "1.3.6.1.4.1.4203.1.11.1"
"""The extended operation of RFC 3062, which changes a password."""

_HEAD = frozenset({"msgid", "binddn", "peername", "ssf", "connid", "suffix"})
_MODIFICATIONS = frozenset({"add", "delete", "replace", "increment"})


class NotBlock(ValueError):
    """It is not a block as slapd writes it. The text never holds a value."""


@dataclass(frozen=True, slots=True)
class Key:
    """Which operation of which connection. slapd does not keep clients from using a number twice."""

    connid: int
    msgid: int


@dataclass(frozen=True, slots=True)
class Extended:
    """An extended operation; ``value`` is its request value."""

    key: Key | None
    binddn: str
    oid: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Write:
    """A modify or an add: the values of ``userPassword`` that it writes, in order, clear or hashed."""

    key: Key | None
    dn: str
    passwords: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """How an operation ended. It says neither which operation nor about which object."""

    key: Key | None
    code: int


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else: its name."""

    name: str


Block: TypeAlias = Extended | Write | Result | Other
Reader: TypeAlias = Callable[[dict[str, bytes], Iterator[bytes]], Block]


def read_block(data: bytes) -> Block:
    """The block that ``data`` holds, which has to end with an empty line.

    Raises:
        NotBlock: it is cut off, or is not written as slapd writes.
    """
    if not data.endswith(b"\n\n"):
        raise NotBlock("there is no empty line at the end: it was cut off")
    name, _, rest = data[:-2].partition(b"\n")
    readers: dict[bytes, Reader] = {
        b"EXTENDED": _extended,
        b"MODIFY": _modify,
        b"ADD": _add,
        b"RESULT": _result,
    }
    reader = readers.get(name)
    if reader is None:
        return Other(name[:32].decode("ascii", "replace"))
    if b"\n\n" in rest and reader is not _result:  # the server's own words may hold one
        raise NotBlock("there is an empty line within")
    try:
        lines = list(unfold(rest))
        head, body = _split(lines)
        return reader(head, body)
    except NotLdif as error:
        problem = str(error)
    raise NotBlock(problem)


def _split(lines: list[bytes]) -> tuple[dict[str, bytes], Iterator[bytes]]:
    """The head, and an iterator over the lines after it."""
    head: dict[str, bytes] = {}
    for number, line in enumerate(lines):
        name, value = parse_line(line)
        if name not in _HEAD:
            return head, iter(lines[number:])
        if name in head and name != "suffix":
            raise NotBlock("a line of the head occurs twice")
        head[name] = value
    return head, iter(())


def _key(head: dict[str, bytes]) -> Key | None:
    """None where the overlay was not told to send ``connid``."""
    message, connection = head.get("msgid"), head.get("connid")
    if message is None or connection is None:
        return None
    return Key(_number(connection), _number(message))


def _number(text: bytes) -> int:
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 20:
        raise NotBlock("a number is none")
    return int(text)


def _text(value: bytes) -> str:
    text = utf8(value)
    if text is None:
        raise NotBlock("a name is not UTF-8")
    return text


def _extended(head: dict[str, bytes], body: Iterator[bytes]) -> Extended:
    fields: dict[str, bytes] = {}
    for line in body:
        # `value: ` is base64 under a single colon.
        name, value = parse_line(line)
        if name in fields or name not in ("oid", "value"):
            raise NotBlock("an extended operation has a line too many")
        fields[name] = value
    if "oid" not in fields:
        raise NotBlock("an extended operation has no oid")
    value = unbase64(fields.get("value", b""))
    return Extended(_key(head), _text(head.get("binddn", b"")), _text(fields["oid"]), value)


def _add(head: dict[str, bytes], body: Iterator[bytes]) -> Write:
    dn = _dn(body)
    written = [value for name, value in map(parse_line, body) if _is_password(name)]
    return Write(_key(head), dn, tuple(written))


def _modify(head: dict[str, bytes], body: Iterator[bytes]) -> Write:
    dn = _dn(body)
    written: list[bytes] = []
    for line in body:
        operation, attribute = parse_line(line)
        if operation not in _MODIFICATIONS:
            raise NotBlock("a modification starts with none of its names")
        values = _values(body, attribute.decode("ascii", "replace").lower())
        if operation in ("add", "replace") and _is_password(attribute.decode("ascii", "replace").lower()):
            written += values
    return Write(_key(head), dn, tuple(written))


def _values(body: Iterator[bytes], attribute: str) -> list[bytes]:
    """The values of one modification, up to the ``-`` that ends it."""
    values: list[bytes] = []
    for line in body:
        if line == b"-":
            return values
        name, value = parse_line(line)
        if name != attribute:
            raise NotBlock("a modification writes another attribute than it names")
        values.append(value)
    raise NotBlock("a modification has no end")


def _dn(body: Iterator[bytes]) -> str:
    name, value = parse_line(next(body, b"dn:"))
    if name != "dn" or not value:
        raise NotBlock("there is no dn")
    return _text(value)


def _is_password(attribute: str) -> bool:
    """Options such as ``;lang-en`` do not make it another attribute."""
    return attribute.partition(";")[0] in PASSWORD


def _result(head: dict[str, bytes], body: Iterator[bytes]) -> Result:
    # `code` comes first; `matched` and `info` after it may hold anything, over several lines.
    name, value = parse_line(next(body, b""))
    if name != "code":
        raise NotBlock("a result has no code")
    return Result(_key(head), _number(value))
