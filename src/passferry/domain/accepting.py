"""Whether a change is taken: decided per user in accept order, inside the transaction that stores it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from passferry.domain.change import Change, Reference, State

CLOCK_TOLERANCE = 300.0
"""Seconds by which the clocks of two sources may differ, and a source's may be ahead of ours."""

KEYS_KEPT = 86400.0
"""Seconds for which an Idempotency-Key is kept at least; longer while its change is live."""


@dataclass(frozen=True, slots=True)
class NewChange:
    """A change that passed every check which needs no store. Times are epoch seconds."""

    id: str
    org: str
    user: Reference
    source: str
    sealed: bytes
    now: float
    expires_at: float
    changed_at: float | None = None
    arrived_at: float | None = None  # where it was held up between its arrival and now, and tells no time
    bulk: bool = False
    idempotency_key: str | None = None
    body_mac: bytes = b""
    never: frozenset[str] = frozenset()  # folded names of users that it must not concern
    most_an_hour: int | None = None  # changes of its source
    same: Callable[[Change], bool] = lambda live: False  # whether a live change holds the same password
    anew: Callable[[], bytes] | None = None  # seals it once more, after the sealing key was replaced

    @property
    def made_at(self) -> float:
        """When its password was chosen, as well as that is known."""
        if self.changed_at is not None:
            return self.changed_at
        return self.now if self.arrived_at is None else self.arrived_at


@dataclass(frozen=True, slots=True)
class UserRow:
    """What is kept of a user for good."""

    newest_seq: int
    newest_at: float  # the newest change's ``made_at``
    newest_source: str
    accepted_at: float  # when it was accepted

    @property
    def told(self) -> bool:
        """Whether somebody said that it was chosen before it was accepted."""
        return self.newest_at < self.accepted_at


@dataclass(frozen=True, slots=True)
class Remembered:
    """A request seen before under the same Idempotency-Key."""

    body_mac: bytes
    change_id: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """Store it. ``replaces``: the live change that it supersedes."""

    replaces: Change | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """It is a change that exists: answer with that one."""

    change_id: str


@dataclass(frozen=True, slots=True)
class Stale:
    """A newer change of this user is already accepted."""


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The Idempotency-Key was used with another body."""


@dataclass(frozen=True, slots=True)
class Protected:
    """Its user is known, under another name, as one that the source may not touch."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Its source sent more changes in an hour than it may; ``now``: it is this change that stops it."""

    now: bool


Verdict: TypeAlias = Accepted | Replayed | Stale | KeyReused | Protected | Stopped
Judge: TypeAlias = Callable[[NewChange, UserRow | None, Change | None, Remembered | None], Verdict]


def judge(
    item: NewChange, user: UserRow | None, live: Change | None, remembered: Remembered | None
) -> Verdict:
    """Decide about ``item``.

    Args:
        item: the request.
        user: the newest accepted change of the same user, under any reference known to be this user's.
        live: the user's live change under the same reference, if any.
        remembered: what its Idempotency-Key stands for, if it was seen.
    """
    if remembered is not None:
        if remembered.body_mac == item.body_mac:
            return Replayed(remembered.change_id)
        return KeyReused()
    told = item.changed_at
    if user is not None and told is not None and made_before(told, item.source, user):
        return Stale()
    repeats = live is not None and live.sealed is not None and not _waits_in_bulk(item, live)
    same = live if repeats and live is not None and item.same(live) else None
    if user is not None and _overtaken(item, user) and (same is None or same.seq != user.newest_seq):
        return Stale()
    if same is not None:
        return Replayed(same.id)
    return Accepted(live)


def made_before(made_at: float, source: str, user: UserRow) -> bool:
    """Whether a password that ``source`` says was chosen at ``made_at`` is older than the ``user``'s newest.

    Two sources have two clocks: what is less than ``CLOCK_TOLERANCE`` apart is as good as equal.
    """
    earlier = user.newest_at - made_at
    return earlier > 0 if user.newest_source == source else earlier >= CLOCK_TOLERANCE


def newest_of(rows: Sequence[UserRow]) -> UserRow:
    """Of a user known under several references, the one whose newest change is the user's newest.

    That is the one accepted last, as under one reference; but what is older by a time that was told with it
    makes nothing old. It may come to light only now: at its accept the references were not known to be one
    user's. Two that were accepted against the order of their times, because the clock was put back, tell
    nothing by them.
    """
    newest, *later = sorted(rows, key=lambda row: row.newest_seq)
    for row in later:
        comparable = row.told and newest.accepted_at <= row.accepted_at
        if not (comparable and made_before(row.newest_at, row.newest_source, newest)):
            newest = row
    return newest


def _overtaken(item: NewChange, user: UserRow) -> bool:
    """Whether a change that arrived after ``item`` was accepted while ``item`` was held up.

    One that is later than now does not count: the clock was put back, which must not lock the user out.
    """
    if item.changed_at is not None or item.arrived_at is None:
        return False
    return item.arrived_at < min(user.newest_at, user.accepted_at) <= item.now


def _waits_in_bulk(item: NewChange, live: Change) -> bool:
    """Whether a person's ``item`` would wait as long as bulk does, were it taken for ``live``."""
    return live.bulk and not item.bulk and live.state is State.PENDING
