"""What a request that is passed on to a target touches, and its records in the audit trail. Pure.

The trail names attributes, and never their values: only names that the known schemas have are written down,
since any other text may be a value that was put in the wrong place. Of a group, the ids of members are told.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from passferry.domain.answers import Answer, error_code
from passferry.domain.audit import PASSED_ON, PASSED_ON_OUTCOME, Record, safe_id
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.scim import NotScim, bare_version, text_of, value_of
from passferry.domain.scim_split import BadScim

MOST_MEMBERS = 1000
"""Members of a group that one record names; of more, it says how many there are beside these."""

LONGEST_NAME = 320
"""Characters of an id or a name that is written down."""

_CORE = "urn:ietf:params:scim:schemas:core:2.0:"
_EXTENSION = "urn:ietf:params:scim:schemas:extension:"
_SCHEMAS = tuple(
    each.casefold()
    for each in (
        f"{_CORE}User",
        f"{_CORE}Group",
        f"{_EXTENSION}enterprise:2.0:User",
        f"{_EXTENSION}genesys:purecloud:2.0:User",
    )
)
_KNOWN = {
    name.casefold(): name
    for name in (
        *(
            "userName",
            "name",
            "displayName",
            "nickName",
            "profileUrl",
            "title",
            "userType",
            "active",
            "members",
        ),
        *("preferredLanguage", "locale", "timezone", "emails", "phoneNumbers", "ims", "photos", "addresses"),
        *(
            "groups",
            "entitlements",
            "roles",
            "x509Certificates",
            "externalId",
            "employeeNumber",
            "costCenter",
        ),
        *("userType", "costCenter", "organization", "division", "department", "manager", "dateHire"),
        *("routingSkills", "routingLanguages", "externalIds"),
    )
}
_OTHER = "other"
_NOT_TOLD = frozenset({"schemas", "id", "meta", "password"})
_ONE_MEMBER = re.compile(r'\[\s*value\s+eq\s+"([^"\\]*)"\s*\]', re.IGNORECASE)

_Given = list[tuple[str, str, Any]]  # attribute, what stands behind it in a path, value


@dataclass(frozen=True, slots=True)
class Sending:
    """A request that is passed on: its own ``id``, whose it is, and what it is sent to."""

    id: str
    source: str
    method: str
    kind: str
    resource_id: str | None
    version: str | None = None  # that the resource must have


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request touches.

    ``names`` are userNames that it gives to a user. ``members`` it adds to a group or removes by id; where
    ``leaves`` is not None, it also removes all of the group's but these, and adds these.
    """

    attributes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    members: frozenset[str] = frozenset()
    leaves: frozenset[str] | None = None

    def touched(self, current: Iterable[str]) -> frozenset[str]:
        """The ids of members that are added or removed, where the group has ``current``."""
        return self.members if self.leaves is None else self.members | (self.leaves ^ frozenset(current))


def asked(method: str, kind: str, body: str | None) -> Asked:
    """What ``method`` with ``body``, a resource of ``kind`` or a PatchOp, touches. Raises ``BadScim``."""
    if body is None:
        return Asked(leaves=frozenset() if kind == "Groups" else None)
    found = _folded(body)
    if method != "PATCH":
        given = _of_object(found)
        members = _ids(value for name, _, value in given if name == "members")
        if kind == "Groups" and method == "PUT":
            return Asked(_attributes(given), _names(given), leaves=members)
        return Asked(_attributes(given), _names(given), members)
    operations = found.get("operations")
    every: _Given = []
    ids, leaves = set[str](), None
    for operation in operations if isinstance(operations, list) else []:
        op, given = _of_operation(operation)
        every += given
        for _, behind, value in (each for each in given if each[0] == "members"):
            more, only = _members_of(op, behind, value)
            ids |= more
            if only is not None and leaves is None:
                leaves = only
            elif only is not None and leaves is not None:  # what the first one leaves need not be left
                ids.update(leaves, only)
                leaves = frozenset()
    return Asked(_attributes(every), _names(every), frozenset(ids), leaves)


def members_of(text: str) -> frozenset[str]:
    """The ids of the members of the group in ``text``. Raises ``NotScim``."""
    found = value_of(text)
    if not isinstance(found, dict):
        raise NotScim("no object")
    return _ids(value for name, value in found.items() if name.casefold() == "members")


def intent(sending: Sending, at: float, what: Asked, members: Iterable[str]) -> Record:
    """The record that a request is about to be sent, which touches those ``members`` of a group."""
    ids = sorted(each if safe_id(each) else "?" for each in members)
    users = sending.kind == "Users"
    name = _printable(what.names[0]) if users and what.names else None
    told = {
        "attributes": list(what.attributes),
        "id": None if users else safe_id(sending.resource_id),
        "kind": sending.kind,
        "members": ids[:MOST_MEMBERS],
        "method": sending.method,
        "moreMembers": max(0, len(ids) - MOST_MEMBERS),
        "userName": name,
    }
    return Record(
        PASSED_ON,
        at,
        sending.source,
        sending.id,
        (sending.resource_id or name) if users else None,
        version=bare_version(sending.version),
        other=_json(told),
    )


