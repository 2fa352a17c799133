"""Counting requests over a window, as plain arithmetic on times that are passed in."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from passferry.simulator.settings import WindowKind


@dataclass(frozen=True, slots=True)
class Count:
    """A verdict: requests counted in the window, whether this one was let in, seconds until it resets."""

    count: int
    allowed: int
    reset: int
    let_in: bool


@dataclass(slots=True)
class Window:
    """The requests of one budget. A refused request is not counted."""

    started: float = -math.inf
    count: int = 0
    times: deque[float] = field(default_factory=deque)

    def take(self, now: float, rate: int, seconds: float, kind: WindowKind) -> Count:
        """Count a request at `now` against `rate` requests in `seconds`."""
        if kind is WindowKind.SLIDING:
            return self._sliding(now, rate, seconds)
        if now >= self.started + seconds or now < self.started:
            self.started, self.count = now, 0
        let_in = self.count < rate
        self.count += let_in
        return Count(self.count, rate, _whole(self.started + seconds - now), let_in)

    def is_over(self, now: float, seconds: float) -> bool:
        """Whether nothing in here counts any more."""
        newest = self.times[-1] if self.times else self.started
        return newest <= now - seconds

    def _sliding(self, now: float, rate: int, seconds: float) -> Count:
        while self.times and self.times[0] <= now - seconds:
            self.times.popleft()
        let_in = len(self.times) < rate
        if let_in:
            self.times.append(now)
        oldest = self.times[0] if self.times else now
        return Count(len(self.times), rate, _whole(oldest + seconds - now), let_in)


def _whole(seconds: float) -> int:
    # The platform speaks in whole seconds; rounding down would invite a retry that is refused again.
    return max(1, math.ceil(seconds - 1e-6))
