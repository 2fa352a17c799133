"""The audit trail on the database: read beside the transactions, pruned from its old end."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, select
from sqlalchemy.exc import OperationalError

from passferry.adapters import schema
from passferry.adapters.database import Chain, Database
from passferry.domain.audit import EXPORTED, PRUNED, RECORD_FIELDS, Head, Link, Record
from passferry.store_ports import TrailMoved

AUDIT = schema.audit


class SqlAuditStore:
    """The port ``AuditStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def heads(self) -> dict[str, Head]:
        """See the port."""
        table = schema.orgs
        query = select(table.c.name, table.c.head_seq, table.c.head_mac)
        return await self._database.look(
            lambda c: {row.name: Head(row.head_seq, row.head_mac) for row in c.execute(query)}
        )

    async def links(self, org: str, after: int, limit: int) -> list[Link]:
        """See the port."""
        query = select(AUDIT).where(AUDIT.c.org == org, AUDIT.c.seq > after)
        query = query.order_by(AUDIT.c.seq).limit(limit)
        return await self._database.look(lambda c: _links(c, query))

    async def newest(self, org: str, kind: str, up_to: int) -> Link | None:
        """See the port."""
        query = select(AUDIT).where(
            schema.ABOUT_THE_TRAIL, AUDIT.c.org == org, AUDIT.c.kind == kind, AUDIT.c.seq <= up_to
        )
        query = query.order_by(AUDIT.c.seq.desc()).limit(1)
        found = await self._database.look(lambda c: _links(c, query))
        return found[0] if found else None

    async def note_exported(self, org: str, head: Head, actor: str, now: float) -> None:
        """See the port."""

        def work(c: Connection) -> None:
            chain = Chain(c, self._database.audit_key, org)
            chain.add(Record(EXPORTED, now, actor, other=str(head)))
            chain.close()

        await self._database.run(work)

    async def prune(self, org: str, after: Head, gone: Sequence[bytes], actor: str, now: float) -> Head:
        """See the port."""
        base = Head(after.seq + len(gone), gone[-1])
        mine = (AUDIT.c.org == org) & (AUDIT.c.seq <= base.seq)
        stored = select(AUDIT.c.seq, AUDIT.c.mac).where(mine).order_by(AUDIT.c.seq)

        def work(c: Connection) -> Head:
            chain = Chain(c, self._database.audit_key, org)
            found = [(row.seq, row.mac) for row in c.execute(stored)]
            if found != list(enumerate(gone, after.seq + 1)):
                raise TrailMoved(org)
            c.execute(delete(AUDIT).where(mine))
            chain.add(Record(PRUNED, now, actor, other=str(base)))
            chain.close()
            return base

        return await self._database.run(work)


def _links(c: Connection, query: Select[Any]) -> list[Link]:
    return [
        Link(row.seq, Record(**{name: row._mapping[name] for name in RECORD_FIELDS}), row.mac)
        for row in _rows(c, query)
    ]


def _rows(c: Connection, query: Select[Any]) -> Sequence[Row[Any]]:
    """All rows. Raises ``ValueError`` when there is text that is none, which only tampering puts there."""
    try:
        return c.execute(query).all()
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorcode", None) is not None:
            raise
    raise ValueError("not UTF-8")
