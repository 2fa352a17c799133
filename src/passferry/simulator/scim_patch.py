"""PATCH of a user by RFC 7644 section 3.5.2: add, replace, remove, with and without a path."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

from passferry.simulator.directory import CORE, ENTERPRISE, GENESYS
from passferry.simulator.errors import ScimRefused
from passferry.simulator.scim_filter import comparison
from passferry.simulator.settings import FilterValues

_PATH = re.compile(r"^([A-Za-z$][\w$-]*)(?:\[(.*)\])?(?:\.([A-Za-z$][\w$-]*))?$", re.DOTALL)
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)
_CORE_NAMES = ("userName", "displayName", "title", "active", "externalId", "phoneNumbers", "emails", "roles")
_EXTENSION_NAMES = ("division", "department", "manager", "employeeNumber", "dateHire", "routingSkills")
_MEMBER_NAMES = (
    "routingLanguages",
    "externalIds",
    "value",
    "type",
    "primary",
    "name",
    "proficiency",
    "authority",
)
_SPELLING = {name.lower(): name for name in (*_CORE_NAMES, *_EXTENSION_NAMES, *_MEMBER_NAMES)}
READ_ONLY = frozenset({"id", "meta", "groups"})


@dataclass(frozen=True, slots=True)
class _Target:
    """What a path points to: an extension or the core, an attribute of it, some of its values, a member."""

    extension: str | None
    attribute: str | None
    conditions: tuple[tuple[str, str], ...] = ()
    member: str | None = None


def apply(profile: dict[str, Any], body: Any) -> tuple[dict[str, Any], Any]:
    """The profile after all operations, and the new password (None when none was given).

    The profile that was passed in is left alone, so a bad operation changes nothing. Raises ScimRefused.
    """
    operations = _operations(body)
    work = copy.deepcopy(profile)
    passwords: list[Any] = []
    for operation in operations:
        _one(work, operation, passwords)
    return work, passwords[-1] if passwords else None


def _operations(body: Any) -> list[Any]:
    if not isinstance(body, dict) or not isinstance(body.get("schemas"), list):
        raise ScimRefused(400, "invalidSyntax", "schemas is required.")
    operations = body.get("Operations")
    if not isinstance(operations, list) or not operations:
        raise ScimRefused(400, "invalidSyntax", "Operations is required.")
    return operations


def _one(work: dict[str, Any], operation: Any, passwords: list[Any]) -> None:
    op = operation.get("op") if isinstance(operation, dict) else None
    verb = op.lower() if isinstance(op, str) else ""
    if verb not in ("add", "replace", "remove"):
        raise ScimRefused(400, "invalidSyntax", "op is add, replace or remove.")
    path = operation.get("path")
    if path is None:
        if verb == "remove":
            raise ScimRefused(400, "noTarget", "remove needs a path.")
        _pathless(work, verb, operation.get("value"), passwords)
    elif not isinstance(path, str):
        raise ScimRefused(400, "invalidPath", "path is a string.")
    elif verb != "remove" and "value" not in operation:
        raise ScimRefused(400, "invalidValue", "value is missing.")
    else:
        _at(work, verb, path, operation.get("value"), passwords)


def _pathless(work: dict[str, Any], verb: str, value: Any, passwords: list[Any]) -> None:
    if not isinstance(value, dict):
        raise ScimRefused(400, "invalidValue", "Without a path the value is an object.")
    for name, member in value.items():
        _at(work, verb, name, member, passwords)


def _at(work: dict[str, Any], verb: str, path: str, value: Any, passwords: list[Any]) -> None:
    target = _parse(work, path)
    name = (target.attribute or "").lower()
    if target.extension is None and name == "password":
        if verb == "remove":
            raise ScimRefused(400, "mutability", "password cannot be removed.")
        passwords.append(value)
        return
    if target.extension is None and name in READ_ONLY:
        raise ScimRefused(400, "mutability", "The attribute is read-only.")
    _apply(work, verb, target, value)


def _parse(work: dict[str, Any], path: str) -> _Target:
    rest, extension = path.strip(), None
    for urn in sorted(
        {CORE, ENTERPRISE, GENESYS, *(k for k in work if k.startswith("urn:"))}, key=len, reverse=True
    ):
        if rest.lower() == urn.lower():
            return _Target(urn, None)
        if rest.lower().startswith(urn.lower() + ":"):
            extension = None if urn == CORE else urn
            rest = rest[len(urn) + 1 :]
            break
    match = _PATH.match(rest)
    if match is None:
        raise ScimRefused(400, "invalidPath", "The path is not understood.")
    conditions: tuple[tuple[str, str], ...] = ()
    if match[2] is not None:
        conditions = tuple(comparison(part, FilterValues.EITHER) for part in _AND.split(match[2].strip()))
    return _Target(extension, match[1], conditions, match[3])


def _key(container: dict[str, Any], name: str) -> str:
    """The member of that name, whatever its case; else the name as the schema spells it."""
    found = next((key for key in container if key.lower() == name.lower()), None)
    return found or _SPELLING.get(name.lower(), name)


def _apply(work: dict[str, Any], verb: str, target: _Target, value: Any) -> None:
    container = work
    if target.extension is not None:
        if target.attribute is None:
            _set(work, verb, target.extension, value)
            return
        container = work.setdefault(target.extension, {})
        if not isinstance(container, dict):
            raise ScimRefused(400, "invalidPath", "The extension is not an object.")
    key = _key(container, str(target.attribute))
    if target.conditions:
        _on_matching(container, verb, key, target, value)
    elif target.member is not None:
        _on_member(container, verb, key, target.member, value)
    else:
        _set(container, verb, key, value)


def _set(container: dict[str, Any], verb: str, key: str, value: Any) -> None:
    present = container.get(key)
    if verb == "remove":
        container.pop(key, None)
    elif isinstance(present, dict) and isinstance(value, dict):
        for name, member in value.items():
            present[_key(present, name)] = member
    elif verb == "add" and isinstance(present, list):
        _append(present, value if isinstance(value, list) else [value])
    else:
        container[key] = value


def _append(values: list[Any], more: list[Any]) -> None:
    for value in more:
        if value in values:
            continue
        # RFC 7644 section 3.5.2: a new primary value takes the mark from the old one.
        if isinstance(value, dict) and value.get("primary") is True:
            for other in values:
                if isinstance(other, dict) and "primary" in other:
                    other["primary"] = False
        values.append(value)


def _on_member(container: dict[str, Any], verb: str, key: str, member: str, value: Any) -> None:
    if verb != "remove" and container.get(key) is None:
        container[key] = {}
    present = container.get(key)
    for one in present if isinstance(present, list) else [present]:
        if isinstance(one, dict):
            _set(one, verb, _key(one, member), value)


def _on_matching(container: dict[str, Any], verb: str, key: str, target: _Target, value: Any) -> None:
    present = container.get(key)
    values = present if isinstance(present, list) else []
    chosen = [one for one in values if _matches(one, target.conditions)]
    if not chosen:
        raise ScimRefused(400, "noTarget", "No value matches the filter of the path.")
    for one in chosen:
        if target.member is not None:
            _set(one, verb, _key(one, target.member), value)
        elif verb == "remove":
            values.remove(one)
        elif isinstance(value, dict):
            _set({"": one}, "replace", "", value)
        else:
            raise ScimRefused(400, "invalidValue", "The value is an object.")


def _matches(one: Any, conditions: tuple[tuple[str, str], ...]) -> bool:
    if not isinstance(one, dict):
        return False
    for name, wanted in conditions:
        found = one.get(_key(one, name))
        text = ("true" if found else "false") if isinstance(found, bool) else str(found)
        if text.casefold() != wanted.casefold():
            return False
    return True
