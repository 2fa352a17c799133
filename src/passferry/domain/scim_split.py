"""What a SCIM client sends, with the password taken out: a pure function of the body's text.

Providers write the same thing in several ways. A password is found in all of them; where something that is
called a password stands anywhere else, the request is refused, so that none is silently lost, and none can
go on with the rest. What remains is the text that came, member by member: see ``domain.scim``.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from passferry.domain.password import Password
from passferry.domain.scim import PATCH_OP, USER_SCHEMA, NotScim, elements, members, text_of, value_of

_USER = USER_SCHEMA.casefold()
_NAMES = frozenset({"password", f"{_USER}:password"})
_LIKE_ONE = re.compile(r"(?<![^\W_])(?:user)?passwords?(?![^\W_])")
_COMPARED_WITH = re.compile(r'(?<![^\W_])(?:eq|ne|co|sw|ew|g[te]|l[te])\s+"(?:[^"\\]|\\.)*"')
_OF_AN_OPERATION = ("op", "path", "value")
_OPS = ("add", "replace", "remove")

_Members = list[tuple[str, str]]
_Item = TypeVar("_Item")


class BadScim(Exception):
    """A refused request: ``scim_type`` (RFC 7644 table 9) and a public detail that repeats nothing of it."""

    def __init__(self, scim_type: str, detail: str) -> None:
        super().__init__(scim_type)
        self.scim_type, self.detail = scim_type, detail


@dataclass(frozen=True, slots=True)
class Split:
    """A body in two parts. ``rest`` is None where nothing but a password was asked for."""

    password: Password | None
    rest: str | None
    user_name: str | None = None  # of a whole user

    def __repr__(self) -> str:
        return f"Split(password={self.password!r})"


def split_user(text: str) -> Split:
    """A whole user, as POST and PUT send it. A password that is null is none (RFC 7643 §2.5).

    Raises ``BadScim``.
    """
    _once(text)
    found, password = _parted(_members(text))
    names = {name.casefold(): value for name, value in found}
    rest = joined(found) if names.keys() - {"schemas", "id", "meta"} else None
    return Split(password, rest, text_of(value_of(names.get("username", "null"))))


def split_patch(text: str) -> Split:
    """A PatchOp (RFC 7644 §3.5.2): `op` in any letter case, with `path` or without, add as good as replace.

    What is passed on is made anew of each operation's op, path and value. Raises ``BadScim``.
    """
    _once(text)
    named = _named(text, ("operations",))
    kept: list[str] = []
    passwords: list[Password] = []
    for item in _reading(elements, named.get("operations", "[]"), "Operations is no list"):
        rest, password = _operation(item)
        kept += [rest] if rest is not None else []
        passwords += [password] if password is not None else []
    if not kept and not passwords:
        raise BadScim("invalidSyntax", "there is no operation")
    if len(passwords) > 1:
        raise _twice()
    operations = ",".join(kept)
    body = f'{{"schemas":[{json.dumps(PATCH_OP)}],"Operations":[{operations}]}}'
    return Split(passwords[0] if passwords else None, body if kept else None)


def _operation(text: str) -> tuple[str | None, Password | None]:
    """What is left of one operation, and the password that it sets."""
    named = _named(text, _OF_AN_OPERATION)
    op = (text_of(value_of(named.get("op", "null"))) or "").casefold()
    if op not in _OPS:
        raise BadScim("invalidSyntax", "op must be add, replace or remove")
    path = value_of(named.get("path", "null"))
    if path is not None and text_of(path) is None:
        raise BadScim("invalidPath", "path must be a string")
    place = str(path or "").strip().casefold()
    if place in _NAMES:
        if op == "remove":
            raise BadScim("mutability", "a password cannot be removed")
        return None, _password(named.get("value", "null"))
    if _named_like_one(place):
        raise _misplaced()
    if place in ("", _USER) and op != "remove":
        return _pathless(op, named)
    if _mentions_one(value_of(named.get("value", "null"))):
        raise _misplaced()
    kept = [(name, named[name]) for name in ("path", "value") if name in named]
    return joined([("op", json.dumps(op)), *kept]), None


def _named(text: str, known: tuple[str, ...]) -> dict[str, str]:
    """The members by their names in lower case. Beside those that are ``known`` no password may stand."""
    found = {name.casefold(): value for name, value in _members(text)}
    for name, value in found.items():
        if name not in known and (_named_like_one(name) or _mentions_one(value_of(value))):
            raise _misplaced()
    return found


def _pathless(op: str, named: dict[str, str]) -> tuple[str | None, Password | None]:
    value = named.get("value", "null")
    if not isinstance(value_of(value), dict):
        raise BadScim("invalidValue", "without a path, value must be an object")
    found, password = _parted(_members(value))
    if not found and password is not None:
        return None, password
    return joined([("op", json.dumps(op)), ("value", joined(found))]), password


def _parted(found: _Members) -> tuple[_Members, Password | None]:
    """The members that are no password, and the password.

    Attributes may stand below their schema's name, once: one such object within another is nobody's user, and
    each would have to be read as often as it is deep.
    """
    kept, passwords = _apart(found)
    rest: _Members = []
    for name, text in kept:
        if not _is_own_schema(name, text):
            rest.append((name, text))
            continue
        inner, more = _apart(_members(text))
        if any(_is_own_schema(*each) for each in inner):
            raise BadScim("invalidSyntax", "a user's schema stands within itself")
        passwords += more
        rest += [(name, joined(inner))] if inner else []
    if len(passwords) > 1:
        raise _twice()
    return rest, passwords[0] if passwords else None


def _is_own_schema(name: str, text: str) -> bool:
    return name.casefold() == _USER and text.startswith("{")


def _apart(found: _Members) -> tuple[_Members, list[Password]]:
    """The members beside passwords, and the passwords; the schema's own name may have more below it."""
    kept: _Members = []
    passwords: list[Password] = []
    for name, text in found:
        folded = name.casefold()
        if folded in _NAMES:
            passwords += [_password(text)] if value_of(text) is not None else []
        elif _is_own_schema(name, text):
            kept.append((name, text))
        elif _named_like_one(folded) or _mentions_one(value_of(text)):
            raise _misplaced()
        else:
            kept.append((name, text))
    return kept, passwords


