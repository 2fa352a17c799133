"""The filters that Genesys documents for users, and attribute selection (RFC 7644, 3.4.2.2 and 3.9)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from passferry.simulator.directory import CORE, ENTERPRISE, GENESYS, Directory, User
from passferry.simulator.errors import ScimRefused
from passferry.simulator.settings import FilterValues, Settings

_EQ = re.compile(r"^\s*(\S+)\s+eq\s+(.+?)\s*$", re.IGNORECASE | re.DOTALL)
_BRACKET = re.compile(r"^\s*(\S+?)\[(.*)\]\s*$", re.DOTALL)
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)
ALWAYS = ("schemas", "id", "userName", "active", "meta")
SKILLS = (f"{GENESYS}:routingSkills",)
REDUCED = ("roles", "externalId", *SKILLS, f"{GENESYS}:routingLanguages")


def _invalid(detail: str) -> ScimRefused:
    return ScimRefused(400, "invalidFilter", detail)


def comparison(text: str, values: FilterValues) -> tuple[str, str]:
    """Attribute and value of `attribute eq value`. Raises ScimRefused (invalidFilter)."""
    match = _EQ.match(text)
    if match is None:
        raise _invalid("The filter is not understood; only eq is supported.")
    return match[1], _value(match[2], values)


def _value(text: str, values: FilterValues) -> str:
    boolean = text.lower() in ("true", "false")
    if text.startswith('"'):
        if values is FilterValues.UNQUOTED:
            raise _invalid("The filter value must not be quoted.")
        return _unquoted(text)
    if values is FilterValues.QUOTED and not boolean:
        raise _invalid("The filter value must be quoted.")
    if '"' in text or " " in text:
        raise _invalid("The filter value is not understood.")
    return text


def _unquoted(text: str) -> str:
    try:
        # RFC 7644 section 3.4.2.2: a compValue is written as JSON.
        return str(json.loads(text))
    except ValueError:
        pass
    raise _invalid("The filter value is not understood.")


def _extension(user: User, urn: str, name: str) -> Any:
    extension = user.profile.get(urn)
    return extension.get(name) if isinstance(extension, dict) else None


def _manager(user: User) -> str:
    manager = _extension(user, ENTERPRISE, "manager")
    return str(manager.get("value", "")) if isinstance(manager, dict) else ""


def _emails(user: User) -> set[str]:
    emails = user.profile.get("emails") or []
    return {str(email.get("value", "")).casefold() for email in emails if isinstance(email, dict)}


_MATCHERS: dict[str, Callable[[User, str], bool]] = {
    "id": lambda user, value: user.id == value,
    "username": lambda user, value: user.user_name.casefold() == value.casefold(),
    "manager": lambda user, value: _manager(user) == value,
    "manager.value": lambda user, value: _manager(user) == value,
    "email": lambda user, value: value.casefold() in _emails(user),
    "emails": lambda user, value: value.casefold() in _emails(user),
    "emails.value": lambda user, value: value.casefold() in _emails(user),
    "division": lambda user, value: user.division.casefold() == value.casefold(),
    "externalid": lambda user, value: user.profile.get("externalId") == value,
    "employeenumber": lambda user, value: _extension(user, ENTERPRISE, "employeeNumber") == value,
}


def select(directory: Directory, text: str | None, settings: Settings) -> list[User]:
    """The users that a filter finds, in their order; without one, all active users.

    Raises ScimRefused (invalidFilter) for anything that Genesys does not document.
    """
    if text is None:
        return directory.listed(active=True)
    bracket = _BRACKET.match(text)
    if bracket is not None:
        return _visible(_by_external_id(directory, bracket[1], bracket[2], settings), settings)
    attribute, value = comparison(text, settings.filter_values)
    name = attribute.rpartition(":")[2].lower()
    if name == "active":
        if value.lower() not in ("true", "false"):
            raise _invalid("active is true or false.")
        return directory.listed(active=value.lower() == "true")
    if name == "username":
        named = directory.named(value)
        return _visible([named] if named else [], settings)
    matches = _MATCHERS.get(name)
    if matches is None:
        raise _invalid("The filter attribute is not supported.")
    return _visible([user for user in directory if matches(user, value)], settings)


def _visible(users: list[User], settings: Settings) -> list[User]:
    return users if settings.filter_finds_inactive else [user for user in users if user.active]


def _by_external_id(directory: Directory, attribute: str, inside: str, settings: Settings) -> list[User]:
    if attribute.lower() not in ("externalids", f"{GENESYS}:externalIds".lower()):
        raise _invalid("Only externalIds can be filtered this way.")
    pairs = dict(comparison(part, settings.filter_values) for part in _AND.split(inside.strip()))
    wanted = {name.lower(): value for name, value in pairs.items()}
    if set(wanted) != {"authority", "value"}:
        raise _invalid("externalIds needs authority and value.")
    found = []
    for user in directory:
        entries = _extension(user, GENESYS, "externalIds") or []
        if any(isinstance(e, dict) and all(e.get(k) == v for k, v in wanted.items()) for e in entries):
            found.append(user)
    return found


def project(resource: dict[str, Any], attributes: list[str], excluded: list[str]) -> dict[str, Any]:
    """A resource with some attributes only, or without some; the always-returned ones stay."""
    if attributes:
        out = {name: value for name, value in resource.items() if name in ALWAYS}
        for path in attributes:
            _copy(resource, out, path)
        return {name: out[name] for name in resource if name in out}
    out = dict(resource)
    for path in excluded:
        _drop(out, path)
    return out


def _split(resource: dict[str, Any], path: str) -> tuple[str | None, str | None]:
    """Top-level member and inner member that a path names, either None when it is not there."""
    for urn in resource:
        if urn.lower() == path.lower():
            return urn, None
        if urn.startswith("urn:") and path.lower().startswith(urn.lower() + ":"):
            return urn, path[len(urn) + 1 :].split(".", maxsplit=1)[0]
    if path.lower().startswith(CORE.lower() + ":"):
        return _split(resource, path[len(CORE) + 1 :])
    head, _, inner = path.partition(".")
    return next((name for name in resource if name.lower() == head.lower()), None), inner or None


def _copy(resource: dict[str, Any], out: dict[str, Any], path: str) -> None:
    top, inner = _split(resource, path)
    if top is None or top in ALWAYS:
        return
    if inner is None or not isinstance(resource[top], dict):
        out[top] = resource[top]
        return
    part = dict(out.get(top, {}))
    part |= {name: value for name, value in resource[top].items() if name.lower() == inner.lower()}
    out[top] = part


def _drop(out: dict[str, Any], path: str) -> None:
    top, inner = _split(out, path)
    if top is None or top in ALWAYS:
        return
    if inner is None or not isinstance(out[top], dict):
        del out[top]
        return
    out[top] = {name: value for name, value in out[top].items() if name.lower() != inner.lower()}
