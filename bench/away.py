"""A target that is away for a day, then drained: in virtual time, on the real use cases and stores."""

import logging
import sys
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from campaign.away import day
from campaign.virtual_time import run
from figures import Asked, Row, exactly, spread

USERS, HOURS = 300, 24


def rows(asked: Asked) -> list[Row]:
    """One seed a round."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    days = [run(day(seed, asked.scaled(USERS), HOURS)) for seed in range(asked.rounds)]
    what = f"target away {HOURS} virtual hours, then drained"
    took = spread([each.seconds / 60 for each in days], " min")
    quota = spread([each.quota / 60 for each in days], " min")
    return [
        exactly(f"{what}: lost, of {asked.scaled(USERS)}", [each.lost for each in days], 0),
        exactly(f"{what}: 429 caused", [each.throttled for each in days], 0),
        Row(f"{what}: from its return to the last change", took, f"quota: {quota}", "-"),
    ]
