"""Workers and orgs in virtual time, seed by seed: ``python -m campaign --seeds 1-100 --changes 10000``.

A line for every seed, in order, so that a run that was ended goes on behind the last one. A broken promise
names its seed and number of changes; the two reproduce it exactly.
"""

import argparse
import functools
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from typing import Any

import structlog

from campaign.fleet import fleet_plan, one_run
from campaign.virtual_time import run


def one_seed(changes: int, seed: int) -> tuple[int, list[str], Counter[str]]:
    """(The seed, broken promises, what happened) of one run."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    plan = fleet_plan(seed, changes)
    broken, it = run(one_run(plan))
    counts: Counter[str] = Counter(workers=plan.workers, orgs=len(plan.orgs))
    counts["changes"] = sum(len(org.sent) for org in it.orgs.values())
    counts["requests"] = sum(org.simulator.stats()["requests"] for org in it.orgs.values())
    counts["writes"] = sum(org.simulator.stats()["passwordWrites"] for org in it.orgs.values())
    counts["virtual seconds"] = round(it.clock.monotonic())
    return seed, broken, counts + it.happened


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{value} {name}" for name, value in counts.items())


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main(arguments: list[str] | None = None) -> int:
    """Run them."""
    parser: Any = argparse.ArgumentParser(prog="python -m campaign")
    parser.add_argument("--seeds", type=_range, default=_range("1-100"), help="first-last, or one")
    parser.add_argument("--changes", type=int, default=200, help="for each seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="seeds at a time")
    chosen = parser.parse_args(arguments)
    started, total, bad = time.monotonic(), Counter[str](), []
    with multiprocessing.Pool(chosen.jobs) as pool:
        for seed, broken, counts in pool.imap(functools.partial(one_seed, chosen.changes), chosen.seeds):
            print(f"seed {seed}: {'BROKEN' if broken else 'kept'}; {_said(counts)}", flush=True)
            for each in broken:
                print(f"seed {seed} --changes {chosen.changes}: {each}", flush=True)
            total.update(counts)
            bad += [seed] if broken else []
    seconds = time.monotonic() - started
    print(f"in all: {_said(total)}; {total['changes'] / seconds:.0f} changes a second of ours; broken: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
