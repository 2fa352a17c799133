"""A burst of 3,000 changes in 10 s, in one org of 4,000 users; the target takes 300 requests a minute.

Accepting is measured in every round, each on a new gateway. Delivery takes the quota's own time (10 minutes),
so only the last round of each kind is drained to its end, both at once.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import callers
import plot
import programs
from figures import Asked, Row, at_most, at_most_when_quiet, exactly, noise

CHANGES, USERS, SECONDS, RATE, LATENCY = 3000, 4000, 10.0, 300, 0.06
KINDS = {"verifier off": ("false", 128), "verifier on": ("true", 256)}
"""PASSFERRY_VERIFIER, and MiB of memory."""

TOO_LONG = 2.5
"""Times of the quota's own minimum after which a drain is given up."""


@dataclass
class Burst:
    """One gateway before, in and after its burst."""

    gateway: programs.Gateway
    target: programs.Running
    changes: int
    late: float = 0.0  # noise before, in milliseconds
    started: float = 0.0
    answers: callers.Answers = field(default_factory=callers.Answers)
    applied: list[tuple[float, float]] = field(default_factory=list)  # seconds, changes
    requests: list[tuple[float, float]] = field(default_factory=list)

    def accept(self) -> None:
        """The burst itself."""
        users = programs.users(self.target)
        bodies = [callers.change(users[n], f"N3w-Passw0rd!{n}") for n in range(self.changes)]
        self.late = noise()
        self.started = time.perf_counter()
        self.answers = asyncio.run(
            callers.evenly(self.gateway.host, self.gateway.headers, "/sync/password", bodies, SECONDS)
        )

    @property
    def accepted(self) -> int:
        """Changes that were taken."""
        return self.answers.statuses.get(202, 0) + self.answers.statuses.get(200, 0)

    def watch(self) -> None:
        """Note what the target has seen, until all is applied."""
        deadline = self.started + TOO_LONG * self.changes * 60 / RATE + 60
        while time.perf_counter() < deadline:
            stats = programs.get_json(f"{self.target.url}/simulator/stats")
            now = time.perf_counter() - self.started
            self.applied.append((now, stats["usersWritten"]))
            self.requests.append((now, stats["requests"] - stats["tokenRequests"]))
            if stats["usersWritten"] >= self.changes:
                return
            time.sleep(0.5)


def rows(asked: Asked) -> list[Row]:
    """Both kinds in turns; the last of each is drained."""
    changes = asked.scaled(CHANGES)
    bursts: dict[str, list[Burst]] = {name: [] for name in KINDS}
    for _ in range(asked.rounds - 1):
        for name, made in bursts.items():
            with _running(name, changes) as burst:
                burst.accept()
                made.append(burst)
    with contextlib.ExitStack() as held:
        watchers = []
        for name, made in bursts.items():
            made.append(held.enter_context(_running(name, changes)))
            made[-1].accept()
            watchers.append(threading.Thread(target=made[-1].watch))
            watchers[-1].start()
        for watcher in watchers:
            watcher.join()
        found = [row for name, made in bursts.items() for row in _rows(name, made)]
    for name, made in bursts.items():
        asked.pictures[f"burst-{name.replace(' ', '-')}"] = _plotted(name, made[-1])
    return found


def _rows(name: str, made: list[Burst]) -> list[Row]:
    changes = made[-1].changes
    latencies = [(burst.answers.quantile(0.99), burst.late) for burst in made]
    return [
        exactly(f"burst, {name}: accepted", [burst.accepted for burst in made], changes),
        at_most_when_quiet(f"burst, {name}: accept p99", latencies, 50, " ms"),
        *_delivered(name, made[-1]),
    ]


@contextlib.contextmanager
def _running(name: str, changes: int) -> Iterator[Burst]:
    users = max(8, USERS * changes // CHANGES)
    options = ["--users", str(users), "--rate", str(RATE), "--latency", str(LATENCY)]
    settings = {"PASSFERRY_VERIFIER": KINDS[name][0]}
    with (
        programs.folder() as folder,
        programs.simulator(folder, *options) as target,
        programs.gateway(folder, target.url, **settings) as gateway,
    ):
        yield Burst(gateway, target, changes)


def _delivered(name: str, burst: Burst) -> list[Row]:
    minimum = burst.changes * 60.0 / RATE
    seconds, applied = burst.applied[-1]
    within = f"burst, {name}: applied within, of the quota's own minimum for one request a change"
    made = burst.requests[-1][1] / burst.changes
    note = f"; {seconds:.0f} s, {made:.3f} requests a change"
    if applied < burst.changes:
        late = Row(within, f"{applied:.0f} of {burst.changes} in {seconds:.0f} s", "≤ 1.08 ×", "missed")
    else:
        late = at_most(within, [seconds / minimum], 1.08, note=note)
    return [
        late,
        exactly(f"burst, {name}: 429 caused", [programs.count(burst.target, "rateLimited")], 0),
        at_most(f"burst, {name}: peak memory", [burst.gateway.peak_mib()], KINDS[name][1], " MiB"),
    ]


def _plotted(name: str, burst: Burst) -> str:
    ends = burst.applied[-1][0]
    taken = sorted(at - burst.started for at in burst.answers.ended)
    accepted = [
        (0.0, 0.0),
        *((at, number + 1.0) for number, at in enumerate(taken)),
        (ends, float(len(taken))),
    ]
    quota = [(0.0, 0.0), (ends, ends * RATE / 60)]
    return plot.lines(
        f"{burst.changes} changes in {SECONDS:.0f} s, {name}",
        "seconds",
        "changes, requests",
        {
            "accepted": _thinned(accepted),
            "applied": _thinned(burst.applied),
            f"quota: {RATE} requests a minute": quota,
            "requests made": _thinned(burst.requests),
        },
    )


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Few enough to draw."""
    step = max(1, len(points) // 200)
    return [*points[::step], points[-1]]
