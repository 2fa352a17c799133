"""What is kept on the database, and under which key: rotation, retention, forgetting a user."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, or_, select, tuple_, update

from passferry.adapters import schema
from passferry.adapters.database import Chain, Database, lock_orgs, required_key, retired, upsert
from passferry.adapters.rows import key_id_of
from passferry.domain.audit import Record
from passferry.domain.change import Reference, State
from passferry.ports import Binding
from passferry.store_ports import Forgotten, NotNow, SealedRow, StaleSeal

CHANGES, ACCOUNTS, USERS = schema.changes, schema.accounts, schema.users
IDEMPOTENCY = schema.idempotency
PASSWORD, VERIFIER = "password", "verifier"

_RESEAL_CHANGE = (
    update(CHANGES)
    .where(CHANGES.c.id == bindparam("b_id"))
    .values(sealed=bindparam("b_sealed"), sealed_key=bindparam("b_key"))
)
_RESEAL_ACCOUNT = (
    update(ACCOUNTS)
    .where(ACCOUNTS.c.org == bindparam("b_org"), ACCOUNTS.c.resolved_id == bindparam("b_id"))
    .values(verifier=bindparam("b_sealed"), verifier_key=bindparam("b_key"))
)


class SqlKeepStore:
    """The ports ``ResealStore`` and ``RetentionStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- rotation ------------------------------------------------------------------------------

    async def sealing_key(self) -> str | None:
        """See the port."""
        return await self._database.run(required_key)

    async def retire(self, old: Collection[str], key_id: str, actor: str, now: float) -> None:
        """See the port."""

        def work(c: Connection) -> None:
            lock_orgs(c)  # what was sealed before is committed now, what comes after will be refused
            before = required_key(c)
            if before not in {None, key_id, *old}:
                raise StaleSeal(str(before))
            gone = {*old, before} - {key_id, None}
            rows = [{"name": retired(str(each)), "value": key_id} for each in gone]
            upsert(c, schema.meta, [*rows, {"name": "sealing_key", "value": key_id}])
            if before != key_id:
                self._note(c, [Record("key.rotated", now, actor, other=key_id)])

        await self._database.run(work)

    async def sealed_otherwise(self, key_id: str) -> list[tuple[str, ...]]:
        """See the port."""
        passwords = select(CHANGES.c.org, CHANGES.c.id).where(CHANGES.c.live, CHANGES.c.sealed_key != key_id)
        verifiers = select(ACCOUNTS.c.org, ACCOUNTS.c.resolved_id).where(ACCOUNTS.c.verifier_key != key_id)

        def work(c: Connection) -> list[tuple[str, ...]]:
            found: list[tuple[str, ...]] = [(PASSWORD, row.org, row.id) for row in c.execute(passwords)]
            return found + [(VERIFIER, row.org, row.resolved_id) for row in c.execute(verifiers)]

        return await self._database.run(work)

    async def reseal(
        self, rows: Sequence[tuple[str, ...]], key_id: str, anew: Callable[[SealedRow], bytes | None]
    ) -> int:
        """See the port."""

        def work(c: Connection) -> int:
            done = 0
            lock_orgs(c, (row[1] for row in rows))
            for kind, statement in ((PASSWORD, _RESEAL_CHANGE), (VERIFIER, _RESEAL_ACCOUNT)):
                found = _sealed_rows(c, kind, [row[1:] for row in rows if row[0] == kind], key_id)
                values = [_resealed(row, anew(row)) for row in found]
                written = [value for value in values if value is not None]
                if written:
                    c.execute(statement, written)
                done += len(written)
            return done

        return await self._database.run(work)

    async def note_retired(self, key_ids: Collection[str], actor: str, now: float) -> None:
        """See the port."""
        records = [Record("key.destroyed", now, actor, other=key_id) for key_id in sorted(key_ids)]
        await self._database.run(lambda c: self._note(c, records))

    def _note(self, c: Connection, records: Sequence[Record]) -> None:
        """Keys serve all orgs: what becomes of them is in every org's chain."""
        for org in c.execute(select(schema.orgs.c.name).order_by(schema.orgs.c.name)).scalars().all():
            chain = Chain(c, self._database.audit_key, org)
            for record in records:
                chain.add(record)
            chain.close()

    # --- retention -----------------------------------------------------------------------------

    async def prune_changes(self, ended_before: float, most: int) -> int:
        """See the port."""
        old = (
            select(CHANGES.c.id)
            .where(
                CHANGES.c.accepted_at <= ended_before, ~CHANGES.c.live, CHANGES.c.updated_at <= ended_before
            )
            .order_by(CHANGES.c.accepted_at)
            .limit(most)
        )

        def work(c: Connection) -> int:
            return c.execute(delete(CHANGES).where(CHANGES.c.id.in_(old.scalar_subquery()))).rowcount

        return await self._database.run(work)

    async def prune_idempotency(self, made_before: float, most: int) -> int:
        """See the port."""
        table = IDEMPOTENCY
        old = (
            select(table.c.org, table.c.key, table.c.source)
            .outerjoin(CHANGES, CHANGES.c.id == table.c.change_id)
            .where(table.c.created_at <= made_before, or_(CHANGES.c.id.is_(None), ~CHANGES.c.live))
            .order_by(table.c.created_at)
            .limit(most)
        )

        def work(c: Connection) -> int:
            found = [tuple(row) for row in c.execute(old)]
            if not found:
                return 0
            key = tuple_(table.c.org, table.c.key, table.c.source)
            return c.execute(delete(table).where(key.in_(found), table.c.created_at <= made_before)).rowcount

        return await self._database.run(work)

    async def prune_access(self, revoked_before: float, most: int) -> int:
        """See the port."""
        table = schema.access
        old = select(table.c.id).where(table.c.revoked_at <= revoked_before).limit(most)

        def work(c: Connection) -> int:
            return c.execute(delete(table).where(table.c.id.in_(old.scalar_subquery()))).rowcount

        return await self._database.run(work)

    async def forget_user(
        self, org: str, user: Reference, actor: str, now: float, block: float
    ) -> Forgotten | None:
        """See the port."""

        def work(c: Connection) -> Forgotten | None:
            chain = Chain(c, self._database.audit_key, org)
            forgotten = _forget(c, org, user, now, block)
            if forgotten is not None:
                chain.add(Record("user.forgotten", now, actor, user=user.value))
                chain.close()
            return forgotten

        return await self._database.run(work)


