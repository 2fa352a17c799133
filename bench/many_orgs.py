"""Two workers and a thousand orgs on PostgreSQL: applied changes per processor second, and fairness."""

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import backlog
import databases
import orgs_file
import programs
from figures import Asked, Row, at_least, at_most, spread

ORGS, WORKERS, CHANGES_OF_AN_ORG = 1000, 2, 100
"""Half way, one change more or less is a fifth of what counts as unfair."""
TOO_LONG = 3600.0


class Delivered(NamedTuple):
    """One backlog of every org, delivered."""

    per_cpu: float  # applied changes per 2 seconds of processor time, all workers together
    per_second: float  # on the wall
    unfair: float  # how far any org was from the mean at half time, as a share of the mean


def rows(asked: Asked) -> list[Row]:
    """Each round on a new database."""
    rounds = [_round(asked.scaled(ORGS)) for _ in range(asked.rounds)]
    what = f"{asked.scaled(ORGS)} orgs, PostgreSQL, {WORKERS} workers, verifier off"
    wall = f"; {spread([each.per_second for each in rounds], '/s')} on the wall"
    unfair = [100 * each.unfair for each in rounds]
    return [
        at_least(
            f"applied changes per 2 CPU-seconds of the workers, {what}",
            [r.per_cpu for r in rounds],
            400,
            "",
            wall,
        ),
        at_most("the org that is furthest from the mean, half way", unfair, 10, " %"),
    ]


def _round(orgs: int) -> Delivered:
    total = orgs * CHANGES_OF_AN_ORG
    with contextlib.ExitStack() as held:
        folder = held.enter_context(programs.folder())
        target = held.enter_context(programs.standin(folder))
        settings = held.enter_context(databases.settings(databases.POSTGRESQL, folder))
        settings |= orgs_file.write(folder, orgs, target.url) | {"PASSFERRY_VERIFIER": "false"}
        with backlog.stores(settings) as opened:
            for number in range(orgs):
                backlog.waiting(opened, f"org-{number:04}", CHANGES_OF_AN_ORG)
        workers = [held.enter_context(_worker(folder, number, settings)) for number in range(WORKERS)]
        return _watched(target, workers, orgs, total)


def _worker(
    folder: Path, number: int, settings: dict[str, str]
) -> contextlib.AbstractContextManager[programs.Running]:
    log = folder / f"worker{number}.log"
    return programs.program(["-m", "passferry", "worker"], settings, log, listens=False)


def _watched(target: programs.Running, workers: list[programs.Running], orgs: int, total: int) -> Delivered:
    """From a tenth of the way, when all have started, to nine tenths: at the end few orgs are left."""
    first: tuple[float, float, int] | None = None
    unfair: float | None = None
    deadline = time.perf_counter() + TOO_LONG
    while time.perf_counter() < deadline:
        writes = programs.get_json(f"{target.url}/writes")
        done = sum(writes.values())
        now = time.perf_counter(), sum(worker.cpu_seconds() for worker in workers), done
        if first is None and done >= total * 0.1:
            first = now
        if unfair is None and done >= total * 0.5:
            counts = [*writes.values(), *[0] * (orgs - len(writes))]
            mean = done / orgs
            unfair = max(abs(count - mean) for count in counts) / mean
        if done >= total * 0.9:
            assert first is not None
            assert unfair is not None
            seconds, cpu, changes = (late - early for late, early in zip(now, first, strict=True))
            return Delivered(2 * changes / cpu, changes / seconds, unfair)
        time.sleep(0.25)
    raise TimeoutError(f"{TOO_LONG:.0f} s were not enough for {total} changes")
