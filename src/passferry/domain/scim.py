"""SCIM 2.0 (RFC 7643, RFC 7644) as delivery needs it: users kept as the very text they came in.

A user that is written back must come back as the same JSON values: unknown attributes, empty arrays, ``5``
against ``5.0``, integers of any length. So the text of every member is carried over, never re-encoded.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
NOT_WRITTEN_BACK = frozenset({"id", "meta", "groups", "password"})
"""Read-only members of a user that a PUT leaves out, and the one it sets. Names are case-insensitive."""

_SPACE = re.compile(r"[ \t\n\r]*")
_OPAQUE = re.compile(r"[!#-~]{1,256}")
_COUNT = re.compile(r"[0-9]{1,9}")
_SINGLE = ("id", "username", "active", "meta")


class NotScim(ValueError):
    """The text is not what a SCIM service provider answers. Carries none of it."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as the target showed it."""

    id: str
    user_name: str
    active: bool
    version: str | None  # without quotes and weakness mark
    raw: str  # the JSON text of the resource
    entity_tag: str | None = None  # the version as an ETag, in the very form in which the target gave it

    def __repr__(self) -> str:
        return f"User(id={self.id!r}, active={self.active}, version={self.version!r})"


def _no_constant(name: str) -> Any:
    raise NotScim("NaN and Infinity are not JSON")


class Number(str):
    """A JSON number as its text: a conversion would cost digits, and fails beyond 4,300 of them."""

    __slots__ = ()


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_int=Number, parse_float=Number)


def members(text: str) -> list[tuple[str, str]]:
    """The members of the JSON object ``text``: (name, value as it stands in the text), in order.

    Raises ``NotScim`` when it is anything else.
    """
    try:
        return _members(text)
    except (ValueError, RecursionError, IndexError):
        pass
    raise NotScim("not a JSON object")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _members(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = _skip(text, 0)
    if text[at] != "{":
        raise NotScim("not an object")
    at = _skip(text, at + 1)
    while text[at] != "}":
        if text[at] != '"':
            raise NotScim("no name")
        name, at = _decoder.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] != ":":
            raise NotScim("no colon")
        start = _skip(text, at + 1)
        _, at = _decoder.raw_decode(text, start)
        found.append((name, text[start:at]))
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
            if text[at] == "}":
                raise NotScim("trailing comma")
        elif text[at] != "}":
            raise NotScim("no comma")
    if _skip(text, at + 1) != len(text):
        raise NotScim("more than an object")
    return found


def value_of(text: str) -> Any:
    """The value of the JSON ``text``, numbers as ``Number``. Raises ``NotScim``, never anything else."""
    try:
        value, end = _decoder.raw_decode(text, _skip(text, 0))
        if _skip(text, end) == len(text):
            return value
    except (ValueError, RecursionError, IndexError):
        pass
    raise NotScim("not JSON")


def parse_user(text: str, etag: str | None = None, *, listed: bool = False) -> User:
    """The user in ``text``. ``etag`` is the answer's header, which wins over ``meta.version``.

    Raises ``NotScim`` unless it has one id and one userName, both text. A user that does not say ``active``
    is active (RFC 7643 §4.1.1 leaves the meaning to the service provider; only ``false`` means inactive).
    Not so one that is ``listed``: a list may leave members out.
    """
    found = members(text)
    names = [name.lower() for name, _ in found]
    if any(names.count(name) > 1 for name in _SINGLE):
        raise NotScim("a member is repeated")  # readers differ in which one counts
    named = {name.lower(): value for name, value in found}
    user_id, user_name = value_of(named.get("id", "null")), value_of(named.get("username", "null"))
    active, meta = value_of(named.get("active", "true")), value_of(named.get("meta", "{}"))
    if not _is_name(user_id) or not _is_name(user_name):
        raise NotScim("not a user")
    stated = meta.get("version") if isinstance(meta, dict) else None
    version = etag if bare_version(etag) is not None else stated
    inactive = active is False or (text_of(active) or "").casefold() == "false"
    is_active = active is True and "active" in named if listed else not inactive
    return User(user_id, user_name, is_active, bare_version(version), text.strip(), _entity_tag(version))


def same(one: str, other: str) -> bool:
    """Whether two JSON texts of a resource have the same members with the same values, in whatever order.

    Numbers are the same when they are written the same way. Raises ``NotScim``.
    """
    first, second = members(one), members(other)
    if len(first) != len(second):
        return False
    return _values(first) == _values(second)


def _values(found: list[tuple[str, str]]) -> dict[str, Any]:
    values = {name: _exact(value_of(value)) for name, value in found}
    if len(values) != len(found):
        raise NotScim("a member is repeated")
    return values


def _exact(value: Any) -> Any:
    """``value`` in a form in which ``==`` tells 5 from "5", and true from nothing but true."""
    if isinstance(value, dict):
        return {name: _exact(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_exact(one) for one in value]
    return (type(value).__name__, value)


def text_of(value: Any) -> str | None:
    """``value`` of an answer if it is a JSON string, else None."""
    return value if isinstance(value, str) and not isinstance(value, Number) else None


def _is_name(value: Any) -> bool:
    """Whether ``value`` is text that UTF-8 can carry: a lone surrogate fits into no URL and no database."""
    text = text_of(value)
    return bool(text) and not any("\ud800" <= sign <= "\udfff" for sign in text or "")


def bare_version(version: Any) -> str | None:
    """A version without quotes and ``W/``: the ETag and ``meta.version`` differ in them between servers.

    None for anything that cannot stand in an entity tag (RFC 9110 §8.8.3), so that it is never sent back.
    """
    text = text_of(version)
    if text is None:
        return None
    bare = text.strip().removeprefix("W/").strip('"')
    return bare if _OPAQUE.fullmatch(bare) else None


def _entity_tag(version: Any) -> str | None:
    bare = bare_version(version)
    if bare is None:
        return None
    return f'W/"{bare}"' if version.strip().startswith("W/") else f'"{bare}"'


def put_body(user: User, password: str) -> str:
    """The body of a PUT that sets ``password`` and leaves every other attribute as it was read."""
    kept = [
        f"{json.dumps(name)}:{value}"
        for name, value in members(user.raw)
        if name.lower() not in NOT_WRITTEN_BACK
    ]
    return "{" + ",".join([*kept, f'"password":{json.dumps(password)}']) + "}"


def patch_body(password: str) -> str:
    """The body of a PATCH that sets ``password`` (RFC 7644 §3.5.2.3)."""
    operation = {"op": "replace", "path": "password", "value": password}
    return json.dumps({"schemas": [PATCH_OP], "Operations": [operation]})


def list_items(text: str) -> tuple[int, list[str]]:
    """(totalResults, the text of each resource) of a ListResponse (RFC 7644 §3.4.2). Raises ``NotScim``."""
    named = {name.lower(): value for name, value in members(text)}
    total = named.get("totalresults", "")
    if not _COUNT.fullmatch(total):
        raise NotScim("no totalResults")
    return int(total), elements(named.get("resources", "[]"))


def elements(text: str) -> list[str]:
    """The elements of the JSON array ``text``, each as it stands in the text. Raises ``NotScim``."""
    if not isinstance(value_of(text), list):
        raise NotScim("not an array")
    found: list[str] = []
    at = _skip(text, _skip(text, 0) + 1)
    while text[at] != "]":
        start = _skip(text, at)
        _, at = _decoder.raw_decode(text, start)
        found.append(text[start:at])
        at = _skip(text, at)
        if text[at] == ",":
            at += 1
    return found
