"""What help desks and operators ask of the database, and access keys."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    func,
    insert,
    literal,
    or_,
    select,
    union,
    union_all,
    update,
)

from passferry.adapters import schema
from passferry.adapters.database import Chain, Database, lock_orgs, required_key
from passferry.adapters.rows import change_of
from passferry.adapters.store_accept import write_changes
from passferry.adapters.store_outcome import forget_in_doubt
from passferry.adapters.store_sources import resume
from passferry.domain.audit import Record
from passferry.domain.change import (
    LIVE,
    RETRYABLE,
    Change,
    Failure,
    Reference,
    State,
    check_transition,
    is_uuid,
)
from passferry.domain.messages import message_for
from passferry.store_ports import Caller, Delivered, NameTaken, NotNow

CHANGES, USERS, ACCESS = schema.changes, schema.users, schema.access


def needed_keys(c: Connection) -> set[str]:
    """Ids of the sealing keys that live changes and verifiers need, and of the one that seals from now on."""
    sealed, verifiers = CHANGES.c.sealed_key, schema.accounts.c.verifier_key
    found = set(c.execute(select(sealed).distinct().where(CHANGES.c.live)).scalars())
    found |= set(c.execute(select(verifiers).distinct()).scalars())
    found.add(required_key(c))
    return {key_id for key_id in found if key_id}


_CHANGE = select(CHANGES).where(CHANGES.c.id == bindparam("id"))


class SqlLookupStore:
    """The port ``LookupStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, change_id: str) -> Change | None:
        """See the port."""

        def work(c: Connection) -> Change | None:
            row = c.execute(_CHANGE, {"id": change_id}).one_or_none()
            return change_of(row) if row is not None else None

        return await self._database.run(work)

    async def changes(
        self,
        *,
        org: str | None = None,
        user: str | None = None,
        states: Sequence[State] = (),
        since: float | None = None,
        limit: int = 50,
        before: tuple[float, str] | None = None,
    ) -> list[Change]:
        """See the port."""
        at: ColumnElement[float] = CHANGES.c.accepted_at
        query = select(CHANGES)
        if user is not None:
            query = query.where(CHANGES.c.id.in_(_ids_of(user, org)))
        elif states and LIVE.issuperset(states):
            # Live ones are few, but in the order of an index all history may lie among them: "+ 0" keeps that
            # one out of it.
            query, at = query.where(_in_org(org), schema.LIVE), at + 0
        elif org is not None:
            query = query.where(CHANGES.c.org == org)
        if states:
            query = query.where(CHANGES.c.state.in_([state.value for state in states]))
        if since is not None:
            query = query.where(at >= since)
        if before is not None:
            accepted_at, last = before
            query = query.where(or_(at < accepted_at, and_(at == accepted_at, CHANGES.c.id < last)))
        query = query.order_by(at.desc(), CHANGES.c.id.desc()).limit(limit)
        return await self._database.look(lambda c: [change_of(row) for row in c.execute(query)])

    async def operate(self, change_id: str, act: str, actor: str, now: float) -> Change | None:
        """See the port."""

        def work(c: Connection) -> Change | None:
            chain = Chain.of_change(c, self._database.audit_key, change_id)
            if chain is None:
                return None
            change = change_of(c.execute(select(CHANGES).where(CHANGES.c.id == change_id)).one())
            if change.state not in RETRYABLE:
                raise NotNow(change.state)
            doubt = act == "cancel" and forget_in_doubt(c, change)
            done = _operated(change, act, now, doubt=doubt)
            check_transition(change.state, done.state)
            write_changes(c, [done])
            chain.add(Record(act, now, actor, change.id, change.user.value, done.state.value))
            chain.close()
            return done

        return await self._database.run(work)

    async def delivered(self, org: str, user: Reference) -> Delivered | None:
        """See the port."""
        table, users = schema.accounts, schema.users

        def work(c: Connection) -> Delivered | None:
            known = select(users.c.resolved_id).where(users.c.org == org, users.c.key == user.key)
            found = c.execute(known).scalar() or (user.value if user.kind == "id" else None)
            row = c.execute(
                select(table).where(table.c.org == org, table.c.resolved_id == found)
            ).one_or_none()
            if row is None or row.delivered_change is None:
                return None
            return Delivered(row.delivered_change, row.resolved_id, row.delivered_version, row.verifier)

        return await self._database.run(work)

    async def key_ids(self) -> set[str]:
        """See the port."""
        return await self._database.look(needed_keys)


