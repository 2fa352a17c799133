"""kill -9 of gateways and workers at random moments, while their target fails and throttles.

``python -m process.kills --seeds 1-20`` does it once for each seed, 50 kills and 200 changes a seed, prints a
line for each and the sum, and exits 1 when a promise was broken. Seeds are independent of each other: a long
run is taken up again with those that are left. ``--processes serve,serve,worker`` runs several processes on
one database.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from passferry.simulator import Settings
from passferry.simulator.faults import mild

from .fleet import Fleet
from .ground import CHOICES, SQLITE, Ground, Ledger
from .harness import NO_ANSWER, Client, Home, StandIn
from .promises import AUDIT, KINDS, PROFILE, UNENDED, Breach, Sent, Shown, altered, broken

KILLS, CHANGES = 50, 200
SETTINGS = {"PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT": "1"}
TROUBLE = 4.0
"""How many times as often as by default the target fails: at 1 most kills meet none of its faults."""
PATIENCE = 120.0
"""Seconds for which a caller sends again."""
LONGEST_END = 600.0
"""Seconds after the last kill: whatever met a fault seven times in a row waits for four minutes."""


@dataclass(slots=True)
class Figures:
    """What one seed came to."""

    seed: int
    kills: int = 0
    kills_in_start: int = 0
    changes: int = 0
    seconds: float = 0.0
    resends: int = 0  # requests of callers that got no answer and were sent again
    shown: Shown = field(default_factory=lambda: Shown(0, 0, 0))
    faults: dict[str, int] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.breaches


def plan(users: Sequence[tuple[str, str]], changes: int, luck: random.Random) -> list[list[Sent]]:
    """The changes of each user in order: one to three, by id, by email, or by both in turn."""
    planned: list[list[Sent]] = []
    left = changes
    for number, (user_id, name) in enumerate(users):
        many = min(left, (1, 2, 2, 3)[number % 4])
        mine = []
        for turn in range(many):
            reference = luck.choice((user_id, name, name.upper() if turn else name))
            mine.append(Sent(user_id, reference, turn, f"Kill-{number}-{turn}-Ab9!{luck.randrange(10**9)}"))
        left -= many
        if mine:
            planned.append(mine)
    assert left == 0, "too few users"
    return planned


class Callers:
    """Threads that send the changes, and send again with the same key whenever no answer comes."""

    def __init__(self, fleet: Fleet, key: str, planned: Sequence[Sequence[Sent]], spread: float) -> None:
        self._fleet, self._key = fleet, key
        self._jobs = list(planned)
        self._gap = spread / sum(map(len, planned))
        self._lock = threading.Lock()
        self._luck = random.Random(7)
        self.accepted: dict[str, Sent] = {}
        self.errors: list[str] = []
        self.resends = 0
        self.answers: Counter[str] = Counter()  # statuses and codes
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def alive(self) -> bool:
        """Whether there is something left to send."""
        return any(thread.is_alive() for thread in self.threads)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    return
                first, *rest = self._jobs.pop(0)
            self._send(first)
            time.sleep(self._gap * len(self.threads) * self._luck.uniform(0.2, 1.8))
            with self._lock:  # the user's next change comes at once or, more often, much later
                if rest:
                    self._jobs.insert(0 if self._luck.random() < 0.3 else len(self._jobs), rest)

    def _send(self, sent: Sent) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                client = Client(self._fleet.url(), self._key)
                answer = client.send(
                    sent.reference, sent.password, idem=sent.idem, prefer="respond-async", timeout=5
                )
            except NO_ANSWER:
                self.resends += 1
                time.sleep(0.3)
                continue
            with self._lock:
                self.answers[f"{answer.status} {answer.json.get('code', '')}".strip()] += 1
            if answer.status in (200, 202):
                with self._lock:
                    self.accepted[answer.json["changeId"]] = sent
                return
            if answer.status in (429, 500, 503):
                time.sleep(0.2)
                continue
            self.errors.append(f"{sent.idem}: {answer.status} {answer.json.get('code')}")
            return
        self.errors.append(f"{sent.idem}: gave up")


def run(
    ground: Ground,
    root: Path,
    *,
    seed: int,
    kills: int = KILLS,
    changes: int = CHANGES,
    processes: Sequence[str] = ("serve",),
) -> Figures:
    """Do it for one seed; the figures."""
    luck = random.Random(seed)
    figures = Figures(seed)
    began = time.monotonic()
    often = {fault.value: rate * TROUBLE for fault, rate in mild().items()}
    # An answer takes as long as on a real network: kills meet requests.
    settings = Settings().changed({"window": 2.0, "latency": 0.08, "faults": often})
    with (
        StandIn(settings, seed=seed, users=max(60, changes)) as target,
        ground.place(root, target.settings(), **SETTINGS) as place,
    ):
        planned = plan(target.active_users(), changes, luck)
        before = {mine[0].user_id: target.profile(mine[0].user_id) for mine in planned}
        fleet = Fleet(place, processes)
        fleet.start()
        callers = Callers(fleet, ground.source, planned, spread=2.6 * kills)
        _kill_often(fleet, figures, kills, luck)
        wait_for_ends(fleet, callers)
        ledger, figures.breaches = judged(target, fleet, callers, place)
        moved = [user for user, text in before.items() if target.profile(user) != text]
        figures.breaches += [Breach(PROFILE, user) for user in moved]
        figures.changes, figures.resends = len(callers.accepted), callers.resends
        figures.shown = Shown.by(ledger)
        figures.faults = target.do(lambda s: dict(s.stats()["faults"]))
    figures.seconds = time.monotonic() - began
    return figures


def _kill_often(fleet: Fleet, figures: Figures, kills: int, luck: random.Random) -> None:
    while figures.kills < kills:
        time.sleep(luck.choice((luck.uniform(0, 0.3), luck.uniform(0.2, 2.0))))
        which = luck.randrange(len(fleet))
        fleet.kill(which)
        figures.kills += 1
        if luck.random() < 0.15:
            fleet.start_and_kill(which, luck.uniform(0.1, 1.0))
            figures.kills_in_start += 1
        fleet.start(which)


def wait_for_ends(fleet: Fleet, callers: Callers) -> None:
    """Until everything was sent, and nothing waits any more."""
    end = time.monotonic() + LONGEST_END
    while time.monotonic() < end:
        time.sleep(0.5)
        if not callers.alive() and not fleet.live_changes():
            return


def judged(target: StandIn, fleet: Fleet, callers: Callers, place: Home) -> tuple[Ledger, list[Breach]]:
    """Stop everything; what the database says then, and which promises were broken."""
    found = [Breach(UNENDED, said) for said in [*callers.errors, *fleet.stop()]]
    checked = place.run("audit", "verify")
    if checked.code != 0:
        found.append(Breach(AUDIT, checked.text))
    ledger = Ledger.of(place)
    return ledger, found + broken(target, ledger, callers.accepted) + altered(ledger, place.ring)


COLUMNS = ("seed", "kills", "changes", "resent", "lost answers", "inferred", *KINDS, "seconds")


def row(figures: Figures) -> list[str]:
    """A line of the table."""
    kinds = [breach.kind for breach in figures.breaches]
    shown = figures.shown
    cells: list[object] = [figures.seed, figures.kills, figures.changes, figures.resends]
    cells += [shown.doubts, shown.inferred, *(kinds.count(kind) for kind in KINDS), round(figures.seconds)]
    return [str(cell) for cell in cells]


def line(cells: Sequence[str]) -> str:
    """The cells below their columns."""
    return "  ".join(cell.rjust(len(name)) for cell, name in zip(cells, COLUMNS, strict=True))


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=_seeds, default=_seeds("1"), metavar="FIRST-LAST")
    parser.add_argument("--kills", type=int, default=KILLS, metavar="N", help="of each seed")
    parser.add_argument("--changes", type=int, default=CHANGES, metavar="N", help="of each seed")
    parser.add_argument("--database", default=SQLITE, metavar="WHICH", help=CHOICES)
    parser.add_argument("--processes", default="serve", metavar="LIST", help="serve, worker, …")
    asked = parser.parse_args()
    processes, bad = asked.processes.split(","), 0
    print(line(COLUMNS), flush=True)
    with tempfile.TemporaryDirectory(prefix="passferry-kills-") as root:
        ground = Ground(Path(root), asked.database)
        try:
            for seed in asked.seeds:
                figures = run(
                    ground,
                    Path(root) / str(seed),
                    seed=seed,
                    kills=asked.kills,
                    changes=asked.changes,
                    processes=processes,
                )
                print("\n".join([line(row(figures)), *map(str, figures.breaches)]), flush=True)
                bad += not figures.ok
        finally:
            ground.close()
    print(f"{len(asked.seeds)} seeds, {bad} with a broken promise")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
