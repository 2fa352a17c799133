"""What `GET /openapi.json` says (OpenAPI 3.1): each route with everything that it may answer.

Written by hand beside the routes; a test holds it against them, their codes and their answers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from passferry import __version__
from passferry.domain.change import Evidence, State
from passferry.entrypoints import openapi_scim
from passferry.entrypoints.http_parse import LONGEST_REFERENCE

Schema: TypeAlias = dict[str, Any]
Codes: TypeAlias = Mapping[int, tuple[str, ...]]

_ANY: Codes = {
    400: ("host.invalid",),
    421: ("host.not.allowed", "https.required"),
    500: ("internal.error",),
    503: ("shutting.down",),
}
_KEYED: Codes = {
    401: ("access.key.missing", "access.key.refused"),
    503: ("disk.full", "store.away", "store.busy", "store.lost"),  # the holders of keys are in the store, too
}
_ROLE: Codes = {403: ("role.forbidden",)}
_ORG: Codes = {403: ("org.forbidden",)}
_CHANGE: Codes = {404: ("change.unknown",)}
_BODY: Codes = {
    400: (
        "changed.at.invalid",
        "json.invalid",
        "json.not.object",
        "member.missing",
        "member.repeated",
        "member.type",
        "member.unknown",
        "policy",
        "user.both",
        "user.invalid",
    ),
    408: ("body.too.slow",),
    413: ("body.too.large",),
    415: ("content.type.unsupported",),
}
_SEALED: Codes = {
    400: ("sealed.broken", "sealed.key.unknown"),
}
_SYNC: Codes = {
    400: ("changed.at.future", "idempotency.key.invalid"),
    409: ("change.stale", "idempotency.key.reused", "superseded"),
    429: ("source.too.fast",),
    503: ("queue.full", "key.missing"),
}


def _string(**more: Any) -> Schema:
    return {"type": "string", **more}


def _nullable(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Schema], optional: Sequence[str] = ()) -> Schema:
    """An object that has all of ``properties`` but, perhaps, the ``optional`` ones, and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


_TIME = _string(format="date-time")
_USER = _string(minLength=1, maxLength=LONGEST_REFERENCE)
_DONE: dict[str, Schema] = {"success": {"const": True}, "message": _string()}
_FAILED: dict[str, Schema] = {"success": {"const": False}, "message": _string(), "code": _string()}
_STATES = [state.value for state in State]
_VIEW: dict[str, Schema] = {
    "changeId": _string(),
    "org": _string(),
    "user": _string(),
    "status": _string(enum=_STATES),
    "evidence": {"enum": [*(evidence.value for evidence in Evidence), None]},
    "attempts": {"type": "integer", "minimum": 0},
    "acceptedAt": _TIME,
    "updatedAt": _TIME,
    "nextAttemptAt": _nullable("string", format="date-time"),
    "error": {
        "oneOf": [
            {"type": "null"},
            _object({"code": _string(), "message": _string(), "correlationId": _nullable("string")}),
        ]
    },
}
_REASONS: Schema = {"type": "array", "items": _object({"code": _string(), "message": _string()})}
_WHO: dict[str, Schema] = {
    "userId": _USER | {"description": "the target's id (a UUID at Genesys Cloud), or with an @ the userName"},
    "userName": _USER,
    "password": _string(writeOnly=True, description="delivered exactly as it is given"),
}


def _body(properties: Mapping[str, Schema], optional: Sequence[str], *, user: bool) -> Schema:
    either: Schema = {"not": {"required": ["userId", "userName"]}}
    one = {"oneOf": [{"required": ["userId"]}, {"required": ["userName"]}]}
    return _object(properties, ("userId", "userName", *optional)) | (one if user else either)


