"""SCIM users and groups: list, read, create, replace, modify, delete (RFC 7644 section 3)."""

from __future__ import annotations

import copy
import uuid
from typing import Any

from passferry.simulator import exact_json, scim_filter, scim_patch
from passferry.simulator.directory import CORE, ENTERPRISE, GENESYS, SCIM_AUTHORITY, User, Write, touch
from passferry.simulator.errors import Refused, ScimRefused, missing_division, too_many
from passferry.simulator.passwords import broken_rule, refusal
from passferry.simulator.settings import (
    Accepted,
    Honoured,
    ListUsers,
    OnInactive,
    PermissionCheck,
    PutOmitted,
    StaleIfMatch,
)
from passferry.simulator.wire import Reply
from passferry.simulator.world import JSON, Call, answer

SET_PASSWORD = "directory:user:setPassword"
EDIT = "directory:user:edit"
ANY_OF_WRITE = (
    EDIT,
    SET_PASSWORD,
    "authorization:grant:add",
    "authorization:grant:delete",
    "routing:skill:assign",
    "routing:language:assign",
    "telephony:extension:assign",
)
LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_NOT_STORED = scim_patch.READ_ONLY | {"password"}
_KEPT_BY_PUT = ("schemas", "active", "userName", "displayName")
_KINDS: dict[str, type] = {
    "schemas": list,
    "active": bool,
    "userName": str,
    "displayName": str,
    "password": str,
    "title": str,
    "phoneNumbers": list,
    "emails": list,
    "externalId": str,
    "roles": list,
    ENTERPRISE: dict,
    GENESYS: dict,
}


def users(call: Call, rest: list[str]) -> Reply:
    """Answer a call below `/users`; `rest` are the segments after it."""
    method = call.request.method
    if not rest:
        if method == "GET":
            return _list(call)
        if method == "POST":
            return _create(call)
    elif len(rest) == 1:
        call.user_id = rest[0]
        user = find(call, rest[0])
        if method in ("GET", "HEAD"):
            return _read(call, user)
        if method in ("PUT", "PATCH"):
            return _write(call, user)
        if method == "DELETE":
            return _delete(call, user)
    else:
        raise Refused(404, "not.found")
    raise Refused(405, "bad.request")


def find(call: Call, user_id: str) -> User:
    """The user of an id. Raises 404."""
    user = call.directory.get(user_id)
    if user is None:
        raise Refused(404, "general.resource.not.found")
    return user


def rendered(call: Call, user: User) -> bytes:
    """The whole user as JSON; kept until the user changes."""
    if user.rendered is None:
        user.rendered = exact_json.dumps(
            user.resource(call.world.base_url, quoted_version=call.settings.quoted_version)
        )
    return user.rendered


def etag(user: User) -> str:
    """The ETag of a user, with its quotes."""
    return f'"{user.version}"'


def _bare(tag: str) -> str:
    return tag.strip().removeprefix("W/").strip('"')


def _whole(call: Call, user: User, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    return Reply(status, (*JSON, ("ETag", etag(user)), *headers), rendered(call, user))


def _read(call: Call, user: User) -> Reply:
    condition = call.request.headers.get("if-none-match")
    if condition is not None and (condition.strip() == "*" or _bare(condition) == str(user.version)):
        return Reply(304, (("ETag", etag(user)),))
    query = call.query()
    attributes, excluded = _names(query, "attributes"), _names(query, "excludedAttributes")
    if not attributes and not excluded:
        return _whole(call, user)
    resource = user.resource(call.world.base_url, quoted_version=call.settings.quoted_version)
    return answer(200, scim_filter.project(resource, attributes, excluded), (("ETag", etag(user)),))


def _names(query: dict[str, list[str]], name: str) -> list[str]:
    return [part.strip() for value in query.get(name, []) for part in value.split(",") if part.strip()]


def _number(query: dict[str, list[str]], name: str, default: int) -> int:
    text = query.get(name, [str(default)])[-1]
    if text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) < 10:
        return int(text)
    raise Refused(
        400,
        "invalid.query.param.value",
        f"Value [?] is not valid for parameter [{name}]. Allowable values are: integers",
    )


_LEFT_OUT = {
    ListUsers.WHOLE: (),
    ListUsers.REDUCED: scim_filter.REDUCED,
    ListUsers.WITHOUT_SKILLS: scim_filter.SKILLS,
}


def _list(call: Call) -> Reply:
    query, settings = call.query(), call.settings
    found = scim_filter.select(call.directory, query.get("filter", [None])[-1], settings)
    start = max(1, _number(query, "startIndex", 1))
    count = max(0, min(_number(query, "count", 25), settings.page_maximum))
    attributes, excluded = _names(query, "attributes"), _names(query, "excludedAttributes")
    if count > 25 and not attributes and not excluded and settings.large_pages is Accepted.REFUSED:
        raise too_many(5, "5")
    if not attributes:
        excluded = [*excluded, *_LEFT_OUT[settings.list_users]]
    page = found[start - 1 : start - 1 + count]
    if attributes or excluded:
        resources = [
            user.resource(call.world.base_url, quoted_version=settings.quoted_version) for user in page
        ]
        items = [exact_json.dumps(scim_filter.project(one, attributes, excluded)) for one in resources]
    else:
        items = [rendered(call, user) for user in page]
    head = exact_json.dumps(
        {"schemas": [LIST_SCHEMA], "totalResults": len(found), "startIndex": start, "itemsPerPage": len(page)}
    )
    return Reply(200, JSON, head[:-1] + b',"Resources":[' + b",".join(items) + b"]}")


