"""What the stores share whichever database they are on: transactions, the audit chain within them.

Every write transaction of an org locks the org's row first. So the transactions of an org are serial on
PostgreSQL, as all are on SQLite, and no two of them can wait for each other. Only retention locks no org: it
deletes what has ended, which nobody else writes any more.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Insert, Table, bindparam, insert, inspect, select, update
from sqlalchemy.dialects import postgresql, sqlite

from passferry.adapters import schema
from passferry.adapters.migrate import migrate
from passferry.adapters.prepared import Prepared
from passferry.adapters.rows import key_id_of
from passferry.domain.audit import GENESIS, Head, Record, fields_of, link
from passferry.store_ports import StaleSeal

T = TypeVar("T")


class Database(Protocol):
    """An open database. A transaction is one plain function over a connection, run in a thread."""

    audit_key: bytes
    shared: bool
    """Whether other processes may deliver from it, and serve it, at the same time."""

    @property
    def engine(self) -> Engine:
        """For set-up and tests; everything else goes through ``run``."""

    @property
    def reader(self) -> Engine:
        """For what is only read at set-up, beside the transactions of others."""

    async def run(self, work: Callable[[Connection], T], *, patient: bool = False) -> T:
        """The result of ``work`` in one committed transaction.

        ``patient``: it begins something new, and waits behind what others wait for or what was begun.
        Cancelling the caller does not stop a transaction that has begun. Raises ``StoreFull``, ``StoreBusy``,
        ``StoreAway``, ``StoreLost``, or what ``work`` raises after everything was rolled back. ``work`` may
        be run again, from the start, when nothing of it was committed.
        """

    async def look(self, work: Callable[[Connection], T]) -> T:
        """The result of ``work``, which only reads, on a connection of its own.

        However long it reads, transactions go on beside it. Raises ``StoreBusy`` and what ``work`` raises.
        """

    def lane(self, org: str) -> "Database":
        """The same for transactions of ``org`` alone: however long they wait for its lock, others go on."""
        return self

    def apart(self) -> "Database":
        """The same for what must not wait behind any other transaction; closed with this one."""
        return self

    async def checkpoint(self) -> None:
        """Let erased rows leave the files, where that is ours to do."""

    def close(self) -> None:
        """Finish what runs, then close. Idempotent."""


def is_made(database: Database) -> bool:
    """Whether somebody made its tables, of whatever version; or it has tables that look like them."""
    with database.reader.connect() as connection:
        return bool(set(inspect(connection).get_table_names()) & set(schema.metadata.tables))


def prepare(database: Database) -> None:
    """Make its tables, or bring them up to date. Raises ``NewerDatabase`` and ``ForeignDatabase``."""
    with database.engine.begin() as connection:
        migrate(connection)


def required_key(connection: Connection) -> str | None:
    """The id of the newest sealing key that a rotation made; None while no key was rotated."""
    return connection.execute(_REQUIRED_KEY).scalar()


_REQUIRED_KEY = select(schema.meta.c.value).where(schema.meta.c.name == "sealing_key")
_NAMED = select(schema.meta.c.name).where(schema.meta.c.name.in_(bindparam("names", expanding=True))).limit(1)


def retired(key_id: str) -> str:
    """The name in ``meta`` that says that nothing is stored any more that is sealed under ``key_id``."""
    return f"retired:{key_id}"


def check_seals(connection: Connection, sealed: Iterable[bytes]) -> None:
    """Refuse what is sealed under a key that rotation replaces and will destroy. Raises ``StaleSeal``.

    A key that was never heard of is taken: it is in the ring already, and the rotation that made it goes on.
    """
    names = {retired(key_id) for value in sealed if (key_id := key_id_of(value))}
    if names and connection.execute(_NAMED, {"names": sorted(names)}).first() is not None:
        raise StaleSeal(required_key(connection) or "")


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert those of ``rows`` that do not exist; another process may do it at the same time."""
    if rows:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def upsert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert ``rows``, or update those whose primary key exists."""
    if rows:
        connection.execute(_upsert(connection.dialect.name, table, tuple(rows[0])), rows)


@functools.cache  # building a statement costs more than running it
def _upsert(dialect: str, table: Table, columns: tuple[str, ...]) -> Insert:
    statement: Any = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in columns if name not in keys}
    found: Insert = statement.on_conflict_do_update(index_elements=keys, set_=changed)
    return found


_LOCK_ORG = Prepared(select(schema.orgs).where(schema.orgs.c.name == bindparam("org")).with_for_update())
_LOCK_ORG_OF_CHANGE = Prepared(
    select(schema.orgs)
    .where(
        schema.orgs.c.name
        == select(schema.changes.c.org).where(schema.changes.c.id == bindparam("id")).scalar_subquery()
    )
    .with_for_update()
)
_LOCK_ORGS = select(schema.orgs.c.name).order_by(schema.orgs.c.name).with_for_update()
_ADD_RECORDS = Prepared(insert(schema.audit))
_SET_HEAD = Prepared(
    update(schema.orgs)
    .where(schema.orgs.c.name == bindparam("org"))
    .values(head_seq=bindparam("seq"), head_mac=bindparam("mac"))
)


def lock_org(connection: Connection, org: str) -> Any:
    """The org's row, locked until the transaction ends: the first thing that a transaction does."""
    return _LOCK_ORG.one(connection, {"org": org})


