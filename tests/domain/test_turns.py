"""Whose turn it is at an org's target."""

from collections import Counter

import pytest

from passferry.domain.turns import BULK, CLASSES, PEOPLE, RELAYED, RELAYED_BULK, turn


def shares(*waiting: int) -> dict[int, int]:
    """Of a hundred turns, while all of ``waiting`` wait all the time."""
    given, passed = Counter[int](), dict.fromkeys(CLASSES, 0)
    for _ in range(100):
        which = turn(waiting, passed)
        assert which is not None
        given[which] += 1
        passed = {each: 0 if each == which or each not in waiting else passed[each] + 1 for each in CLASSES}
    return dict(given)


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ((PEOPLE, RELAYED), {PEOPLE: 90, RELAYED: 10}),
        ((PEOPLE, BULK), {PEOPLE: 90, BULK: 10}),
        ((RELAYED, BULK), {RELAYED: 50, BULK: 50}),
        ((BULK, RELAYED_BULK), {BULK: 90, RELAYED_BULK: 10}),
        ((PEOPLE, RELAYED, BULK), {PEOPLE: 80, RELAYED: 10, BULK: 10}),
    ],
)
def test_people_go_first_and_everybody_else_keeps_a_tenth(
    waiting: tuple[int, ...], expected: dict[int, int]
) -> None:
    """What people leave is shared between who asks for one user and bulk's deliveries."""
    assert shares(*waiting) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("alone", CLASSES)
def test_whoever_is_alone_has_every_turn(alone: int) -> None:
    """Nothing is kept free for those who are not there."""
    assert shares(alone) == {alone: 100}
    assert turn([], dict.fromkeys(CLASSES, 0)) is None


def test_all_at_once_leave_people_most() -> None:
    """Three classes keep their tenths, give or take a turn where they come due together."""
    given = shares(*CLASSES)
    assert given[PEOPLE] >= 68
    assert min(given[each] for each in CLASSES) >= 8
