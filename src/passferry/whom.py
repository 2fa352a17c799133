"""Who a change is for: the target's id of the user that it names."""

import asyncio
from collections.abc import Callable

from passferry.domain.change import Reference
from passferry.domain.outcome import Kind, Outcome
from passferry.ports import READ, Clock, Target

INACTIVE_KEPT = 3600.0
"""Seconds for which the list of inactive users is used; all look-ups of an org share it."""
UNFOUND = 16
"""Look-ups that may wait for the list of inactive users; it can take minutes, and others must go on."""
LOOKUP_WAIT = 30.0


class Whom:
    """Look-ups in one org."""

    def __init__(self, target: Target, clock: Clock, random: Callable[[], float]) -> None:
        self._target, self._clock, self._random = target, clock, random
        self._inactive: dict[str, str] = {}
        self._inactive_at: float | None = None
        self._inactive_lock = asyncio.Lock()
        self._unfound = 0

    async def is_(self, user: Reference, resolved_id: str | None, priority: int = READ) -> str | Outcome:
        """The target's id of ``user``; ``resolved_id`` is what is known of it."""
        if user.kind == "id":
            return user.value  # what the seal binds, rather than the column beside it
        if resolved_id is not None:
            return resolved_id
        found = await self._target.find(user.value, priority)
        if isinstance(found, Outcome):
            return found
        if found is None:
            if self._unfound >= UNFOUND:
                wait = LOOKUP_WAIT * (1.0 + self._random())
                return Outcome(Kind.THROTTLED, "user.lookup", retry_after=wait)
            self._unfound += 1
            try:
                inactive = await self._inactive_users()
            finally:
                self._unfound -= 1
            if isinstance(inactive, Outcome):
                return inactive
            known = user.value.casefold() in inactive
            return Outcome(Kind.BLOCKED, "user.inactive" if known else "user.unknown")
        return found.id if found.active else Outcome(Kind.BLOCKED, "user.inactive")

    async def _inactive_users(self) -> dict[str, str] | Outcome:
        async with self._inactive_lock:
            mono = self._clock.monotonic()
            if self._inactive_at is None or mono - self._inactive_at >= INACTIVE_KEPT:
                found = await self._target.inactive()
                if isinstance(found, Outcome):
                    return found
                self._inactive, self._inactive_at = dict(found), mono
            return self._inactive
