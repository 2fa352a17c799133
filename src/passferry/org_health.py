"""Whether an org can be written to at all: when delivery pauses itself, and how it finds its way back."""

from collections.abc import Sequence

from passferry.domain.change import Change
from passferry.domain.outcome import OUR_OWN, WHOLE_ORG, Kind, Outcome

OPERATOR = "operator"
FIRST_PROBE = 30.0
LONGEST_PROBE = 900.0
NEXT_USER = 1.0
"""Seconds until another user is tried, when the one of a probe had to wait for something of ours."""
REFUSED_TOKENS = 6
"""Writes in a row that answered 401, each with a fresh token, after which it is not the token's fault."""
SHORT_OUTAGE = 60.0
"""Seconds of an outage after which changes back off for so little that they are left alone."""
OUTAGES_APART = 900.0
"""Seconds between two ends of outages that are heeded. Where only some users fail, for ever, they must not
be tried again with each success of the others; so their back-off at most doubles its tries."""
_SAYS_NOTHING = (Kind.THROTTLED, Kind.UNAVAILABLE, Kind.UNKNOWN, Kind.UNAUTHORIZED)


class OrgHealth:
    """The pause of one org, as its owner knows it. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.paused: str | None = None
        self._probe_at = 0.0
        self._probe_wait = FIRST_PROBE
        self._forbidden: set[str] = set()
        self._refused_tokens = 0
        self._last_probe: str | None = None

    def told(self, paused: str | None, mono: float) -> None:
        """What the store says: an operator may pause or resume at any time."""
        if paused != self.paused:
            self.paused = paused
            self._probe_at, self._probe_wait = mono, FIRST_PROBE
            self._forbidden.clear()

    def probe_now(self, mono: float) -> None:
        """What delivery paused for may have been put right: the next probe need not be waited for."""
        if self.paused != OPERATOR:
            self._probe_at, self._probe_wait = mono, FIRST_PROBE

    def held_up(self, mono: float) -> float:
        """Seconds for which nothing will be sent."""
        if self.paused == OPERATOR:
            return float("inf")
        return self._probe_at - mono if self.paused is not None else 0.0

    def room(self, free: int, running: int, mono: float) -> int:
        """How many changes may be started: none while an operator pauses, else one probe at a time."""
        if self.paused is None:
            return free
        if self.paused == OPERATOR or running or mono < self._probe_at:
            return 0
        return min(1, free)

    def choose(self, due: Sequence[Change]) -> Sequence[Change]:
        """``due`` in order; while probing, another user than the last time first."""
        if self.paused is None:
            return due
        return sorted(due, key=lambda change: change.user.key == self._last_probe)

    def outcome(self, outcome: Outcome, user: str, mono: float) -> str | None:
        """Take note of an outcome; the code for which the org is paused now, or None."""
        if self.paused == OPERATOR:
            return self.paused
        if outcome.kind is Kind.ORG_DOWN:
            self._down(outcome.code or "refused", user, mono)
        elif outcome.kind not in _SAYS_NOTHING:
            self.paused = None
            self._probe_wait = FIRST_PROBE
            self._forbidden.clear()
            self._refused_tokens = 0
        elif self.paused is not None:
            self._postpone(user, mono, asked=outcome.code not in OUR_OWN)
        elif outcome.kind is Kind.UNAUTHORIZED:
            self._refused_tokens += 1
            if self._refused_tokens >= REFUSED_TOKENS:
                self._down("bad.credentials", user, mono)
        return self.paused

    def _down(self, code: str, user: str, mono: float) -> None:
        if len(self._forbidden) < 2:  # more than that decides nothing
            self._forbidden.add(user)
        if self.paused is None and code not in WHOLE_ORG and len(self._forbidden) < 2:
            return  # it may concern this user only: the org is down when two different users meet it
        self.paused = code
        self._postpone(user, mono)

    def _postpone(self, user: str, mono: float, *, asked: bool = True) -> None:
        if mono < self._probe_at:
            return  # no probe: it was under way when the org was paused, and says nothing new
        self._last_probe = user
        if not asked:
            self._probe_at = mono + NEXT_USER
            return
        self._probe_at = mono + self._probe_wait
        self._probe_wait = min(LONGEST_PROBE, self._probe_wait * 2)


class Outage:
    """A time in which no write succeeded and tries found nobody there. Times are monotonic seconds.

    Each change that was tried meanwhile backs off by itself, up to a quarter of an hour; the first success
    says that none of them need wait any longer. A Retry-After of the outage is over with it, too: it says how
    long the service was expected to be unavailable (RFC 9110 §10.2.3).
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._codes: set[str] = set()
        self._not_before = float("-inf")

    def outcome(self, outcome: Outcome, mono: float) -> frozenset[str]:
        """Take note of an outcome; with what codes changes need wait no longer."""
        if outcome.kind in (Kind.UNAVAILABLE, Kind.UNKNOWN):
            self._since = mono if self._since is None else self._since
            self._codes.add(outcome.code)
            return frozenset()
        if outcome.kind is not Kind.APPLIED or self._since is None:
            return frozenset()
        since, codes = self._since, frozenset(self._codes)
        self._since, self._codes = None, set()
        if mono - since < SHORT_OUTAGE or mono < self._not_before:
            return frozenset()
        self._not_before = mono + OUTAGES_APART
        return codes
