"""The part of `GET /openapi.json` about inbound SCIM. A test holds it against the routes and their answers.

Resources are the target's own, so their schemas are open; RFC 7643 says what is in them.
"""

from collections.abc import Mapping
from typing import Any

from passferry.domain.scim_show import ERROR, LIST, SCIM_TYPES
from passferry.entrypoints.scim import OPERATIONS, PREFIXES

_Schema = dict[str, Any]
_TEXT: _Schema = {"type": "string"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_SOME: _Schema = {"type": "array", "items": {"type": "object"}}

SCHEMAS: Mapping[str, _Schema] = {
    "ScimResource": {"type": "object"},
    "ScimList": {
        "type": "object",
        "properties": {
            "schemas": {"type": "array", "items": {"const": LIST}},
            "totalResults": _COUNT,
            "startIndex": {"type": "integer", "minimum": 1},
            "itemsPerPage": _COUNT,
            "Resources": _SOME,
        },
        "required": ["schemas", "totalResults", "startIndex", "itemsPerPage", "Resources"],
    },
    "ScimError": {
        "type": "object",
        "properties": {
            "schemas": {"type": "array", "items": {"const": ERROR}},
            "status": _TEXT,
            "scimType": {"type": "string", "enum": sorted(SCIM_TYPES)},
            "detail": {"type": "string", "minLength": 1},
        },
        "required": ["schemas", "status", "detail"],
        "additionalProperties": False,
    },
    "ScimUser": {
        "type": "object",
        "properties": {"userName": _TEXT, "password": {"type": ["string", "null"], "writeOnly": True}},
    },
    "ScimPatch": {
        "type": "object",
        "properties": {"schemas": {"type": "array", "items": _TEXT}, "Operations": _SOME},
        "required": ["Operations"],
    },
}

_SUMMARIES = {
    ("POST", "/Users"): "Create a user at the target (mode proxy); a password is dropped",
    ("PUT", "/Users/{id}"): "A user's new password; in mode proxy, the whole user",
    ("PATCH", "/Users/{id}"): "A user's new password; in mode proxy, any change",
}
_ERRORS = {
    "4XX": "the request, the key, or the target says no",
    "5XX": "not offered (501), or nothing could be done now",
}
_QUERY = ("filter", "startIndex", "count", "attributes", "excludedAttributes")


def paths() -> dict[str, _Schema]:
    """Every path below both prefixes."""
    made: dict[str, _Schema] = {}
    for prefix in PREFIXES:
        for method, path in OPERATIONS:
            made.setdefault(prefix + path, {})[method.lower()] = _operation(method, prefix, path)
    return made


def _operation(method: str, prefix: str, path: str) -> _Schema:
    words = [part.strip("{}") for part in (prefix + path).split("/") if part]
    asked = _QUERY if path in ("/Users", "/Groups") else _QUERY[3:] if path == "/Users/{id}" else ()
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in ("org", "id")
        if f"{{{name}}}" in prefix + path
    ]
    if method == "GET":
        parameters += [{"name": name, "in": "query", "schema": _TEXT} for name in asked]
    made: _Schema = {
        "operationId": "-".join([method.lower(), *words]),
        "summary": _SUMMARIES.get((method, path), f"RFC 7644: {method} {path}"),
        "description": "Roles: source.",
        "security": [{"accessKey": []}, {"accessKeyAsPassword": []}],
        "responses": _responses(method, path),
    }
    if parameters:
        made["parameters"] = parameters
    if method in ("POST", "PUT", "PATCH"):
        made["requestBody"] = {"required": True, "content": _content(_body(method, path))}
    return made


def _body(method: str, path: str) -> str:
    if method == "PATCH":
        return "ScimPatch"
    return "ScimUser" if path.startswith("/Users") else "ScimResource"


def _responses(method: str, path: str) -> _Schema:
    shown = "ScimList" if method == "GET" and not path.endswith(("{id}", "Config")) else "ScimResource"
    status = {"POST": "201", "DELETE": "204"}.get(method, "200")
    made: _Schema = {status: {"description": "done"}}
    if status != "204":
        made[status]["content"] = _content(shown)
    if (method, path) in (("GET", "/Users/{id}"), ("GET", "/Groups/{id}")):
        made["304"] = {"description": "still at the version of If-None-Match"}
    if path == "/Groups/{id}" and method in ("PUT", "PATCH"):
        made["204"] = {"description": "done"}
    for code, text in _ERRORS.items():
        # What is refused before its path is looked at has the body of every other route.
        content = _content("ScimError") | {"application/json": {"schema": _ref("Error")}}
        made[code] = {"description": text, "content": content}
    return made


def _content(name: str) -> _Schema:
    return {"application/scim+json": {"schema": _ref(name)}}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}
