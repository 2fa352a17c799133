"""When pages pay, and whom they show."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.change import Change, Reference, State
from passferry.domain.paging import (
    FRESH,
    PAGE,
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

ID = "0a1b2c3d-0000-4000-8000-0123456789ab"
JANE = User(ID, "Jane@Example.com", True, "7", "{}")


def change(kind: str, value: str, resolved: str | None = None) -> Change:
    """A due change of a reference."""
    reference = Reference(kind, value)
    return Change("c", "default", 1, reference, "s", State.PENDING, 0.0, 0.0, 9.0, resolved_id=resolved)


@given(st.integers(0, 10**6))
def test_a_list_has_as_many_pages_as_hold_it(total: int) -> None:
    """The last one may not be full."""
    assert pages_of(total) == math.ceil(total / PAGE)


@given(st.lists(st.integers(1, PAGE), min_size=1, max_size=200), st.integers(1, PAGE))
def test_pages_never_cost_more_than_reading_everybody(due: list[int], room: int) -> None:
    """Of pages with so many due users each, of which one reading serves ``room``."""
    reads = sum(math.ceil(users / room) for users in due)
    if pays(len(due), sum(due), room):
        assert reads <= sum(due)
    assert not pays(len(due), len(due), room)


@given(st.floats(0.01, 100), st.floats(0, 10))
def test_what_is_taken_of_a_page_can_be_written_while_it_is_fresh(rate: float, latency: float) -> None:
    """At the quota's pace, with the page's own way and two other requests in between."""
    users = capacity(rate, latency)
    assert users >= 0
    if users:
        assert latency + (users + 2) / rate <= FRESH


def test_a_quota_that_serves_one_user_a_page_pays_nothing() -> None:
    """Below some 15 requests a minute there are no pages; at 300 a whole one is served."""
    assert capacity(300 / 60.5, 0.06) >= PAGE
    assert not pays(1, 25, capacity(12 / 60.5, 0.06))
    assert pays(1, 25, capacity(60 / 60.5, 0.06))


@given(st.floats(0.01, 100), st.floats(0, 10))
def test_the_next_page_is_asked_for_before_the_quota_would_lie_idle(rate: float, latency: float) -> None:
    """While it is on its way, there are users left to write to."""
    assert ahead(rate, latency) >= rate * latency + 2


@pytest.mark.parametrize(
    ("reference", "mine"),
    [
        (change("id", ID), True),
        (change("id", ID.upper()), True),
        (change("id", "0a1b2c3d"), False),
        (change("userName", "Jane@Example.com"), True),
        (change("userName", "jane@example.com"), False),
        (change("userName", "JANE@example.COM", ID), True),
        (change("userName", "jane@example.com", "another"), False),
        (change("userName", "jane@example.org"), False),
        (change("userName", ID), False),
    ],
)
def test_a_user_of_a_page_is_who_the_reference_means(reference: Change, mine: bool) -> None:
    """Ids are compared without case. A name that was not looked up must be written alike."""
    assert belongs(reference, JANE) is mine


def test_an_inactive_user_is_not_taken_for_a_name() -> None:
    """Somebody else may have the name by now; that is looked up. An id stays somebody's."""
    gone = User(ID, "jane@example.com", False, "7", "{}")
    assert not belongs(change("userName", "jane@example.com"), gone)
    assert not belongs(change("userName", "jane@example.com", ID), gone)
    assert belongs(change("id", ID), gone)


def test_a_name_that_two_of_a_page_share_is_taken_for_neither() -> None:
    """Case folded, and whether or not the other one could be written to; each still has its id."""
    one, other = (
        User("1", "strasse@example.com", True, "7", "{}"),
        User("2", "Straße@example.com", False, None, "{}"),
    )
    assert set(by_key([one], [other])) == {"i:1"}
    assert set(by_key([one, JANE], [])) == {"i:1", "n:strasse@example.com", *keys_of(JANE)}


@given(st.integers(0, 400), st.floats(0, 1, exclude_max=True))
def test_a_pass_reads_every_page_once_and_any_ten_of_them_tell_of_the_whole(pages: int, draw: float) -> None:
    """Of pages that follow each other in a pass, no quarter of the list has none."""
    order = in_order(pages, draw)
    assert sorted(order) == [1 + PAGE * page for page in range(pages)]
    for at in range(max(0, pages - 10)):
        quarters = {(first - 1) // PAGE * 4 // pages for first in order[at : at + 10]}
        assert quarters == {0, 1, 2, 3}


def test_changes_of_a_page_are_found_by_the_keys_of_their_references() -> None:
    """By id, in the usual letter case too, and by name."""
    shouting = User(ID.upper(), "Jane@Example.com", True, "7", "{}")
    for reference in (Reference("id", ID), Reference("userName", "JANE@example.com")):
        assert reference.key in keys_of(JANE)
        assert reference.key in keys_of(shouting)
