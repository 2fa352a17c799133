"""The use case deliver: one org's owner brings each user's newest password to the target.

This is whose turn it is, and when; what is done for one change is in ``attempt``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog

from passferry.attempt import DRY_RUN, HASH_WAIT, Attempts
from passferry.domain.change import Change
from passferry.domain.clock_watch import ClockWatch
from passferry.domain.paging import Listed
from passferry.gate import PacedGate
from passferry.org_health import OPERATOR, OrgHealth
from passferry.outcomes import Outcomes
from passferry.pages import Pages
from passferry.ports import BULK_READ, READ
from passferry.store_ports import NotOwner, StoreFull, StoreLost
from passferry.tools import Tools
from passferry.verifiers import Verifiers

log = structlog.get_logger("passferry.deliver")
T = TypeVar("T")

CONCURRENCY = 64
"""Users of one org that are worked on at a time; a slow target needs many to use its quota."""
FOR_BULK = 6
"""Of these, kept for bulk while people are due; its tenth of the quota needs no more."""
LOOK_AFTER_EVERY = 30.0
GATHER = 0.05
"""Seconds between two looks for what is due: what ends or is accepted meanwhile shares one. A first one waits
for nothing."""
RECENT = 62.0
"""Seconds of requests that a new owner takes into account: the target's window and a margin."""


