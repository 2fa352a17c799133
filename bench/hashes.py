"""Applied changes a second with the verifier on, against argon2-cffi alone, where the quota is no limit.

A change counts when its verifier is stored: a verifier that is late follows its outcome.
"""

import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from argon2.low_level import Type, hash_secret_raw

import programs
from drains import UNHURRIED, drain
from figures import Asked, Row, at_least, spread
from passferry.adapters.hashing import NICENESS, RECOMMENDED

USERS, CHANGES = 1000, 60


def rows(asked: Asked) -> list[Row]:
    """A gateway that delivers and hashes, and the library called from two threads, in turns."""
    ratios, rates = [], []
    with (
        programs.folder() as folder,
        programs.simulator(folder, "--users", str(USERS), "--rate", "10000000") as target,
        programs.gateway(folder, target.url, **UNHURRIED) as gateway,
    ):
        users = programs.users(target)[: asked.scaled(CHANGES)]
        for number in range(asked.rounds + 1):
            bare = _bare(len(users))
            newest = _asked(folder, "SELECT coalesce(max(seq), 0) FROM changes")
            began = drain(gateway, target, users, str(number)).began
            _until_verifiable(folder, newest, len(users))
            ours = time.perf_counter() - began
            if number:  # the first round warms up
                ratios.append(bare / ours)
                rates.append(len(users) / ours)
    note = f"; {spread(rates, '/s')}"
    what = "applied and verifiable changes/s, against argon2-cffi alone at the same low priority"
    return [at_least(what, ratios, 0.95, note=note)]


VERIFIABLE = """
    SELECT count(verifier) FROM accounts JOIN changes ON changes.id = accounts.delivered_change
    WHERE changes.seq > ?
"""


def _until_verifiable(folder: Path, newest: int, count: int) -> None:
    """Until as many accounts have the verifier of what was brought to them by changes after ``newest``."""
    end = time.perf_counter() + 300
    while _asked(folder, VERIFIABLE, newest) < count:
        if time.perf_counter() > end:
            raise TimeoutError("the verifiers did not follow within five minutes")
        time.sleep(0.05)


def _asked(folder: Path, question: str, *values: int) -> int:
    """The answer of the gateway's database to a ``question`` for a number."""
    with closing(sqlite3.connect(f"file:{folder / 'state' / 'passferry.db'}?mode=ro", uri=True)) as database:
        return int(database.execute(question, values).fetchone()[0])


def _bare(count: int) -> float:
    def one(number: int) -> None:
        hash_secret_raw(
            f"N3w-Passw0rd!{number}".encode(),
            os.urandom(16),
            time_cost=RECOMMENDED.passes,
            memory_cost=RECOMMENDED.memory,
            parallelism=RECOMMENDED.lanes,
            hash_len=32,
            type=Type.ID,
        )

    # At the priority that ours give themselves: what is compared is the library called with and without us.
    with ThreadPoolExecutor(2, initializer=_as_low_as_ours) as pool:
        started = time.perf_counter()
        list(pool.map(one, range(count)))
        return time.perf_counter() - started


def _as_low_as_ours() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
