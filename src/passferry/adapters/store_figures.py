"""What whoever watches the gateway asks of the database."""

from sqlalchemy import Connection, case, func, select

from passferry.adapters import schema
from passferry.adapters.database import Database
from passferry.domain.change import State
from passferry.store_ports import OrgFigures


class SqlFiguresStore:
    """The port ``FiguresStore``, beside the transactions: 200,000 live changes take 0.4 s to count."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def orgs(self) -> dict[str, OrgFigures]:
        """See the port."""
        changes, orgs = schema.changes, schema.orgs
        parked = changes.c.state == State.PARKED.value
        live = (
            select(
                changes.c.org,
                func.sum(case((parked, 0), else_=1)).label("waiting"),
                func.sum(case((parked, 1), else_=0)).label("parked"),
                func.min(case((parked, None), else_=changes.c.waiting_since)).label("oldest"),
            )
            .where(changes.c.live)
            .group_by(changes.c.org)
            .subquery()
        )
        query = select(orgs, live.c.waiting, live.c.parked, live.c.oldest).outerjoin_from(
            orgs, live, orgs.c.name == live.c.org
        )

        def work(c: Connection) -> dict[str, OrgFigures]:
            return {
                row.name: OrgFigures(
                    row.waiting or 0,
                    row.parked or 0,
                    row.oldest,
                    row.paused,
                    row.head_seq,
                    row.blocked_until,
                )
                for row in c.execute(query)
            }

        return await self._database.look(work)

    async def stopped_sources(self) -> set[str]:
        """See the port."""
        table = schema.sources
        query = select(table.c.name).where(table.c.stopped_at.is_not(None))
        return await self._database.look(lambda c: set(c.execute(query).scalars()))
