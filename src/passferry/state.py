"""The state: a database and a key ring that belong together, opened for a process or for one command."""

import contextlib
import fcntl
import os
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError, ProgrammingError

from passferry.adapters import keyring, schema
from passferry.adapters.clock import SystemClock
from passferry.adapters.database import Database, add_orgs, insert_new, is_made, prepare
from passferry.adapters.hashing import Argon2Hasher
from passferry.adapters.key_file import FileSealer, KeyFile
from passferry.adapters.migrate import ForeignDatabase, NewerDatabase
from passferry.adapters.sqlite import SqliteDatabase, failure
from passferry.adapters.store_accept import SqlAcceptStore
from passferry.adapters.store_audit import SqlAuditStore
from passferry.adapters.store_deliver import SqlDeliveryStore
from passferry.adapters.store_figures import SqlFiguresStore
from passferry.adapters.store_keep import SqlKeepStore
from passferry.adapters.store_lease import SqlLeaseStore
from passferry.adapters.store_lookup import SqlAccessStore, SqlLookupStore, needed_keys
from passferry.adapters.store_sources import SqlPassStore
from passferry.config import Settings
from passferry.ports import Clock, HandOver, Hasher, KeyHolder, Sealer
from passferry.store_ports import AuditStore, FiguresStore, LookupStore, StoreFull, Worker

DATABASE_FILE = "passferry.db"
LOCK_FILE = "serve.lock"
ROTATION_LOCK = "rotate.lock"


