"""What inbound SCIM says about itself (RFC 7643 sections 5 to 7): fixed documents below an address of ours.

The user is the one of Genesys Cloud: there is no `name`, and roles are named by their names. What a target
shows beyond that is passed on all the same.
"""

import json
from typing import Any
from urllib.parse import quote

from passferry.domain.scim import USER_SCHEMA
from passferry.domain.scim_show import listed

_Json = dict[str, Any]
_CORE = "urn:ietf:params:scim:schemas:core:2.0:"
_ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
_GENESYS = "urn:ietf:params:scim:schemas:extension:genesys:purecloud:2.0:User"
_YES, _NO = {"supported": True}, {"supported": False}


def document(kind: str, name: str | None, base: str, page: int) -> bytes | None:
    """The document of ``kind``, or the one among its documents called ``name``; None if there is none.

    ``page``: the most users that an answer has.
    """
    if kind == "ServiceProviderConfig":
        return json.dumps(_provider(base, page)).encode()
    known = _RESOURCE_TYPES if kind == "ResourceTypes" else _SCHEMAS
    made = {each["id"]: _placed(each, kind, base) for each in known}
    if name is None:
        return listed([json.dumps(each) for each in made.values()], len(made), 1).encode()
    return json.dumps(made[name]).encode() if name in made else None


def _placed(document: _Json, kind: str, base: str) -> _Json:
    meta = {
        "resourceType": "ResourceType" if kind == "ResourceTypes" else "Schema",
        "location": f"{base}/{kind}/{quote(document['id'], safe=':')}",
    }
    return document | {"meta": meta}


def _provider(base: str, page: int) -> _Json:
    return {
        "schemas": [_CORE + "ServiceProviderConfig"],
        "documentationUri": "https://www.rfc-editor.org/rfc/rfc7644",
        "patch": _YES,
        "bulk": _NO | {"maxOperations": 0, "maxPayloadSize": 0},
        "filter": _YES | {"maxResults": page},
        "changePassword": _YES,
        "sort": _NO,
        "etag": _YES,
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer",
                "description": "The access key of a source as a bearer token",
                "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
                "primary": True,
            },
            {
                "type": "httpbasic",
                "name": "Basic",
                "description": "The access key of a source as the password, with any user name",
                "specUri": "https://www.rfc-editor.org/rfc/rfc7617",
                "primary": False,
            },
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


_RESOURCE_TYPES: list[_Json] = [
    {
        "schemas": [_CORE + "ResourceType"],
        "id": "User",
        "name": "User",
        "endpoint": "/Users",
        "description": "The users of the org",
        "schema": USER_SCHEMA,
        "schemaExtensions": [
            {"schema": _ENTERPRISE, "required": False},
            {"schema": _GENESYS, "required": False},
        ],
    }
]
"""Groups can be read and changed, but neither made nor removed, so they are not announced."""


def _attribute(name: str, kind: str = "string", **more: Any) -> _Json:
    made: _Json = {"name": name, "type": kind, "multiValued": False, "description": "", "required": False}
    if kind in ("string", "reference"):
        made |= {"caseExact": False, "uniqueness": "none"}
    return made | {"mutability": "readWrite", "returned": "default"} | more


def _complex(name: str, *inner: _Json, **more: Any) -> _Json:
    return _attribute(name, "complex", subAttributes=list(inner), **({"multiValued": True} | more))


def _schema(name: str, urn: str, description: str, *attributes: _Json) -> _Json:
    return {
        "schemas": [_CORE + "Schema"],
        "id": urn,
        "name": name,
        "description": description,
        "attributes": list(attributes),
    }


_FIXED = {"mutability": "readOnly"}
_VALUE, _TYPE, _PRIMARY = _attribute("value"), _attribute("type"), _attribute("primary", "boolean")
_SCHEMAS: list[_Json] = [
    _schema(
        "User",
        USER_SCHEMA,
        "User account",
        _attribute("userName", required=True, uniqueness="server", returned="always"),
        _attribute("displayName", required=True),
        _attribute("title"),
        _attribute("password", caseExact=True, mutability="writeOnly", returned="never"),
        _attribute("active", "boolean"),
        _complex("emails", _VALUE, _TYPE, _PRIMARY),
        _complex("phoneNumbers", _VALUE, _TYPE, _PRIMARY),
        _complex("groups", _VALUE | _FIXED, _TYPE | _FIXED, mutability="readOnly"),
        _complex("roles", _VALUE),
    ),
    _schema(
        "EnterpriseUser",
        _ENTERPRISE,
        "Enterprise user",
        _attribute("division"),
        _attribute("department"),
        _attribute("employeeNumber"),
        _attribute("dateHire"),
        _complex("manager", _VALUE, multiValued=False),
    ),
    _schema(
        "GenesysUser",
        _GENESYS,
        "Genesys Cloud user",
        _complex("routingSkills", _attribute("name"), _attribute("proficiency", "decimal")),
        _complex("routingLanguages", _attribute("name"), _attribute("proficiency", "decimal")),
        _complex("externalIds", _attribute("authority", caseExact=True), _attribute("value", caseExact=True)),
    ),
    _schema(
        "ServiceProviderConfig",
        _CORE + "ServiceProviderConfig",
        "What is offered here",
        *(
            _complex(name, _attribute("supported", "boolean", **_FIXED), multiValued=False, **_FIXED)
            for name in ("patch", "bulk", "filter", "changePassword", "sort", "etag")
        ),
    ),
    _schema(
        "ResourceType",
        _CORE + "ResourceType",
        "A type of resource",
        *(_attribute(name, required=True, **_FIXED) for name in ("name", "endpoint", "schema")),
    ),
    _schema(
        "Schema",
        _CORE + "Schema",
        "The attributes of a resource",
        _attribute("name", required=True, **_FIXED),
        _complex("attributes", _attribute("name", required=True, **_FIXED), required=True, **_FIXED),
    ),
]