def _password(text: str) -> Password:
    value = text_of(value_of(text))
    if value is None:
        raise BadScim("invalidValue", "a password must be a string")
    return Password(value)


def _twice() -> BadScim:
    return BadScim("invalidSyntax", "there is more than one password")


def _misplaced() -> BadScim:
    return BadScim("invalidPath", "a password stands where SCIM has none: it is the user's `password`")


def _mentions_one(value: Any) -> bool:
    """Whether a member at any depth is named like a password. No recursion: the depth is the sender's."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        inner: Iterable[Any] = ()
        if isinstance(one, dict):
            if any(_named_like_one(name.casefold()) for name in one):
                return True
            inner = one.values()
        elif isinstance(one, list):
            inner = one
        waiting += inner
    return False


def _named_like_one(name: str) -> bool:
    """Whether a name or path has a password's name as a word of its own, whatever else stands beside it.

    So `/password`, `#/password`, `"password"` and `user_password`, which a target may understand. Also
    `password_hash` and `password_policy`: better an attribute too few, and told, than a secret that is passed
    on. Not `passwordPolicy`, which is one word. What a filter compares with is a value, and no name.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return _LIKE_ONE.search(_COMPARED_WITH.sub("", folded)) is not None


def _members(text: str) -> _Members:
    return _reading(members, text, "the body is not a JSON object")


class _Repeated(ValueError):
    """A member occurs more than once."""


def _no_repeats(found: list[tuple[str, Any]]) -> None:
    if len({name.casefold() for name, _ in found}) != len(found):
        raise _Repeated


_no_repeats_within = json.JSONDecoder(object_pairs_hook=_no_repeats, parse_int=str, parse_float=str)


def _once(text: str) -> None:
    """Raise ``BadScim`` when a member comes twice in an object, at any depth.

    Names are case-insensitive (RFC 7643 §2.1), and readers differ in which one counts: a password in the one
    that is not looked at here would go on with the rest.
    """
    trouble: str | None = None
    try:
        _no_repeats_within.decode(text)
    except _Repeated:
        trouble = "a member occurs more than once"
    except (ValueError, RecursionError):
        trouble = "the body is not a JSON object"
    if trouble is not None:  # raised here, since what was caught holds the text
        raise BadScim("invalidSyntax", trouble)


def _reading(read: Callable[[str], list[_Item]], text: str, otherwise: str) -> list[_Item]:
    try:
        return read(text)
    except NotScim:
        pass
    raise BadScim("invalidSyntax", otherwise)


def joined(found: Iterable[tuple[str, str]]) -> str:
    """The object with these members: names, and values as JSON text."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in found) + "}"
