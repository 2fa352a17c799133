"""The two error shapes of the platform, and the documented texts.

ErrorBody is the platform's own (Genesys Cloud Platform API, definition ErrorBody); ScimError is RFC 7644
section 3.12, where `status` is a string.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCIM_ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"

MESSAGES: Mapping[str, str] = {
    "bad.request": "The request could not be understood by the server due to malformed syntax.",
    "authentication.required": "No authentication bearer token specified in authorization header.",
    "bad.credentials": "Invalid login credentials.",
    "ip.not.authorized": "Requests originating from this IP address are not authorized: [127.0.0.1]",
    "not.authorized": "You are not authorized to perform the requested action.",
    "not.found": "The requested resource was not found.",
    "general.resource.not.found": "User could not be found.",
    "request.conflict": "The request conflicts with the current state of the target resource.",
    "unsupported.media.type": "Unsupported Media Type - Unsupported or incorrect media type, such as an "
    "incorrect Content-Type value in the header.",
    "internal.server.error": "The server encountered an unexpected condition which prevented it from "
    "fulfilling the request.",
    "service.unavailable": "Service Unavailable - The server is currently unavailable (because it is "
    "overloaded or down for maintenance).",
    "request.timeout": "The request timed out.",
    "not.a.user": "This action is only allowed for a user; the token has no user context.",
    "password.empty": "The new password cannot be empty",
    "password.too.short": "The new password is too short",
    "password.not.enough.letters": "The new password does not have enough letters",
    "password.not.enough.lowercase": "The new password does not have enough lower case letters",
    "password.not.enough.uppercase": "The new password does not have enough upper case letters",
    "password.not.enough.digits": "The new password does not have enough numbers",
    "password.not.enough.specials": "The new password does not have enough special characters",
    "password.reused": "The new password has been used too recently",
    "password.too.young": "The new password cannot be changed yet",
    "password.compromised": "The new password is a compromised, frequently used password",
    "invalid.password": "The new password does not meet policy requirements",
}


class Refused(Exception):
    """A request that the platform refuses with an ErrorBody. Never carries a value from a request body."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str | None = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.status = status
        self.code = code
        self.message = message if message is not None else MESSAGES[code or "bad.request"]
        self.params = dict(params or {})
        self.headers = headers
        super().__init__(f"{status} {code}")

    def body(self, context_id: str) -> dict[str, Any]:
        """The ErrorBody; `context_id` equals the ININ-Correlation-Id header."""
        body: dict[str, Any] = {"message": self.message}
        if self.code is not None:
            body["code"] = self.code
        body |= {"status": self.status, "messageParams": self.params, "contextId": context_id}
        return body | {"details": [], "errors": []}


class ScimRefused(Refused):
    """A request that the SCIM service refuses with a ScimError."""

    def __init__(self, status: int, scim_type: str, detail: str) -> None:
        super().__init__(status, scim_type, detail)
        self.scim_type = scim_type

    def body(self, context_id: str) -> dict[str, Any]:
        """The ScimError; it has no place for a context id."""
        return {
            "schemas": [SCIM_ERROR_SCHEMA],
            "status": str(self.status),
            "scimType": self.scim_type,
            "detail": self.message,
        }


def too_many(seconds: int | None, retry_after: str | None) -> Refused:
    """The 429 in force since November 2021; `retry_after` None leaves the header out."""
    if seconds is None:
        text = "Rate limit exceeded the maximum"
        code = "too.many.requests"
    else:
        text = f"Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds"
        code = "too.many.requests.retry.after"
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    return Refused(429, code, text, headers=headers)


def missing_any(permissions: tuple[str, ...]) -> Refused:
    """403 when none of several permissions is held."""
    named = "[" + ", ".join(permissions) + "]"
    return Refused(
        403,
        "missing.any.permissions",
        "Unable to perform the requested action. You must have at least one of the following permissions "
        f"assigned: {named}",
        params={"permissions": named},
    )


def missing_all(permissions: tuple[str, ...]) -> Refused:
    """403 when a needed permission is not held."""
    named = "[" + ", ".join(permissions) + "]"
    return Refused(
        403,
        "missing.permissions",
        f"Unable to perform the requested action. You are missing the following permission(s): {named}",
        params={"permissions": named},
    )


def missing_division(permission: str) -> Refused:
    """403 when a permission is held, but not for the division of the user."""
    return Refused(
        403,
        "missing.division.permission",
        "Unable to perform the requested action. You are missing the following permission "
        f"'{permission}' in the provided division(s).",
        params={"permission": permission},
    )
