"""Between rows and the domain's values."""

from typing import Any

from passferry.domain.change import LIVE, Change, Doubt, Evidence, Failure, Reference, State


def change_of(row: Any) -> Change:
    """The change in ``row`` of the table ``changes``."""
    return Change(
        id=row.id,
        org=row.org,
        seq=row.seq,
        user=Reference(row.user_kind, row.user_value),
        source=row.source,
        state=State(row.state),
        accepted_at=row.accepted_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        attempts=row.attempts,
        bulk=bool(row.bulk),
        waiting_since=row.waiting_since,
        next_attempt_at=row.next_attempt_at,
        evidence=Evidence(row.evidence) if row.evidence else None,
        error=Failure(row.error_code, row.error_message or "", row.correlation_id)
        if row.error_code
        else None,
        resolved_id=row.resolved_id,
        sealed=row.sealed,
        superseded_by=row.superseded_by,
        doubt=Doubt(row.doubt_at, row.doubt_version, row.doubt_attempt) if row.doubt_at is not None else None,
    )


def key_id_of(sealed: bytes | None) -> str | None:
    """The id of the key that ``sealed`` needs: bytes 1 to 8 of the sealed format."""
    return sealed[1:9].hex() if sealed else None


def row_of(change: Change) -> dict[str, Any]:
    """All columns of ``change``."""
    error, doubt = change.error, change.doubt
    return {
        "id": change.id,
        "org": change.org,
        "seq": change.seq,
        "user_kind": change.user.kind,
        "user_value": change.user.value,
        "user_key": change.user.key,
        "source": change.source,
        "state": change.state.value,
        "live": change.state in LIVE,
        "bulk": change.bulk,
        "accepted_at": change.accepted_at,
        "waiting_since": change.waiting_since,
        "updated_at": change.updated_at,
        "expires_at": change.expires_at,
        "next_attempt_at": change.next_attempt_at,
        "attempts": change.attempts,
        "evidence": change.evidence.value if change.evidence else None,
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
        "correlation_id": error.correlation_id if error else None,
        "resolved_id": change.resolved_id,
        "superseded_by": change.superseded_by,
        "sealed": change.sealed,
        "sealed_key": key_id_of(change.sealed),
        "doubt_at": doubt.at if doubt else None,
        "doubt_version": doubt.version if doubt else None,
        "doubt_attempt": doubt.attempt if doubt else None,
    }
