"""When a page of the user list is cheaper than reading user by user, and what it may be used for.

A page costs one request, like a single read. It saves reads only while fewer pages are left than users are
due, and what it shows is used for ``FRESH`` seconds: so the quota decides how many of its users it can serve.
"""

import math
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


@dataclass(eq=False, slots=True)
class Listed:
    """A user as a page showed it, for one try."""

    user: User
    until: float  # monotonic; the write starts before
    waits: bool = True  # until its write's turn has come, or it was given up
    done: bool = False
    refuted: bool = False  # the target said that the user had changed


def pages_of(total: int) -> int:
    """How many pages a list of ``total`` users has."""
    return -(-total // PAGE)


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

    A name is one user's, whatever the case of its letters (RFC 7643 §4.1.1). But an inactive user may have
    left it to somebody else.
    """
    if change.user.kind == "id":
        return change.user.value.casefold() == user.id.casefold()
    if change.user.value.casefold() != user.user_name.casefold() or not user.active:
        return False
    return change.resolved_id is None or change.resolved_id.casefold() == user.id.casefold()


def keys_of(user: User) -> tuple[str, ...]:
    """The keys (``Reference.key``) of the references under which changes of ``user`` may wait."""
    return tuple({f"i:{user.id}", f"i:{user.id.lower()}", f"n:{user.user_name.casefold()}"})