SCHEMAS: Mapping[str, Schema] = {
    "NewPassword": _body({**_WHO, "changedAt": _TIME}, ["changedAt"], user=True),
    "PasswordToCheck": _body(_WHO, [], user=False),
    "Applied": _object(_DONE | {"changeId": _string(), "status": {"const": "applied"}}),
    "Accepted": _object(_DONE | {"changeId": _string(), "status": {"enum": ["pending", "delivering"]}}),
    "Ended": _object(
        _FAILED | {"changeId": _string(), "status": _string(enum=_STATES), "correlationId": _string()},
        ["correlationId"],
    ),
    "Error": _object(_FAILED | {"errors": _REASONS}, ["errors"]),
    "PolicyMet": _object(_DONE | {"errors": _REASONS | {"maxItems": 0}}),
    "HandOverKey": _object(
        _DONE
        | {
            "keyId": _string(pattern="^[0-9a-f]{16}$"),
            "publicKey": _string(contentEncoding="base64"),
            "suite": _string(description="of HPKE (RFC 9180), base mode"),
        }
    ),
    "Change": _object({**_DONE, **_VIEW}),
    "Changes": _object(
        _DONE
        | {
            "changes": {"type": "array", "items": _object(_VIEW)},
            "next": _nullable("string", description="the cursor of the next page"),
        }
    ),
    "Org": _object(_DONE | {"org": _string(), "paused": {"type": "boolean"}}),
    "Done": _object(_DONE),
}


def _header(name: str, text: str, **schema: Any) -> Schema:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": _string(**schema)}


def _query(name: str, text: str, schema: Schema) -> Schema:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "allowEmptyValue": True,  # counts as absent
        "description": text,
        "schema": schema,
    }


_ASKING = (
    _header("Idempotency-Key", "a repeat of the request", minLength=1, maxLength=255, pattern="^[!-~]+$"),
    _header("Prefer", "RFC 7240: respond-async, wait=SECONDS"),
)
_FILTERS = (
    _query("user", "the user's id or name", _string()),
    _query("state", "one state, or several with commas", _string()),
    _query("since", "accepted at or after", _TIME),
    _query("org", "one org", _string()),
    _query("limit", "changes a page", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
    _query("cursor", "the next of the page before", _string()),
)


OCTETS = "octets"
"""The body that is no JSON."""
_OCTETS: Schema = {"application/octet-stream": {"schema": _string(format="binary")}}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one or more paths. ``success``: the schema of each good status (None: text)."""

    method: str
    paths: tuple[str, ...]
    summary: str
    roles: tuple[str, ...]  # empty: no key is needed
    success: Mapping[int, str | None]
    errors: tuple[Codes, ...] = ()
    body: str | None = None
    parameters: tuple[Schema, ...] = field(default=())

    def codes(self) -> dict[int, set[str]]:
        """The codes of each error status."""
        roles: tuple[Codes, ...] = ()
        if self.roles:
            roles = (_KEYED,) if len(self.roles) == len(ROLES) else (_KEYED, _ROLE)
        found: dict[int, set[str]] = {}
        for part in (_ANY, *roles, *self.errors):
            for status, codes in part.items():
                found.setdefault(status, set()).update(codes)
        return found


ROLES = ("source", "operator", "metrics")
_OPERATOR = ("operator",)
_STATE: Codes = {409: ("change.state",)}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        ("/sync/password", "/orgs/{org}/sync/password"),
        "Send a change",
        ("source",),
        {200: "Applied", 202: "Accepted"},
        (_ORG, _BODY, _SYNC),
        "NewPassword",
        _ASKING,
    ),
    Operation(
        "POST",
        ("/sync/sealed", "/orgs/{org}/sync/sealed"),
        "Hand over a change that was sealed while the gateway could not be reached",
        ("source",),
        {200: "Applied", 202: "Accepted"},
        (_ORG, _BODY, _SYNC, _SEALED),
        OCTETS,
        (_ASKING[1],),
    ),
    Operation(
        "GET",
        ("/sync/key",),
        "The public key to seal such changes to",
        ("source",),
        {200: "HandOverKey"},
        ({404: ("sealed.key.none",)},),
    ),
    Operation(
        "POST",
        ("/policy/check", "/orgs/{org}/policy/check"),
        "Ask the policy; nothing is stored",
        ("source",),
        {200: "PolicyMet"},
        (_ORG, _BODY),
        "PasswordToCheck",
    ),
    Operation(
        "GET", ("/changes/{id}",), "Follow a change", ("source", "operator"), {200: "Change"}, (_CHANGE,)
    ),
    Operation(
        "GET",
        ("/changes",),
        "Changes, newest first",
        _OPERATOR,
        {200: "Changes"},
        (_ORG, {400: ("query.invalid",)}),
        parameters=_FILTERS,
    ),
    Operation(
        "POST",
        ("/changes/{id}/retry",),
        "Try a pending or parked change at once",
        _OPERATOR,
        {200: "Change"},
        (_CHANGE, _STATE),
    ),
    Operation(
        "POST",
        ("/changes/{id}/cancel",),
        "End a pending or parked change",
        _OPERATOR,
        {200: "Change"},
        (_CHANGE, _STATE),
    ),
    Operation("POST", ("/orgs/{org}/pause",), "Stop deliveries of an org", _OPERATOR, {200: "Org"}, (_ORG,)),
    Operation("POST", ("/orgs/{org}/resume",), "Deliver again", _OPERATOR, {200: "Org"}, (_ORG,)),
    Operation("GET", ("/metrics",), "Figures for Prometheus", ("metrics", "operator"), {200: None}),
    Operation("GET", ("/openapi.json",), "This document", ROLES, {200: ""}),
    Operation("GET", ("/healthz",), "Whether the process answers", (), {200: "Done"}),
    Operation(
        "GET",
        ("/readyz",),
        "Whether changes are accepted and delivered; the reasons are told to holders of a key",
        (),
        {200: "Done"},
        ({503: ("not.ready", "disk.full", "store.away", "store.busy", "store.lost")},),
    ),
)


def document() -> Schema:
    """The whole document."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        for path in operation.paths:
            paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Passferry",
            "version": __version__,
            "description": "Receives users' new passwords and delivers them. docs/http-api.md says more.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths | openapi_scim.paths(),
        "components": {
            "schemas": {**SCHEMAS, **openapi_scim.SCHEMAS},
            "securitySchemes": {
                "accessKey": {"type": "http", "scheme": "bearer", "description": "pf_<id>_<secret>"},
                "accessKeyAsPassword": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "inbound SCIM: the access key as the password",
                },
            },
        },
    }