def _body(call: Call) -> dict[str, Any]:
    body = call.json(scim=True)
    if not isinstance(body, dict):
        raise ScimRefused(400, "invalidSyntax", "The body is an object.")
    _check_kinds(body)
    return body


def _check_kinds(body: dict[str, Any]) -> None:
    if "passwords" in body:
        raise Refused(
            400, "invalid.property", "Value [passwords] is not a valid property for object [ScimV2User]"
        )
    for name, kind in _KINDS.items():
        if name in body and body[name] is not None and not isinstance(body[name], kind):
            raise ScimRefused(400, "invalidValue", f"{name} has the wrong type.")


def _create(call: Call) -> Reply:
    call.require_any("directory:user:add", *ANY_OF_WRITE[2:])
    body = _body(call)
    for name in ("userName", "displayName"):
        if not body.get(name):
            raise ScimRefused(400, "invalidValue", f"{name} is required.")
    if call.directory.named(body["userName"]) is not None:
        raise ScimRefused(409, "uniqueness", "User name already in use by non-deleted user.")
    user_id = str(uuid.UUID(int=call.world.random.getrandbits(128), version=4))
    profile = {"active": True, "schemas": [CORE, ENTERPRISE, GENESYS]} | _stored(body)
    user = User(user_id, _completed(profile), 1, call.now)
    password = body.get("password")
    if password is not None:
        check_password(call, user, password, scim=True)
        record_password(call, user, password, "POST scim")
    call.directory.add(user)
    call.user_id = user_id
    return _whole(call, user, 201, (("Location", f"{call.world.base_url}/api/v2/scim/v2/users/{user_id}"),))


def _stored(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _NOT_STORED}


def _completed(profile: dict[str, Any]) -> dict[str, Any]:
    """The profile with its two immutable entries: the `other` email and the SCIM external id."""
    name = profile["userName"]
    emails = [dict(one) if isinstance(one, dict) else one for one in profile.get("emails") or []]
    mirror = next((one for one in emails if isinstance(one, dict) and one.get("type") == "other"), None)
    if mirror is None:
        emails.append({"value": name, "type": "other", "primary": not emails})
    else:
        mirror["value"] = name
    extension = dict(profile.get(GENESYS) or {})
    present = extension.get("externalIds")
    entries = list(present) if isinstance(present, list) else []
    if not any(
        isinstance(e, dict) and str(e.get("authority", "")).startswith(SCIM_AUTHORITY) for e in entries
    ):
        entries.insert(
            0, {"authority": f"{SCIM_AUTHORITY}:simulator", "value": str(profile.get("externalId", name))}
        )
    return profile | {"emails": emails, GENESYS: extension | {"externalIds": entries}}


def _write(call: Call, user: User) -> Reply:
    """PUT or PATCH: everything is checked before anything changes."""
    call.require_any(*ANY_OF_WRITE)
    _check_division(call, user, EDIT)
    _check_version(call, user)
    via = f"{call.request.method} scim"
    if call.request.method == "PUT":
        body = _body(call)
        profile, password, sent = _replaced(call, user, body), body.get("password"), _stored(body)
    else:
        body = call.json(scim=True)
        profile, password = scim_patch.apply(user.profile, body)
        _check_kinds(profile)
        sent = {name: value for name, value in profile.items() if value != user.profile.get(name)}
    _check_name(call, user, profile)
    profile = _completed(profile)
    _check_permissions(call, user, profile, sent, password)
    if password is not None:
        check_password(call, user, password, scim=True)
    if exact_json.dumps(profile) != exact_json.dumps(user.profile):
        call.directory.replace(user, profile, call.now)
    elif password is None or call.settings.password_moves_version:
        touch(user, call.now)
    if password is not None:
        record_password(call, user, password, via)
    return _whole(call, user)


def _replaced(call: Call, user: User, body: dict[str, Any]) -> dict[str, Any]:
    omitted = call.settings.put_omitted
    if omitted is PutOmitted.USERNAME_REQUIRED and not body.get("userName"):
        raise ScimRefused(400, "invalidValue", "userName is required.")
    new = _stored(body)
    if omitted is PutOmitted.KEPT:
        return copy.deepcopy(user.profile) | new
    kept = {name: user.profile[name] for name in _KEPT_BY_PUT if name in user.profile and name not in new}
    return kept | new


def _check_name(call: Call, user: User, profile: dict[str, Any]) -> None:
    name = profile.get("userName")
    if not isinstance(name, str) or not name:
        raise ScimRefused(400, "invalidValue", "userName is required.")
    other = call.directory.named(name)
    if other is not None and other is not user:
        raise ScimRefused(409, "uniqueness", "User name already in use by non-deleted user.")


