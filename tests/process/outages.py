"""Something that Passferry needs is away for a while, under load, and comes back; nobody does anything.

``python -m process.outages WHAT`` prints what callers were answered meanwhile, how long it took until changes
were accepted again, how long the slowest change waited, and exits 1 when a promise was broken. WHAT is:

    disk      the file system of the state directory is full (SQLite)
    database  PostgreSQL is stopped at once and started again
    network   the network to PostgreSQL holds everything and closes nothing
    answers   PostgreSQL does what it is asked, and its answers are held
    reset     every connection to PostgreSQL is reset, again and again
    frozen    the first of several processes is stopped between two instructions, and goes on afterwards
    owner     the network of the first of several processes to PostgreSQL holds everything
"""

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from passferry.simulator import Settings
from passferry.state import DATABASE_FILE

from .fleet import SERVE, Fleet
from .ground import CHOICES, POSTGRESQL, SQLITE, Ground
from .harness import Home, StandIn, until
from .kills import Callers, judged, plan, wait_for_ends
from .promises import Breach, Shown
from .wire import Wire

SETTINGS = {
    "PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT": "1",
    "PASSFERRY_ORGS_DEFAULT_RATE": "100000",
    "PASSFERRY_VERIFIER": "false",  # the times would be those of the hashes
}
LIMITER = Path(__file__).parent / "full_disk"
FILLER = "filler"
URL = "PASSFERRY_DATABASE_URL"
MARGIN = 4.0
"""Seconds of load before and after the outage."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The processes, not started yet, and what will happen to them."""

    fleet: Fleet
    begin: Callable[[], object]
    end: Callable[[], object]


Set = Callable[[Home, Ground, Sequence[str]], Iterator[Scene]]


def disk(place: Home, ground: Ground, processes: Sequence[str]) -> Iterator[Scene]:
    """A small file system, which is filled; where none may be mounted, a database that may not grow."""
    kept, flag = place.root / "kept", place.root / "full"
    place.state.rename(kept)
    place.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "none", str(place.state)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    shutil.copytree(kept, place.state, dirs_exist_ok=True)
    if not mounted:
        path = os.pathsep.join(filter(None, (str(LIMITER), os.environ.get("PYTHONPATH"))))
        place.more = {**place.more, "FULL_DISK": str(flag), "PYTHONPATH": path}
        yield Scene(Fleet(place, processes), flag.touch, flag.unlink)
        return
    try:
        yield Scene(Fleet(place, processes), partial(_fill, place.state), (place.state / FILLER).unlink)
    finally:
        place.end()
        subprocess.run(["umount", "--lazy", str(place.state)], check=True)


def _fill(state: Path) -> None:
    """Leave no byte, nor any room in the write-ahead log, which is written from its start again and again."""
    with closing(sqlite3.connect(state / DATABASE_FILE, timeout=10)) as other:
        until(lambda: other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, 10, "an empty log")
    with (state / FILLER).open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def database(place: Home, ground: Ground, processes: Sequence[str]) -> Iterator[Scene]:
    """The server is stopped, and its sessions with it."""
    yield Scene(Fleet(place, processes), ground.server.stop, ground.server.start)


def frozen(place: Home, ground: Ground, processes: Sequence[str]) -> Iterator[Scene]:
    """The first process stops between two instructions."""
    fleet = Fleet(place, processes)
    yield Scene(fleet, lambda: fleet.freeze(0), lambda: fleet.thaw(0))


def network(place: Home, ground: Ground, processes: Sequence[str]) -> Iterator[Scene]:
    """Nothing is forwarded and nothing is closed."""
    with _wire(place.more[URL]) as (wire, url):
        place.more = {**place.more, URL: url}
        yield Scene(Fleet(place, processes), wire.cut, wire.mend)


def answers(place: Home, ground: Ground, processes: Sequence[str]) -> Iterator[Scene]:
    """What is asked for is done, and nobody hears of it."""
    with _wire(place.more[URL]) as (wire, url):
        place.more = {**place.more, URL: url}
        yield Scene(Fleet(place, processes), lambda: wire.cut(there=False), wire.mend)


def reset(place: Home, ground: Ground, processes: Sequence[str]) -> Iterator[Scene]:
    """Every connection is reset, three times a second."""
    over = threading.Event()
    with _wire(place.more[URL]) as (wire, url):

        def resets() -> None:
            while not over.wait(0.3):
                wire.reset()

        place.more = {**place.more, URL: url}
        yield Scene(Fleet(place, processes), threading.Thread(target=resets, daemon=True).start, over.set)


def owner(place: Home, ground: Ground, processes: Sequence[str]) -> Iterator[Scene]:
    """The first process alone is cut off from the database, and can still reach the target."""
    with _wire(place.more[URL]) as (wire, url):
        yield Scene(Fleet(place, processes, {0: {URL: url}}), wire.cut, wire.mend)


