"""Pages by themselves: who of a page that was read is handed out, and what is forgotten."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from campaign.virtual_time import VirtualClock, run
from passferry.domain.change import Change, Doubt, Reference, State
from passferry.domain.outcome import Outcome
from passferry.domain.pacing import Pacer
from passferry.domain.paging import Listed
from passferry.domain.scim import User
from passferry.pages import Pages
from passferry.ports import Page, Target
from passferry.store_ports import DeliveryStore

USERS = [User(f"u{number}", f"u{number}@example.com", True, "1", "{}") for number in range(60)]
DUE = [
    Change(user.id, "default", number, Reference("id", user.id), "s", State.PENDING, 0.0, 0.0, 9e9)
    for number, user in enumerate(USERS)
]


@dataclass
class Org:
    """A store and a target: 60 users on three pages, all of them due."""

    due: dict[str, Change] = field(default_factory=lambda: {change.id: change for change in DUE})
    others: frozenset[str] = frozenset()  # ids of users that the list does not show whole

    async def due_count(self, *_: object, **__: object) -> int:
        """See ``DeliveryStore``."""
        return len(self.due)

    async def due_of(self, org: str, now: float, keys: Sequence[str]) -> list[Change]:
        """See ``DeliveryStore``."""
        return [change for change in self.due.values() if change.user.key in keys]

    async def page(self, start: int, priority: int) -> Page:
        """See ``Target``."""
        some = USERS[start - 1 : start + 24]
        shown = [user for user in some if user.id not in self.others]
        return Page(60, len(some), shown, [user for user in some if user.id in self.others], 0.1)

    async def read(self, user_id: str, priority: int) -> User | Outcome:
        """See ``Target``."""
        return next(user for user in USERS if user.id == user_id)

    def alike(self, listed: User, read: User) -> bool:
        """See ``Target``."""
        return listed == read


def _pages(org: Org) -> Pages:
    async def heed(outcome: Outcome) -> None:
        """Nothing goes wrong here."""

    clock = VirtualClock(asyncio.get_running_loop())
    store, target = cast(DeliveryStore, org), cast(Target, org)
    return Pages(
        "default", store, target, Pacer(300, clock.monotonic()), clock, lambda: 0.0, lambda: None, heed
    )


async def _handed_out(pages: Pages, busy: Sequence[Change] = ()) -> list[tuple[Change, Listed]]:
    return await pages.look(DUE, 0.0, busy)


async def _read(pages: Pages) -> None:
    """The first page is asked for and read."""
    assert await _handed_out(pages) == []
    await asyncio.sleep(1.0)


def test_only_who_is_still_due_is_handed_out() -> None:
    """Tries of users of the page may end, or leave a doubt, between its reading and its use."""

    async def body() -> None:
        org = Org()
        pages = _pages(org)
        await _read(pages)
        gone, doubtful, busy = DUE[0], replace(DUE[1], attempts=1, doubt=Doubt(0.0, "1", 1)), DUE[2]
        del org.due[gone.id]
        org.due[doubtful.id] = doubtful
        given = [change.id for change, _ in await _handed_out(pages, [busy])]
        assert given == [change.id for change in DUE[3:25]]
        await pages.close()

    run(body())


def test_who_was_tried_meanwhile_is_handed_out_as_it_stands_now() -> None:
    """With the attempts that it has."""

    async def body() -> None:
        org = Org()
        pages = _pages(org)
        await _read(pages)
        org.due[DUE[0].id] = replace(DUE[0], attempts=3)
        given: list[Any] = [change for change, _ in await _handed_out(pages)]
        assert given[0].attempts == 3
        await pages.close()

    run(body())


def test_a_page_holds_back_nobody_whom_it_showed_and_cannot_serve() -> None:
    """Whom the list shows without a version is read singly as soon as its page has passed."""

    async def body() -> None:
        pages = _pages(Org(others=frozenset({DUE[5].id})))
        await _read(pages)
        assert pages.is_held_for_pass(DUE[5])
        given = [change.id for change, _ in await _handed_out(pages)]
        assert DUE[5].id not in given
        assert not pages.is_held_for_pass(DUE[5])
        assert pages.is_held_for_pass(DUE[59])
        await pages.close()

    run(body())


def test_a_pause_ends_the_pass_and_forgets_what_was_read() -> None:
    """What a page showed before the pause is not used after it, and nobody is held back for it."""

    async def body() -> None:
        pages = _pages(Org())
        await _read(pages)
        pages.pause()
        assert not pages.is_held_for_pass(DUE[59])
        assert await _handed_out(pages) == []
        await pages.close()

    run(body())
