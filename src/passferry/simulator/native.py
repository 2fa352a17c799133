"""The few calls outside SCIM that a password gateway needs: users, settings, limits, tokens."""

from __future__ import annotations

import uuid
from typing import Any

from passferry.simulator.errors import Refused
from passferry.simulator.scim import find, native_password
from passferry.simulator.settings import Settings
from passferry.simulator.wire import Reply
from passferry.simulator.world import Call, answer

_NAMESPACES = ("auth.api", "directory", "platform.api", "scim", "users")
_ORG_SPACE = uuid.UUID("0f5d36a1-4a0e-4c92-9c3e-5be7a4b0f9d2")


def users(call: Call, rest: list[str]) -> Reply:
    """Answer a call below `/api/v2/users`."""
    method = call.request.method
    if rest[:1] == ["me"]:
        raise Refused(400, "not.a.user")
    if len(rest) == 1 and method == "GET":
        call.user_id = rest[0]
        return _user(call, rest[0])
    if len(rest) == 2 and rest[1] == "password" and method == "POST":
        call.user_id = rest[0]
        return native_password(call, rest[0])
    raise Refused(404, "not.found")


def _user(call: Call, user_id: str) -> Reply:
    user = find(call, user_id)
    division = uuid.uuid5(_ORG_SPACE, user.division)
    body = {
        "id": user.id,
        "name": str(user.profile.get("displayName", "")),
        "division": {
            "id": str(division),
            "name": user.division,
            "selfUri": f"/api/v2/authorization/divisions/{division}",
        },
        "email": user.user_name,
        "username": user.user_name,
        "state": "active" if user.active else "inactive",
        "title": user.profile.get("title"),
        "version": user.version,
        "selfUri": f"/api/v2/users/{user.id}",
    }
    return answer(200, {name: value for name, value in body.items() if value is not None})


def authentication_settings(call: Call) -> Reply:
    """Answer GET /api/v2/organizations/authentication/settings."""
    call.require("directory:organization:admin")
    settings = call.settings
    rules = {
        "minimumLength": settings.minimum_length,
        "minimumDigits": settings.minimum_digits,
        "minimumLetters": settings.minimum_letters,
        "minimumUpper": settings.minimum_upper,
        "minimumLower": settings.minimum_lower,
        "minimumSpecials": settings.minimum_specials,
        "minimumAgeSeconds": settings.minimum_age_seconds,
        "expirationDays": settings.expiration_days,
    }
    body: dict[str, Any] = {
        "multifactorAuthenticationRequired": False,
        "domainAllowlistEnabled": False,
        "domainAllowlist": [],
        "ipAddressAllowlist": [],
        "passwordRequirements": rules,
        "inactivityTimeoutExclusions": [],
        "universalLogout": False,
        "tokenStorageLocation": "persistent",
    }
    return answer(200, body)


def limits(call: Call, rest: list[str]) -> Reply:
    """Answer GET /api/v2/organizations/limits/namespaces, one of them, and its defaults."""
    if not rest:
        return answer(
            200, {"entities": list(_NAMESPACES), "pageSize": 25, "pageNumber": 1, "total": len(_NAMESPACES)}
        )
    if rest[0] not in _NAMESPACES or rest[1:] not in ([], ["defaults"]):
        raise Refused(
            400, "invalid.value", "The provided namespace is not valid or does not have any viewable limits"
        )
    settings = Settings() if rest[1:] else call.settings
    values = _limit_values(rest[0], settings) if call.settings.limits_stated else {}
    entities = [{"key": key, "namespace": rest[0], "value": value} for key, value in values.items()]
    return answer(200, {"entities": entities})


def _limit_values(namespace: str, settings: Settings) -> dict[str, int]:
    """The limits of a namespace, as requests a minute whatever the window is."""
    per_minute = 60.0 / settings.window if settings.window else 1.0
    if namespace == "platform.api":
        return {
            "client.credentials.token.rate.per.minute": int(settings.rate * per_minute),
            "token.rate.per.minute": int(settings.rate * per_minute),
            "org.app.user.rate.per.minute": 3000,
            "request.bytes.max": settings.body_maximum,
        }
    if namespace == "scim" and settings.scim_rate:
        return {"scim.rate.per.minute": int(settings.scim_rate * per_minute)}
    return {}


def token_info(call: Call) -> Reply:
    """Answer GET and HEAD /api/v2/tokens/me."""
    client = call.token.client
    name = client.org or "simulated"
    organization = {"id": str(uuid.uuid5(_ORG_SPACE, f"org {client.org}")), "name": f"{name} organization"}
    body = {
        "organization": organization,
        "homeOrganization": organization,
        "authorizedScope": [],
        "OAuthClient": {
            "id": client.id,
            "name": client.id,
            "authorizedGrantType": "CLIENT-CREDENTIALS",
            "organization": organization,
        },
    }
    return answer(200, body)
