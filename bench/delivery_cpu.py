"""Processor time of a delivered change, hash aside, against that of its two requests by a bare client."""

import subprocess
import sys
from pathlib import Path

import programs
from drains import UNHURRIED, drain
from figures import Asked, Row, at_most, spread

USERS, CHANGES, CONCURRENCY = 4000, 800, 64
"""Few enough of the users that reading pages of them does not pay, and as many at a time as delivery has."""


def rows(asked: Asked) -> list[Row]:
    """The gateway's and the bare client's turns alternate, on one simulator."""
    ratios, per_change, bare_change = [], [], []
    options = ["--users", str(USERS), "--rate", "10000000"]
    with (
        programs.folder() as folder,
        programs.simulator(folder, *options) as target,
        programs.gateway(folder, target.url, PASSFERRY_VERIFIER="false", **UNHURRIED) as gateway,
    ):
        users = programs.users(target)[: asked.scaled(CHANGES)]
        for number in range(asked.rounds + 1):
            bare = _bare(target.url, users, f"bare{number}")
            ours = drain(gateway, target, users, f"ours{number}").cpu
            if number:  # the first round warms up
                ratios.append(ours / bare)
                per_change.append(1000 * ours / len(users))
                bare_change.append(1000 * bare / len(users))
    note = f"; {spread(per_change, ' ms')} against {spread(bare_change, ' ms')}"
    return [
        at_most("CPU per delivered change, hash aside, against its two bare requests", ratios, 2.5, note=note)
    ]


def _bare(target: str, users: list[str], word: str) -> float:
    command = [
        sys.executable, str(Path(__file__).with_name("bare_client.py")), target, str(CONCURRENCY), word,
    ]  # fmt: skip
    done = subprocess.run(command, input="\n".join(users), capture_output=True, text=True, check=True)
    return float(done.stdout)