@cache
def text() -> bytes:
    """The document as JSON."""
    return json.dumps(document(), separators=(",", ":")).encode()


def _operation(operation: Operation, path: str) -> Schema:
    words = [part.strip("{}") for part in path.replace(".", "/").split("/") if part]
    made: Schema = {
        "operationId": "-".join([operation.method.lower(), *words]),
        "summary": operation.summary,
        "responses": _responses(operation),
        "security": [{"accessKey": []}] if operation.roles else [],
    }
    if operation.roles:
        made["description"] = "Roles: " + ", ".join(operation.roles) + "."
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _string()}
        for name in ("org", "id")
        if f"{{{name}}}" in path
    ]
    if in_path or operation.parameters:
        made["parameters"] = [*in_path, *operation.parameters]
    if operation.body is not None:
        content = _OCTETS if operation.body == OCTETS else _json(_ref(operation.body))
        made["requestBody"] = {"required": True, "content": content}
    return made


def _responses(operation: Operation) -> Schema:
    made: Schema = {}
    for status, name in operation.success.items():
        content = {"text/plain": {"schema": _string()}}
        if name is not None:
            content = _json(_ref(name) if name else {"type": "object"})
        made[str(status)] = {"description": operation.summary, "content": content}
        if status == 202:
            made["202"]["headers"] = {"Location": {"schema": _string(), "description": "/changes/{id}"}}
    for status, codes in sorted(operation.codes().items()):
        made[str(status)] = {"description": ", ".join(sorted(codes)), "content": _json(_error(codes))}
        if status in (429, 503):
            made[str(status)]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    if operation.body in ("NewPassword", OCTETS):
        made["502"] = {
            "description": "the change became refused, parked, expired or cancelled within the wait",
            "content": _json(_ref("Ended")),
        }
    return made


def _error(codes: set[str]) -> Schema:
    plain = {"allOf": [_ref("Error"), {"properties": {"code": {"enum": sorted(codes - {"superseded"})}}}]}
    if "superseded" not in codes:
        return plain
    ended = {"allOf": [_ref("Ended"), {"properties": {"code": {"const": "superseded"}}}]}
    return {"oneOf": [plain, ended]}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
