"""Accepting on the database: many changes, one commit, a fixed number of statements."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, func, insert, select, update

from passferry.adapters import schema
from passferry.adapters.database import Chain, Database, check_seals, upsert
from passferry.adapters.prepared import Prepared
from passferry.adapters.rows import change_of, row_of
from passferry.adapters.store_sources import Hours
from passferry.domain.accepting import (
    KEYS_KEPT,
    Accepted,
    Judge,
    NewChange,
    Protected,
    Remembered,
    Replayed,
    UserRow,
    Verdict,
    newest_of,
)
from passferry.domain.audit import Record
from passferry.domain.change import Change, Failure, Reference, State
from passferry.domain.messages import message_for
from passferry.domain.source_rules import names_one


class SqlAcceptStore:
    """The port ``AcceptStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, items: Sequence[NewChange], judge: Judge) -> list[Verdict]:
        """See the port."""
        return await self._database.run(lambda c: _accept(c, self._database.audit_key, items, judge))

    def lane(self, org: str) -> str:
        """See the port: where others may hold an org's lock, they hold up that org alone."""
        return org if self._database.shared else ""

    async def backlog(self, org: str, most: int) -> int:
        """See the port."""
        table = schema.changes
        live = select(table.c.org).where(table.c.org == org, schema.LIVE).limit(most).subquery()
        query = select(func.count()).select_from(live)
        return await self._database.look(lambda c: c.execute(query).scalar_one())


def superseded(change: Change, by: str, now: float) -> Change:
    """``change`` after ``by`` was accepted: ended, or, while it is being sent, only without its password."""
    if change.state is State.DELIVERING:
        return replace(change, sealed=None, superseded_by=by, updated_at=now)
    error = Failure("superseded", message_for("superseded"))
    return replace(
        change,
        state=State.SUPERSEDED,
        sealed=None,
        superseded_by=by,
        updated_at=now,
        next_attempt_at=None,
        error=error,
    )


def write_changes(connection: Connection, changes: Iterable[Change]) -> None:
    """Update every column of existing ``changes``."""
    rows = [{f"b_{name}": value for name, value in row_of(change).items()} for change in changes]
    if rows:
        _UPDATE.run_many(connection, rows)


def user_row(row: Any) -> UserRow:
    """What is kept of a reference.

    Where it is not known when its newest was accepted, nothing was told: programs before version 4 write
    no such time, and leave that of the change before.
    """
    accepted_at = max(row.newest_at, row.newest_accepted_at or 0.0)
    return UserRow(row.newest_seq, row.newest_at, row.newest_source, accepted_at)


# Statements are built once: building one costs more than running it.
_CHANGES, _REFERENCES, _KEYS = schema.changes, schema.users, schema.idempotency
_SOME_KEYS: BindParameter[Any] = bindparam("keys", expanding=True)
_USERS = select(_REFERENCES).where(_REFERENCES.c.org == bindparam("org"), _REFERENCES.c.key.in_(_SOME_KEYS))
_SAME = select(_REFERENCES).where(
    _REFERENCES.c.org == bindparam("org"),
    _REFERENCES.c.resolved_id.in_(bindparam("resolved", expanding=True)),
)
_LIVE = (
    select(_CHANGES)
    .where(_CHANGES.c.org == bindparam("org"), _CHANGES.c.user_key.in_(_SOME_KEYS), _CHANGES.c.live)
    .where(_CHANGES.c.superseded_by.is_(None))
    .order_by(_CHANGES.c.seq)
)
_REMEMBERED = (
    select(_KEYS, _CHANGES.c.live)
    .outerjoin(_CHANGES, _CHANGES.c.id == _KEYS.c.change_id)
    .where(_KEYS.c.org == bindparam("org"), _KEYS.c.key.in_(_SOME_KEYS))
)
_INSERT = Prepared(insert(_CHANGES))
_UPDATE = Prepared(
    update(schema.changes)
    .where(schema.changes.c.id == bindparam("b_id"))
    .values({c.name: bindparam(f"b_{c.name}") for c in schema.changes.columns if c.name != "id"})
)