class Delivery:
    """The owner loop of one org."""

    def __init__(self, org: str, tools: Tools) -> None:
        self.org = org
        self._t = tools
        self._tasks: dict[asyncio.Task[None], Change] = {}
        self._of_pages: set[asyncio.Task[None]] = set()  # among them
        self._looked_at = self._looked_after_at = float("-inf")
        self._blocked_until = 0.0
        self._wake_in: float | None = None  # seconds
        self.health = OrgHealth()
        self._verifiers = Verifiers(org, tools.hasher, tools.sealer, tools.store)
        self._outcomes = Outcomes(org, tools, self.health, self._verifiers)
        self._attempts = Attempts(org, tools, self._outcomes, self._verifiers)
        wake = tools.notices.owner(org).set
        heed = self._outcomes.heed
        self._pages = Pages(
            org, tools.store, tools.target, tools.gate.pacer, tools.clock, tools.random, wake, heed
        )
        self.started = tools.clock.monotonic()
        self._watch = ClockWatch(tools.clock.now(), self.started)

    @property
    def gate(self) -> PacedGate:
        """The gate before this org's target."""
        return self._t.gate

    async def run(self, stop: asyncio.Event) -> None:
        """Own the org until ``stop``; then finish what is being sent, and give up.

        An owner that cannot go on ends the process: accepting for nobody would look like working.
        """
        try:
            await self._own(stop)
        except NotOwner:
            log.warning("lease.lost", org=self.org)
            await self._finish()
            return
        except Exception as error:  # noqa: BLE001  # no text of it: it may quote
            kind = type(error).__name__
        else:
            return
        self._t.fatal(f"delivery of org {self.org} ended: {kind}")

    async def _own(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        begun = False
        try:
            while not stop.is_set():
                if not begun:
                    begun = await self._guarded(self._begin)
                elif await self._guarded(partial(self._round, stopping)):
                    await self._rest(stopping)
        finally:
            stopping.cancel()
            await self._finish()

    async def _begin(self) -> None:
        """Become the owner, and find out what the one before left."""
        t = self._t
        state = await t.store.take(self.org)
        now, mono = t.clock.now(), t.clock.monotonic()
        recovered = await t.store.recover(self.org, now, t.limits.doubt)
        self._blocked_until = state.blocked_until
        t.gate.pacer.block(mono + min(max(0.0, state.blocked_until - now), 7 * 86400.0))
        sent = await t.store.requests_since(self.org, now - RECENT)
        t.gate.pacer.sent_before(mono - max(0.0, now - at) for at in sent)
        if t.dry_run:
            log.warning("dry.run", org=self.org, hint="nothing is written to this org's target")
        else:
            await t.store.wake(self.org, [DRY_RUN], now)
        log.info("delivery.started", org=self.org, recovered=recovered)

    async def _guarded(self, act: Callable[[], Awaitable[None]]) -> bool:
        """Whether ``act`` was done; a store that is full or away is waited for."""
        try:
            await act()
        except StoreFull as full:
            log.warning("store.full", org=self.org, reason=str(full))
            await asyncio.sleep(1.0)
        except StoreLost as lost:
            self._t.fatal(str(lost))
        else:
            return True
        return False

    def resume(self) -> None:
        """An operator resumed the org: nobody waits any longer for what the target asked for."""
        self._t.gate.resume()
        self._t.target.resume()

    def held_up(self) -> float:
        """Seconds for which nothing can be sent, as far as is known."""
        mono = self._t.clock.monotonic()
        return max(self.health.held_up(mono), self._t.gate.pacer.blocked_until - mono, 0.0)

    async def _round(self, stopping: "asyncio.Task[bool]") -> None:
        t = self._t
        t.notices.owner(self.org).clear()
        now = t.clock.now()
        self._looked_at = mono = t.clock.monotonic()
        await self._follow_clock(now, mono)
        await self._look_after(now, mono)
        found_out = self._outcomes.found_out
        busy = [change.id for change in self._tasks.values()]
        has_room = len(busy) - len(self._of_pages) < CONCURRENCY
        looks = has_room and self.health.paused != OPERATOR
        asked = t.store.due(self.org, now, CONCURRENCY if looks else 0, busy)
        due = await _unless(stopping, asked)
        if due is None:
            return
        if found_out is not None and found_out == self._outcomes.found_out:  # else we may know better
            self.health.told(due.state.paused, mono)
        if has_room and not looks and self.health.paused != OPERATOR:
            t.notices.owner(self.org).set()  # resumed, as we see only now
        if self._blocked_until > 0.0 and due.state.blocked_until == 0.0:
            self.resume()  # from another process
        self._blocked_until = due.state.blocked_until
        await _unless(stopping, self._start_listed(due.changes, now))
        if stopping.done():
            return
        self._start_some(due.changes, mono)
        self._wake_in = self._until_next(due.next_at, now)

    def _until_next(self, next_at: float | None, now: float) -> float | None:
        """Seconds until a change becomes due or may be sent again; None when nothing is known to."""
        held_up = self.held_up()
        times = [] if next_at is None else [max(0.0, next_at - now)]
        if 0 < held_up < float("inf"):
            times.append(held_up)
        return min(times, default=None)

    async def _start_listed(self, due: Sequence[Change], now: float) -> None:
        """Start changes of users that a page showed, where pages pay."""
        if self.health.paused is not None:
            self._pages.pause()
            return
        for change, listed in await self._pages.look(due, now, list(self._tasks.values())):
            self._start(change, listed)
        self._give_way()

    def _give_way(self) -> None:
        """Give up tries that have asked for nothing yet: a page will show their users."""
        in_line = self._t.gate.in_line(READ, BULK_READ) if self._pages.in_pass else ()
        for task, change in self._tasks.items():
            if task in in_line and task not in self._of_pages and self._pages.is_held_for_pass(change):
                task.cancel()

    def _start_some(self, due: Sequence[Change], mono: float) -> None:
        free = CONCURRENCY - len(self._tasks) + len(self._of_pages)
        room = self.health.room(free, len(self._tasks), mono)
        if room <= 0:
            return
        users = {change.user.key for change in self._tasks.values()}
        waiting = self.health.choose(due)
        if self.health.paused is None:
            waiting = [change for change in waiting if not self._pages.is_held_for_pass(change)]
        for_bulk = FOR_BULK if any(change.bulk for change in waiting) else 0
        for change in waiting:
            if room <= 0:
                break
            bulk = sum(one.bulk for one in self._tasks.values())
            full = bulk >= CONCURRENCY // 2 if change.bulk else room <= for_bulk - bulk
            if change.user.key in users or full:
                continue
            users.add(change.user.key)
            room -= 1
            self._start(change)

    async def _follow_clock(self, now: float, mono: float) -> None:
        """Waits are stored as dates. A clock that is set back must not lengthen them by what it was wrong."""
        by = self._watch.set_back(now, mono)
        if by:
            waits = await self._t.store.rebase(self.org, now, by)
            log.warning("clock.set_back", org=self.org, seconds=round(by), waits=waits)
        self._watch.note(now, mono)

    async def _look_after(self, now: float, mono: float) -> None:
        """Now and then: end what is too old, and take up again what a defect left half done."""
        t = self._t
        if mono - self._looked_after_at < LOOK_AFTER_EVERY:
            return
        self._looked_after_at = mono
        busy = [change.id for change in self._tasks.values()]  # none is added while we wait
        left = await t.store.recover(self.org, now, t.limits.doubt, busy)
        if left:
            log.error("delivery.taken_up_again", org=self.org, changes=left)
        await self._outcomes.expire()

    def _start(self, change: Change, listed: Listed | None = None) -> None:
        task = asyncio.create_task(self._attempts.bring(change, listed))
        self._tasks[task] = change
        if listed is not None:
            self._of_pages.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task)
        self._of_pages.discard(task)
        self._t.notices.owner(self.org).set()

    async def _rest(self, stopping: "asyncio.Task[bool]") -> None:
        """Until something happens, a change becomes due, or something may be sent again.

        What nobody announces is looked for by who knows all orgs, and announced to us.
        """
        news = asyncio.create_task(self._t.notices.owner(self.org).wait())
        try:
            await asyncio.wait({news, stopping}, timeout=self._wake_in, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        since = self._t.clock.monotonic() - self._looked_at
        if since < GATHER and not stopping.done():
            await asyncio.sleep(GATHER - since)

    async def _finish(self) -> None:
        self._t.gate.close()
        for task, change in self._tasks.items():
            if change.id not in self._outcomes.to_finish:  # whoever takes over begins it anew
                task.cancel()
        await self._pages.close()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=HASH_WAIT)
        self._verifiers.give_up()  # hundreds may wait to be made; whoever takes over shall not
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self._t.limits.request + 5.0)
        await self._t.target.close()


async def _unless(stopping: "asyncio.Task[bool]", look: Coroutine[Any, Any, T]) -> T | None:
    """What ``look`` returns; None when we are to stop before.

    It looks for what may be begun, so it waits behind all that was: sixty tries of this org, and of others.
    """
    looking = asyncio.create_task(look)
    try:
        await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not looking.done():
            looking.cancel()
            await asyncio.wait({looking})
    return None if looking.cancelled() else looking.result()
