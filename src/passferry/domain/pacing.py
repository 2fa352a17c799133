"""Pacing: when the next request may start. Plain arithmetic over times handed in; nothing is waited for here.

The target counts requests in a window of a minute that it starts when it likes. So three rules hold at once:

1. never more than the limit in any span of a window plus a margin, by our own count;
2. never more than the target itself says is left of its current window (others may spend too);
3. spread evenly, except that the first few after a pause do not wait: a lone change never does.

All times are monotonic seconds.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

WINDOW = 60.0
STATED_MARGIN = 0.5
"""Seconds added to the window where the target states its count, which corrects us: 99 % of the quota."""
UNSTATED_MARGIN = 1.5
"""The same where it states nothing: a window was once reported as 61 s."""
LEARNT_FOR = 3600.0
"""Seconds for which a limit learnt from a 429 is believed; then the configured one is tried again."""
_SAME_WINDOW = 2.5
"""Seconds by which two answers may differ about the end of one window: whole seconds, and their ways here."""
BURST = 8
"""Requests that may start at once after a pause."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What an answer said of the target's window: ``inin-ratelimit-{count,allowed,reset}``."""

    count: int
    allowed: int
    resets_at: float
    sent_since: int = 0


class Pacer:
    """The pacing of one org over all its tokens. Not thread-safe; the owner loop alone uses it."""

    def __init__(self, limit: int, now: float, blocked_until: float = 0.0) -> None:
        """Start from ``limit`` requests a minute."""
        self.configured = max(1, limit)
        self._limit = self.configured
        self._learnt_until = 0.0
        self._stated_limit: int | None = None
        self._stated: Stated | None = None
        self._sent: deque[float] = deque()
        self._next = now
        self.blocked_until = blocked_until

    @property
    def limit(self) -> int:
        """Requests a window that are believed to be allowed."""
        return self._limit

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

    def ready_at(self, now: float, *, reserve: float = 0.0) -> float:
        """The earliest time at which a request may start; at most ``now`` means at once.

        ``reserve`` is the share of the limit that must stay free for others (bulk leaves a tenth).
        """
        self._forget(now)
        limit = max(1, int(self._limit * (1.0 - reserve)))
        # Who leaves a share to others leaves them the burst, too, or they would wait for it to come back.
        burst = 1 if reserve else min(BURST, limit)
        at = max(self.blocked_until, self._next - (burst - 1) * self.window / limit)
        if len(self._sent) >= limit:
            at = max(at, self._sent[-limit] + self.window)
        stated = self._stated
        if stated is not None and stated.count + stated.sent_since >= max(
            1, int(stated.allowed * (1 - reserve))
        ):
            at = max(at, stated.resets_at)
        return at

    def sent(self, now: float) -> None:
        """A request starts."""
        self._sent.append(now)
        self._next = max(now, self._next) + self.window / self._limit
        if self._stated is not None:
            s = self._stated
            self._stated = Stated(s.count, s.allowed, s.resets_at, s.sent_since + 1)

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
        if now >= self._learnt_until:
            self._limit = allowed
        resets_at = now + reset + 0.25
        old = self._stated
        if old is not None and now < old.resets_at:
            same = abs(resets_at - old.resets_at) < _SAME_WINDOW
            if (same and old.count > count) or resets_at <= old.resets_at - _SAME_WINDOW:
                return
        self._stated = Stated(count, allowed, resets_at, in_flight)

    def throttled(self, now: float, wait: float) -> None:
        """A 429: nothing starts for ``wait`` seconds; an unstated limit is learnt from what was spent."""
        self.block(now + wait)
        self._forget(now)
        spent = len(self._sent)
        if self._stated_limit is None and spent >= max(20, self._limit // 10):
            self._limit = max(1, min(self._limit, spent - 1))
            self._learnt_until = now + LEARNT_FOR

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
        if self._stated is not None and now >= self._stated.resets_at:
            self._stated = None
        if self._learnt_until and now >= self._learnt_until:
            self._learnt_until = 0.0
            self._limit = self._stated_limit or self.configured
