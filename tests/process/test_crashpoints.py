"""The process dies between two steps: each step once here, every one by ``make crashpoints``."""

from pathlib import Path

import pytest

from process import crashpoints
from process.crashpoints import verdicts
from process.ground import SQLITE, Ground


@pytest.mark.parametrize("scenario", crashpoints.SCENARIOS)
def test_a_death_after_any_step_breaks_no_promise(tmp_path: Path, scenario: str) -> None:
    """Nothing accepted is lost, the newest wins, a repeat is shown, the trail holds, nothing sealed stays."""
    found = list(verdicts(tmp_path, SQLITE, [scenario], turns=1))
    assert [verdict.line() for verdict in found if verdict.breaches] == []
    assert len(found) > 15


def test_a_point_is_where_its_name_says(tmp_path: Path) -> None:
    """Before its write was sent it tries once more; after its outcome was stored nothing is done again."""
    ground = Ground(tmp_path)
    trial = crashpoints.Trial(ground, tmp_path, "recover")
    died = {name: trial.run_until_reached(f"{name} #1") for name in ("begin: committed", "settle: committed")}
    assert [verdict.breaches for verdict in died.values()] == [[], []]
    assert died["begin: committed"].shown.doubts == 2
    assert died["settle: committed"].shown.doubts in (1, 2)  # the other user's write may be under way then
    assert died["settle: committed"].trace[-1] == "settle: committed #1"
