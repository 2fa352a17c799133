"""What an answer of the gateway means to a source. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

MOST_SHOWN = 1000
"""Characters of a message that a user is shown."""


class Verdict(Enum):
    """What became of a password that was handed over or checked."""

    ACCEPTED = "accepted"
    OLDER = "older"  # a newer one of this user was accepted before
    REFUSED = "refused"
    SPOOLED = "spooled"  # on disk here, sealed; handed over later
    LOST = "lost"  # nor could it be spooled


class Wait(Enum):
    """Why a change is not settled yet."""

    ALL = "all"  # nothing can be handed over now
    THIS = "this"  # another may
    NEVER = "never"  # what was spooled cannot be used


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict. ``message`` is a sentence for the source's user, ``why`` a few words for its log."""

    verdict: Verdict
    message: str
    why: str = ""


HANDED_OVER = "The new password was handed over."
NEWER = "A newer password is already on its way."
LATER = "The new password is kept here, sealed, and handed over as soon as the gateway answers."
LOST = "The new password could not be handed over. Set it once more later, or tell your administrator."
TOO_LONG = "The new password is too long."
UNCHECKED = "The new password cannot be checked at the moment. Try again later."

_TOO_LARGE = (413, "body.too.large")
_FINAL = {(400, "policy"), (403, "user.protected"), _TOO_LARGE}
"""Refused for good: no operator's work and no waiting makes this password wanted."""
_OLDER = {"change.stale", "idempotency.key.reused"}
"""Under a key that was used, the change was accepted, and its answer lost."""
_OF_ALL = {"role.forbidden", "host.invalid", "http.invalid", ""}
"""Not about one change: the key, the way to the gateway, or (without a code) somebody else's answer."""


def of_change(status: int, body: Mapping[str, Any]) -> Answer | Wait:
    """What became of a change that was sent, or handed over sealed (docs/http-api.md).

    Only what is known to be final ends a change. All else waits: it may be a mistake in the set-up (no
    template for short names, another org) or the answer of a proxy.
    """
    code = str(body.get("code", ""))
    why = f"{status} {code}".strip()
    if "changeId" in body:  # committed
        if status == 409:
            return Answer(Verdict.OLDER, NEWER, why)
        if status == 502 and body.get("status") not in ("parked", "pending", "delivering"):
            return Answer(Verdict.REFUSED, _message(body), why)
        return Answer(Verdict.ACCEPTED, HANDED_OVER, why)
    if status == 409 and code in _OLDER:
        return Answer(Verdict.OLDER, NEWER, why)
    if (status, code) in _FINAL:
        return Answer(Verdict.REFUSED, _message(body), why)
    if status == 400 and code == "sealed.broken":
        return Wait.NEVER
    return Wait.THIS if _is_of_this(status, code) else Wait.ALL


def _is_of_this(status: int, code: str) -> bool:
    """Whether the gateway looked at this very change, so that another one may be taken."""
    if status == 500:
        return code == "internal.error"
    return status in (400, 403, 409, 413, 422) and code not in _OF_ALL


def of_check(status: int, body: Mapping[str, Any]) -> Answer | None:
    """The policy's verdict; None when the answer holds none.

    A password that makes the question larger than the gateway reads is longer than any policy allows, and
    would make the change too large as well.
    """
    if status == 200 and body.get("success") is True:
        return Answer(Verdict.ACCEPTED, "The password meets the policy.")
    if status == 400 and body.get("code") == "policy":
        return Answer(Verdict.REFUSED, _message(body), "400 policy")
    if (status, body.get("code")) == _TOO_LARGE:
        return Answer(Verdict.REFUSED, TOO_LONG, "413 body.too.large")
    return None


def _message(body: Mapping[str, Any]) -> str:
    """The gateway's sentence and its reasons, on one line."""
    parts = [str(body.get("message") or "The gateway refused the new password.")]
    reasons = body.get("errors")
    if isinstance(reasons, list):
        parts += [str(each["message"]) for each in reasons if isinstance(each, dict) and each.get("message")]
    text = " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)
    return "".join(sign if sign.isprintable() else " " for sign in text)[:MOST_SHOWN]