class StateError(Exception):
    """The state on disk cannot be used; ``what`` is wrong and ``hint`` what to do."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what} ({hint})")
        self.what, self.hint = what, hint


def audit_key(sealer: Sealer) -> bytes:
    """The key of the audit chains."""
    return sealer.mac("audit chain", b"")


@dataclass(frozen=True, slots=True)
class Stores:
    """An open database with its key ring, and the ports over them."""

    database: Database
    sealer: Sealer
    accept: SqlAcceptStore
    delivery: SqlDeliveryStore
    lookup: SqlLookupStore
    access: SqlAccessStore
    keep: SqlKeepStore
    figures: SqlFiguresStore
    lease: SqlLeaseStore
    audit: SqlAuditStore
    passes: SqlPassStore
    clock: Clock
    worker: Worker | None

    @classmethod
    def over(
        cls,
        database: Database,
        sealer: Sealer,
        clock: Clock,
        worker: Worker | None = None,
        read_clock: Callable[[Connection], None] = lambda c: None,
    ) -> "Stores":
        """All stores over one database, with its clock; ``worker`` is who delivers, where several may."""
        return cls(
            database,
            sealer,
            SqlAcceptStore(database),
            SqlDeliveryStore(database, worker.id if worker is not None else None),
            SqlLookupStore(database),
            SqlAccessStore(database),
            SqlKeepStore(database),
            SqlFiguresStore(database),
            SqlLeaseStore(database, read_clock),
            SqlAuditStore(database),
            SqlPassStore(database),
            clock,
            worker,
        )


class NotReachable(StateError):
    """The database does not answer; it may be tried again."""


def open_stores(settings: Settings, now: float, *, create: bool) -> Stores:
    """Open database and key ring, and check that they belong together.

    Args:
        settings: say where they are.
        now: epoch seconds, for a new ring.
        create: make what is missing, as far as that loses nothing. Else nothing is made.

    Raises:
        StateError: they cannot be used, or are not there.
    """
    if settings.database_url is not None:
        return _open_postgres(settings.database_url, settings, create=create)
    path = settings.state_dir / DATABASE_FILE
    check_state_dir(settings.state_dir, create=create)
    if not create and not _holds_anything(path):
        raise StateError(f"there is no database at {path}", _NO_STATE)
    sealer = _sealer(settings.key_file, path, now)
    problem: StateError
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its other files the same mode
        database = SqliteDatabase(path, audit_key(sealer))
        _check(database, sealer, settings, create=create)
    except OSError as error:
        problem = _not_ours(path, error)
    except DBAPIError as error:
        found = failure(error, committing=False)
        if isinstance(found, StoreFull):
            problem = NotReachable(f"{path}: {found}", "try again")
        else:
            problem = StateError(
                f"{path} cannot be used: {error.orig}",
                "check its folder and its disk, or restore its back-up",
            )
    else:
        return Stores.over(database, sealer, SystemClock())
    raise problem


_NO_STATE = (
    "start `passferry serve` once, or set PASSFERRY_STATE_DIR (or --config FILE) as it is set there,"
    " and run as the user who runs it"
)


def _not_ours(path: Path, error: OSError) -> StateError:
    """What to say when the file system does not let us at ``path``."""
    what = f"user id {os.geteuid()} cannot use {path}: {error.strerror}"
    return StateError(
        what, "run as the user who runs `serve`, on a disk that can be written; or set PASSFERRY_STATE_DIR"
    )


def _open_postgres(url: str, settings: Settings, *, create: bool) -> Stores:
    """As ``open_stores``. A key ring is never made: machines that each make their own could not share it."""
    sealer = open_ring(settings, missing="`passferry keys create` makes it, once; copy it to every machine")
    from passferry.adapters import postgres  # late: SQLite needs none

    database = postgres.PostgresDatabase(url, audit_key(sealer))
    clock = postgres.DatabaseClock()
    problem: StateError | None = None
    try:
        with database.engine.connect() as connection:
            clock.read(connection)
        _check(database, sealer, settings, create=create)
    except DBAPIError as error:
        found = postgres.failure(error)
        database.close()
        problem = _unusable(error)
        if found is not None:
            problem = NotReachable(f"{_URL}: {found}", postgres.hint(str(error.orig)))
        if problem is None:
            raise
    if problem is not None:
        raise problem
    me = Worker(secrets.token_hex(8), f"{socket.gethostname()}:{os.getpid()}")
    return Stores.over(database, sealer, clock, me, clock.read)


_URL = "PASSFERRY_DATABASE_URL"


def _unusable(error: DBAPIError) -> StateError | None:
    """What an administrator has to mend before a start can succeed; None when it is a defect."""
    state = getattr(error.orig, "sqlstate", None)
    if state == "42501":  # PostgreSQL 15 lets only the owner of a database make tables in it
        return StateError(f"{_URL}: its user may not make tables", "let it own the database")
    if state is None and isinstance(error, ProgrammingError):
        return StateError(
            f"{_URL} cannot be read", "is each option one of libpq's, and each % written as %25?"
        )
    return None


def _check(database: Database, sealer: Sealer, settings: Settings, *, create: bool) -> None:
    """Close ``database`` and raise ``StateError`` unless it can be used with that ring."""
    try:
        if not create and not is_made(database):
            raise StateError("there is nothing of passferry in the database", _NO_DATABASE)
        _check_database(database, sealer, list(settings.orgs) if create else None)
    except NewerDatabase as error:
        what = f"the database has version {error}, this program knows {schema.VERSION}"
        hint = "install the newer passferry again"
        database.close()
    except ForeignDatabase as error:
        what = f"the database has a table {error} that is not of passferry"
        hint = "give passferry a database of its own"
        database.close()
    except BaseException:
        database.close()
        raise
    else:
        return
    raise StateError(what, hint)


_NO_DATABASE = f"start `passferry serve` once, or set PASSFERRY_STATE_DIR or {_URL} as it is set there"


def check_state_dir(path: Path, *, create: bool) -> None:
    """Refuse a state directory that is missing, another user's, or open to others. Raises ``StateError``."""
    try:
        if create:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat() if path.is_dir() else None
    except OSError as error:
        problem = _not_ours(path, error)
    else:
        return _check_mode(path, found)
    raise problem


def _check_mode(path: Path, found: os.stat_result | None) -> None:
    if found is None:
        raise StateError(f"there is no state directory at {path}", _NO_STATE)
    if found.st_uid != os.geteuid():
        raise StateError(
            f"the state directory {path} belongs to user id {found.st_uid}, not to {os.geteuid()} who asks",
            "run the command as that user, for example with sudo -u",
        )
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise StateError(f"others may write to the state directory {path}", f"chmod 700 {path}")


def _sealer(path: Path, database: Path, now: float) -> FileSealer:
    try:
        keyring.check_place(path, [database.parent])
        try:
            return FileSealer(path)
        except keyring.KeyRingMissing:
            if _holds_anything(database):
                raise
        keyring.create(path, keyring.generate(now))
        return FileSealer(path)
    except keyring.KeyRingMissing as error:
        what, hint = error.what, "restore the key ring from its back-up: nothing stored opens without it"
    except keyring.KeyRingError as error:
        what, hint = error.what, error.hint
    raise StateError(what, hint)


def open_ring(settings: Settings, *, missing: str | None = None) -> Sealer:
    """The key ring, which must be there; ``missing`` is the hint when it is not. Raises ``StateError``."""
    try:
        return FileSealer(settings.key_file)
    except keyring.KeyRingMissing as error:
        what, hint = error.what, missing or error.hint
    except keyring.KeyRingError as error:
        what, hint = error.what, error.hint
    raise StateError(what, hint)