def _sealed_rows(c: Connection, kind: str, keys: Sequence[tuple[str, ...]], key_id: str) -> list[SealedRow]:
    """Those of the rows that hold a value which needs another key than ``key_id``."""
    if not keys:
        return []
    if kind == PASSWORD:
        query: Any = select(CHANGES).where(
            CHANGES.c.id.in_([key[1] for key in keys]), CHANGES.c.live, CHANGES.c.sealed_key != key_id
        )
        return [
            SealedRow(
                (PASSWORD, row.org, row.id), Binding(PASSWORD, row.org, row.user_value, row.id), row.sealed
            )
            for row in c.execute(query)
        ]
    query = select(ACCOUNTS).where(
        tuple_(ACCOUNTS.c.org, ACCOUNTS.c.resolved_id).in_(list(keys)), ACCOUNTS.c.verifier_key != key_id
    )
    return [
        SealedRow(
            (VERIFIER, row.org, row.resolved_id),
            Binding(VERIFIER, row.org, row.resolved_id, row.delivered_change),
            row.verifier,
        )
        for row in c.execute(query)
    ]


def _resealed(row: SealedRow, sealed: bytes | None) -> dict[str, Any] | None:
    if sealed is None:
        return None
    values: dict[str, Any] = {"b_id": row.key[-1], "b_sealed": sealed, "b_key": key_id_of(sealed)}
    return values if row.key[0] == PASSWORD else {**values, "b_org": row.binding.org}


def _forget(c: Connection, org: str, user: Reference, now: float, block: float) -> Forgotten | None:
    known = select(USERS.c.resolved_id).where(USERS.c.org == org, USERS.c.key == user.key)
    resolved = c.execute(known).scalar() or (user.value if user.kind == "id" else None)
    same = USERS.c.key == user.key
    if resolved is not None:
        same = or_(same, USERS.c.resolved_id == resolved, USERS.c.key == Reference("id", resolved).key)
    keys = list(c.execute(select(USERS.c.key).where(USERS.c.org == org, same)).scalars())
    mine: list[ColumnElement[bool]] = [CHANGES.c.user_key.in_({*keys, user.key})]
    if resolved is not None:
        mine.append(CHANGES.c.resolved_id == resolved)
    owned = [
        c.execute(select(CHANGES.c.id, CHANGES.c.state, CHANGES.c.live).where(CHANGES.c.org == org, part))
        for part in mine
    ]
    changes = {row.id: row for found in owned for row in found}
    for row in changes.values():
        if row.live:
            raise NotNow(State(row.state))
    this_account = (ACCOUNTS.c.org == org) & (ACCOUNTS.c.resolved_id == resolved)
    account = c.execute(select(ACCOUNTS).where(this_account)).one_or_none() if resolved is not None else None
    if account is not None and account.intent_at is not None and now < account.intent_at + block:
        raise NotNow(State.DELIVERING)
    if not keys and not changes and account is None:
        return None
    c.execute(delete(CHANGES).where(CHANGES.c.id.in_(list(changes))))
    c.execute(delete(USERS).where(USERS.c.org == org, USERS.c.key.in_(keys)))
    if account is not None:
        c.execute(delete(ACCOUNTS).where(this_account))
    return Forgotten(len(keys), len(changes), account is not None and account.verifier is not None)
