"""The ids of an org's inactive users, where a search by name does not find them.

A provider that assigns somebody anew searches before it creates: if it finds nobody, the user stays inactive.
"""

import asyncio
from collections.abc import Awaitable, Callable

from passferry.domain.answers import Answer, classify_read, unusable
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.paging import PAGE
from passferry.domain.scim import NotScim, list_items, members, parse_user, text_of, value_of
from passferry.domain.scim_query import Equals
from passferry.ports import Clock

KEPT = 3600.0
"""Seconds for which the list is used,"""
DOUBTED = 300.0
"""and for which it is once the target said that a user exists who was not found."""
PATIENCE = 10.0
"""Seconds for which a search waits while the list is read."""
LOOKUP_WAIT = 30.0
MOST_PAGES = 400
MOST_KEYS = 2 * MOST_PAGES * PAGE
"""What is kept: a userName and an externalId of each user in so many pages."""


class Inactive:
    """The inactive users of one org, shared by all searches.

    Args:
        page: reads the part of the list that begins with a number (the first is 1).
        clock: only its monotonic time is read.
    """

    def __init__(self, page: Callable[[int], Awaitable[Answer | Outcome]], clock: Clock) -> None:
        self._page, self._clock = page, clock
        self._ids: dict[tuple[str, str], str] = {}  # by attribute and value
        self._at: float | None = None
        self._good_for = KEPT
        self._so_far: dict[tuple[str, str], str] = {}
        self._next = 1
        self._reading: asyncio.Task[Outcome | None] | None = None

    async def id_of(self, wanted: Equals) -> str | Outcome | None:
        """The id of who may be meant by ``wanted``, a comparison of `userName` or `externalId`.

        An ``Outcome`` when the list is not there yet: it is read on meanwhile, or cannot be read now.
        """
        key = _key(wanted.name, wanted.value)
        if key not in self._ids and not self._is_good():
            outcome = await self._read()
            if outcome is not None:
                return outcome
        return self._ids.get(key)

    def noted(self, answer: Answer) -> None:
        """``answer`` shows a resource as it is now: perhaps a user who has become inactive."""
        try:
            found = _keys(answer.text())
        except NotScim:
            return
        _keep(self._ids, found)
        _keep(self._so_far, found)

    def drop(self, wanted: Equals) -> bool:
        """Who was meant by ``wanted`` is another by now; whether anybody was."""
        key = _key(wanted.name, wanted.value)
        self._so_far.pop(key, None)
        return self._ids.pop(key, None) is not None

    def doubt(self) -> None:
        """A user exists who was not found: read the list again soon."""
        self._good_for = DOUBTED

    async def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    def _is_good(self) -> bool:
        return self._at is not None and self._clock.monotonic() - self._at < self._good_for

    async def _read(self) -> Outcome | None:
        """None when the list is there."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        reading = self._reading
        done, _ = await asyncio.wait([reading], timeout=PATIENCE)
        return reading.result() if done else Outcome(Kind.THROTTLED, "user.lookup", retry_after=LOOKUP_WAIT)

    async def _read_all(self) -> Outcome | None:
        """Page after page; after one that could not be read, the next call goes on with it."""
        while self._next <= MOST_PAGES * PAGE:
            page = await self._page(self._next)
            listed = page if isinstance(page, Outcome) else _listed(page)
            if isinstance(listed, Outcome):
                if listed.kind in (Kind.THROTTLED, Kind.UNAVAILABLE):
                    return listed
                break  # there is no such list, which must not keep anybody from creating users
            total, items = listed
            found = [keys for item in items if (keys := _keys(item))]
            for keys in found:
                _keep(self._so_far, keys)
            self._next += len(items)
            if not found or self._next > total:  # whoever lists active ones does not honour the filter
                break
        self._ids, self._at, self._good_for = self._so_far, self._clock.monotonic(), KEPT
        self._so_far, self._next = {}, 1
        return None


def _listed(answer: Answer) -> tuple[int, list[str]] | Outcome:
    failure = classify_read(answer)
    if failure is not None:
        return failure
    try:
        return list_items(answer.text())
    except NotScim:
        return unusable(answer)


def _keep(ids: dict[tuple[str, str], str], found: dict[tuple[str, str], str]) -> None:
    """Put what was ``found`` last, and let what is there for the longest time go."""
    for key, user_id in found.items():
        ids.pop(key, None)
        ids[key] = user_id
    while len(ids) > MOST_KEYS:
        del ids[next(iter(ids))]


def _key(name: str, value: str) -> tuple[str, str]:
    return name, value if name == "externalid" else value.casefold()


def _keys(text: str) -> dict[tuple[str, str], str]:
    """By what an inactive user is searched for, and its id; nothing for anybody else."""
    try:
        user = parse_user(text)
        external = [text_of(value_of(value)) for name, value in members(text) if name.lower() == "externalid"]
    except NotScim:
        return {}
    if user.active:
        return {}
    return {
        _key("username", user.user_name): user.id,
        **{_key("externalid", each): user.id for each in external if each},
    }
