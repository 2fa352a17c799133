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

    def __repr__(self) -> str:
        return f"User(id={self.id!r}, active={self.active}, version={self.version!r})"


def _no_constant(name: str) -> Any:
    raise NotScim("NaN and Infinity are not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)


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


def parse_user(text: str, etag: str | None = None) -> User:
    """The user in ``text``. ``etag`` is the answer's header, which wins over ``meta.version``.

    Raises ``NotScim`` unless it has an id and a userName, both text. A user that does not say ``active`` is
    active (RFC 7643 §4.1.1 leaves the meaning to the service provider; only ``false`` means inactive).
    """
    named = {name.lower(): value for name, value in members(text)}
    try:
        user_id, user_name = json.loads(named["id"]), json.loads(named["username"])
        active = json.loads(named.get("active", "true"))
        meta = json.loads(named.get("meta", "{}"))
    except (KeyError, ValueError):
        user_id = user_name = None
        active, meta = True, {}
    if not isinstance(user_id, str) or not isinstance(user_name, str) or not user_id:
        raise NotScim("not a user")
    version = etag if etag is not None else (meta.get("version") if isinstance(meta, dict) else None)
    return User(
        user_id, user_name, active is not False and active != "false", bare_version(version), text.strip()
    )


def bare_version(version: Any) -> str | None:
    """A version without quotes and ``W/``: the ETag and ``meta.version`` differ in them between servers."""
    if not isinstance(version, str):
        return None
    return version.strip().removeprefix("W/").strip('"') or None


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
    total = json.loads(named.get("totalresults", "null"))
    if not isinstance(total, int) or isinstance(total, bool):
        raise NotScim("no totalResults")
    return total, _elements(named.get("resources", "[]"))


def _elements(array: str) -> list[str]:
    found: list[str] = []
    if not array.startswith("["):
        raise NotScim("Resources is not an array")
    at = _skip(array, 1)
    while array[at] != "]":
        start = at
        _, at = _decoder.raw_decode(array, start)
        found.append(array[start:at])
        at = _skip(array, at)
        if array[at] == ",":
            at = _skip(array, at + 1)
    return found
