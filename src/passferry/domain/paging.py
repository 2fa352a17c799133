"""When a page of the user list is cheaper than reading user by user, and what it may be used for.

A page costs one request, like a single read. It saves reads only while fewer pages are left than users are
due, and what it shows is used for ``FRESH`` seconds: so the quota decides how many of its users it can serve.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from passferry.domain.change import Change
from passferry.domain.scim import User

PAGE = 25
"""Users a page: more may be answered 429 where no attributes are selected."""
FRESH = 15.0
"""Seconds after its request for which a page is used."""
FEWEST = 2 * PAGE
"""Due users from which on pages are thought of. Fewer are read one by one, and no page is tried for them."""
FLOOD = 10
"""People's changes at a time that leave bulk its tenth of the quota, and no more."""
MARGIN = 2.0
"""Seconds of ``FRESH`` that are not planned with: a store may be slow, somebody else may go first."""
MOST_AHEAD = 8
"""Pages that are read at the same time, for targets that are fast but far away."""
SAMPLE = 10
"""Pages after which it shows whether a pass serves a user a page at least."""
PROOFS_FIRST, PROOFS_LATER = 2, 2
"""Users read singly, too, in each pass: of its first page, before anything is written; of each next one."""
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(eq=False, slots=True)
class Listed:
    """A user as a page showed it, for one try."""

    user: User
    until: float  # monotonic; the write starts before
    waits: bool = True  # until its write's turn has come, or it was given up
    done: bool = False
    served: bool = False  # its write needed no single read
    conflicted: bool = False  # the target said that the user had changed


def pages_of(total: int) -> int:
    """How many pages a list of ``total`` users has."""
    return -(-total // PAGE)


def in_order(pages: int, draw: float) -> list[int]:
    """The numbers of the first users of ``pages`` pages, in the order in which a pass reads them.

    Any few of them that follow each other are spread over the list, so that they tell of the whole. ``draw``
    is in [0, 1): a pass that begins anew does not begin with those already served.
    """
    turns = sorted(range(pages), key=lambda page: (draw + page * _GOLDEN) % 1.0)
    return [1 + PAGE * page for page in turns]


def pays(pages: int, due: int, capacity: int) -> bool:
    """Whether reading ``pages`` pages, some of them again, costs fewer requests than reading ``due`` users.

    Where a page serves two users or more, it is enough that there are fewer pages than due users.
    """
    return capacity >= 2 and pages < due


def capacity(rate: float, latency: float) -> int:
    """How many users of a page can be written to in time.

    ``rate`` is requests a second, ``latency`` the seconds that a page takes. Two requests are not theirs: the
    next page, and a read beside it.
    """
    return max(0, int(rate * (FRESH - MARGIN - latency)) - 2)


def ahead(rate: float, latency: float) -> int:
    """How many users must be ready so that the quota is used while the next page is read."""
    return 2 + math.ceil(1.5 * latency * rate)


def belongs(change: Change, user: User) -> bool:
    """Whether ``user`` is who ``change`` is for, as far as a page can show it.

    Which names are one and the same (ß and ss, say) is for the target to tell: without its look-up, only what
    is written alike is. An inactive user may have left the name to somebody else.
    """
    name = change.user
    if name.kind == "id":
        return name.value.casefold() == user.id.casefold()
    if change.resolved_id is None:
        return name.value == user.user_name and user.active
    same = name.value.casefold() == user.user_name.casefold() and user.active
    return same and change.resolved_id.casefold() == user.id.casefold()


def by_key(users: Sequence[User], others: Sequence[User]) -> dict[str, User]:
    """Who of ``users`` changes with a key may be for. ``others`` are on the same page.

    A name that two of the page share, letter case aside, means neither of them here.
    """
    names = Counter(user.user_name.casefold() for user in (*users, *others))
    return {
        key: user
        for user in users
        for key in keys_of(user)
        if key.startswith("i:") or names[user.user_name.casefold()] == 1
    }


def keys_of(user: User) -> tuple[str, ...]:
    """The keys (``Reference.key``) of the references under which changes of ``user`` may wait."""
    return tuple({f"i:{user.id}", f"i:{user.id.lower()}", f"n:{user.user_name.lower()}"})
