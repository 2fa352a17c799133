"""How many changes a source sent within the hour, what is passed on for it, and that it is stopped.

Known to all processes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, bindparam, select, update

from passferry.adapters import schema
from passferry.adapters.database import Chain, Database, insert_new, upsert
from passferry.domain.accepting import Stopped
from passferry.domain.audit import Record
from passferry.domain.source_rules import one_more, within_the_hour

SOURCES = schema.sources
_LOCK = (
    select(SOURCES)
    .where(SOURCES.c.name.in_(bindparam("names", expanding=True)))
    .order_by(SOURCES.c.name)
    .with_for_update()
)
_RESUME = (
    update(SOURCES)
    .where(SOURCES.c.name == bindparam("b_name"), SOURCES.c.stopped_at.is_not(None))
    .values(stopped_at=None, recent="{}")
)


class Counted(Protocol):
    """What counts towards the hour of its source: a change, or a request that is passed on."""

    @property
    def source(self) -> str:
        """Whose it is."""

    @property
    def most_an_hour(self) -> int | None:
        """How many the source may send."""

    @property
    def now(self) -> float:
        """Epoch seconds."""


@dataclass(frozen=True, slots=True)
class _Passed:
    source: str
    most_an_hour: int | None
    now: float


class Hours:
    """The sources of a batch that have a limit, their rows locked until the transaction ends.

    Orgs are locked before: so no two transactions can wait for each other.
    """

    def __init__(self, connection: Connection, items: Sequence[Counted]) -> None:
        self._connection = connection
        names = sorted({item.source for item in items if item.most_an_hour is not None})
        self._counts: dict[str, dict[int, int]] = {}
        self._stopped_at: dict[str, float | None] = {}
        if not names:
            return
        insert_new(connection, SOURCES, [{"name": name, "recent": "{}"} for name in names])
        for row in connection.execute(_LOCK, {"names": names}):
            counts = {int(step): int(count) for step, count in json.loads(row.recent).items()}
            self._counts[row.name] = within_the_hour(counts, items[0].now)
            self._stopped_at[row.name] = row.stopped_at

    def take(self, item: Counted) -> Stopped | None:
        """Count ``item``, which is to be accepted; or say that its source is stopped, perhaps by it."""
        if item.most_an_hour is None:
            return None
        if self._stopped_at[item.source] is not None:
            return Stopped(now=False)
        counts = self._counts[item.source]
        if sum(counts.values()) >= item.most_an_hour:
            self._stopped_at[item.source] = item.now
            return Stopped(now=True)
        self._counts[item.source] = one_more(counts, item.now)
        return None

    def write(self) -> None:
        """Store what was counted."""
        rows: list[dict[str, Any]] = [
            {"name": name, "stopped_at": self._stopped_at[name], "recent": json.dumps(counts)}
            for name, counts in self._counts.items()
        ]
        upsert(self._connection, SOURCES, rows)


def resume(connection: Connection, name: str) -> bool:
    """Let the source ``name`` send again; whether it was stopped."""
    return connection.execute(_RESUME, {"b_name": name}).rowcount > 0


class SqlPassStore:
    """The port ``PassStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def intend(self, org: str, record: Record, most_an_hour: int | None) -> Stopped | None:
        """See the port."""
        item = _Passed(record.actor, most_an_hour, record.at)

        def work(c: Connection) -> Stopped | None:
            chain = Chain(c, self._database.audit_key, org)
            hours = Hours(c, [item])
            stopped = hours.take(item)
            if stopped is None:
                chain.add(record)
            elif stopped.now:
                chain.add(Record("source.stopped", record.at, record.actor))
            chain.close()
            hours.write()
            return stopped

        return await self._database.run(work)

    async def note_ended(self, org: str, record: Record) -> None:
        """See the port."""

        def work(c: Connection) -> None:
            chain = Chain(c, self._database.audit_key, org)
            chain.add(record)
            chain.close()

        await self._database.run(work)
