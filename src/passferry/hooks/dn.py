"""The first part of a distinguished name (RFC 4514), which names a user within a directory."""

import re
import unicodedata

_ATTRIBUTE = re.compile(r"\s*(?:OID\.)?([A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)*)\s*=", re.IGNORECASE)
_PIECE = re.compile(
    r"\\(?P<code>[0-9A-Fa-f]{2})"  # one byte
    r'|\\(?P<escaped>[ "#+,;<=>\\])'
    r"|(?P<plain>[^\\,;+\"<>\0])",
    re.DOTALL,
)


_SPELLINGS = (
    {"uid", "userid", "0.9.2342.19200300.100.1.1"},
    {"mail", "rfc822mailbox", "0.9.2342.19200300.100.1.3"},
    {"cn", "commonname", "2.5.4.3"},
    {"sn", "surname", "2.5.4.4"},
)
"""Names and OID of the attributes by which users are mostly called (RFC 4519, RFC 4524), in lower case."""


class NotDn(ValueError):
    """It is no distinguished name that is read here."""


def named(dn: str, attribute: str) -> str | None:
    """The value of ``attribute`` in the first part of ``dn``, however both are spelled; None without it.

    A directory looks names up without regard to forms of a character and to spaces (RFC 4518), so a client
    may write a user's name in many ways. What comes out is one of them: NFKC, single spaces, none outside.

    Raises:
        NotDn: whose name it is cannot be told.
    """
    wanted = attribute.lower()
    parts = rdn(dn)
    known = next((names for names in _SPELLINGS if wanted in names), None)
    found = [value for name, value in parts.items() if name in (known or {wanted})]
    if not found:
        if known is None and any(name[0].isdigit() for name in parts):
            raise NotDn("an attribute is named by its OID, which may be any")
        return None
    value = unicodedata.normalize("NFKC", found[0])
    if len(found) > 1 or not value.isprintable() or not value.strip():
        raise NotDn("it names nobody, or two")
    return " ".join(value.split())


def rdn(dn: str) -> dict[str, str]:
    """Attributes, in lower case, and values of the first part of ``dn``: mostly one, several with ``+``.

    Values in hexadecimal (``#04…``) and in quotes (LDAPv2) are refused: no user's name is written so.

    Raises:
        NotDn: it is none, it is empty, or a value is no UTF-8.
    """
    found: dict[str, str] = {}
    at = 0
    while True:
        head = _ATTRIBUTE.match(dn, at)
        if head is None:
            raise NotDn("there is no attribute")
        value, at = _value(dn, head.end())
        found.setdefault(head[1].lower(), value)
        if at == len(dn) or dn[at] in ",;":
            return found
        at += 1  # "+": another one


def _value(dn: str, at: int) -> tuple[str, int]:
    """The value that starts at ``at``, and where it ends: at the end, or at one of ``,;+``."""
    while at < len(dn) and dn[at] == " ":
        at += 1
    if at < len(dn) and dn[at] == "#":
        raise NotDn("a value is in hexadecimal")
    raw = bytearray()
    kept = 0  # what spaces at the end, unless escaped, do not count to
    while at < len(dn) and dn[at] not in ",;+":
        piece = _PIECE.match(dn, at)
        if piece is None:
            raise NotDn("a value has a character that is to be escaped")
        raw += _bytes(piece)
        at = piece.end()
        if piece["plain"] != " ":
            kept = len(raw)
    try:
        return bytes(raw[:kept]).decode("utf-8"), at
    except UnicodeDecodeError:
        pass
    raise NotDn("a value is not UTF-8")


def _bytes(piece: re.Match[str]) -> bytes:
    if piece["code"]:
        return bytes.fromhex(piece["code"])
    return (piece["escaped"] or piece["plain"]).encode("utf-8", "surrogatepass")
