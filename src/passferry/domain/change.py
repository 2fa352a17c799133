"""A change: one new password for one user of one org, and the states it may go through."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """Where a change is in its life."""

    PENDING = "pending"
    DELIVERING = "delivering"
    PARKED = "parked"
    APPLIED = "applied"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Evidence(StrEnum):
    """How it is known that an applied change arrived."""

    CONFIRMED = "confirmed"  # the target said so
    INFERRED = "inferred"  # the answer was lost, and its later state shows it; or it refused a repeat


_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID (RFC 9562 section 4), in any letter case."""
    return _UUID.fullmatch(text) is not None


LIVE = frozenset({State.PENDING, State.DELIVERING, State.PARKED})
"""States in which the password may still be written."""

TRANSITIONS: dict[State, dict[State, str]] = {
    State.PENDING: {
        State.DELIVERING: "the intent to write is committed",
        State.PARKED: "unknown or inactive user, user changed identity, too many attempts, or `--hold`",
        State.APPLIED: "the target did not take it, and it is the password in place already",
        State.REFUSED: "the target said no before a write, or says that the wait is beyond the time to live;"
        " or the user is not to be touched; or the target did not take it, and it is not in place",
        State.SUPERSEDED: "a newer change of the same user was accepted or came to light",
        State.EXPIRED: "older than its time to live",
        State.CANCELLED: "an operator",
    },
    State.DELIVERING: {
        State.PENDING: "throttled, unavailable, not now, conflict, or no answer: to be tried again;"
        " or not taken, perhaps because it is in place already: to be compared",
        State.PARKED: "the outcome cannot be known, or a person must look",
        State.APPLIED: "the target confirmed the write, or its later state shows it",
        State.REFUSED: "the target said no, with its own code",
        State.SUPERSEDED: "a newer change was accepted while this one was being sent, and it did not apply",
    },
    State.PARKED: {
        State.DELIVERING: "the hourly look found the user as it should be, and the intent is committed",
        State.PENDING: "an operator retries it, or the hourly look must be taken up again",
        State.REFUSED: "the target said no before a write, or the user is not to be touched",
        State.SUPERSEDED: "a newer change of the same user was accepted or came to light",
        State.EXPIRED: "older than its time to live",
        State.CANCELLED: "an operator",
    },
    State.APPLIED: {},
    State.REFUSED: {},
    State.SUPERSEDED: {},
    State.EXPIRED: {},
    State.CANCELLED: {},
}
"""Every legal step and when it is taken. Anything absent raises ``IllegalTransition``."""

RETRYABLE = frozenset({State.PENDING, State.PARKED})
"""States in which an operator may retry or cancel a change."""


class IllegalTransition(Exception):
    """A step that the table does not have; it is a defect, and nothing was changed."""


def check_transition(old: State, new: State) -> None:
    """Raise ``IllegalTransition`` unless ``old`` may become ``new``; staying as it is is always legal."""
    if old != new and new not in TRANSITIONS[old]:
        raise IllegalTransition(f"{old} may not become {new}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A user as the source named it: the target's id, or a userName (an email for Genesys Cloud)."""

    kind: str  # "id" or "userName"
    value: str

    @property
    def key(self) -> str:
        """What two references to the same name have in common.

        A userName is the same in any letter case, an id is not (RFC 7643 sections 4.1.1 and 3.1). Whether
        ``ß`` is ``ss``, say, is for the target to tell: here two people must not be taken for one.
        """
        return f"n:{self.value.lower()}" if self.kind == "userName" else f"i:{self.value}"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a change is not applied (yet): the target's code or ours, a public sentence, the target's id."""

    code: str
    message: str
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """The first send of a change whose effect is not known."""

    at: float  # epoch seconds of its intent
    version: str | None  # the user's version read before it
    attempt: int


@dataclass(frozen=True, slots=True)
class Change:
    """A change as the store holds it. Times are epoch seconds."""

    id: str
    org: str
    seq: int  # its place in the org's accept order
    user: Reference
    source: str
    state: State
    accepted_at: float
    updated_at: float
    expires_at: float
    attempts: int = 0
    bulk: bool = False
    waiting_since: float = 0.0  # accept time of the oldest change that this one stands for
    next_attempt_at: float | None = None
    evidence: Evidence | None = None
    error: Failure | None = None
    resolved_id: str | None = None
    sealed: bytes | None = None
    superseded_by: str | None = None
    doubt: Doubt | None = None


def as_seen(change: Change, paused: str | None) -> Change:
    """``change`` for whoever asks why it has not arrived: a pause of its org explains what is pending.

    ``paused`` is None, or why the org is paused: "operator", or the target's code.
    """
    if paused is None or change.state is not State.PENDING:
        return change
    message = f"Delivery to this org is paused ({paused}), and the change waits."
    return replace(change, next_attempt_at=None, error=Failure("org.paused", message))
