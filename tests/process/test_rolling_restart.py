"""An upgrade: processes of one database are stopped and started one after the other, under load."""

import random
from pathlib import Path

from passferry.simulator import Settings

from .fleet import Fleet
from .ground import POSTGRESQL, Ground
from .harness import StandIn
from .kills import Callers, judged, plan, wait_for_ends
from .promises import Shown

CHANGES = 50


def test_a_rolling_restart_loses_nothing_and_refuses_nothing_for_good(tmp_path: Path) -> None:
    """A caller that sends again gets every change in; each is written once, and no answer is lost."""
    ground = Ground(tmp_path, POSTGRESQL)
    with (
        StandIn(Settings.calm(rate=100_000, latency=0.1), users=CHANGES) as target,
        ground.place(tmp_path / "gateway", target.settings()) as place,
    ):
        fleet = Fleet(place, ("serve", "serve"))
        fleet.start()
        planned = plan(target.active_users(), CHANGES, random.Random(3))
        with_load = Callers(fleet, ground.source, planned, spread=12.0)
        codes = [fleet.restart(which) for which in (0, 1)]
        assert with_load.alive(), "the load ended too early to meet the restarts"
        wait_for_ends(fleet, with_load)
        ledger, breaches = judged(target, fleet, with_load, place)
        shown = Shown.by(ledger)
    ground.close()
    assert list(map(str, breaches)) == []
    assert (codes, len(with_load.accepted)) == ([0, 0], CHANGES)
    assert set(with_load.answers) <= {"200", "202", "503 shutting.down"}
    assert (shown.doubts, shown.inferred) == (0, 0)
