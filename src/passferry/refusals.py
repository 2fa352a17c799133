"""What a caller is told whose change is not accepted."""

from collections.abc import Sequence

from passferry.domain.accepting import KeyReused, Protected, Stale, Stopped, Verdict
from passferry.domain.messages import message_for
from passferry.domain.policy import Violation
from passferry.store_ports import StoreAway, StoreBusy, StoreFull, StoreLost

STOPPED = 300.0
"""Seconds after which a stopped source may ask again; an operator must have resumed it by then."""
FULL_SECONDS = 30.0
"""For which a disk that was full is taken to be full. Only the next commit can find out that it is not."""


class NotAccepted(Exception):
    """Nothing was stored. ``code`` and message are public; with ``retry_after`` (seconds): send again."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after = code, message, retry_after
        self.violations = tuple(violations)


def refusal(verdict: Verdict) -> NotAccepted | None:
    """What is told of a change that was not stored; None when it was, or is one that was stored before."""
    match verdict:
        case Stale():
            return NotAccepted("change.stale", "A newer change of this user is already accepted.")
        case KeyReused():
            return NotAccepted("idempotency.key.reused", "The Idempotency-Key was used with another body.")
        case Protected():
            return protected()
        case Stopped():
            return stopped()
    return None


def protected() -> NotAccepted:
    """The source may not touch the user."""
    return NotAccepted("user.protected", message_for("user.protected"))


def stopped() -> NotAccepted:
    """The source sent more than it may, and waits for an operator."""
    return NotAccepted(
        "source.stopped",
        "This source sent more changes in an hour than it may; it is stopped until an operator resumes it.",
        retry_after=STOPPED,
    )


def shutting_down() -> NotAccepted:
    """What is told to whom comes while the process ends."""
    return NotAccepted("shutting.down", "The gateway is shutting down.", retry_after=5)


def store_lost() -> NotAccepted:
    """What a caller is told when the process must end: what is on disk is not known any more."""
    return NotAccepted("store.lost", "The gateway's disk failed.", retry_after=30)


def no_room(full: StoreFull) -> NotAccepted:
    """What a caller is told when the store could not do something now."""
    if isinstance(full, StoreAway):
        return NotAccepted("store.away", "The gateway's database does not answer.", retry_after=5)
    if isinstance(full, StoreBusy):
        return NotAccepted("store.busy", "Another program holds the gateway's database.", retry_after=5)
    return NotAccepted("disk.full", "The gateway's disk is full.", retry_after=FULL_SECONDS)


def code_of(error: Exception) -> str:
    """The code that the caller is told."""
    if isinstance(error, StoreFull):
        return no_room(error).code
    if isinstance(error, StoreLost):
        return store_lost().code
    return error.code if isinstance(error, NotAccepted) else "internal.error"
