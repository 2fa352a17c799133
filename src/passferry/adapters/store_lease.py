"""Leases on the database: which worker owns which org, and which orgs are not idle.

A lease is the owner's name in the org's row; it holds while the owner's own row says that it was seen.
So renewing the leases of a thousand orgs is one row, and no session of the database has to last.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, or_, select, update

from passferry.adapters import schema
from passferry.adapters.database import Database, upsert
from passferry.domain.change import State
from passferry.store_ports import OrgNews, OrgState, Roll, Worker

ORGS, WORKERS, CHANGES = schema.orgs, schema.workers, schema.changes

# Who was seen in the future died before the clock was set back: it would be alive until then.
_SEEN = and_(WORKERS.c.seen_at > bindparam("since"), WORKERS.c.seen_at <= bindparam("until"))
_ALIVE = select(WORKERS.c.id).where(_SEEN)
_NAMES = select(WORKERS.c.id, WORKERS.c.name).where(_SEEN)
_OWNERS = select(ORGS.c.name, ORGS.c.owner)
_FREE = or_(ORGS.c.owner.is_(None), ORGS.c.owner.not_in(_ALIVE))
_CLAIM = (
    select(ORGS.c.name)
    .where(ORGS.c.name.in_(bindparam("orgs", expanding=True)), _FREE)
    .order_by(ORGS.c.name)
    .with_for_update(of=ORGS, skip_locked=True)
)
_OWN = update(ORGS).where(ORGS.c.name.in_(bindparam("orgs", expanding=True)), _FREE)


def _some(*what: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(select(CHANGES.c.id).where(CHANGES.c.org == ORGS.c.name, CHANGES.c.live, *what))


_DUE = _some(CHANGES.c.next_attempt_at <= bindparam("now"))
_LATE = _some(CHANGES.c.expires_at <= bindparam("now"), CHANGES.c.state != State.DELIVERING.value)
_NEWS = select(ORGS, _DUE.label("due"), _LATE.label("late")).where(
    or_(ORGS.c.paused.is_not(None), ORGS.c.blocked_until > bindparam("now"), _DUE, _LATE)
)


class SqlLeaseStore:
    """The port ``LeaseStore``."""

    def __init__(self, database: Database, read_clock: Callable[[Connection], None] = lambda c: None) -> None:
        """``read_clock`` sets the clock by the database's, which is done with every sign of life."""
        self._database, self._apart, self._read_clock = database, database.apart(), read_clock

    async def beat(self, worker: Worker, now: float, lease: float) -> Roll:
        """See the port."""

        def work(c: Connection) -> Roll:
            self._read_clock(c)
            known = select(WORKERS.c.started_at).where(WORKERS.c.id == worker.id)
            started = c.execute(known).scalar() or now
            row = {"id": worker.id, "name": worker.name, "started_at": started, "seen_at": now}
            upsert(c, WORKERS, [row])
            alive = {row.id: row.name for row in c.execute(_NAMES, _span(now, lease))}
            owners = {row.name: row.owner if row.owner in alive else None for row in c.execute(_OWNERS)}
            return Roll(alive, owners)

        return await self._apart.run(work)

    async def claim(self, worker: Worker, orgs: Sequence[str], now: float, lease: float) -> list[str]:
        """See the port."""
        span = _span(now, lease)

        def work(c: Connection) -> list[str]:
            free = list(c.execute(_CLAIM, {"orgs": list(orgs), **span}).scalars())
            if free:
                c.execute(_OWN.values(owner=worker.id), {"orgs": free, **span})
            # Who was not seen for ten leases is not coming back under this id.
            c.execute(delete(WORKERS).where(WORKERS.c.seen_at < now - 10 * lease))
            return free

        return await self._apart.run(work)

    async def release(self, worker: Worker, orgs: Sequence[str]) -> None:
        """See the port."""
        mine = and_(ORGS.c.owner == worker.id, ORGS.c.name.in_(list(orgs)))
        await self._database.run(lambda c: c.execute(update(ORGS).where(mine).values(owner=None)))

    async def leave(self, worker: Worker) -> None:
        """See the port."""

        def work(c: Connection) -> None:
            c.execute(update(ORGS).where(ORGS.c.owner == worker.id).values(owner=None))
            c.execute(delete(WORKERS).where(WORKERS.c.id == worker.id))

        await self._database.run(work)

    async def news(self, now: float) -> dict[str, OrgNews]:
        """See the port."""

        def work(c: Connection) -> dict[str, OrgNews]:
            return {row.name: _news(row) for row in c.execute(_NEWS, {"now": now})}

        return await self._apart.look(work)


def _span(now: float, lease: float) -> dict[str, float]:
    """When a worker was seen that is alive; clocks of several may differ by less than a lease."""
    return {"since": now - lease, "until": now + lease}


def _news(row: Any) -> OrgNews:
    return OrgNews(OrgState(row.paused, row.blocked_until), bool(row.due), bool(row.late))
