"""Pacing: when the next request may start. Plain arithmetic over times handed in; nothing is waited for here.

The target counts requests in a window of a minute that it starts when it likes. So three rules hold at once:

1. never more than the limit in any span of a window plus a margin, by our own count;
2. never more than the target itself says is left of its current window (others may spend too);
3. spread evenly, except that the first few after a pause do not wait: a lone change never does. What others
   were seen to spend of the same limit is left to them.

All times are monotonic seconds.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

WINDOW = 60.0
STATED_MARGIN = 0.5
"""Seconds added to the window where the target states its count, which corrects us: 99 % of the quota."""
UNSTATED_MARGIN = 1.5
"""The same where it states nothing: a window was once reported as 61 s."""
LEARNT_FOR = 3600.0
"""Seconds for which a limit learnt from a 429 is believed; then the configured one is tried again."""
LEARNT_FIRST = 180.0
"""The same where a higher limit is stated: others' burst looks alike. Five times as long when repeated."""
_NOTHING = 1e-9
"""Seconds by which sums of fractions are off."""
_SAME_WINDOW = 2.5
"""Seconds by which two answers may differ about the end of one window: whole seconds, and their ways here."""
OTHERS_AFTER = 5.0
"""Seconds of a window after which what others spend in it is estimated."""
ROOM = 0.9
"""A 429 while less than this share of the stated limit is spent is another limit's, which nothing states."""
SHORT = WINDOW * (1.0 - ROOM)
"""Seconds: where a limit of a minute is used up that early in it, it asks to wait for at least as long."""
IN_VAIN = 3
"""So many waits in a row after which the next request is refused as well are no accident, however short."""
OFTEN, OFTEN_SHARE = 5, 0.05
"""So many 429s in a minute, and of its requests, are no accident, however short they ask to wait."""
NOBODY = 0.02
"""Share of the stated limit up to which what others spend in a minute explains no 429."""
LEAST_SHARE = 0.1
"""Of the limit, which we do not go below for others' sake."""
BURST = 8
"""Requests that may start at once after a pause."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What an answer said of the target's window: ``inin-ratelimit-{count,allowed,reset}``."""

    count: int
    allowed: int
    resets_at: float
    sent_since: int = 0
    at: float = 0.0


@dataclass(slots=True)
class _Others:
    """What a window was spent on that was not ours, from two answers of it."""

    since: float
    count: int  # stated then
    ours: int  # sent by then, and those under way
    rate: float = 0.0  # requests a second, at least

    def seen(self, at: float, count: int, ours: int) -> None:
        if at - self.since >= OTHERS_AFTER:
            self.rate = max(0, count - self.count - (ours - self.ours)) / (at - self.since)


