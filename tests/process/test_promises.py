"""The two promises that matter most, at the size that the project holds itself to."""

from pathlib import Path

from process import kills, races
from process.ground import POSTGRESQL, Ground


def test_fifty_kills_in_a_run_of_200_changes_lose_nothing_and_let_nothing_old_win(tmp_path: Path) -> None:
    """Each user's newest accepted password is the last that the target got, whenever kill -9 struck."""
    figures = kills.run(Ground(tmp_path), tmp_path / "gateway", seed=20)
    assert list(map(str, figures.breaches)) == []
    assert (figures.kills, figures.changes) == (50, 200)
    assert figures.shown.doubts > 0
    assert sum(figures.faults.values()) > 10


def test_kills_among_several_processes_lose_nothing_and_let_nothing_old_win(tmp_path: Path) -> None:
    """Two gateways and a worker on PostgreSQL, which take each other's orgs over."""
    ground = Ground(tmp_path, POSTGRESQL)
    among = ("serve", "serve", "worker")
    figures = kills.run(ground, tmp_path / "gateway", seed=21, kills=20, changes=80, processes=among)
    assert list(map(str, figures.breaches)) == []
    assert (figures.kills, figures.changes) == (20, 80)


def test_the_newer_of_two_passwords_wins_500_races(tmp_path: Path) -> None:
    """Whatever fails on the way, and whatever the target still executes after we have given up."""
    figures = races.run(tmp_path, races=500, seed=20)
    assert figures.ok, figures
    assert figures.races == 500
    assert len(figures.struck) > 8
