"""What SCIM clients are shown: the target's own text, without a password, with addresses of ours. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from passferry.domain.password import Password
from passferry.domain.scim import USER_SCHEMA, NotScim, bare_version, members, text_of, value_of

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
SCIM_TYPES = frozenset(
    {
        "invalidFilter",
        "tooMany",
        "uniqueness",
        "mutability",
        "invalidSyntax",
        "invalidPath",
        "noTarget",
        "invalidValue",
        "invalidVers",
        "sensitive",
    }
)
"""RFC 7644 table 9."""
_PASSWORD = frozenset({"password", f"{USER_SCHEMA.casefold()}:password"})


@dataclass(frozen=True, slots=True)
class Shown:
    """A resource for a client."""

    text: str
    id: str
    user_name: str | None
    tag: str | None  # its version as an entity tag, in the form in which the target gives it

    @property
    def version(self) -> str | None:
        """The version without quotes."""
        return bare_version(self.tag)


def resource(text: str, place: str, etag: str | None = None) -> Shown:
    """The resource in ``text`` as clients see it below ``place`` (`…/Users`). Raises ``NotScim``.

    ``etag`` is the answer's header, which wins over `meta.version`. `meta.location` becomes an address of
    ours: a client that follows the target's would carry our key there.
    """
    found = members(text)
    named = {name.casefold(): value for name, value in found}
    found_id = text_of(value_of(named.get("id", "null")))
    if not found_id:
        raise NotScim("no id")
    kept = [
        (name, _meta(value, f"{place}/{found_id}") if name.casefold() == "meta" else value)
        for name, value in found
        if name.casefold() not in _PASSWORD
    ]
    meta = value_of(named.get("meta", "null"))
    stated = bare_version(meta.get("version")) if isinstance(meta, dict) else None
    tag = etag if bare_version(etag) is not None else None
    made = f'"{stated}"' if stated is not None else None
    return Shown(_object(kept), found_id, text_of(value_of(named.get("username", "null"))), tag or made)


def _meta(text: str, location: str) -> str:
    if not isinstance(value_of(text), dict):
        return text
    return _object(
        [
            (name, json.dumps(location) if name.casefold() == "location" else value)
            for name, value in members(text)
        ]
    )


def _object(found: Sequence[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in found) + "}"


def without_meta(shown: Shown) -> Shown:
    """The same resource, when its version may have moved on."""
    kept = [(name, value) for name, value in members(shown.text) if name.casefold() != "meta"]
    return Shown(_object(kept), shown.id, shown.user_name, None)


def bare(user_id: str, user_name: str | None, password: Password | None = None) -> Shown:
    """A user of whom nothing else is known, or may be told."""
    if user_name is not None and password is not None and password.within(user_name):
        user_name = None
    value = {"schemas": [USER_SCHEMA], "id": user_id} | ({"userName": user_name} if user_name else {})
    return Shown(json.dumps(value), user_id, user_name, None)


def listed(items: Sequence[str], total: int, start: int) -> str:
    """A ListResponse (RFC 7644 §3.4.2)."""
    return (
        f'{{"schemas":[{json.dumps(LIST)}],"totalResults":{total},"startIndex":{start},'
        f'"itemsPerPage":{len(items)},"Resources":[{",".join(items)}]}}'
    )


def error(status: int, detail: str, scim_type: str | None = None) -> str:
    """An Error (RFC 7644 §3.12); ``detail`` is public. The status is a string there."""
    body = {"schemas": [ERROR], "status": str(status)}
    if scim_type is not None:
        body["scimType"] = scim_type
    return json.dumps(body | {"detail": detail})
