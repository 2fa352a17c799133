"""Answers: what a change, a refusal or a problem looks like to a caller. Pure, but for ``send``."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.types import Scope, Send

from passferry.domain.change import Change, State
from passferry.domain.messages import message_for
from passferry.domain.policy import Violation
from passferry.entrypoints.http_parse import Problem
from passferry.refusals import NotAccepted

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

_FIXED: list[tuple[bytes, bytes]] = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode

NOT_ACCEPTED: Mapping[str, int] = {
    "policy": 400,
    "changed.at.future": 400,
    "user.protected": 403,
    "change.stale": 409,
    "idempotency.key.reused": 409,
    "source.too.fast": 429,
    "source.stopped": 429,
    "queue.full": 503,
    "key.missing": 503,
    "disk.full": 503,
    "store.away": 503,
    "store.busy": 503,
    "store.lost": 503,
    "shutting.down": 503,
}
"""The status of each reason for which a change was not accepted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: ``body`` has `success` and `message`, whatever the status; or it is bytes of ``media``."""

    status: int
    body: Mapping[str, Any] | bytes
    headers: Headers = ()
    media: bytes = b"application/json"


def of_change(change: Change) -> Answer:
    """What is told of an accepted change to a caller who waited for it, or chose not to."""
    body: dict[str, Any] = {
        "success": True,
        "message": "password synchronized",
        "changeId": change.id,
        "status": str(change.state),
    }
    if change.state is State.APPLIED:
        return Answer(200, body)
    if change.state in (State.PENDING, State.DELIVERING):
        body["message"] = "password accepted, delivery pending"
        return Answer(202, body, ((b"location", f"/changes/{change.id}".encode()),))
    code = str(change.state)  # superseded, expired and cancelled need no other
    if change.error is not None and change.state in (State.REFUSED, State.PARKED):
        code = change.error.code
    body |= {"success": False, "message": message_for(code), "code": code}
    if change.error is not None and change.error.code == code:
        body["message"] = change.error.message
        if change.error.correlation_id is not None:
            body["correlationId"] = change.error.correlation_id
    return Answer(409 if change.state is State.SUPERSEDED else 502, body)


def of_refusal(refusal: NotAccepted) -> Answer:
    """What is told when nothing was stored."""
    status = NOT_ACCEPTED.get(refusal.code, 500)
    headers: Headers = ()
    if status in (429, 503):
        seconds = max(1, math.ceil(refusal.retry_after or 1.0))
        headers = ((b"retry-after", str(seconds).encode()),)
    return _error(status, refusal.code, refusal.message, refusal.violations, headers)


def of_violations(violations: tuple[Violation, ...]) -> Answer:
    """The policy's verdict: the answer that a change with this password would get."""
    if violations:
        return _error(400, "policy", "The password breaks the policy.", violations)
    return Answer(200, {"success": True, "message": "the password meets the policy", "errors": []})


def of_problem(problem: Problem) -> Answer:
    """A problem of the request itself."""
    return _error(problem.status, problem.code, problem.message, (), problem.headers)


def _error(
    status: int, code: str, message: str, violations: tuple[Violation, ...] = (), headers: Headers = ()
) -> Answer:
    body: dict[str, Any] = {"success": False, "message": message, "code": code}
    if violations:
        body["errors"] = [{"code": each.code, "message": each.message} for each in violations]
    return Answer(status, body, headers)


async def send_answer(answer: Answer, scope: Scope, send: Send) -> None:
    """Send ``answer``; to HEAD its header alone. 204 and 304 have no body (RFC 9110 section 6.4.1)."""
    body = answer.body if isinstance(answer.body, bytes) else _ENCODE(answer.body).encode()
    headers = [*_FIXED, *answer.headers]
    if answer.status not in (204, 304):
        headers = [
            (b"content-type", answer.media),
            *_FIXED,
            (b"content-length", str(len(body)).encode()),
            *answer.headers,
        ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
