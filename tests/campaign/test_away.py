"""A target that is away for a day; more by hand: ``PYTHONPATH=tests python -m campaign.away``."""

from campaign.away import day
from campaign.virtual_time import run


def test_a_day_without_the_target_is_drained_at_quota() -> None:
    """Nothing lost, no 429, and nobody waits out a back-off of the outage once somebody got through."""
    it = run(day(1, users=50))
    assert (it.changes, it.lost, it.throttled, it.broken) == (50, 0, 0, [])
    assert it.good, f"{it.seconds:.0f} s for what the quota lets through in {it.quota:.0f} s"
