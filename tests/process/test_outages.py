"""Something is away for a while, under load; at full size by ``python -m process.outages``."""

from pathlib import Path

import pytest

from process import outages
from process.ground import POSTGRESQL, Ground


def test_a_disk_that_fills_up_under_load_costs_no_change_and_needs_nobody(tmp_path: Path) -> None:
    """503 meanwhile; then the same process accepts again, and everything accepted before is delivered."""
    figures = outages.run(Ground(tmp_path), tmp_path / "gateway", "disk", away=4, changes=60)
    assert list(map(str, figures.breaches)) == []
    assert figures.changes == 60
    assert figures.restarts == 0
    assert set(figures.meanwhile) - {"202", "503 disk.full"} == set()
    assert figures.meanwhile["503 disk.full"] > 0


def test_a_database_that_is_stopped_and_started_costs_no_change_and_needs_nobody(tmp_path: Path) -> None:
    """Callers are told to send again meanwhile."""
    ground = Ground(tmp_path, POSTGRESQL)
    figures = outages.run(ground, tmp_path / "gateway", "database", away=5, changes=40)
    assert list(map(str, figures.breaches)) == []
    assert (figures.changes, figures.restarts) == (40, 0)
    assert figures.meanwhile["503 store.away"] > 0


@pytest.mark.parametrize("what", ["owner", "frozen"])
def test_an_owner_that_is_cut_off_or_frozen_is_replaced_and_does_no_harm(tmp_path: Path, what: str) -> None:
    """Others deliver within 20 s; when it comes back it begins nothing."""
    ground = Ground(tmp_path, POSTGRESQL)
    among = ("serve", "worker", "worker")
    figures = outages.run(ground, tmp_path / "gateway", what, away=20, changes=40, processes=among)
    assert list(map(str, figures.breaches)) == []
    assert (figures.changes, figures.restarts) == (40, 0)
    assert figures.slowest < 20 + 5
