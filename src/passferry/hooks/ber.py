"""The few messages of BER (X.690, as RFC 4511 5.1 restricts it) that a directory's hook reads and writes."""

from collections.abc import Iterator
from dataclasses import dataclass

MOST_BYTES = 1024 * 1024
"""Of one message."""

SEQUENCE = 0x30
INTEGER = 0x02
OCTETS = 0x04
ENUMERATED = 0x0A
BIND_REQUEST = 0x60
BIND_RESPONSE = 0x61
SIMPLE = 0x80


class NotBer(ValueError):
    """It is not the message that was expected. The text never holds a value."""


@dataclass(frozen=True, slots=True)
class PasswdModify:
    """PasswdModifyRequestValue (RFC 3062 section 2), without the old password, which nobody here needs.

    ``user``: whose, as the client wrote it; None means whoever is bound. ``new``: None asks the server to
    make one up.
    """

    user: bytes | None
    new: bytes | None

    def __repr__(self) -> str:
        return f"PasswdModify({self.user!r})"


def read_passwd_modify(data: bytes) -> PasswdModify:
    """What ``data`` asks for. No data at all is allowed, and means nothing but defaults. Raises NotBer."""
    if not data:
        return PasswdModify(None, None)
    (tag, inside), *more = _items(data)
    if tag != SEQUENCE or more:
        raise NotBer("it is no sequence")
    found: dict[int, bytes] = {}
    last = -1
    for tag, value in _items(inside):
        if tag not in (0x80, 0x81, 0x82) or tag <= last:
            raise NotBer("a field is unknown, repeated or out of order")
        found[tag] = value
        last = tag
    return PasswdModify(found.get(0x80), found.get(0x82))


def bind_request(message_id: int, dn: bytes, password: bytes) -> bytes:
    """A simple bind of LDAPv3 (RFC 4511 section 4.2)."""
    operation = _item(INTEGER, b"\x03") + _item(OCTETS, dn) + _item(SIMPLE, password)
    return _item(SEQUENCE, _item(INTEGER, bytes([message_id])) + _item(BIND_REQUEST, operation))


def read_bind_response(data: bytes) -> int | None:
    """The result code of a bind's answer; None while ``data`` is only its beginning. Raises NotBer."""
    if _total(data) is None:
        return None
    (tag, inside), *_ = _items(data)
    message = list(_items(inside)) if tag == SEQUENCE else []
    if len(message) < 2 or message[0][0] != INTEGER or message[1][0] != BIND_RESPONSE:
        raise NotBer("it answers no bind")
    tag, code = next(_items(message[1][1]), (0, b""))
    if tag != ENUMERATED or not 1 <= len(code) <= 4:
        raise NotBer("it has no result code")
    return int.from_bytes(code, "big", signed=True)


def _total(data: bytes) -> int | None:
    """How long the first item is, head included; None when more bytes are needed to tell or to have it."""
    head = _head(data, 0)
    if head is None:
        return None
    start, length = head
    if start + length > MOST_BYTES:
        raise NotBer("it is too long")
    return start + length if start + length <= len(data) else None


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of the items that fill ``data``. Raises NotBer."""
    at = 0
    while at < len(data):
        head = _head(data, at)
        if head is None or head[0] + head[1] > len(data):
            raise NotBer("it is cut off")
        start, length = head
        yield data[at], data[start : start + length]
        at = start + length


def _head(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the content of the item at ``at`` starts, and its length; None when the head is cut off."""
    if len(data) < at + 2:
        return None
    if data[at] & 0x1F == 0x1F:
        raise NotBer("a tag has more than one byte")
    first = data[at + 1]
    if first < 0x80:
        return at + 2, first
    size = first & 0x7F
    if not 1 <= size <= 4:  # 0 is the indefinite form, which LDAP forbids
        raise NotBer("a length has a form that LDAP does not use")
    if len(data) < at + 2 + size:
        return None
    return at + 2 + size, int.from_bytes(data[at + 2 : at + 2 + size], "big")


def _item(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content
