"""What the contract suites of the stores run on: adapters to choose from, and short ways to common states.

A suite is a set of tests over ``bench``, the open stores of one adapter; none knows which database it is.
"""

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import text

import postgres
from passferry.adapters.database import Database, add_orgs, prepare
from passferry.adapters.postgres import PostgresDatabase
from passferry.adapters.sqlite import SqliteDatabase
from passferry.adapters.store_accept import SqlAcceptStore
from passferry.adapters.store_audit import SqlAuditStore
from passferry.adapters.store_deliver import SqlDeliveryStore
from passferry.adapters.store_figures import SqlFiguresStore
from passferry.adapters.store_keep import SqlKeepStore
from passferry.adapters.store_lookup import SqlAccessStore, SqlLookupStore
from passferry.adapters.store_sources import SqlPassStore
from passferry.domain.accepting import Accepted, NewChange, Verdict, judge
from passferry.domain.audit import START, Fold
from passferry.domain.change import Change, Evidence, Reference, State
from passferry.domain.outcome import Kind, Next, Outcome

T = TypeVar("T")

NOW = 1_800_000_000.0
DAY = 86_400.0
KEY = b"audit key of the tests"
ORGS = ("default", "other")
UUID = "11111111-2222-3333-4444-555555555555"
BLOCK = 20.0

APPLIED = Outcome(Kind.APPLIED, version="43")
CONFIRMED = Next(State.APPLIED, evidence=Evidence.CONFIRMED)
LOST = Outcome(Kind.UNKNOWN, "no.answer")
THROTTLED = Outcome(Kind.THROTTLED, "too.many.requests")


def sealed(password: str) -> bytes:
    """Bytes with the outer form of a sealed password: format, key id, the rest."""
    return bytes([1]) + bytes(range(8)) + password.encode() * 8


@dataclass
class Bench:
    """Open stores, and a clock that tests move."""

    database: Database
    accepts: SqlAcceptStore
    delivery: SqlDeliveryStore
    lookup: SqlLookupStore
    access: SqlAccessStore
    keep: SqlKeepStore
    figures: SqlFiguresStore
    audit: SqlAuditStore
    passes: SqlPassStore
    another_owner: Callable[[], SqlDeliveryStore]
    now: float = NOW
    owned: set[str] = field(default_factory=set)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def new(self, user: str = UUID, password: str = "one", **fields: Any) -> NewChange:
        """A change to accept: of an id, or of a userName where there is an ``@``."""
        reference = Reference("userName" if "@" in user else "id", user)
        mine = sealed(password)
        values: dict[str, Any] = {
            "id": f"c{next(self.ids)}",
            "org": "default",
            "source": "portal",
            "now": self.now,
            "expires_at": self.now + 3 * DAY,
        }
        return NewChange(
            user=reference, sealed=mine, same=lambda live: live.sealed == mine, **{**values, **fields}
        )

    async def accept(self, *items: NewChange) -> list[Verdict]:
        """Accept in one commit."""
        return await self.accepts.accept(items, judge)

    async def accepted(self, user: str = UUID, password: str = "one", **fields: Any) -> Change:
        """One change, accepted."""
        item = self.new(user, password, **fields)
        verdicts = await self.accept(item)
        assert isinstance(verdicts[0], Accepted)
        return await self.get(item.id)

    async def get(self, change_id: str) -> Change:
        """A change that exists."""
        found = await self.lookup.change(change_id)
        assert found is not None
        return found

    async def begun(self, change: Change, resolved: str = UUID, version: str | None = "42") -> Change:
        """``change`` after its intent was committed."""
        if change.org not in self.owned:
            self.owned.add(change.org)
            await self.delivery.take(change.org)
        standing = await self.delivery.resolve(change.id, resolved, self.now)
        assert standing.change is not None
        begun = await self.delivery.begin(change.id, version, self.now, BLOCK)
        assert isinstance(begun, Change)
        return begun

    async def delivered(self, change: Change, resolved: str = UUID, verifier: bytes | None = None) -> Change:
        """``change`` after it was applied."""
        begun = await self.begun(change, resolved)
        return await self.delivery.settle(begun, APPLIED, CONFIRMED, self.now, verifier)

    async def parked(self, change: Change) -> Change:
        """``change`` after its user was not found."""
        nxt = Next(State.PARKED, self.now + 3600, counts=False)
        return await self.delivery.settle(change, Outcome(Kind.BLOCKED, "user.unknown"), nxt, self.now)

    async def records(self, org: str = "default") -> list[str]:
        """The kinds of the org's audit records, in order, after each link was verified."""
        found = await self.audit.links(org, 0, 10_000)
        fold = Fold(KEY, org, START)
        assert {fold.take(link) for link in found} <= {None}
        assert (await self.audit.heads())[org] == fold.last
        return [link.record.kind for link in found]


@contextmanager
def _opened(database: Database) -> Iterator[Bench]:
    prepare(database)
    with database.engine.begin() as connection:
        add_orgs(connection, list(ORGS))
    try:
        yield Bench(
            database,
            SqlAcceptStore(database),
            SqlDeliveryStore(database),
            SqlLookupStore(database),
            SqlAccessStore(database),
            SqlKeepStore(database),
            SqlFiguresStore(database),
            SqlAuditStore(database),
            SqlPassStore(database),
            lambda: SqlDeliveryStore(database),
        )
    finally:
        database.close()


@functools.cache
def postgres_url() -> str:
    """A database of this process; making one for each test would take longer than the tests."""
    return postgres.server().fresh()


def emptied_postgres() -> PostgresDatabase:
    """The database of this process on PostgreSQL, without tables."""
    database = PostgresDatabase(postgres_url(), KEY)
    with database.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    return database


def open_bench(adapter: str, folder: Path = Path()) -> AbstractContextManager[Bench]:
    """A context manager over the stores of ``adapter``."""
    if adapter == "postgres":
        return _opened(emptied_postgres())
    if adapter == "sqlite-file":
        return _opened(SqliteDatabase(folder / "test.db", KEY))
    return _opened(SqliteDatabase(None, KEY, inline=True))


ADAPTERS: Sequence[str] = ("sqlite-file", "sqlite-memory", "postgres")


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of an async test body."""
    return asyncio.run(main())