def _check_permissions(
    call: Call, user: User, profile: dict[str, Any], sent: dict[str, Any], password: object
) -> None:
    if password is not None:
        call.require(SET_PASSWORD)
    touched = set(sent) if call.settings.permission_check is PermissionCheck.SENT else set()
    names = {*profile, *user.profile}
    touched |= {name for name in names if profile.get(name) != user.profile.get(name)}
    for name in sorted(touched - {"schemas", GENESYS}):
        call.require("authorization:grant:add" if name == "roles" else EDIT)
    if GENESYS in touched:
        old, new = user.profile.get(GENESYS) or {}, profile.get(GENESYS) or {}
        everything = call.settings.permission_check is PermissionCheck.SENT
        for part, permission in (
            ("routingSkills", "routing:skill:assign"),
            ("routingLanguages", "routing:language:assign"),
        ):
            if (everything and part in new) or old.get(part) != new.get(part):
                call.require(permission)


def _check_division(call: Call, user: User, permission: str) -> None:
    forbidden = call.settings.forbidden_division
    if forbidden and user.division == forbidden:
        raise missing_division(permission)


def _check_version(call: Call, user: User) -> None:
    condition = call.request.headers.get("if-match")
    if condition is None or call.settings.if_match is Honoured.IGNORED or condition.strip() == "*":
        return
    if _bare(condition) != str(user.version):
        raise ScimRefused(
            {
                StaleIfMatch.CONFLICT_409: 409,
                StaleIfMatch.INVALID_VERS_400: 400,
                StaleIfMatch.PRECONDITION_412: 412,
            }[call.settings.stale_if_match],
            "invalidVers",
            "Version does not match current version.",
        )


def _delete(call: Call, user: User) -> Reply:
    call.require("directory:user:delete")
    _check_division(call, user, "directory:user:delete")
    _check_version(call, user)
    call.directory.remove(user)
    return Reply(204)


def check_password(call: Call, user: User, password: object, *, scim: bool) -> None:
    """Raise the documented refusal when the platform would not take this password for this user."""
    if not isinstance(password, str):
        raise (
            ScimRefused(400, "invalidValue", "password is a string.") if scim else Refused(400, "bad.request")
        )
    if call.settings.sso_only is Accepted.REFUSED:
        raise Refused(400, "bad.request", "Password login is disabled for this organization.")
    earlier = user.writes[-call.settings.password_history :] if call.settings.password_history else []
    history = [write.password for write in earlier]
    code = broken_rule(password, history, user.changed_at, call.now, call.settings)
    if code is not None:
        raise refusal(code, user.changed_at, call.settings, scim=scim)


def record_password(call: Call, user: User, password: str, via: str) -> None:
    """Apply a checked password."""
    user.writes.append(Write(call.now, via, call.correlation_id, call.token.client.id, password))
    user.changed_at = call.now
    if not user.active and call.settings.password_on_inactive is OnInactive.BECOMES_ACTIVE:
        call.directory.replace(user, user.profile | {"active": True}, call.now)


def native_password(call: Call, user_id: str) -> Reply:
    """Answer POST /api/v2/users/{userId}/password."""
    call.require(SET_PASSWORD)
    user = call.directory.get(user_id)
    if user is None:
        raise Refused(404, "general.resource.not.found", "Unable to find a user with that userId")
    _check_division(call, user, SET_PASSWORD)
    body = call.json()
    if not isinstance(body, dict) or "newPassword" not in body:
        raise Refused(400, "bad.request")
    check_password(call, user, body["newPassword"], scim=False)
    if call.settings.password_moves_version:
        touch(user, call.now)
    record_password(call, user, body["newPassword"], "POST native")
    return Reply(204)


def groups(call: Call, rest: list[str]) -> Reply:
    """Answer a read below `/groups`; writing groups is not simulated."""
    if call.request.method != "GET" or len(rest) > 1:
        raise Refused(405 if len(rest) <= 1 else 404, "bad.request" if len(rest) <= 1 else "not.found")
    known = call.directory.groups
    if rest:
        group = next((group for group in known if group["id"] == rest[0]), None)
        if group is None:
            raise Refused(404, "not.found")
        return answer(200, group, (("ETag", '"1"'),))
    text = call.query().get("filter", [None])[-1]
    if text is not None:
        attribute, value = scim_filter.comparison(text, call.settings.filter_values)
        field = {"displayname": "displayName", "id": "id"}.get(attribute.lower())
        if field is None:
            raise ScimRefused(400, "invalidFilter", "The filter attribute is not supported.")
        known = [group for group in known if str(group[field]).casefold() == value.casefold()]
    elif "v2" in call.parts[3:4]:
        raise ScimRefused(400, "invalidFilter", "filter is required.")
    body = {"schemas": [LIST_SCHEMA], "totalResults": len(known), "startIndex": 1, "itemsPerPage": len(known)}
    return answer(200, body | {"Resources": known})
