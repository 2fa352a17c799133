"""What ``samba-tool user syncpasswords`` says about an account, and whether its password is handed over.

Samba calls for any change of an account, again after every failure, and at first for every account there is.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import TypeAlias

from passferry.domain.password import Password
from passferry.hooks.filetime import to_epoch
from passferry.hooks.ldif import Entry

CLEAR_TEXT = "virtualClearTextUTF8"
NEEDED = (
    "objectGUID",
    "sAMAccountName",
    "userAccountControl",
    "pwdLastSet",
    "msDS-KeyVersionNumber",
    CLEAR_TEXT,
)
"""Attributes that ``--attributes`` has to name, besides the one with the user's name."""

_DISABLED = 0x2
_TRUSTS = 0x800 | 0x1000 | 0x2000  # of domains, of workstations, of servers ([MS-ADTS] 2.2.16)
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
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
    """A new password. ``changed_at``: epoch seconds; None when the directory does not say."""

    guid: str
    user: str
    password: Password
    changed_at: float | None
    seen: Seen

    def key(self, life: str) -> str:
        """The Idempotency-Key: the same when Samba sends the same password of the same user again.

        Under a key that was used with another body the gateway takes nothing. So it changes with the user's
        name, and with ``life``, which ends where an operator deletes what was seen.
        """
        name = hashlib.sha256(self.user.encode()).hexdigest()[:16]
        return f"samba-{self.guid}-{self.seen.version}-{self.seen.last_set}-{name}-{life}"


@dataclass(frozen=True, slots=True)
class LeaveAlone:
    """Nothing is to be done, and why."""

    why: str


Decision: TypeAlias = HandOver | LeaveAlone


def guid_of(entry: Entry) -> str:
    """What an account keeps for good. Raises ``NotSetUp``."""
    guid = entry.text("objectGUID") or ""
    if _GUID.fullmatch(guid) is None:
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
    value = entry.first(CLEAR_TEXT)
    if not value:
        return LeaveAlone("there is no clear text")
    now = Seen(_number(entry, "pwdLastSet"), _number(entry, "msDS-KeyVersionNumber"))
    if now == Seen():
        raise NotSetUp(_attributes("pwdLastSet,msDS-KeyVersionNumber"))
    if seen is not None and not seen.behind(now):
        return LeaveAlone("the password is the same as before")
    password, user = entry.text(CLEAR_TEXT), entry.text(user_attribute)
    if password is None:
        return LeaveAlone("the clear text is not UTF-8")
    if not user or not user.isprintable():
        return LeaveAlone(f"there is no {user_attribute}")
    further = now if seen is None else seen.and_then(now)
    return HandOver(guid, user, Password(password), to_epoch(now.last_set), further)


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
