"""Something is away for a while, under load; at full size by ``python -m process.outages``."""

from pathlib import Path

from process import outages
from process.ground import Ground


def test_a_disk_that_fills_up_under_load_costs_no_change_and_needs_nobody(tmp_path: Path) -> None:
    """503 meanwhile; then the same process accepts again, and everything accepted before is delivered."""
    figures = outages.run(Ground(tmp_path), tmp_path / "gateway", "disk", away=4, changes=60)
    assert list(map(str, figures.breaches)) == []
    assert figures.changes == 60
    assert figures.restarts == 0
    assert set(figures.meanwhile) - {"202", "503 disk.full"} == set()
    assert figures.meanwhile["503 disk.full"] > 0