def ended(sending: Sending, at: float, answer: Answer | Outcome) -> Record:
    """The record of what came of a request.

    ``state`` is `done`, `refused`, `unsent`, or `unknown`: an answer was lost, or says nothing.
    """
    users = sending.kind == "Users"
    status: int | None
    shown: Mapping[str, Any]
    if isinstance(answer, Outcome):
        state = "unknown" if answer.kind is Kind.UNKNOWN else "unsent"
        code, trace, status, shown = answer.code, answer.correlation_id, None, {}
    else:
        status, trace = answer.status, safe_id(answer.headers.get("inin-correlation-id"))
        done = 200 <= status < 300 and status != 202
        refused = 400 <= status < 500 or status == 501
        state = "done" if done else "refused" if refused else "unknown"
        code, shown = ("", answer.members() or {}) if done else (error_code(answer), {})
    resource_id = sending.resource_id or _printable(shown.get("id"))
    told = {
        "id": None if users else safe_id(resource_id),
        "status": status,
        "userName": _printable(shown.get("userName")) if users else None,
    }
    return Record(
        PASSED_ON_OUTCOME,
        at,
        sending.source,
        sending.id,
        resource_id if users else None,
        state,
        code or None,
        version=_version(answer, shown),
        correlation_id=trace,
        other=_json(told) or None,
    )


def _printable(value: Any) -> str | None:
    """An id or a name, unless it is one that no column takes or nobody could read."""
    text = text_of(value)
    return text if text is not None and text.isprintable() and len(text) <= LONGEST_NAME else None


def _version(answer: Answer | Outcome, shown: Mapping[str, Any]) -> str | None:
    if not isinstance(answer, Answer):
        return None
    meta = shown.get("meta")
    stated = bare_version(meta.get("version")) if isinstance(meta, dict) else None
    return bare_version(answer.headers.get("etag")) or stated


def _json(told: Mapping[str, Any]) -> str:
    present = {name: value for name, value in told.items() if value}
    return json.dumps(present, sort_keys=True, separators=(",", ":")) if present else ""


# --- reading ---------------------------------------------------------------------------------


def _folded(text: str) -> dict[str, Any]:
    """The object with all its names in lower case; none may come twice: readers differ in which counts."""

    def each(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = {name.casefold(): value for name, value in found}
        if len(made) != len(found):
            raise NotScim("a member is repeated")
        return made

    value: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text, object_pairs_hook=each, parse_int=str, parse_float=str)
    if not isinstance(value, dict):
        raise BadScim("invalidSyntax", "the body is not a JSON object, or a member occurs more than once")
    return value


def _of_object(found: Mapping[str, Any]) -> _Given:
    """The attributes of a resource, those below the name of a schema among them."""
    given: _Given = []
    waiting = [found]
    while waiting:  # the depth is the sender's
        for name, value in waiting.pop().items():
            if name in _SCHEMAS and isinstance(value, dict):
                waiting.append(value)
            else:
                given.append((*_place(name), value))
    return given


def _of_operation(operation: Any) -> tuple[str, _Given]:
    if not isinstance(operation, dict):
        return "", []
    op, path, value = operation.get("op"), operation.get("path"), operation.get("value")
    op = op.casefold() if isinstance(op, str) else ""
    place = path.strip() if isinstance(path, str) else ""
    if place.casefold() in ("", *_SCHEMAS):
        return op, _of_object(value) if isinstance(value, dict) else []
    return op, [(*_place(place), value)]


def _place(path: str) -> tuple[str, str]:
    """The attribute at ``path``, in lower case, and what follows it there, as it stands."""
    path = path.strip()
    for schema in _SCHEMAS:
        if path.casefold().startswith(f"{schema}:"):
            path = path[len(schema) + 1 :].strip()
    attribute = re.split(r"[.\[\s]", path, maxsplit=1)[0]
    return attribute.casefold(), path[len(attribute) :].strip()


def _attributes(given: _Given) -> tuple[str, ...]:
    return tuple(sorted({_KNOWN.get(name, _OTHER) for name, _, _ in given if name not in _NOT_TOLD}))


def _names(given: _Given) -> tuple[str, ...]:
    """The userNames that are given, wherever within the value they stand."""
    found: list[str] = []
    waiting = [value for name, _, value in given if name == "username"]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, dict | list):
            waiting += one.values() if isinstance(one, dict) else one
    return tuple(found)


def _members_of(op: str, behind: str, value: Any) -> tuple[frozenset[str], frozenset[str] | None]:
    """Of one operation on members: those that it names, and those that it leaves, of all of the group's.

    A target may read a removal by value as one of all members (RFC 7644 §3.5.2.2 knows no value there), and
    a condition that we cannot read may mean anybody.
    """
    named = _ids([value])
    if behind:
        one = _ONE_MEMBER.match(behind)
        return (named | {one[1]}, None) if one is not None else (named, frozenset())
    if op == "add":
        return named, None
    return (named, frozenset()) if op == "remove" else (frozenset(), named)


def _ids(values: Iterable[Any]) -> frozenset[str]:
    """The ids among ``values``: texts, or objects with a `value` or `$ref`, or lists of these."""
    found: set[str] = set()
    waiting = list(values)
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, str):
            found.add(one)
        elif isinstance(one, dict):
            named = {name.casefold(): value for name, value in one.items()}
            reference = named.get("$ref")
            if isinstance(named.get("value"), str | list):
                waiting.append(named["value"])
            if isinstance(reference, str):
                waiting.append(reference.rstrip("/").rpartition("/")[2])
    return frozenset(found)
