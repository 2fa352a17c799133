"""Accept and delivery beside a million stored changes, against beside a thousand."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import backlog
import programs
from drains import UNHURRIED, drain
from figures import Asked, Row, at_most, spread

MANY, FEW, USERS, CHANGES = 1_000_000, 1_000, 4000, 800


def rows(asked: Asked) -> list[Row]:
    """Two gateways on one target, in turns."""
    latencies, rates, waits, speeds = [], [], [], []
    with contextlib.ExitStack() as held:
        folder = held.enter_context(programs.folder())
        target = held.enter_context(programs.simulator(folder, "--users", str(USERS), "--rate", "10000000"))
        users = programs.users(target)[: asked.scaled(CHANGES)]
        few, many = (
            held.enter_context(_gateway(folder / name, target.url, stored))
            for name, stored in (("few", FEW), ("many", asked.scaled(MANY)))
        )
        for number in range(asked.rounds + 1):
            small = drain(few, target, users, f"few{number}")
            large = drain(many, target, users, f"many{number}")
            if number:  # the first round warms up
                latencies.append(large.accepts.quantile(0.99) / small.accepts.quantile(0.99))
                rates.append(large.seconds / small.seconds)
                waits.append(large.accepts.quantile(0.99))
                speeds.append(len(users) / large.seconds)
    what = f"with {asked.scaled(MANY):,} stored changes, against {FEW:,}"
    return [
        at_most(f"accept p99 {what}", latencies, 1.2, note=f"; {spread(waits, ' ms')}"),
        at_most(f"time to drain a backlog {what}", rates, 1.2, note=f"; {spread(speeds, '/s')}"),
    ]


@contextlib.contextmanager
def _gateway(folder: Path, target: str, stored: int) -> Iterator[programs.Gateway]:
    folder.mkdir()
    settings = UNHURRIED | {"PASSFERRY_VERIFIER": "false"}
    with backlog.stores(programs.environment(folder, target, **settings)) as opened:
        backlog.history(opened, "default", stored)
    with programs.gateway(folder, target, **settings) as gateway:
        yield gateway
