"""One org, all switches: ``PYTHONPATH=tests python -m campaign.one_org --first 0 --seeds 20 --changes 60``.

Prints a line for every run that broke a promise (its seed and settings reproduce it) and the totals.
"""

import argparse
import logging
import sys
from collections import Counter

import structlog

from campaign.plans import MODES, SWITCHES, leaves_no_proof, name_of, plan
from campaign.virtual_time import run
from campaign.world import Plan, World, world


async def campaign(made: Plan, *, no_proof: bool) -> tuple[list[str], World]:
    """One run: (broken promises, the world afterwards)."""
    async with world(made) as it:
        await it.load()
        return await it.broken_promises(no_proof=no_proof), it


def main() -> int:
    """Run them."""
    parser = argparse.ArgumentParser(prog="python -m campaign.one_org")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--changes", type=int, default=60)
    parser.add_argument("--switches", default="", help="only those whose name contains this")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    total: Counter[str] = Counter()
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        for switches in SWITCHES:
            if chosen.switches not in name_of(switches):
                continue
            for mode in MODES:
                made = plan(seed, switches, mode, changes=chosen.changes)
                broken, it = run(campaign(made, no_proof=leaves_no_proof(switches)))
                stats = it.simulator.stats()
                total.update(runs=1, changes=len(it.sent), broken=len(broken), requests=stats["requests"])
                total.update(writes=stats["passwordWrites"], virtual_seconds=round(it.clock.monotonic()))
                for each in broken:
                    print(f"seed {seed} {mode} {name_of(switches)}: {each}", flush=True)
    print(", ".join(f"{value} {name.replace('_', ' ')}" for name, value in total.items()))
    return 1 if total["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