def _ids_of(user: str, org: str | None) -> ColumnElement[Any]:
    """The ids of all changes of ``user``, which are few. A name that was resolved stands for its account.

    The indexes begin with the org: naming all orgs is a look into an index for each, naming none is a scan.
    So is what the statement comes to that has the conditions beside its order.
    """
    mine = select(CHANGES.c.id).where(_in_org(org))
    # Genesys Cloud's ids were kept in lower case, those of other targets as they were sent.
    ids = {user, user.lower()} if is_uuid(user) else {user}
    keys = {Reference("userName", user).key, *(Reference("id", each).key for each in ids)}
    name, other = USERS.alias("name"), USERS.alias("other")
    resolved = and_(_in_org(org, name.c.org), name.c.key == Reference("userName", user).key)
    same_account = and_(other.c.org == name.c.org, other.c.resolved_id == name.c.resolved_id)
    # By `union`, which no planner takes apart to begin with the changes.
    references = union(
        select(name.c.org, literal(Reference("id", "").key).concat(name.c.resolved_id).label("key")).where(
            resolved
        ),
        select(other.c.org, other.c.key).join(name, same_account).where(resolved),
    ).subquery("account")
    return union_all(
        mine.where(CHANGES.c.user_key.in_(keys)),
        mine.where(CHANGES.c.resolved_id.in_(ids)),
        select(CHANGES.c.id)
        .join(name, and_(name.c.org == CHANGES.c.org, name.c.resolved_id == CHANGES.c.resolved_id))
        .where(resolved),
        # What was resolved to another account is another user's, under whatever name it was sent.
        select(CHANGES.c.id)
        .join(references, and_(references.c.org == CHANGES.c.org, references.c.key == CHANGES.c.user_key))
        .where(func.coalesce(CHANGES.c.resolved_id, "") == ""),
    ).scalar_subquery()


def _in_org(org: str | None, column: ColumnElement[str] = CHANGES.c.org) -> ColumnElement[bool]:
    return column.in_(select(schema.orgs.c.name)) if org is None else column == org


def _operated(change: Change, act: str, now: float, *, doubt: bool) -> Change:
    if act == "retry":  # somebody waits for it now
        return replace(change, state=State.PENDING, updated_at=now, next_attempt_at=now, bulk=False)
    return replace(
        change,
        state=State.CANCELLED,
        updated_at=now,
        next_attempt_at=None,
        sealed=None,
        doubt=None,
        error=Failure("cancelled", message_for("cancelled.in.doubt" if doubt else "cancelled")),
    )


def _current(name: str) -> tuple[ColumnElement[bool], ...]:
    """What is true of the keys of ``name`` that are not revoked."""
    return ACCESS.c.name == name, ACCESS.c.revoked_at.is_(None)


class SqlAccessStore:
    """The port ``AccessStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_key(self, caller: Caller, secret_sha256: bytes, now: float) -> None:
        """See the port."""

        def work(c: Connection) -> None:
            lock_orgs(c)
            taken = select(ACCESS.c.id).where(*_current(caller.name))
            if c.execute(taken).first() is not None:
                raise NameTaken(caller.name)
            c.execute(
                insert(ACCESS).values(
                    id=caller.id,
                    name=caller.name,
                    role=caller.role,
                    orgs=" ".join(caller.orgs),
                    user_template=caller.user_template,
                    secret_sha256=secret_sha256,
                    created_at=now,
                )
            )
            self._note(c, "key.added", caller.orgs, "operator", caller.name, now)

        await self._database.run(work)

    async def keys(self) -> list[tuple[Caller, bytes]]:
        """See the port."""
        stopped = schema.sources
        query = (
            select(ACCESS, stopped.c.stopped_at)
            .outerjoin(stopped, stopped.c.name == ACCESS.c.name)
            .order_by(ACCESS.c.created_at, ACCESS.c.id)
        )

        def work(c: Connection) -> list[tuple[Caller, bytes]]:
            return [
                (
                    Caller(
                        row.id,
                        row.name,
                        row.role,
                        tuple(row.orgs.split()),
                        row.user_template,
                        row.created_at,
                        row.revoked_at,
                        row.stopped_at,
                    ),
                    row.secret_sha256,
                )
                for row in c.execute(query)
            ]

        return await self._database.run(work)

    async def revoke(self, name: str, actor: str, now: float) -> bool:
        """See the port."""

        def work(c: Connection) -> bool:
            lock_orgs(c)
            found = c.execute(select(ACCESS).where(*_current(name))).all()
            c.execute(update(ACCESS).where(*_current(name)).values(revoked_at=now))
            for row in found:
                self._note(c, "key.revoked", tuple(row.orgs.split()), actor, name, now)
            return bool(found)

        return await self._database.run(work)

    async def resume(self, name: str, actor: str, now: float) -> bool:
        """See the port."""

        def work(c: Connection) -> bool:
            lock_orgs(c)
            done = resume(c, name)
            if done:
                self._note(c, "source.resumed", (), actor, name, now)
            return done

        return await self._database.run(work)

    def _note(
        self, c: Connection, kind: str, orgs: tuple[str, ...], actor: str, name: str, now: float
    ) -> None:
        """Write down who may do what now, in the chain of every org concerned."""
        known = list(c.execute(select(schema.orgs.c.name).order_by(schema.orgs.c.name)).scalars())
        for org in known:
            if not orgs or org in orgs:
                chain = Chain(c, self._database.audit_key, org)
                chain.add(Record(kind, now, actor, other=name))
                chain.close()
