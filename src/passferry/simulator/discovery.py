"""What a SCIM service provider says about itself (RFC 7643 sections 5 to 7). The values are assumptions."""

from __future__ import annotations

from typing import Any

from passferry.simulator.directory import CORE, ENTERPRISE, GENESYS
from passferry.simulator.errors import Refused
from passferry.simulator.scim import LIST_SCHEMA
from passferry.simulator.wire import Reply
from passferry.simulator.world import Call, answer

_PREFIX = "urn:ietf:params:scim:schemas:core:2.0:"
_ETAG = '"1"'


def provider_config(call: Call, rest: list[str]) -> Reply:
    """Answer GET /serviceproviderconfig."""
    _only_get(call, rest, 0)
    if call.request.headers.get("if-none-match", "").strip('"') == "1":
        return Reply(304, (("ETag", _ETAG),))
    return answer(200, _provider(call.world.base_url), (("ETag", _ETAG),))


def _provider(base_url: str) -> dict[str, Any]:
    yes, no = {"supported": True}, {"supported": False}
    return {
        "schemas": [f"{_PREFIX}ServiceProviderConfig"],
        "documentationUri": "https://developer.genesys.cloud/platform/scim/",
        "patch": yes,
        "filter": {"supported": True, "maxResults": 100},
        "etag": yes,
        "sort": no,
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "changePassword": yes,
        "authenticationSchemes": [
            {
                "name": "OAuth Bearer Token",
                "description": "Client credentials grant",
                "specUri": "https://www.rfc-editor.org/info/rfc6750",
                "type": "oauthbearertoken",
                "primary": True,
            }
        ],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": f"{base_url}/api/v2/scim/v2/serviceproviderconfig",
            "version": "1",
        },
    }


def resource_types(call: Call, rest: list[str]) -> Reply:
    """Answer GET /resourcetypes and one of them."""
    _only_get(call, rest, 1)
    names = ("User", "Group", "ServiceProviderConfig", "ResourceType", "Schema")
    return _some([_resource_type(name) for name in names], rest)


def _resource_type(name: str) -> dict[str, Any]:
    extensions = (
        [{"schema": urn, "required": False} for urn in (ENTERPRISE, GENESYS)] if name == "User" else []
    )
    endpoint = {"User": "/users", "Group": "/groups", "Schema": "/schemas"}.get(name, f"/{name.lower()}")
    return {
        "schemas": [f"{_PREFIX}ResourceType"],
        "id": name,
        "name": name,
        "description": f"{name} resource",
        "schema": _PREFIX + name,
        "schemaExtensions": extensions,
        "endpoint": endpoint,
    }


def schemas(call: Call, rest: list[str]) -> Reply:
    """Answer GET /schemas and one of them; a filter is refused, as documented."""
    _only_get(call, rest, 1)
    if "filter" in call.query():
        raise Refused(403, "not.authorized")
    others = [{"id": _PREFIX + name, "name": name, "attributes": []} for name in _OTHERS]
    return _some([_USER, _ENTERPRISE, _GENESYS, *others], rest)


def _only_get(call: Call, rest: list[str], depth: int) -> None:
    if len(rest) > depth:
        raise Refused(404, "not.found")
    if call.request.method != "GET":
        raise Refused(405, "bad.request")


def _some(known: list[dict[str, Any]], rest: list[str]) -> Reply:
    if not rest:
        body = {
            "schemas": [LIST_SCHEMA],
            "totalResults": len(known),
            "startIndex": 1,
            "itemsPerPage": len(known),
        }
        return answer(200, body | {"Resources": known})
    one = next((item for item in known if item["id"] == rest[0]), None)
    if one is None:
        raise Refused(404, "not.found")
    return answer(200, one)


def _attribute(name: str, kind: str = "string", inner: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    attribute: dict[str, Any] = {"name": name, "type": kind, "multiValued": bool(inner), "required": False}
    attribute |= {"caseExact": False, "mutability": "readWrite", "returned": "default", "uniqueness": "none"}
    if inner:
        attribute["subAttributes"] = [_attribute(part) for part in inner]
    return attribute | more


_OTHERS = ("Group", "ServiceProviderConfig", "ResourceType", "Schema")
_USER: dict[str, Any] = {
    "id": CORE,
    "name": "User",
    "description": "User account",
    "attributes": [
        _attribute("userName", required=True, uniqueness="server", returned="always"),
        _attribute("displayName", required=True),
        _attribute("active", "boolean", returned="always"),
        _attribute("password", mutability="writeOnly", returned="never", caseExact=True),
        _attribute("title"),
        _attribute("externalId", caseExact=True),
        _attribute("phoneNumbers", "complex", ("value", "type", "primary")),
        _attribute("emails", "complex", ("value", "type", "primary")),
        _attribute("groups", "complex", ("value", "type"), mutability="readOnly"),
        _attribute("roles", "complex", ("value",)),
    ],
}
_ENTERPRISE: dict[str, Any] = {
    "id": ENTERPRISE,
    "name": "EnterpriseUser",
    "description": "Enterprise user",
    "attributes": [_attribute(name) for name in ("division", "department", "employeeNumber", "dateHire")]
    + [_attribute("manager", "complex", ("value",), multiValued=False)],
}
_GENESYS: dict[str, Any] = {
    "id": GENESYS,
    "name": "GenesysUser",
    "description": "Genesys Cloud user",
    "attributes": [
        _attribute("routingSkills", "complex", ("name", "proficiency")),
        _attribute("routingLanguages", "complex", ("name", "proficiency")),
        _attribute("externalIds", "complex", ("authority", "value")),
    ],
}