def _accept(connection: Connection, key: bytes, items: Sequence[NewChange], judge: Judge) -> list[Verdict]:
    verdicts: dict[int, Verdict] = {}
    chains = [Chain(connection, key, org) for org in sorted({item.org for item in items})]
    check_seals(connection, (item.sealed for item in items))  # under the lock, which rotation waits for
    hours = Hours(connection, items)
    for chain in chains:
        org = chain.org
        mine = [(index, item) for index, item in enumerate(items) if item.org == org]
        page = _Page(connection, chain, [item for _, item in mine], hours)
        for index, item in mine:
            verdicts[index] = page.take(item, judge)
        page.write()
    hours.write()
    return [verdicts[index] for index in range(len(items))]


def _asks_who(item: NewChange) -> bool:
    """Whether it matters under what other references the user is known."""
    return bool(item.never) or item.changed_at is not None or item.arrived_at is not None


@dataclass
class _User:
    row: UserRow
    resolved_id: str | None
    dirty: bool = False


class _Page:
    """What a batch's items of one org need to know, read at once, and what they change, written at once."""

    def __init__(
        self, connection: Connection, chain: Chain, items: Sequence[NewChange], hours: Hours
    ) -> None:
        self._connection, self._chain, self._org, self._hours = connection, chain, chain.org, hours
        ids = {item.user.value for item in items if item.user.kind == "id" and _asks_who(item)}
        self._users = self._read_users({item.user.key for item in items}, ids)
        self._live = self._read_live({item.user.key for item in items})
        keys = {item.idempotency_key for item in items if item.idempotency_key is not None}
        self._remembered = self._read_remembered(keys, items[0].now) if keys else {}
        self._new: dict[str, Change] = {}
        self._changed: dict[str, Change] = {}
        self._remember: list[dict[str, Any]] = []

    def take(self, item: NewChange, judge: Judge) -> Verdict:
        if self._is_protected(item):
            return Protected()
        remembered = self._remembered.get((item.source, item.idempotency_key))
        live = self._live.get(item.user.key)
        verdict = judge(item, self._newest(item.user), live, remembered)
        if isinstance(verdict, Accepted) and (stopped := self._hours.take(item)) is not None:
            if stopped.now:
                self._chain.add(Record("source.stopped", item.now, item.source))
            return stopped
        if isinstance(verdict, Accepted):
            self._store(item, verdict.replaces)
            self._note(item, item.id)
        elif isinstance(verdict, Replayed) and remembered is None:
            assert live is not None  # noqa: S101  # what it replays
            self._repeat(item, live)
            self._note(item, verdict.change_id)
        return verdict

    def write(self) -> None:
        if self._new:
            _INSERT.run_many(self._connection, [row_of(change) for change in self._new.values()])
        write_changes(self._connection, self._changed.values())
        rows = [
            {
                "org": self._org,
                "key": key,
                "newest_seq": user.row.newest_seq,
                "newest_at": user.row.newest_at,
                "newest_source": user.row.newest_source,
                "resolved_id": user.resolved_id,
                "newest_accepted_at": user.row.accepted_at,
            }
            for key, user in self._users.items()
            if user.dirty
        ]
        upsert(self._connection, schema.users, rows)
        upsert(self._connection, schema.idempotency, self._remember)
        self._chain.close()

    def _is_protected(self, item: NewChange) -> bool:
        """Whether one of the names under which the user is known is one that must not be touched.

        Else a change that is refused at its delivery would first supersede one that is allowed.
        """
        if not item.never:
            return False
        own = self._users.get(item.user.key)
        resolved = item.user.value if item.user.kind == "id" else own.resolved_id if own else None
        if resolved is None:
            return False
        same = (key[2:] for key, user in self._users.items() if user.resolved_id == resolved)
        return names_one(item.never, resolved, *same)

    def _newest(self, user: Reference) -> UserRow | None:
        """The newest of all references that are known to be this user's."""
        own = self._users.get(user.key)
        resolved = user.value if user.kind == "id" else own.resolved_id if own else None
        if resolved is None:
            return own.row if own else None
        keys = (user.key, f"i:{resolved}")
        same = [one.row for key, one in self._users.items() if key in keys or one.resolved_id == resolved]
        return newest_of(same) if same else None

    def _store(self, item: NewChange, replaces: Change | None) -> None:
        record = Record("accepted", item.now, item.source, item.id, item.user.value, State.PENDING.value)
        change = Change(
            id=item.id,
            org=item.org,
            seq=self._chain.add(record),
            user=item.user,
            source=item.source,
            state=State.PENDING,
            accepted_at=item.now,
            waiting_since=replaces.waiting_since if replaces is not None else item.now,
            updated_at=item.now,
            expires_at=item.expires_at,
            next_attempt_at=item.now,
            bulk=item.bulk and (replaces is None or replaces.bulk),  # a person who waits keeps the place
            sealed=item.sealed,
        )
        if replaces is not None:
            self._replace(replaces, item)
        self._new[change.id] = self._live[item.user.key] = change
        old = self._users.get(item.user.key)
        row = UserRow(change.seq, item.made_at, item.source, item.now)
        self._users[item.user.key] = _User(row, old.resolved_id if old else None, dirty=True)

    def _replace(self, old: Change, item: NewChange) -> None:
        done = superseded(old, item.id, item.now)
        (self._new if old.id in self._new else self._changed)[old.id] = done
        self._chain.add(
            Record(
                "superseded", item.now, item.source, old.id, old.user.value, done.state.value, other=item.id
            )
        )

    def _repeat(self, item: NewChange, live: Change) -> None:
        """``live`` is the user's newest once more, and takes the place of ``item`` in accept order.

        Somebody else may have been faster under another reference to the same user, which may not be known
        yet. And its password is the user's at that time: an older change is stale now.
        """
        record = Record("repeated", item.now, item.source, live.id, live.user.value, live.state.value)
        newest = replace(live, seq=self._chain.add(record))
        (self._new if live.id in self._new else self._changed)[live.id] = newest
        self._live[item.user.key] = newest
        user = self._users[item.user.key]
        if item.made_at > user.row.newest_at:
            user.row = UserRow(newest.seq, item.made_at, item.source, item.now)
        else:
            user.row = replace(user.row, newest_seq=newest.seq, accepted_at=item.now)
        user.dirty = True

    def _note(self, item: NewChange, change_id: str) -> None:
        if item.idempotency_key is None:
            return
        self._remembered[(item.source, item.idempotency_key)] = Remembered(item.body_mac, change_id)
        self._remember.append(
            {
                "org": self._org,
                "key": item.idempotency_key,
                "source": item.source,
                "body_mac": item.body_mac,
                "change_id": change_id,
                "created_at": item.now,
            }
        )

    def _read_users(self, keys: set[str], ids: set[str]) -> dict[str, _User]:
        """The users with these ``keys``, or ``ids``, and under every other reference that is known."""
        rows = list(self._connection.execute(_USERS, {"org": self._org, "keys": sorted(keys)}))
        resolved = ids | {row.resolved_id for row in rows if row.resolved_id is not None}
        if resolved:
            rows += list(self._connection.execute(_SAME, {"org": self._org, "resolved": sorted(resolved)}))
            by_id = sorted({f"i:{one}" for one in resolved} - keys)
            rows += list(self._connection.execute(_USERS, {"org": self._org, "keys": by_id})) if by_id else []
        return {row.key: _User(user_row(row), row.resolved_id) for row in rows}

    def _read_live(self, keys: set[str]) -> dict[str, Change]:
        values = {"org": self._org, "keys": sorted(keys)}
        return {row.user_key: change_of(row) for row in self._connection.execute(_LIVE, values)}

    def _read_remembered(self, keys: set[str], now: float) -> dict[tuple[str, str | None], Remembered]:
        values = {"org": self._org, "keys": sorted(keys)}
        return {
            (row.source, row.key): Remembered(row.body_mac, row.change_id)
            for row in self._connection.execute(_REMEMBERED, values)
            if row.live or row.created_at > now - KEYS_KEPT
        }