def renew_pairs(settings: Settings, clock: Clock) -> None:
    """Let a ring without a pair for sources get one, where that can be, and destroy pairs that nothing needs.

    Machines that share a database share a ring, too: one that changed its copy would not be understood by the
    others. There rotation does it.
    """
    if settings.database_url is not None:
        return
    holder = KeyFile(settings.key_file, clock.now)
    with contextlib.suppress(StateError, keyring.KeyRingError):
        if holder.has_pairs_to_renew():
            with only_one_rotates(settings.key_file):
                holder.renew_pairs()


def open_hand_over(settings: Settings) -> HandOver:
    """What sources seal to us, over the key ring. Raises ``StateError``."""
    from passferry.adapters.hand_over_keys import FileHandOver  # late: few commands need it

    try:
        return FileHandOver(settings.key_file)
    except keyring.KeyRingError as error:
        what, hint = error.what, error.hint
    raise StateError(what, hint)


def _holds_anything(database: Path) -> bool:
    return database.exists() and database.stat().st_size > 0


def _check_database(database: Database, sealer: Sealer, orgs: list[str] | None) -> None:
    """As ``_check``; ``orgs`` get their rows, which stay for good. None adds none."""
    prepare(database)
    fingerprint = sealer.mac("ring", b"").hex()[:32]
    with database.engine.begin() as connection:
        meta = schema.meta
        insert_new(connection, meta, [{"name": "ring", "value": fingerprint}])
        known = connection.execute(select(meta.c.value).where(meta.c.name == "ring")).scalar()
        if known != fingerprint:
            raise StateError(
                "the key ring is not the one that this database was made with",
                "set PASSFERRY_KEY_FILE to the right ring, or restore it from its back-up",
            )
        if orgs is not None:
            # A key that is made before any org is configured needs a chain that says so.
            first = not orgs and connection.execute(select(schema.orgs.c.name).limit(1)).first() is None
            add_orgs(connection, ["default"] if first else orgs)
    # Outside the transaction, in which nobody else could accept on SQLite: it looks at every user.
    with database.reader.connect() as connection:
        needed = needed_keys(connection)
    missing = sorted(key for key in needed if not sealer.knows(key))
    if missing:
        raise StateError(
            f"the key ring lacks the key {missing[0]}, which stored passwords need",
            "restore the key ring from its back-up",
        )


@dataclass(frozen=True, slots=True)
class Desk:
    """What commands beside a running gateway work with."""

    settings: Settings
    lookup: LookupStore
    access: SqlAccessStore
    delivery: SqlDeliveryStore
    sealer: Sealer
    hasher: Hasher
    clock: Clock
    keep: SqlKeepStore
    keys: KeyHolder
    audit: AuditStore
    figures: FiguresStore


@contextmanager
def open_desk(settings: Settings, *, create: bool = False) -> Iterator[Desk]:
    """The stores, for one command; ``create`` makes what is missing of them. Raises ``StateError``."""
    stores = open_stores(settings, SystemClock().now(), create=create)
    clock = stores.clock
    hasher = Argon2Hasher()
    try:
        yield Desk(
            settings,
            stores.lookup,
            stores.access,
            stores.delivery,
            stores.sealer,
            hasher,
            clock,
            stores.keep,
            KeyFile(settings.key_file, clock.now),
            stores.audit,
            stores.figures,
        )
    finally:
        hasher.close()
        stores.database.close()


def only_one_serves(state_dir: Path) -> AbstractContextManager[None]:
    """Hold the state directory of a gateway. Raises ``StateError`` when another process does."""
    return _only_one(
        state_dir / LOCK_FILE,
        f"already serves the state directory {state_dir}",
        "stop it, or set another PASSFERRY_STATE_DIR",
    )


def only_one_rotates(key_file: Path) -> AbstractContextManager[None]:
    """Hold the key ring. Raises ``StateError`` when another process does, or its folder is not writable."""
    return _only_one(
        key_file.resolve().with_name(ROTATION_LOCK),
        f"already rotates the keys in {key_file}",
        "wait until it ends",
    )


@contextmanager
def _only_one(path: Path, does: str, remedy: str) -> Iterator[None]:
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror}", "check the folder's owner and permissions"
        ) from None
    with os.fdopen(opened, "r+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = file.read(20).strip() or "another process"
        else:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
            return
    raise StateError(f"process {holder} {does}", remedy)
