"""What an operation of slapd means for a user's password. Pure.

The codes are LDAP's (RFC 4511 appendix A): 19 the password is refused, 80 the set-up is wrong. Never 53: to
slapd that says that an extended operation was not looked at, and it then changes the password itself.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from passferry.hooks.ber import NotBer, read_passwd_modify
from passferry.hooks.clear_text import looks_hashed
from passferry.hooks.dn import NotDn, named
from passferry.hooks.ldif import utf8
from passferry.hooks.slapd_sock import EXOP, Extended, Write

REFUSED, SET_UP = 19, 80
MOST_INFO = 500
"""Characters of a reason that the client is shown."""

NO_EXTENSIONS = "slapd.conf: `overlay sock` needs `extensions binddn peername ssf connid`"


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A password in clear that is about to be written."""

    dn: str
    user: str
    value: bytes = field(repr=False)  # UTF-8


@dataclass(frozen=True, slots=True)
class Refuse:
    """The operation must not be done; the reason is for the client."""

    code: int
    reason: str


Intent: TypeAlias = NewPassword | Refuse | None


def intent(block: Extended | Write, user_attribute: str) -> Intent:
    """What ``block`` is about to do; None when it is not about the password of one of our users.

    Ours are those whose DN starts with ``user_attribute``: its value is the user's name.
    """
    return _extended(block, user_attribute) if isinstance(block, Extended) else _write(block, user_attribute)


def _extended(block: Extended, user_attribute: str) -> Intent:
    if block.oid != EXOP:
        return None
    try:
        request = read_passwd_modify(block.value)
    except NotBer:
        return Refuse(REFUSED, "the request is not written as RFC 3062 says")
    if request.user is None and not block.binddn:
        return Refuse(SET_UP, NO_EXTENSIONS)
    # Else as the client wrote it: slapd has not looked at it yet, and knows more spellings than one.
    dn = block.binddn if request.user is None else utf8(request.user) or ""
    user = _user(dn, user_attribute)
    if not isinstance(user, str):
        return user
    if request.new is None:
        return Refuse(REFUSED, "a password that the server makes up cannot be passed on: choose one")
    if looks_hashed(request.new):
        return Refuse(
            REFUSED, "a password that starts with a name in braces, like {SSHA}, cannot be passed on"
        )
    return _new(dn, user, request.new)


def _write(block: Write, user_attribute: str) -> Intent:
    clear = [value for value in block.passwords if not looks_hashed(value)]
    user = _user(block.dn, user_attribute) if clear else None
    if not isinstance(user, str):
        return user
    if len(block.passwords) > 1:
        return Refuse(REFUSED, "more than one password cannot be passed on")
    return _new(block.dn, user, clear[0])


def _user(dn: str, user_attribute: str) -> str | Refuse | None:
    """Who it is. A name that only slapd can read would be a way around the policy."""
    with suppress(NotDn):
        return named(dn, user_attribute)
    return Refuse(REFUSED, "the name of the user cannot be read: write it as the directory does")


def _new(dn: str, user: str, value: bytes) -> NewPassword | Refuse:
    if not value:
        return Refuse(REFUSED, "the password is empty")
    if utf8(value) is None:
        return Refuse(REFUSED, "the password is not UTF-8")
    return NewPassword(dn, user, value)


def reply(refusal: Refuse | None) -> bytes:
    """What slapd is told: to go on, or why not."""
    if refusal is None:
        return b"CONTINUE\n"
    reason = "".join(sign if sign.isprintable() else " " for sign in refusal.reason)[:MOST_INFO]
    return f"RESULT\ncode: {refusal.code}\nmatched: \ninfo: {reason}\n".encode()