@contextmanager
def _wire(url: str) -> Iterator[tuple[Wire, str]]:
    """A wire to the server of ``url``, and the URL that leads through it."""
    parts = urlsplit(url)
    with Wire(parts.hostname or "127.0.0.1", parts.port or 5432) as wire:
        yield wire, wire.url(url)


OUTAGES: dict[str, Set] = {
    each.__name__: each for each in (disk, database, network, answers, reset, frozen, owner)
}


@dataclass(slots=True)
class Figures:
    """What a run came to. Times in seconds."""

    what: str
    away: float
    changes: int = 0
    resends: int = 0
    restarts: int = 0  # of processes that ended by themselves
    meanwhile: Counter[str] = field(default_factory=Counter)  # what callers were answered during the outage
    accepted_after: float = -1.0  # the end of the outage
    ended_after: float = -1.0  # the end of the outage: then nothing waited any more
    slowest: float = 0.0  # from accept to outcome
    shown: Shown = field(default_factory=lambda: Shown(0, 0, 0))
    breaches: list[Breach] = field(default_factory=list)

    def text(self) -> str:
        """For a reader."""
        shown = self.shown
        told = ", ".join(f"{many} x {answer}" for answer, many in self.meanwhile.most_common())
        lines = (
            f"{self.what}, away for {self.away:.0f} s: {self.changes} changes",
            f"  meanwhile: {told or 'nothing was answered'}; {self.resends} requests without an answer",
            f"  then: first accept in {self.accepted_after:.1f} s, last end in {self.ended_after:.1f} s",
            f"  {self.restarts} processes had ended and were started again",
            f"  slowest change {self.slowest:.1f} s, {shown.doubts} answers lost, {shown.inferred} inferred",
            f"  {'; '.join(map(str, self.breaches)) or 'every promise was kept'}",
        )
        return "\n".join(lines)


def run(
    ground: Ground,
    root: Path,
    what: str,
    *,
    away: float,
    changes: int = 200,
    processes: Sequence[str] = (SERVE,),
    seed: int = 1,
) -> Figures:
    """One outage of ``away`` seconds."""
    figures = Figures(what, away)
    settings = Settings.calm(rate=1_000_000, latency=0.1)
    with (
        StandIn(settings, seed=seed, users=max(60, changes)) as target,
        ground.place(root, target.settings(), **SETTINGS) as place,
        contextmanager(OUTAGES[what])(place, ground, processes) as scene,
    ):
        planned = plan(target.active_users(), changes, random.Random(seed))
        scene.fleet.start()
        callers = Callers(scene.fleet, ground.source, planned, spread=away + 2 * MARGIN)
        _watch(scene.fleet, MARGIN)
        before = callers.answers.copy()
        scene.begin()
        try:
            _watch(scene.fleet, away)
        finally:
            scene.end()
        figures.meanwhile = callers.answers - before
        _recovered(figures, scene.fleet, callers)
        ledger, figures.breaches = judged(target, scene.fleet, callers, place)
        figures.changes, figures.resends = len(callers.accepted), callers.resends
        figures.restarts, figures.shown = scene.fleet.restarts, Shown.by(ledger)
        ended = [row for row in ledger.changes.values() if row["state"] == "applied"]
        figures.slowest = max(row["updated_at"] - row["accepted_at"] for row in ended)
    return figures


def _watch(fleet: Fleet, seconds: float) -> None:
    """Be the service manager for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fleet.supervise()
        time.sleep(0.2)


def _recovered(figures: Figures, fleet: Fleet, callers: Callers) -> None:
    """Take the times until a change is accepted again, and until all have ended."""
    began, accepted = time.monotonic(), len(callers.accepted)
    while callers.alive() and len(callers.accepted) == accepted and time.monotonic() < began + 60:
        _watch(fleet, 0.1)
    figures.accepted_after = time.monotonic() - began
    while callers.alive() and time.monotonic() < began + 120:
        _watch(fleet, 0.2)
    wait_for_ends(fleet, callers)
    figures.ended_after = time.monotonic() - began


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="+", choices=OUTAGES, metavar="WHAT")
    parser.add_argument("--away", type=float, default=40.0, metavar="SECONDS")
    parser.add_argument("--changes", type=int, default=400, metavar="N")
    parser.add_argument("--processes", default=SERVE, metavar="LIST", help="serve, worker, …")
    parser.add_argument("--database", default=None, metavar="WHICH", help=CHOICES)
    asked = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="passferry-outage-") as root:
        for what in asked.what:
            ground = Ground(Path(root) / what, asked.database or (SQLITE if what == "disk" else POSTGRESQL))
            try:
                figures = run(
                    ground,
                    Path(root) / what / "gateway",
                    what,
                    away=asked.away,
                    changes=asked.changes,
                    processes=asked.processes.split(","),
                )
            finally:
                ground.close()
            print(figures.text(), flush=True)
            bad += bool(figures.breaches)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
