"""One org's users, read page by page while that is cheaper than user by user.

A *pass* goes through the list of all users once. Whoever of a page is due is written to right away; the next
page is asked for just before they are done. What a pass has left behind is read singly, like everything else.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from passferry.domain.change import Change
from passferry.domain.outcome import Outcome
from passferry.domain.pacing import Pacer
from passferry.domain.paging import (
    FEWEST,
    FLOOD,
    FRESH,
    MARGIN,
    MOST_AHEAD,
    PAGE,
    Listed,
    ahead,
    belongs,
    capacity,
    keys_of,
    pages_of,
    pays,
)
from passferry.domain.scim import User
from passferry.gate import BULK_SHARE, GateClosed
from passferry.ports import BULK_READ, READ, Clock, DeliveryStore, Page, Target

log = structlog.get_logger("passferry.deliver")

KEPT = 3600.0
"""Seconds for which it is believed how many users there are, and that pages are no good here."""
OFF = 600.0
"""Seconds without pages after some could not be read."""
FAILED = 3
"""Pages in a row that could not be read, after which the others are not tried."""
REFUTED = 3
"""Writes in a row to users of pages that had changed since, after which pages are no good here."""
MOST_TRIES = 128
"""Users of pages that are worked on at a time; most of them wait at the gate."""

Found = tuple[Change, Listed]


@dataclass(frozen=True, slots=True)
class _Read:
    """A page that was read."""

    start: int
    keys: Sequence[str]  # of all its users
    found: Sequence[Found]
    until: float


class Pages:
    """The pages of one org. ``look`` is called by the owner loop, again and again."""

    def __init__(
        self,
        org: str,
        store: DeliveryStore,
        target: Target,
        pacer: Pacer,
        clock: Clock,
        wake: Callable[[], None],
        heed: Callable[[Outcome], Awaitable[None]],
    ) -> None:
        """``wake`` has the owner loop look again; ``heed`` is told what a read came to instead of a user."""
        self._org, self._store, self._target, self._pacer, self._clock = org, store, target, pacer, clock
        self._wake, self._heed = wake, heed
        self._todo: deque[int] | None = None  # numbers of the first users of pages; None between passes
        self._bulk = self._flooded = self._first = False
        self._passed: set[str] = set()
        self._reading: set[asyncio.Task[None]] = set()
        self._ready: deque[_Read] = deque()
        self._given: list[Listed] = []
        self._total, self._total_at = 0, float("-inf")
        self._off_until = float("-inf")
        self._proven = False
        self._refuted = self._failed = 0
        self._latency = 0.1

    # --- what the owner loop asks ---------------------------------------------------------------

    async def look(self, due: Sequence[Change], now: float, busy: Sequence[Change]) -> list[Found]:
        """Changes of pages that were read, to be tried now; and ask for pages while that pays.

        Args:
            due: people before bulk, longest waiting first; not all of them.
            now: epoch seconds.
            busy: changes that are being tried.
        """
        self._sort_out()
        found = self._take(busy)
        try:
            await self._plan(due, now, [*busy, *(change for change, _ in found)])
        except BaseException:
            for _, listed in found:  # nobody tries them now: they are due as before
                listed.waits, listed.done = False, True
            raise
        return found

    def comes_to(self, change: Change) -> bool:
        """Whether ``change`` waits for the pass to come to its user, or for those of a page to be done.

        What went before them now would let what the page showed grow too old.
        """
        if change.bulk != self._bulk:
            return False
        if self._todo is None:
            return self._waiting() >= 3
        return change.user.key not in self._passed

    async def close(self) -> None:
        """Give up the pass and what is under way."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    # --- planning -------------------------------------------------------------------------------

    async def _plan(self, due: Sequence[Change], now: float, busy: Sequence[Change]) -> None:
        mono = self._clock.monotonic()
        people = sum(not change.bulk for change in due)
        self._flooded = people + sum(not change.bulk for change in busy) >= FLOOD
        if self._bulk and people >= FEWEST:
            self._end()
        if max(self._off_until, self._pacer.blocked_until) > mono or not self._reads_more(len(busy)):
            return
        if self._todo is None:
            if max(people, len(due) - people) < FEWEST or self._waiting():
                return
            self._bulk = people < FEWEST
        known = mono - self._total_at < KEPT
        left = len(self._todo) if self._todo is not None else pages_of(self._total) if known else 1
        ids = [change.id for change in busy]
        count = await self._store.due_count(self._org, now, left + MOST_AHEAD * PAGE, ids, bulk=self._bulk)
        if not pays(left, count, self._capacity()):
            self._end()
            return
        if self._todo is None:
            self._todo, self._first = deque(_starts(left)), not known
            log.info("pages.begin", org=self._org, pages=left)
        while self._todo and self._reads_more(len(busy), min(PAGE, max(1, count // max(1, left)))):
            self._ask(self._todo.popleft())
        if not self._todo and not self._reading and not self._ready:
            self._end()

    def _rate(self) -> float:
        share = BULK_SHARE if self._bulk and self._flooded else 1.0
        return share * self._pacer.limit / self._pacer.window

    def _capacity(self) -> int:
        return capacity(self._rate(), self._latency)

    def _waiting(self) -> int:
        return sum(listed.waits for listed in self._given)

    def _reads_more(self, busy: int, a_page: int = PAGE) -> bool:
        """Whether another page should be asked for; ``a_page`` is how many users one is expected to serve."""
        under_way = len(self._reading) + len(self._ready)
        if under_way >= MOST_AHEAD or busy + PAGE * (under_way + 1) > MOST_TRIES:
            return False
        return self._waiting() + a_page * under_way < ahead(self._rate(), self._latency)

    def _end(self) -> None:
        if self._todo is not None:
            log.info("pages.end", org=self._org, left=len(self._todo))
        self._todo = None
        self._passed.clear()

    def _no_good(self, why: str, seconds: float) -> None:
        log.warning("pages.off", org=self._org, code=why)
        self._off_until = self._clock.monotonic() + seconds
        self._end()

    # --- reading --------------------------------------------------------------------------------

    def _ask(self, start: int) -> None:
        task = asyncio.create_task(self._read(start))
        self._reading.add(task)
        task.add_done_callback(self._was_read)

    def _was_read(self, task: "asyncio.Task[None]") -> None:
        self._reading.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, GateClosed):
            self._no_good(type(error).__name__, OFF)  # no text: it may quote
        self._wake()

    async def _read(self, start: int) -> None:
        page = await self._target.page(start, self._priority())
        if page is None:
            self._no_good("unknown", KEPT)
        elif isinstance(page, Outcome):
            await self._not_read(start, page)
        elif page.size < PAGE and start + page.size <= page.total:
            self._no_good("short", KEPT)  # the target makes its pages as it likes
        else:
            mono = self._clock.monotonic()
            self._failed, self._latency = 0, page.seconds
            self._total, self._total_at = page.total, mono
            if self._first and self._todo is not None:
                self._todo.extend(_starts(pages_of(page.total))[1:])
                self._first = False
            await self._serve(start, page, mono - page.seconds + FRESH)

    def _priority(self) -> int:
        return BULK_READ if self._bulk else READ

    async def _not_read(self, start: int, outcome: Outcome) -> None:
        self._failed += 1
        if self._failed >= FAILED:
            self._failed = 0
            self._no_good(outcome.code, OFF)
        elif self._todo is not None:
            self._todo.appendleft(start)
        await self._heed(outcome)

    async def _serve(self, start: int, page: Page, until: float) -> None:
        """Find out who of ``page`` is due, and have it proven once that pages show what reads show."""
        users = {key: user for user in page.users for key in keys_of(user)}
        changes = await self._store.due_of(self._org, self._clock.now(), list(users))
        found = [
            (change, Listed(users[change.user.key], until))
            for change in sorted(changes, key=lambda change: change.waiting_since)
            if change.bulk == self._bulk and belongs(change, users[change.user.key])
        ]
        if found and not self._proven and not await self._prove(found):
            found = []
        self._ready.append(_Read(start, tuple(users), found, until))

    async def _prove(self, found: list[Found]) -> bool:
        """Read one of them singly, and put it in its place; whether pages may be used."""
        change, listed = found[0]
        read = await self._target.read(listed.user.id, self._priority())
        if not isinstance(read, User):
            await self._heed(read)
            return False
        found[0] = change, Listed(read, listed.until)
        if read.version != listed.user.version:
            return False  # it changed meanwhile; the next page may tell
        self._proven = self._target.alike(listed.user, read)
        if not self._proven:
            self._no_good("reduced", KEPT)
        return self._proven

    # --- handing out ----------------------------------------------------------------------------

    def _take(self, busy: Sequence[Change]) -> list[Found]:
        """What of the pages read can be written in time; a page is read again for the rest of it."""
        taken: list[Found] = []
        ids, keys = {change.id for change in busy}, {change.user.key for change in busy}
        while self._ready:
            page = self._ready.popleft()
            if self._clock.monotonic() > page.until - MARGIN:
                self._again(page, ())
                continue
            free = [pair for pair in page.found if pair[0].id not in ids and pair[0].user.key not in keys]
            room = min(self._capacity() - self._waiting(), MOST_TRIES - len(busy) - len(taken))
            now = free[: max(0, room)]
            taken += now
            keys.update(change.user.key for change, _ in now)
            self._given += [listed for _, listed in now]
            self._passed.update(page.keys)
            if len(now) < len(free):
                self._again(page, free[len(now) :])
        return taken

    def _again(self, page: _Read, left: Sequence[Found]) -> None:
        """Read ``page`` once more in this pass: for those ``left`` there was no time."""
        self._passed.difference_update(change.user.key for change, _ in left)
        if self._todo is not None:
            self._todo.appendleft(page.start)

    def _sort_out(self) -> None:
        """Forget those that are done, and learn from what became of them."""
        for listed in self._given:
            if listed.done:
                self._refuted = self._refuted + 1 if listed.refuted else 0
        self._given = [listed for listed in self._given if not listed.done]
        if self._refuted >= REFUTED:
            self._refuted = 0
            self._proven = False
            self._no_good("refuted", KEPT)


def _starts(pages: int) -> list[int]:
    """The numbers of the first users of ``pages`` pages."""
    return [1 + PAGE * number for number in range(pages)]
