"""What one try to deliver came to, and what becomes of the change: a pure function of both."""

from dataclasses import dataclass
from enum import StrEnum

from passferry.domain.change import Change, Doubt, Evidence, Failure, State
from passferry.domain.messages import message_for


class Kind(StrEnum):
    """Outcomes, named by what must be done next."""

    APPLIED = "applied"
    THROTTLED = "throttled"  # wait as told; nothing was done, no attempt was used
    UNAVAILABLE = "unavailable"  # nothing was done; try again later
    REFUSED = "refused"
    NOT_NOW = "not_now"  # minimum password age
    BLOCKED = "blocked"  # unknown or inactive user, division permission: look again hourly
    HELD = "held"  # only a person can go on
    ORG_DOWN = "org_down"  # the whole org cannot be written to
    CONFLICT = "conflict"  # the user's version moved between read and write
    UNAUTHORIZED = "unauthorized"  # the token was not accepted; nothing was done
    UNKNOWN = "unknown"  # sent, no (usable) answer
    DRY_RUN = "dry_run"  # it would have been written now: look again hourly


@dataclass(frozen=True, slots=True)
class Outcome:
    """One try. ``retry_after`` is seconds from now, ``not_before`` epoch seconds; ``code`` is public."""

    kind: Kind
    code: str = ""
    correlation_id: str | None = None
    retry_after: float | None = None
    not_before: float | None = None
    version: str | None = None  # of the user after an applied write, where the target states it


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the tries of an org's changes, in seconds except ``attempts``.

    The default ``attempts`` are more than the longest backoff leaves room for in the default time to live: a
    target that is down for days costs no change its place.
    """

    request: float = 10.0
    attempts: int = 1000
    first_backoff: float = 2.0
    longest_backoff: float = 900.0
    look_again: float = 3600.0
    minimum_age: float | None = None

    @property
    def doubt(self) -> float:
        """How long a send without an answer blocks the next write to its user."""
        return 2 * self.request


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of the change.

    ``keep_doubt``: whether this send may still have had an effect. ``concluded``: it follows from what was
    found out about the try before, and is none of its own.
    """

    state: State
    at: float | None = None
    counts: bool = True
    evidence: Evidence | None = None
    error: Failure | None = None
    keep_doubt: bool = False
    concluded: bool = False


AFTER = "after "
"""Marks a version read before a write whose answer stated none, or the same: it may have moved nothing."""

WHOLE_ORG = frozenset({"invalid_client", "token.refused", "bad.credentials", "ip.not.authorized"})
"""Codes of ``ORG_DOWN`` that cannot be about one user; any other may be."""

OUR_OWN = frozenset({"user.busy", "user.lookup", "intent.stale", "key.missing"})
"""Codes with which a change waits for something of ours: it says nothing of the target."""

OF_A_REPEAT = frozenset({"password.reused", "password.too.young"})
"""Codes with which a target refuses the very password that the user has, too."""

ASKED_TO_WAIT = frozenset(
    {"too.many.requests", "token.throttled", "token.unavailable", "target.unavailable", "target.unreachable"}
)
"""Codes with which a change waits until the target is well again, or an operator says so."""

_DEFINITE_REFUSAL_PREFIXES = ("password.", "invalid.password", "invalid.new.password")


def backoff(attempts: int, limits: Limits, random: float) -> float:
    """Seconds before the next try: doubling, capped, the upper half drawn by ``random`` in [0, 1)."""
    ceiling = min(limits.longest_backoff, limits.first_backoff * 2.0 ** min(attempts, 30))
    return ceiling * (0.5 + 0.5 * random)


def decide(
    change: Change, outcome: Outcome, now: float, limits: Limits, random: float, version: str | None = None
) -> Next:
    """The next state of ``change`` after ``outcome``.

    Args:
        change: as it stands, ``doubt`` being its first send without a known effect, if any.
        outcome: of the read or write just tried.
        now: epoch seconds.
        limits: of the org.
        random: in [0, 1), spreads retries.
        version: of the user as read before this try; compared with the doubt's.
    """
    error = Failure(outcome.code, message_for(outcome.code), outcome.correlation_id) if outcome.code else None
    if change.doubt is not None and outcome.kind in (Kind.REFUSED, Kind.NOT_NOW):
        resolved = _resolve_doubt(change, change.doubt, outcome, limits, version)
        if resolved is not None:
            return resolved
    nxt = _RULES[outcome.kind](change, outcome, now, limits, random, error)
    if nxt.state is State.REFUSED and change.doubt is not None and _young_since_unknown(outcome):
        return Next(State.PARKED, error=_failure("outcome.unknown", outcome))
    if nxt.state is State.PENDING and nxt.counts and change.attempts + 1 >= limits.attempts:
        return Next(State.PARKED, error=_failure("attempts.exhausted", outcome), keep_doubt=nxt.keep_doubt)
    return nxt


def unmoved(delivered: str | None, now: str | None) -> bool:
    """Whether a user of version ``now`` is as the delivery left it; no version proves nothing.

    ``delivered`` is the version that the target stated after the write. Where it stated none (``native``), it
    is the one before, marked ``AFTER``: the write itself may have moved it, by one where versions count.
    """
    if delivered is None or now is None:
        return False
    if not delivered.startswith(AFTER):
        return delivered == now
    before = delivered.removeprefix(AFTER)
    counted = before.isascii() and before.isdigit() and now.isascii() and now.isdigit()
    return now == before or (counted and int(now) == int(before) + 1)


