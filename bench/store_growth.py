"""What questions to the store cost in a database with many changes, and by which plan they are answered.

    python bench/store_growth.py [CHANGES]

It fills a database in a temporary folder with CHANGES changes (1,000,000), one in ten of them live, and
prints for each question its time (median of five) with and without the index made for it, and SQLite's plan.
"""

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event

from passferry.adapters.database import add_orgs, prepare
from passferry.adapters.sqlite import SqliteDatabase
from passferry.adapters.store_accept import SqlAcceptStore
from passferry.adapters.store_audit import SqlAuditStore
from passferry.adapters.store_deliver import SqlDeliveryStore
from passferry.adapters.store_lookup import SqlLookupStore

NOW = 1_800_000_000.0
ROUNDS = 5
ORGS = [f"org{number}" for number in range(20)]
COLUMNS = (
    "id, org, seq, user_kind, user_value, user_key, source, state, live, bulk, accepted_at, waiting_since, "
    "updated_at, expires_at, next_attempt_at, attempts, resolved_id, sealed, sealed_key"
)


def fill(path: Path, changes: int, live_every: int = 10) -> None:
    """Tables with so many changes, half of them of the first org, each of another user."""
    database = SqliteDatabase(path, b"key")
    prepare(database)
    with database.engine.begin() as connection:
        add_orgs(connection, ORGS)
    database.close()
    with sqlite3.connect(path) as connection:
        marks = ", ".join("?" * len(COLUMNS.split(", ")))
        connection.executemany(
            f"INSERT INTO changes ({COLUMNS}) VALUES ({marks})",
            (row(number, number % live_every == 0, changes) for number in range(changes)),
        )
        connection.executemany(
            "INSERT INTO audit (org, seq, kind, at, actor, mac) VALUES (?, ?, 'accepted', ?, 'hr', x'')",
            ((ORGS[0], number, NOW) for number in range(1, changes + 1)),
        )
        connection.execute("UPDATE orgs SET head_seq = ? WHERE name = ?", (changes, ORGS[0]))


def row(number: int, live: bool, changes: int) -> tuple[Any, ...]:
    """One change; the newer its number, the later it was accepted."""
    org = ORGS[0] if number % 2 else ORGS[number // 2 % len(ORGS)]
    at = NOW - 30 * 86400.0 * (changes - number) / changes
    user = f"user{number}@example.com"
    state = "pending" if live else "applied"
    sealed = bytes(120) if live else None
    due = NOW + 900 if live else None
    return (
        f"{number:032x}", org, number, "userName", user, f"n:{user}", "hr", state, live, False, at, at, at,
        NOW + 3 * 86400.0, due, 1, f"id{number}", sealed, "00" * 8 if live else None,
    )  # fmt: skip


class Questions:
    """A database with what is asked of it."""

    def __init__(self, path: Path) -> None:
        self.path, self.statements = path, list[tuple[str, Any]]()
        self.database = SqliteDatabase(path, b"key")
        for engine in (self.database.engine, self.database._reader):
            assert engine is not None
            event.listen(engine, "before_cursor_execute", self._heard)
        self.lookup = SqlLookupStore(self.database)
        self.delivery = SqlDeliveryStore(self.database)
        self.accept = SqlAcceptStore(self.database)
        self.audit = SqlAuditStore(self.database)

    def _heard(self, c: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        self.statements.append((statement, values))

    def all(self) -> dict[str, tuple[str, Callable[[], Awaitable[Any]]]]:
        """By name: the index made for it, and the question."""
        user = "user4711@example.com"
        return {
            "expire, nothing to end": ("changes_expiring", lambda: self.delivery.expire(ORGS[0], NOW)),
            "backlog": ("", lambda: self.accept.backlog(ORGS[0], 1_000_000)),
            "changes list --user": ("", lambda: self.lookup.changes(user=user)),
            "changes list --user --org": ("", lambda: self.lookup.changes(user=user, org=ORGS[0])),
            "changes list --user, unknown": ("", lambda: self.lookup.changes(user="nobody@example.com")),
            "newest export": (
                "audit_about_the_trail",
                lambda: self.audit.newest(ORGS[0], "audit.exported", 1_000_000_000),
            ),
        }

    def plan(self) -> list[str]:
        """How SQLite answers the statement that was heard last."""
        statement, values = self.statements[-1]
        with sqlite3.connect(self.path) as connection:
            return [line[3] for line in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


async def timed(ask: Callable[[], Awaitable[Any]]) -> float:
    """Milliseconds, median."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


async def main(changes: int) -> None:
    """Fill, ask, print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "growth.db"
        fill(path, changes)
        asked = Questions(path)
        for name, (index, ask) in asked.all().items():
            print(f"{name}: {await timed(ask):.2f} ms; " + "; ".join(asked.plan()))
            if index:
                with sqlite3.connect(path) as connection:
                    connection.execute(f"DROP INDEX {index}")
                print(f"    without {index}: {await timed(ask):.2f} ms; " + "; ".join(asked.plan()))
        asked.database.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
