"""The gate before requests that others make through us: delivery's own, else, beside an owner, a slow one."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from passferry.domain.answers import DEFAULT_WAIT, retry_after
from passferry.domain.turns import ONE_IN
from passferry.gate import GateClosed, PacedGate
from passferry.ports import Clock

PATIENCE = 10.0
"""Seconds for which a caller is kept waiting for its turn."""
MOST_WAITING = 32
"""Requests of an org that wait for their turn, of those for one user and of others each: about as many as
have one within that time where no delivery waits."""
ELSEWHERE = 0.1
"""The share of an org's rate that is used beside another process, which owns the org and its limit."""


class Busy(Exception):
    """No turn came in time; ``seconds`` after which it is worth another try."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = max(1.0, seconds)


class RelayGate:
    """The port ``Gate``.

    Args:
        owner: the gate of the delivery that this process does for the org, while it does.
        own: used otherwise. The owner sees what is spent there in the target's own count, and leaves room.
        clock: what waits are measured by.
    """

    def __init__(self, owner: Callable[[], PacedGate | None], own: PacedGate, clock: Clock) -> None:
        self._owner, self._own, self._clock = owner, own, clock
        self._waiting: Counter[int] = Counter()

    async def slot(self, priority: int) -> None:
        """See the port. Raises ``Busy``."""
        gate = self._gate()
        if self._wait(gate) > PATIENCE or self._waiting[priority] >= MOST_WAITING:
            raise Busy(self._again(gate, priority))
        self._waiting[priority] += 1
        try:
            async with asyncio.timeout(PATIENCE):
                await self._turn(gate, priority)
        except TimeoutError:
            gate = self._gate()
        else:
            return
        finally:
            self._waiting[priority] -= 1
        raise Busy(self._again(gate, priority))

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """See the port."""
        gate = self._gate()
        gate.answered(status, headers)
        if status == 429:
            wait = retry_after(headers, self._clock.now())
            gate.block(DEFAULT_WAIT if wait is None else wait)

    async def _turn(self, gate: PacedGate, priority: int) -> None:
        try:
            await gate.slot(priority)
        except GateClosed:
            gate = self._own
        else:
            return
        await gate.slot(priority)  # the org has just been given up

    def _gate(self) -> PacedGate:
        return self._owner() or self._own

    def _wait(self, gate: PacedGate) -> float:
        now = self._clock.monotonic()
        return gate.pacer.ready_at(now) - now

    def _again(self, gate: PacedGate, priority: int) -> float:
        """Seconds after which it is worth another try: those who wait should have had their turns by then."""
        turns = self._waiting[priority] * (ONE_IN if gate.others_first(priority) else 1)
        queue = turns * gate.pacer.spacing(self._clock.monotonic())
        return max(self._wait(gate), queue)