def _young_since_unknown(outcome: Outcome) -> bool:
    """Whether it may be the send in doubt that made the password too young, for longer than is waited."""
    return outcome.kind is Kind.NOT_NOW and outcome.not_before is None


def _failure(code: str, outcome: Outcome) -> Failure:
    return Failure(code, message_for(code), outcome.correlation_id)


def _resolve_doubt(
    change: Change, doubt: Doubt, outcome: Outcome, limits: Limits, version: str | None
) -> Next | None:
    """What a refusal says about an earlier send of the same change whose answer was lost."""
    if outcome.code == "password.reused":
        moved = doubt.version is not None and version is not None and version != doubt.version
        if moved:
            return Next(State.APPLIED, evidence=Evidence.INFERRED)
        return Next(State.PARKED, error=_failure("outcome.unknown", outcome))
    if outcome.kind is Kind.NOT_NOW:
        return _resolve_young(change, doubt, outcome, limits, version)
    if not outcome.code.startswith(_DEFINITE_REFUSAL_PREFIXES):
        return Next(State.PARKED, error=_failure("outcome.unknown", outcome))
    return None


def _resolve_young(
    change: Change, doubt: Doubt, outcome: Outcome, limits: Limits, version: str | None
) -> Next | None:
    """Whether it was the send in ``doubt`` that made the user's password too young to be changed."""
    if outcome.not_before is None:
        return None
    # The target counts in whole seconds, and its clock may differ a little from ours: 2 s either way. So it
    # may have been the change before, confirmed a second earlier; then the version is as it was read.
    unmoved = doubt.version is not None and version == doubt.version
    earlier = False
    if limits.minimum_age is not None:
        set_at = outcome.not_before - limits.minimum_age
        if not unmoved and doubt.at - 2 <= set_at <= doubt.at + limits.request + 2:
            return Next(State.APPLIED, evidence=Evidence.INFERRED)
        earlier = set_at < doubt.at
    if _old_enough_at(outcome.not_before) >= change.expires_at and not earlier:
        # "refused" would claim that the password is another one, which nobody knows.
        return Next(State.PARKED, error=_failure("outcome.unknown", outcome))
    return None


def _old_enough_at(not_before: float) -> float:
    # The named second itself is still too young for a target that counts in whole seconds: 2 s more.
    return not_before + 2


def _applied(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    return Next(State.APPLIED, evidence=Evidence.CONFIRMED)


def _throttled(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    return Next(State.PENDING, now + (o.retry_after or 0.0), counts=False, error=e)


def _unavailable(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    wait = max(o.retry_after or 0.0, backoff(c.attempts, li, r))
    return Next(State.PENDING, now + wait, error=e)


def _refused(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    return Next(State.REFUSED, error=e or _failure("refused", o))


def _not_now(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    at = _old_enough_at(o.not_before) if o.not_before is not None else now + li.look_again
    if at >= c.expires_at:
        return Next(State.REFUSED, error=e or _failure("password.too.young", o))
    # By our clock it is old enough, and it is not: the clocks differ, and the wait must grow.
    return Next(State.PENDING, at if at > now else now + backoff(c.attempts, li, r), error=e)


def _blocked(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    return Next(State.PARKED, now + li.look_again, counts=False, error=e)


def _dry_run(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    return Next(State.PENDING, now + li.look_again, counts=False, error=e)


def _held(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    return Next(State.PARKED, None, counts=False, error=e)


def _org_down(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    # Where it may be this user's own (no right to edit an administrator), waits must grow, or it is asked for
    # every other second while everybody else's success keeps the org from being paused.
    counts = o.code not in WHOLE_ORG
    return Next(State.PENDING, now + backoff(c.attempts, li, r), counts=counts, error=e)


def _at_once(c: Change, now: float, li: Limits, r: float, longest: float) -> float:
    """A few tries without a wait, since reading again or a new token puts it right; then as usual."""
    return now if c.attempts < 3 else now + min(backoff(c.attempts, li, r), longest)


def _conflict(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    return Next(State.PENDING, _at_once(c, now, li, r, longest=60.0), error=e)


def _unauthorized(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    return Next(State.PENDING, _at_once(c, now, li, r, longest=li.longest_backoff), error=e)


def _unknown(c: Change, o: Outcome, now: float, li: Limits, r: float, e: Failure | None) -> Next:
    if o.code == "user.changed":  # a success that shows somebody else: whose password was set?
        return Next(State.PARKED, error=e, keep_doubt=True)
    wait = max(o.retry_after or 0.0, li.doubt, backoff(c.attempts, li, r))
    return Next(State.PENDING, now + wait, error=e, keep_doubt=True)


_RULES = {
    Kind.APPLIED: _applied,
    Kind.THROTTLED: _throttled,
    Kind.UNAVAILABLE: _unavailable,
    Kind.REFUSED: _refused,
    Kind.NOT_NOW: _not_now,
    Kind.BLOCKED: _blocked,
    Kind.HELD: _held,
    Kind.ORG_DOWN: _org_down,
    Kind.CONFLICT: _conflict,
    Kind.UNAUTHORIZED: _unauthorized,
    Kind.UNKNOWN: _unknown,
    Kind.DRY_RUN: _dry_run,
}
