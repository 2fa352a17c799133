"""One org's users, read page by page while that is cheaper than user by user.

A *pass* goes through the list of all users once. Whoever of a page is due is written to right away; the next
page is asked for just before they are done. What a pass has left behind is read singly, like everything else.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
    PROOFS_FIRST,
    PROOFS_LATER,
    SAMPLE,
    Listed,
    ahead,
    belongs,
    by_key,
    capacity,
    in_order,
    keys_of,
    pages_of,
    pays,
)
from passferry.domain.scim import User
from passferry.domain.turns import BULK_SHARE
from passferry.gate import GateClosed
from passferry.ports import BULK_READ, READ, Clock, Page, Target
from passferry.store_ports import DeliveryStore

log = structlog.get_logger("passferry.deliver")

KEPT = 3600.0
"""Seconds for which it is believed how many users there are, and that pages are no good here."""
OFF = 600.0
"""Seconds without pages after some could not be read."""
FAILED = 3
"""Pages in a row that could not be read or proven, after which the others are not tried."""
CONFLICTED = 3
"""Writes in a row to users of pages that had changed since, after which pages are no good here."""
MOST_TRIES = 128
"""Users of pages that are worked on at a time; most of them wait at the gate."""

Found = tuple[Change, Listed]


@dataclass(eq=False, frozen=True, slots=True)
class _PageRead:
    """A page that was read."""

    start: int
    keys: Sequence[int]  # of all its users; hashes, since those of a whole pass are kept
    found: Sequence[Found]
    at: float  # epoch seconds, before it was known who of it is due
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
        draw: Callable[[], float],
        wake: Callable[[], None],
        heed: Callable[[Outcome], Awaitable[None]],
    ) -> None:
        """``wake`` has the owner loop look again; ``heed`` is told what a read came to instead of a user.

        ``draw``: numbers in [0, 1), by which passes begin at different pages.
        """
        self._org, self._store, self._target, self._pacer, self._clock = org, store, target, pacer, clock
        self._draw, self._wake, self._heed = draw, wake, heed
        self._todo: deque[int] | None = None  # numbers of the first users of pages; None between passes
        self._bulk = self._flooded = self._first = False
        # Of each user of a page that was read, hashed: the number of its first, and when it was read.
        self._passed: dict[int, tuple[int, float]] = {}
        self._settled: set[int] = set()  # pages that were read again for who came later, or are not worth it
        self._asked: set[asyncio.Task[None]] = set()
        self._to_hand_out: deque[_PageRead] = deque()
        self._given: list[Listed] = []
        self._total, self._total_at = 0, float("-inf")
        self._off_until = float("-inf")
        self._proven, self._proofs_left = False, 0  # in this pass
        self._pages_used = self._served = 0  # in this pass
        self._conflicted = self._failed = self._unproven = 0  # in a row
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
        found = await self._hand_out(busy)
        try:
            await self._plan(due, now, [*busy, *(change for change, _ in found)])
        except BaseException:
            for _, listed in found:  # nobody tries them now: they are due as before
                listed.waits, listed.done = False, True
            raise
        return found

    @property
    def in_pass(self) -> bool:
        """Whether pages are being read, one after the other."""
        return self._todo is not None

    def is_held_for_pass(self, change: Change) -> bool:
        """Whether ``change`` waits for the pass to come to its user, or for those of a page to be done.

        What went before them now would let what the page showed grow too old.
        """
        if change.bulk != self._bulk:
            return False
        if self._todo is None:
            return self._waiting() >= 3
        if hash(change.user.key) not in self._passed:
            return True
        page = self._missed_by(change)
        return page is not None and page not in self._settled

    def pause(self) -> None:
        """Nothing is sent for now, and ``look`` not called: what was read would only grow old."""
        self._sort_out()
        self._to_hand_out.clear()
        self._end()

    async def close(self) -> None:
        """Give up the pass and what is under way."""
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)

    # --- planning -------------------------------------------------------------------------------

    async def _plan(self, due: Sequence[Change], now: float, busy: Sequence[Change]) -> None:
        mono = self._clock.monotonic()
        people = sum(not change.bulk for change in due)
        self._flooded = people + sum(not change.bulk for change in busy) >= FLOOD
        if self._bulk and people >= FEWEST:
            self._end()
        if max(self._off_until, self._pacer.blocked_until) > mono or not self._has_room(len(busy)):
            return
        if self._todo is None:
            if max(people, len(due) - people) < FEWEST or self._waiting():
                return
            self._bulk = people < FEWEST
        elif not self._todo:
            self._todo.extend(self._left_behind(due))
        known = mono - self._total_at < KEPT
        left = len(self._todo) if self._todo is not None else pages_of(self._total) if known else 1
        ids = [change.id for change in busy]
        count = await self._store.due_count(self._org, now, left + MOST_AHEAD * PAGE, ids, bulk=self._bulk)
        proofs = PROOFS_FIRST + PROOFS_LATER if self._todo is None else 0
        if not pays(left + proofs, count, self._capacity()):
            self._end()
            return
        if self._todo is None:
            self._begin(left, known=known)
        while self._todo and self._has_room(len(busy), min(PAGE, max(1, count // max(1, left)))):
            self._ask(self._todo.popleft())
        if not self._todo and not self._asked and not self._to_hand_out:
            self._judge()
            self._end()

    def _left_behind(self, due: Sequence[Change]) -> list[int]:
        """Pages to be read once more, since users of them, two at least, became due after they were read.

        Others of pages that were read are read singly from now on.
        """
        pages = Counter(self._missed_by(change) for change in due if change.bulk == self._bulk)
        again = {page for page, users in pages.items() if page is not None and users > 1} - self._settled
        self._settled.update(page for page in pages if page is not None)
        self._passed = {key: page for key, page in self._passed.items() if page[0] not in again}
        return sorted(again)

    def _missed_by(self, change: Change) -> int | None:
        """The page that its user was on, where ``change`` has waited only since the page was read."""
        start, at = self._passed.get(hash(change.user.key), (None, 0.0))
        return start if change.waiting_since > at else None

    def _begin(self, pages: int, *, known: bool) -> None:
        log.info("pages.begin", org=self._org, pages=pages)
        self._todo, self._first = deque(in_order(pages, self._draw())), not known
        self._proven, self._proofs_left = False, PROOFS_LATER
        self._pages_used = self._served = 0
        self._passed.clear()
        self._settled.clear()

    def _judge(self) -> None:
        """Give pages up where there are more of them than users whom they serve: single reads cost less."""
        served = self._served + len(self._given)
        if served < self._pages_used:
            self._no_good("in.vain", OFF if 2 * served >= self._pages_used else KEPT)

    def _rate(self) -> float:
        share = BULK_SHARE if self._bulk and self._flooded else 1.0
        return share * self._pacer.limit / self._pacer.window

    def _capacity(self) -> int:
        return capacity(self._rate(), self._latency)

    def _waiting(self) -> int:
        return sum(listed.waits for listed in self._given)

    def _has_room(self, busy: int, a_page: int = PAGE) -> bool:
        """Whether another page should be asked for; ``a_page`` is how many users one is expected to serve."""
        under_way = len(self._asked) + len(self._to_hand_out)
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
        self._to_hand_out.clear()
        self._end()

    def _reduced(self) -> None:
        """Pages show less than reads do: nobody is written to by them any more."""
        for listed in self._given:
            listed.until = float("-inf")
        self._no_good("reduced", KEPT)

    # --- reading --------------------------------------------------------------------------------

    def _ask(self, start: int) -> None:
        task = asyncio.create_task(self._read(start))
        self._asked.add(task)
        task.add_done_callback(self._was_read)

    def _was_read(self, task: "asyncio.Task[None]") -> None:
        self._asked.discard(task)
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
                others = in_order(pages_of(page.total), self._draw())
                self._todo.extend(one for one in others if one != start)
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
        """Find out who of ``page`` is due, and have it proven that pages show what reads show."""
        users, at = by_key(page.users, page.others), self._clock.now()
        changes = await self._store.due_of(self._org, self._clock.now(), list(users))
        found = [
            (change, Listed(users[change.user.key], until))
            for change in sorted(changes, key=lambda change: change.waiting_since)
            if self._may_serve(change, users[change.user.key])
        ]
        if found and not await self._prove(found):
            found = []
        if self._clock.monotonic() >= self._off_until:
            keys = tuple(hash(key) for user in (*page.users, *page.others) for key in keys_of(user))
            self._to_hand_out.append(_PageRead(start, keys, found, at, until))

    def _may_serve(self, change: Change, user: User) -> bool:
        """A doubt is resolved by a version, for which a page is no evidence: a list may lag behind."""
        return change.bulk == self._bulk and change.doubt is None and belongs(change, user)

    async def _prove(self, found: list[Found]) -> bool:
        """Read some of them singly, and put them in their places; whether the page may be used.

        Those of whom the page shows most: what is left out of it is found out by who has it.
        """
        most = PROOFS_FIRST if not self._proven else min(1, self._proofs_left)
        if self._proven:
            self._proofs_left -= most
        longest = sorted(range(len(found)), key=lambda at: len(found[at][1].user.raw), reverse=True)
        for at in longest[:most]:
            change, listed = found[at]
            read = await self._target.read(listed.user.id, self._priority())
            if not isinstance(read, User):
                await self._heed(read)
                return self._unproved(read.code, OFF)
            if read.version != listed.user.version:
                return self._unproved("versions", KEPT)  # it changed meanwhile, or they are never alike
            if not self._target.alike(listed.user, read):
                self._reduced()
                return False
            found[at] = change, Listed(read, listed.until)
        self._proven, self._unproven = True, 0
        return True

    def _unproved(self, why: str, seconds: float) -> bool:
        self._unproven += 1
        if self._unproven >= FAILED:
            self._unproven = 0
            self._no_good(why, seconds)
        return False

    # --- handing out ----------------------------------------------------------------------------

    async def _hand_out(self, busy: Sequence[Change]) -> list[Found]:
        """What of the pages read can be written in time; a page is read again for the rest of it.

        Who is due is asked again: a try that was under way when the page was read may have ended since.
        """
        pages = list(self._to_hand_out)
        keys = [change.user.key for page in pages for change, _ in page.found]
        changes = await self._store.due_of(self._org, self._clock.now(), keys) if keys else []
        ids, users = {change.id for change in busy}, {change.user.key for change in busy}
        due = {change.id: change for change in changes if change.id not in ids}
        taken: list[Found] = []
        for page in pages:
            if not self._to_hand_out:
                break  # given up meanwhile
            self._to_hand_out.popleft()
            room = MOST_TRIES - len(busy) - len(taken)
            taken += self._hand_out_page(page, due, users, room)
            if self._pages_used >= SAMPLE:
                self._judge()
        return taken

    def _hand_out_page(
        self, page: _PageRead, due: Mapping[str, Change], users: set[str], room: int
    ) -> list[Found]:
        """``users`` are those that are worked on; whoever is handed out becomes one of them."""
        self._pages_used += 1
        if self._clock.monotonic() > page.until - MARGIN:
            self._again(page, ())
            return []
        free: list[Found] = []
        for change, listed in page.found:
            now = due.get(change.id)
            if now is not None and now.user.key not in users and self._may_serve(now, listed.user):
                free.append((now, listed))
        most = max(0, min(self._capacity() - self._waiting(), room))
        given, left = free[:most], free[most:]
        users.update(change.user.key for change, _ in given)
        self._given += [listed for _, listed in given]
        if self._todo is not None:
            self._passed.update(dict.fromkeys(page.keys, (page.start, page.at)))
        if left:
            self._again(page, left)
        return given

    def _again(self, page: _PageRead, left: Sequence[Found]) -> None:
        """Read ``page`` once more in this pass: for those ``left`` there was no time."""
        for change, _ in left:
            self._passed.pop(hash(change.user.key), None)
        if self._todo is not None:
            self._todo.appendleft(page.start)

    def _sort_out(self) -> None:
        """Forget those that are done, and learn from what became of them."""
        for listed in self._given:
            if listed.done:
                self._served += listed.served
                self._conflicted = self._conflicted + 1 if listed.conflicted else 0
        self._given = [listed for listed in self._given if not listed.done]
        if self._conflicted >= CONFLICTED:
            self._conflicted = 0
            self._no_good("conflicted", KEPT)