class Pacer:
    """The pacing of one org over all its tokens. Not thread-safe; the owner loop alone uses it."""

    def __init__(self, limit: int, now: float) -> None:
        """Start from ``limit`` requests a minute."""
        self.configured = max(1, limit)
        self._learnt: int | None = None
        self._learnt_at = float("-inf")
        self._learnt_until = self._learnt_for = 0.0
        self._stated_limit: int | None = None
        self._stated: Stated | None = None
        self._sent: deque[float] = deque()
        self._sent_ever = 0
        self._refused: deque[float] = deque()
        self._let_in_at = float("-inf")
        self._in_vain = 0  # waits since, after which a request was refused again
        self._others: _Others | None = None
        self._others_before = 0.0  # their rate in the window before
        self._next = now
        self.blocked_until = 0.0

    @property
    def limit(self) -> int:
        """Requests a window that are believed to be allowed."""
        return self._told if self._learnt is None else min(self._told, self._learnt)

    @property
    def _told(self) -> int:
        return self._stated_limit or self.configured

    def spacing(self, now: float) -> float:
        """Seconds between two requests that are spread evenly over what others leave to us."""
        least, theirs = self.window / self.limit, self._others_rate()
        if theirs == 0.0:
            return least
        ours = self.limit - theirs * WINDOW
        stated = self._stated
        if stated is not None and now < stated.resets_at:  # what is left of this window, rather
            left = stated.resets_at - now
            ours = (stated.allowed - stated.count - stated.sent_since - theirs * left) * WINDOW / left
        return max(least, self.window / max(ours, LEAST_SHARE * self.limit))

    @property
    def window(self) -> float:
        """Seconds over which ``limit`` requests are spread."""
        return WINDOW + (STATED_MARGIN if self._stated_limit is not None else UNSTATED_MARGIN)

    def spent(self, now: float) -> int:
        """Requests that count against the limit: our own of a window, or the target's figure if higher."""
        ours = sum(1 for at in self._sent if at > now - WINDOW)
        stated = self._stated
        if stated is None or now >= stated.resets_at:
            return ours
        return max(ours, stated.count + stated.sent_since)

    def ready_at(self, now: float) -> float:
        """The earliest time at which a request may start; at most ``now`` means at once."""
        self._forget(now)
        limit = self.limit
        at = max(self.blocked_until, self._next - (min(BURST, limit) - 1) * self.spacing(now) - _NOTHING)
        if len(self._sent) >= limit:
            at = max(at, self._sent[-limit] + self.window)
        stated = self._stated
        if stated is not None and stated.count + stated.sent_since + self._theirs(now) >= stated.allowed:
            at = max(at, stated.resets_at)
        return at

    def _others_rate(self) -> float:
        return max(self._others_before, self._others.rate if self._others is not None else 0.0)

    def _theirs(self, now: float) -> int:
        """What others may have spent since the last answer, and while ours is on its way."""
        rate = self._others_rate()
        return math.ceil(rate * (now - self._stated.at + 1.0)) if rate and self._stated is not None else 0

    def sent(self, now: float) -> None:
        """A request starts."""
        self._sent.append(now)
        self._sent_ever += 1
        self._next = max(now, self._next) + self.spacing(now)
        if self._stated is not None:
            self._stated = replace(self._stated, sent_since=self._stated.sent_since + 1)

    def sent_before(self, times: Iterable[float]) -> None:
        """Requests that started at ``times``, before this pacer: they use quota, and delay nothing else."""
        self._sent = deque(sorted([*self._sent, *times]))

    def stated(self, now: float, count: int, allowed: int, reset: float, in_flight: int) -> None:
        """An answer stated the target's count. ``in_flight``: requests sent whose answers are still to come.

        Answers overtake each other: of one window the highest count is the newest, and a window that ends
        before the one known is over.
        """
        if allowed < 1 or count < 0 or not 0 <= reset <= 3600:
            return
        self._stated_limit = allowed
        resets_at = now + reset + 0.25
        old, same = self._stated, False
        if old is not None and now < old.resets_at:
            same = abs(resets_at - old.resets_at) < _SAME_WINDOW
            if resets_at <= old.resets_at - _SAME_WINDOW:
                return
            if same:  # seconds are rounded up: the earliest end that was stated is nearest to the truth
                resets_at = min(resets_at, old.resets_at)
                if old.count > count:
                    self._stated = replace(old, resets_at=resets_at)
                    return
        self._stated = Stated(count, allowed, resets_at, in_flight, now)
        self._watch_others(now, count, in_flight, same=same)

    def _watch_others(self, now: float, count: int, in_flight: int, *, same: bool) -> None:
        if same and self._others is not None:
            self._others.seen(now, count, self._sent_ever)
            return
        self._others_before = self._others.rate if self._others is not None else 0.0
        self._others = _Others(now, count, self._sent_ever - in_flight)

    def let_in(self, now: float) -> None:
        """Anything but a 429 was answered."""
        self._let_in_at, self._in_vain = now, 0

    def refused(self, now: float) -> None:
        """A 429 was answered: the target did not count that request."""
        self._refused.append(now)

    def throttled(self, now: float, wait: float) -> None:
        """A 429: nothing starts for ``wait`` seconds; an unstated limit is learnt from what was let in.

        It is unstated where nothing is stated, and where what is stated leaves room although hardly anybody
        else was seen to spend of it: there is another limit below it, of SCIM alone, say. A short wait early
        in the minute is no limit of a minute's, unless it is in vain several times in a row, or
        many requests of a whole minute are refused.
        """
        self._in_vain += self._let_in_at < self.blocked_until <= now
        self.block(now + wait)
        self._forget(now)
        spent = len(self._sent)
        if spent < max(20, self.limit // 10) or not self._unstated():
            return
        refused = len(self._refused)
        often = refused >= max(OFTEN, OFTEN_SHARE * spent) and self._sent[0] <= now - ROOM * WINDOW
        if wait < SHORT and spent < ROOM * self._told and not (self._in_vain >= IN_VAIN or often):
            return
        self._learnt = max(1, min(self.limit, spent - max(1, refused)))
        self._learnt_until = now + self._believed_for(now)
        self._learnt_at = now

    def _believed_for(self, now: float) -> float:
        since = now - self._learnt_at
        if self._stated_limit is None:
            self._learnt_for = LEARNT_FOR
        elif since > 2 * LEARNT_FOR:
            self._learnt_for = LEARNT_FIRST
        elif since > WINDOW:  # else it is the same time: several were under way
            self._learnt_for = min(LEARNT_FOR, 5 * self._learnt_for)
        return self._learnt_for

    def _unstated(self) -> bool:
        if self._stated_limit is None:
            return True
        stated = self._stated
        if stated is None or self._others_rate() * WINDOW > NOBODY * stated.allowed:
            return False
        return stated.count + stated.sent_since < ROOM * stated.allowed

    def block(self, until: float) -> None:
        """Nothing starts before ``until``."""
        self.blocked_until = max(self.blocked_until, until)

    def unblock(self) -> None:
        """An operator resumes the org."""
        self.blocked_until = 0.0

    def _forget(self, now: float) -> None:
        span = WINDOW + UNSTATED_MARGIN
        while self._sent and self._sent[0] <= now - span:
            self._sent.popleft()
        while self._refused and self._refused[0] <= now - span:
            self._refused.popleft()
        if self._stated is not None and now >= self._stated.resets_at:
            self._stated = None
        if self._learnt_until and now >= self._learnt_until:
            self._learnt_until, self._learnt = 0.0, None
