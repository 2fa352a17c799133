"""What a source may do, and its hour."""

from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.source_rules import SLOT, folded, names_one, one_more, within_the_hour

HOUR = 3600.0
NOW = 1_800_000_000.0


def test_users_are_compared_whole_and_in_any_letter_case() -> None:
    """Ids and names alike; a part of a name is another name; nobody is in an empty list."""
    never = frozenset(map(folded, ["Root@Example.com", "ABC-1", "STRASSE@example.com"]))
    assert names_one(never, "other", "root@EXAMPLE.com")
    assert names_one(never, "abc-1", "x")
    assert names_one(never, "Stra\u00dfe@example.com")
    assert not names_one(never, "aroot@example.com", "root@example.com.org", "abc")
    assert not names_one(frozenset(), "root@example.com")


@given(st.lists(st.floats(0, 4 * HOUR), max_size=60), st.integers(1, 10))
def test_never_more_than_the_limit_within_any_hour(moments: list[float], most: int) -> None:
    """Invariant: whatever the times, of those that were let through no window of an hour has more."""
    counts: dict[int, int] = {}
    through: list[float] = []
    for at in sorted(moments):
        counts = within_the_hour(counts, NOW + at)
        if sum(counts.values()) < most:
            counts = one_more(counts, NOW + at)
            through.append(at)
    for start in through:
        assert sum(start <= at < start + HOUR for at in through) <= most


def test_after_an_hour_and_a_step_everything_is_forgotten() -> None:
    """Then as many are let through again; what a clock that was wrong left ahead does not count for good."""
    counts = one_more(one_more({}, NOW), NOW)
    assert sum(within_the_hour(counts, NOW + HOUR).values()) == 2
    assert within_the_hour(counts, NOW + HOUR + SLOT) == {}
    assert within_the_hour(one_more({}, NOW + 9 * HOUR), NOW) == {}
