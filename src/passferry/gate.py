"""The gate before an org's target: who may send next, and when; and what the answers say of time."""

import asyncio
import heapq
import itertools
import re
from collections import deque
from collections.abc import Mapping

from passferry.domain import turns
from passferry.domain.answers import http_date
from passferry.domain.pacing import Pacer
from passferry.ports import BULK_RELAYED, BULK_WRITE, RELAYED, Clock

CLOCK_TRUST = 300.0
"""Seconds by which an answer's ``Date`` may differ from our clock for it to count as right."""


_FIGURE = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


class GateClosed(Exception):
    """The process is stopping: nothing new is sent."""


_Waiter = tuple[int, int, "asyncio.Future[None]", "asyncio.Task[object] | None"]


class PacedGate:
    """The port ``Gate`` over a ``Pacer``; one per org."""

    def __init__(self, pacer: Pacer, clock: Clock, request_limit: float) -> None:
        """``request_limit``: seconds after which a request without an answer is no longer in flight."""
        self.pacer, self._clock, self._limit = pacer, clock, request_limit
        self._waiting: dict[int, list[_Waiter]] = {each: [] for each in turns.CLASSES}  # heaps
        self._passed_over = dict.fromkeys(self._waiting, 0)
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._in_flight: deque[float] = deque()
        self._closed = False
        self.requests = 0
        self.clock_confirmed_at: float | None = None  # monotonic
        self._clock_offset = 0.0  # of the wall clock from the monotonic one, when it was confirmed

    async def slot(self, priority: int) -> None:
        """See the port. Raises ``GateClosed``."""
        if self._closed:
            raise GateClosed
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (priority, next(self._order), future, asyncio.current_task())
        heapq.heappush(self._waiting[_class(priority)], waiter)
        self._changed.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._grant())
        await future

    def others_first(self, priority: int) -> bool:
        """Whether somebody waits before whom a request of this priority has every tenth turn only."""
        own = _class(priority)
        return any(not one[2].done() for each, heap in self._waiting.items() if each < own for one in heap)

    def in_line(self, *priorities: int) -> "set[asyncio.Task[object] | None]":
        """The tasks that wait for a slot of one of ``priorities``."""
        everybody = itertools.chain.from_iterable(self._waiting.values())
        return {
            task for priority, _, future, task in everybody if priority in priorities and not future.done()
        }

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """See the port."""
        now = self._clock.monotonic()
        if self._in_flight:
            self._in_flight.popleft()
        self.seen(headers)
        if status == 429:
            self.pacer.refused(now)
        else:
            self.pacer.let_in(now)
        stated = [_number(headers.get(f"inin-ratelimit-{name}")) for name in ("count", "allowed", "reset")]
        count, allowed, reset = stated
        if count is not None and allowed is not None and reset is not None:
            self.pacer.stated(now, int(count), int(allowed), reset, len(self._in_flight))

    def seen(self, headers: Mapping[str, str]) -> None:
        """Compare an answer's ``Date`` with our clock; the token endpoint's answers count, too."""
        at = http_date(headers.get("date", ""))
        if at is not None and abs(at - self._clock.now()) <= CLOCK_TRUST:
            self.clock_confirmed_at = self._clock.monotonic()
            self._clock_offset = self._clock.now() - self.clock_confirmed_at

    def clock_is_right(self) -> bool:
        """Whether an answer confirmed our clock, and it has not been set to another time since."""
        if self.clock_confirmed_at is None:
            return False
        offset = self._clock.now() - self._clock.monotonic()
        return abs(offset - self._clock_offset) <= CLOCK_TRUST

    def block(self, seconds: float, *, learn: bool = True) -> None:
        """The target asked to wait; ``learn``: because of these requests, and not of others."""
        now = self._clock.monotonic()
        if learn:
            self.pacer.throttled(now, seconds)
        else:
            self.pacer.block(now + seconds)

    def resume(self) -> None:
        """Forget a wait that the target asked for."""
        self.pacer.unblock()
        self._changed.set()

    def close(self) -> None:
        """Send nothing new; whoever waits for a slot gets ``GateClosed``."""
        self._closed = True
        for heap in self._waiting.values():
            for _, _, future, _ in heap:
                if not future.done():
                    future.set_exception(GateClosed())
            heap.clear()
        self._changed.set()

    async def _grant(self) -> None:
        while (which := self._next()) is not None:
            now = self._clock.monotonic()
            at = self.pacer.ready_at(now)
            if at <= now:
                future = heapq.heappop(self._waiting[which])[2]
                for each, heap in self._waiting.items():
                    self._passed_over[each] = self._passed_over[each] + 1 if heap and each != which else 0
                self.pacer.sent(now)
                self._note_sent(now)
                future.set_result(None)
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(min(at - now, 60.0)):
                    await self._changed.wait()
            except TimeoutError:
                pass  # it is time

    def _next(self) -> int | None:
        """The class whose turn it is; None when nobody waits."""
        for heap in self._waiting.values():
            while heap and heap[0][2].done():
                heapq.heappop(heap)  # it was given up
        return turns.turn([each for each, heap in self._waiting.items() if heap], self._passed_over)

    def _note_sent(self, now: float) -> None:
        self.requests += 1
        while self._in_flight and self._in_flight[0] < now - self._limit:
            self._in_flight.popleft()
        self._in_flight.append(now)


def _class(priority: int) -> int:
    if priority < RELAYED:
        return turns.PEOPLE
    if priority < BULK_WRITE:
        return turns.RELAYED
    return turns.BULK if priority < BULK_RELAYED else turns.RELAYED_BULK


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _FIGURE.fullmatch(text.strip()) else None
