"""A change, or a public key, as callers and operators see it: over HTTP as on the command line."""

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line's help must not load what it does not need
    from passferry.domain.change import Change
    from passferry.ports import HandOverKey


def utc(moment: float) -> str:
    """``moment`` (epoch seconds) as an RFC 3339 time in UTC with milliseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def view(change: "Change") -> dict[str, Any]:
    """A change as `GET /changes/{id}` shows it."""
    error = change.error
    return {
        "changeId": change.id,
        "org": change.org,
        "user": change.user.value,
        "status": str(change.state),
        "evidence": str(change.evidence) if change.evidence is not None else None,
        "attempts": change.attempts,
        "acceptedAt": utc(change.accepted_at),
        "updatedAt": utc(change.updated_at),
        "nextAttemptAt": utc(change.next_attempt_at) if change.next_attempt_at is not None else None,
        "error": None
        if error is None
        else {"code": error.code, "message": error.message, "correlationId": error.correlation_id},
    }


def hand_over_key(key: "HandOverKey") -> dict[str, str]:
    """The public key for sources, as `GET /sync/key` and `passferry keys public` show it."""
    from passferry.hand_over import SUITE

    return {"keyId": key.id, "publicKey": base64.b64encode(key.public).decode(), "suite": SUITE}
