"""Several workers, orgs and everything that can go wrong with them, 20,000 changes in all.

More by hand: ``make campaign ARGS='--seeds 1-100 --changes 10000'``.
"""

import pytest

from campaign.__main__ import one_seed

CHANGES = 200


@pytest.mark.parametrize("seed", range(1, 101))
def test_no_fleet_breaks_a_promise(seed: int) -> None:
    """Nothing lost, stale, sent twice or changed besides, whoever dies, freezes or is cut off, and when."""
    _, broken, counts = one_seed(CHANGES, seed)
    assert broken == []
    assert counts["changes"] == CHANGES


def test_a_seed_repeats_a_run_exactly() -> None:
    """The same requests, faults and virtual time again: what a seed found once, it finds again."""
    assert one_seed(60, 7) == one_seed(60, 7)