def lock_orgs(connection: Connection, names: Iterable[str] | None = None) -> list[str]:
    """Lock the rows of ``names`` (None: of all orgs), always in the same order; those that exist."""
    wanted = _LOCK_ORGS if names is None else _LOCK_ORGS.where(schema.orgs.c.name.in_(sorted(set(names))))
    return list(connection.execute(wanted).scalars())


class Chain:
    """Locks an org for a transaction, and appends to its audit chain; ``close`` writes what was added."""

    def __init__(self, connection: Connection, key: bytes, org: str) -> None:
        """Lock the org's row, and continue from its head."""
        self._begin(connection, key, lock_org(connection, org))

    @classmethod
    def of_change(cls, connection: Connection, key: bytes, change_id: str) -> "Chain | None":
        """The chain of the change's org; None when there is no such change."""
        row = _LOCK_ORG_OF_CHANGE.row(connection, {"id": change_id})
        if row is None:
            return None
        chain = cls.__new__(cls)
        chain._begin(connection, key, row)
        return chain

    def _begin(self, connection: Connection, key: bytes, org: Any) -> None:
        self._connection, self._key, self.org = connection, key, str(org.name)
        self.epoch, self.paused = int(org.epoch), org.paused
        self._head = Head(org.head_seq, org.head_mac)
        self._rows: list[dict[str, Any]] = []

    def add(self, record: Record) -> int:
        """Append ``record``; its number in the chain."""
        seq = self._head.seq + 1
        mac = link(self._key, self._head.mac, self.org, seq, record)
        self._rows.append({"org": self.org, "seq": seq, "mac": mac, **fields_of(record)})
        self._head = Head(seq, mac)
        return seq

    def close(self) -> None:
        """Write the records and the new head."""
        if self._rows:
            _ADD_RECORDS.run_many(self._connection, self._rows)
            values = {"org": self.org, "seq": self._head.seq, "mac": self._head.mac}
            _SET_HEAD.run(self._connection, values)


def add_orgs(connection: Connection, names: list[str]) -> None:
    """Give every configured org its row; in one order, so that two starters cannot wait for each other."""
    known = set(connection.execute(select(schema.orgs.c.name)).scalars())
    rows = [
        {"name": name, "epoch": 0, "blocked_until": 0.0, "head_seq": 0, "head_mac": GENESIS}
        for name in sorted(names)
    ]
    insert_new(connection, schema.orgs, [row for row in rows if row["name"] not in known])
