"""What ``samba-tool user syncpasswords`` says about an account, and whether its password is handed over.

Samba calls for any change of an account, again after every failure, and at first for every account there is.
"""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from passferry.domain.change import is_uuid
from passferry.domain.password import Password
from passferry.hooks.filetime import to_epoch
from passferry.hooks.ldif import Entry

CLEAR_TEXT = "virtualClearTextUTF8"
ENCRYPTED = "virtualSambaGPG"
"""The same password as Samba keeps it. There without clear text: it could not be decrypted."""
NEEDED = (
    "objectGUID",
    "sAMAccountName",
    "userAccountControl",
    "pwdLastSet",
    "msDS-KeyVersionNumber",
    "whenChanged",
    CLEAR_TEXT,
)
"""Attributes that ``--attributes`` has to name, besides the one with the user's name."""

_DISABLED = 0x2
_TRUSTS = 0x800 | 0x1000 | 0x2000  # of domains, of workstations, of servers ([MS-ADTS] 2.2.16)
_WHEN = re.compile(r"([0-9]{14})(?:\.[0-9]+)?Z")
_KRBTGT = re.compile(r"krbtgt(_\d+)?", re.IGNORECASE)


class NotSetUp(Exception):
    """Samba was told to call with something else; the text says what to mend."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How far an account's password had come: both only rise with new passwords. 0 where it is not known."""

    last_set: int = 0  # pwdLastSet, a FILETIME; 0 also says that the password has to be changed
    version: int = 0  # msDS-KeyVersionNumber

    def behind(self, other: "Seen") -> bool:
        """Whether ``other`` has a newer password."""
        return other.last_set > self.last_set or other.version > self.version

    def and_then(self, other: "Seen") -> "Seen":
        """The further of both."""
        return Seen(max(self.last_set, other.last_set), max(self.version, other.version))


@dataclass(frozen=True, slots=True)
class HandOver:
    """A new password.

    ``changed_at``: epoch seconds; None when the directory does not say: then it is as new as the call.
    ``complaint``: what an operator has to mend all the same.
    """

    guid: str
    user: str
    password: Password
    changed_at: float | None
    seen: Seen
    complaint: str = ""

    def key(self, life: str) -> str:
        """The Idempotency-Key: the same when Samba sends the same password of the same user again.

        Under a key that was used with another body the gateway takes nothing. So it changes with the user's
        name, and with ``life``, which ends where an operator deletes what was seen.
        """
        name = hashlib.sha256(self.user.encode()).hexdigest()[:16]
        return f"samba-{self.guid}-{self.seen.version}-{self.seen.last_set}-{name}-{life}"


@dataclass(frozen=True, slots=True)
class LeaveAlone:
    """Nothing is to be done, and why.

    ``remedy``: what an operator has to do, where there should be more. ``encrypted``: a new password is
    there, and could not be decrypted.
    """

    why: str
    remedy: str = ""
    encrypted: bool = False


_THE_SAME = "the password is the same as before"
_GPG = "set GNUPGHOME for syncpasswords to where the private key is, the one for all domain controllers"
_ON_ALL = "and `password hash gpg key ids` on every domain controller"
_ANEW = "then initialize syncpasswords anew (docs/sources/samba-ad.md), which sends it again"
_UNREAD = f"let its user choose another; if this is told of many, {_GPG}; {_ANEW}"

Decision: TypeAlias = HandOver | LeaveAlone


def guid_of(entry: Entry) -> str:
    """What an account keeps for good. Raises ``NotSetUp``."""
    guid = entry.text("objectGUID") or ""
    if not is_uuid(guid):
        raise NotSetUp(_attributes("objectGUID"))
    return guid.lower()


def decide(entry: Entry, seen: Seen | None, user_attribute: str) -> Decision:
    """What is to be done about an account.

    Args:
        entry: as Samba sent it.
        seen: how far it had come when it was last handed over; None if it never was.
        user_attribute: the attribute with the user's name.

    Raises:
        NotSetUp: an attribute is missing without which no change can be told from others.
    """
    guid = guid_of(entry)
    if (reason := _not_a_user(entry)) is not None:
        return LeaveAlone(reason)
    now = Seen(_number(entry, "pwdLastSet"), _number(entry, "msDS-KeyVersionNumber"))
    if not entry.first(CLEAR_TEXT):
        return _without_clear_text(entry, seen, now)
    if now == Seen():
        raise NotSetUp(_attributes("pwdLastSet,msDS-KeyVersionNumber"))
    if seen is not None and not seen.behind(now):
        return LeaveAlone(_THE_SAME)
    password, user = entry.text(CLEAR_TEXT), entry.text(user_attribute)
    if password is None:
        return LeaveAlone("the clear text is not UTF-8")
    if not user or not user.isprintable():
        return LeaveAlone(f"there is no {user_attribute}", f"give it one, or name another attribute; {_ANEW}")
    further = now if seen is None else seen.and_then(now)
    at = _changed_at(entry, now)
    complaint = "" if at is not None else f"it is taken for as new as this call: {_attributes('whenChanged')}"
    return HandOver(guid, user, Password(password), at, further, complaint)


def _without_clear_text(entry: Entry, seen: Seen | None, now: Seen) -> LeaveAlone:
    """Most accounts of a domain never had any. Of one that had, a new password would be lost in silence.

    It never ends the run: whoever sets a password that Samba cannot write as UTF-8, such as half a surrogate
    pair, would stop those of everybody else.
    """
    if seen is not None and not seen.behind(now):
        return LeaveAlone(_THE_SAME)
    if entry.first(ENCRYPTED):
        if seen is None:
            return LeaveAlone("the password cannot be decrypted", f"{_GPG}; {_ANEW}")
        return LeaveAlone("the new password cannot be decrypted, or is no text", _UNREAD, encrypted=True)
    if seen is not None:
        return LeaveAlone("there is no clear text of the new password", f"{_GPG}, {_ON_ALL}; {_ANEW}")
    return LeaveAlone("there is no clear text")


def _changed_at(entry: Entry, now: Seen) -> float | None:
    """When the password was set, as far as it is known: never later than the account was changed at all.

    The time of the call would let a password that must be changed, however old, win over what its user has
    chosen meanwhile. A set-up whose ``--attributes`` were made for an earlier release does not say: None.
    """
    if now.last_set:
        return to_epoch(now.last_set)
    found = _WHEN.fullmatch(entry.text("whenChanged") or "")
    if found is not None:
        with suppress(ValueError):
            at = datetime.strptime(found[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
            return at.timestamp() + 1  # it is in whole seconds, which have begun
    return None


def _not_a_user(entry: Entry) -> str | None:
    """Why nobody logs in with this account; None for a user."""
    if (entry.text("isDeleted") or "").upper() == "TRUE":
        return "the account is deleted"
    account = entry.text("sAMAccountName") or ""
    control = _number(entry, "userAccountControl")
    if account.endswith("$") or control & _TRUSTS:
        return "it is the account of a machine"
    if _KRBTGT.fullmatch(account):
        return "it is the account of Kerberos itself"
    if control & _DISABLED:
        return "the account is disabled"
    if not account or not control:
        raise NotSetUp(_attributes("sAMAccountName,userAccountControl"))
    return None


def _number(entry: Entry, name: str) -> int:
    text = entry.text(name) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 25 else 0


def _attributes(names: str) -> str:
    return f"samba-tool user syncpasswords --cache-ldb-initialize … --attributes has to name {names}"
