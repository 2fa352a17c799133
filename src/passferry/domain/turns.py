"""Whose turn it is at an org's target. Pure.

Deliveries of people's passwords go first. Each other class keeps a tenth of the turns while it waits. What is
left beside that is shared: one request for one user that others make through us, one of bulk's deliveries,
and so on. What others do in bulk comes last.
"""

from collections.abc import Collection, Mapping

CLASSES = PEOPLE, RELAYED, BULK, RELAYED_BULK = 0, 1, 2, 3
"""Deliveries of people's changes; what others ask for one user; deliveries of bulk; lists and the like."""
ONE_IN = 10
"""Every tenth turn at least is that of a class that waits."""
BULK_SHARE = 1.0 / ONE_IN
"""What bulk keeps of the quota, however many people wait."""


def turn(waiting: Collection[int], passed_over: Mapping[int, int]) -> int | None:
    """Which of the ``waiting`` classes has the next turn; None when nobody waits.

    ``passed_over``: turns of others since a class that waits had one.
    """
    overdue = [each for each in waiting if each != PEOPLE and passed_over[each] + 1 >= ONE_IN]
    if not overdue and PEOPLE in waiting:
        return PEOPLE
    equals = overdue or [each for each in waiting if each != RELAYED_BULK] or waiting
    return max(equals, key=lambda each: (passed_over[each], -each), default=None)
