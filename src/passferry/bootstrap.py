"""The composition root: the one place where adapters meet use cases, and a process is made of them."""

import asyncio
import fcntl
import os
import random
import stat
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
from sqlalchemy import insert, select

from passferry.accept import Accept, Intake
from passferry.adapters import keyring, schema
from passferry.adapters.clock import SystemClock
from passferry.adapters.database import Database, NewerDatabase, add_orgs, prepare
from passferry.adapters.genesys import GenesysTarget
from passferry.adapters.hashing import Argon2Hasher
from passferry.adapters.http_client import http_client
from passferry.adapters.key_file import FileSealer, KeyFile
from passferry.adapters.oauth import Tokens
from passferry.adapters.scim_target import ScimTarget
from passferry.adapters.store_accept import SqlAcceptStore
from passferry.adapters.store_audit import SqlAuditStore
from passferry.adapters.store_deliver import SqlDeliveryStore
from passferry.adapters.store_figures import SqlFiguresStore
from passferry.adapters.store_keep import SqlKeepStore
from passferry.adapters.store_lookup import SqlAccessStore, SqlLookupStore, needed_keys
from passferry.attempt import Tools
from passferry.config import OrgSettings, Settings
from passferry.deliver import Delivery
from passferry.domain.outcome import Limits
from passferry.domain.pacing import Pacer
from passferry.gate import PacedGate
from passferry.notices import Notices
from passferry.org_health import OPERATOR
from passferry.ports import AuditStore, Clock, Hasher, KeyHolder, LookupStore, Meter, Sealer, Target
from passferry.retention import prune

if TYPE_CHECKING:
    from passferry.adapters.meter import Levels, PrometheusMeter

DATABASE_FILE = "passferry.db"
LOCK_FILE = "serve.lock"
ROTATION_LOCK = "rotate.lock"
CLOCK_UNCONFIRMED = 7 * 86400.0


class StateError(Exception):
    """The state on disk cannot be used; ``what`` is wrong and ``hint`` what to do."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what} ({hint})")
        self.what, self.hint = what, hint


def audit_key(sealer: Sealer) -> bytes:
    """The key of the audit chains."""
    return sealer.mac("audit chain", b"")


# --- the state on disk -----------------------------------------------------------------------


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
    audit: SqlAuditStore

    @classmethod
    def over(cls, database: Database, sealer: Sealer) -> "Stores":
        """All stores over one database."""
        return cls(
            database,
            sealer,
            SqlAcceptStore(database),
            SqlDeliveryStore(database),
            SqlLookupStore(database),
            SqlAccessStore(database),
            SqlKeepStore(database),
            SqlFiguresStore(database),
            SqlAuditStore(database),
        )


def open_stores(settings: Settings, now: float, *, create: bool) -> Stores:
    """Open database and key ring, and check that they belong together.

    Args:
        settings: say where they are.
        now: epoch seconds, for a new ring.
        create: make what is missing, as far as that loses nothing.

    Raises:
        StateError: they cannot be used.
    """
    if settings.database_url is not None:
        raise StateError(
            "PASSFERRY_DATABASE_URL is set, and this version has SQLite only",
            "unset it to use the state directory",
        )
    path = settings.state_dir / DATABASE_FILE
    check_state_dir(settings.state_dir, create=create)
    if not create and not path.exists():
        raise StateError(
            f"there is no database at {path}", "start `passferry serve` once, or set PASSFERRY_STATE_DIR"
        )
    sealer = _sealer(settings.key_file, path, now)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its other files the same mode
    database = Database(path, audit_key(sealer))
    try:
        _check_database(database, sealer, list(settings.orgs) or ["default"])
    except NewerDatabase as error:
        version = str(error)
        database.close()
    except BaseException:
        database.close()
        raise
    else:
        return Stores.over(database, sealer)
    raise StateError(
        f"the database has version {version}, this program knows {schema.VERSION}",
        "install the newer passferry again",
    )


def check_state_dir(path: Path, *, create: bool) -> None:
    """Refuse a state directory that is missing, another user's, or open to others. Raises ``StateError``."""
    if create:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.is_dir():
        raise StateError(
            f"there is no state directory at {path}",
            "start `passferry serve` once, or set PASSFERRY_STATE_DIR",
        )
    found = path.stat()
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


def open_ring(settings: Settings) -> Sealer:
    """The key ring alone, for what needs no database. Raises ``StateError``."""
    try:
        return FileSealer(settings.key_file)
    except keyring.KeyRingError as error:
        what, hint = error.what, error.hint
    raise StateError(what, hint)


def _holds_anything(database: Path) -> bool:
    return database.exists() and database.stat().st_size > 0


def _check_database(database: Database, sealer: Sealer, orgs: list[str]) -> None:
    prepare(database)
    fingerprint = sealer.mac("ring", b"").hex()[:32]
    with database.engine.begin() as connection:
        meta = schema.meta
        known = connection.execute(select(meta.c.value).where(meta.c.name == "ring")).scalar()
        if known is None:
            connection.execute(insert(meta).values(name="ring", value=fingerprint))
        elif known != fingerprint:
            raise StateError(
                "the key ring is not the one that this database was made with",
                "set PASSFERRY_KEY_FILE to the right ring, or restore it from its back-up",
            )
        add_orgs(connection, orgs)
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


@contextmanager
def open_desk(settings: Settings, *, write: bool) -> Iterator[Desk]:
    """The stores, for one command; ``write`` makes a missing database. Raises ``StateError``."""
    clock = SystemClock()
    stores = open_stores(settings, clock.now(), create=write)
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
        )
    finally:
        hasher.close()
        stores.database.close()


@contextmanager
def only_one(state_dir: Path, lock: str = LOCK_FILE, does: str = "serves") -> Iterator[None]:
    """Hold a lock in the state directory. Raises ``StateError``, naming the process that holds it.

    ``lock`` is its file; ``does`` says what only one process at a time may do with the directory.
    """
    path = state_dir / lock
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="ascii") as file:
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
    raise StateError(
        f"process {holder} already {does} the state directory {state_dir}",
        "stop it, or set another PASSFERRY_STATE_DIR" if lock == LOCK_FILE else "wait until it ends",
    )


# --- the gateway -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gateway:
    """The use cases of one process, connected but not running."""

    settings: Settings
    stores: Stores
    accept: Accept
    deliveries: Mapping[str, Delivery]
    notices: Notices
    clock: Clock
    hasher: Argon2Hasher | None
    meter: "PrometheusMeter"

    async def keep_house(self) -> None:
        """Delete what need not be kept any more, and forget missing keys that nothing needs any more.

        Nothing is deleted by a clock that no answer of a target has confirmed since the start.
        """
        if self.stores.sealer.missing():
            self.stores.sealer.missing(await self.stores.lookup.key_ids())
        if any(one.gate.clock_confirmed_at is not None for one in self.deliveries.values()):
            await prune(self.stores.keep, self.clock)

    async def set_paused(self, org: str, paused: bool, actor: str) -> None:
        """An operator pauses or resumes ``org``; resuming also forgets a wait that the target asked for."""
        delivery = self.deliveries.get(org)
        await self.stores.delivery.set_org(
            org, OPERATOR if paused else None, None if paused else 0.0, actor, self.clock.now()
        )
        if delivery is not None and not paused:
            delivery.gate.resume()
        self.notices.accepted(org)

    async def metrics(self, orgs: Collection[str]) -> bytes:
        """Figures of ``orgs`` (empty: all) and of the process, in the text format of Prometheus."""
        levels = await self.levels()
        # A thousand orgs are some megabytes of text; nobody waits for that.
        return await asyncio.to_thread(self.meter.expose, levels, self.hashes(), orgs)

    def hashes(self) -> int:
        """Verifiers asked for and not done yet."""
        return self.hasher.queued if self.hasher is not None else 0

    async def levels(self) -> "dict[str, Levels]":
        """How each org stands now."""
        from passferry.adapters.meter import Levels

        stored = await self.stores.figures.orgs()
        now, mono = self.clock.now(), self.clock.monotonic()
        levels = {}
        for name, delivery in self.deliveries.items():
            org, pacer = stored[name], delivery.gate.pacer
            since = org.oldest_waiting_since
            levels[name] = Levels(
                waiting=org.waiting,
                parked=org.parked,
                oldest_seconds=0.0 if since is None else max(0.0, now - since),
                paused=org.paused,
                quota_used=pacer.spent(mono),
                quota_allowed=pacer.limit,
                head_seq=org.head_seq,
            )
        return levels

    def unready(self) -> list[str]:
        """Why changes cannot be accepted and delivered as promised; empty when they can."""
        mono = self.clock.monotonic()
        lacking = [
            f"the key ring lacks the key {key_id}, which what is stored needs: restore it from its back-up"
            for key_id in sorted(self.stores.sealer.missing())
        ]
        return lacking + [
            f"the clock was not confirmed by an answer of org {org} for 7 days: nothing expires"
            for org, delivery in self.deliveries.items()
            if mono - (delivery.gate.clock_confirmed_at or delivery.started) > CLOCK_UNCONFIRMED
        ]


def assemble(
    settings: Settings,
    stores: Stores,
    *,
    clock: Clock,
    hasher: Argon2Hasher | None,
    fatal: Callable[[str], None],
    transport: httpx2.AsyncBaseTransport | None = None,
    draw: Callable[[], float] = random.random,
    poll: float = 1.0,
) -> Gateway:
    """Connect the use cases. ``transport`` replaces the network, ``draw`` gives numbers in [0, 1)."""
    from passferry.adapters.meter import PrometheusMeter  # late: only a gateway counts

    notices = Notices()
    meter = PrometheusMeter(settings.orgs)
    deliveries = {}
    for name, org in settings.orgs.items():
        gate = PacedGate(Pacer(int(org.rate), clock.monotonic()), clock, org.request_timeout)
        age = org.policy.minimum_age_seconds
        limits = Limits(request=org.request_timeout, minimum_age=None if age is None else float(age))
        target = _target(org, gate, clock, transport, meter)
        tools = Tools(
            store=stores.delivery,
            target=target,
            gate=gate,
            sealer=stores.sealer,
            hasher=hasher,
            clock=clock,
            random=draw,
            notices=notices,
            limits=limits,
            fatal=fatal,
            poll=poll,
            meter=meter,
        )
        deliveries[name] = Delivery(name, tools)
    intakes = {
        name: Intake(org.policy, org.time_to_live, settings.source_rate, settings.queue_limit)
        for name, org in settings.orgs.items()
    }
    accept = Accept(stores.accept, stores.lookup, stores.sealer, clock, notices, intakes, fatal, meter)
    accept.ask_before_waiting(lambda org: deliveries[org].held_up())
    return Gateway(settings, stores, accept, deliveries, notices, clock, hasher, meter)


def _target(
    org: OrgSettings,
    gate: PacedGate,
    clock: Clock,
    transport: httpx2.AsyncBaseTransport | None,
    meter: Meter,
) -> Target:
    client = http_client(transport)
    if org.target == "scim":
        assert org.base_url is not None and org.token is not None  # noqa: S101, PT018  # configuration saw to it
        return ScimTarget(org.base_url, org.token, org.write, client, gate, org.request_timeout, clock)
    assert org.api_url is not None and org.login_url is not None  # noqa: S101, PT018
    assert org.client_id is not None and org.client_secret is not None  # noqa: S101, PT018
    tokens = Tokens(
        client,
        org.login_url,
        org.client_id,
        org.client_secret,
        clock,
        lambda status, headers: gate.seen(headers),
        limit=org.request_timeout,
        on_failure=lambda kind: meter.token_failed(org.name, kind),
    )
    return GenesysTarget(org.api_url, org.write, tokens, client, gate, org.request_timeout, clock)


@asynccontextmanager
async def running(gateway: Gateway, *, hold: bool = False) -> AsyncIterator[None]:
    """Deliver for all orgs until the block ends; then finish what is being sent."""
    stop = asyncio.Event()
    if hold:
        for org in gateway.deliveries:
            await gateway.stores.delivery.hold(org, gateway.clock.now())
    tasks = [asyncio.create_task(delivery.run(stop)) for delivery in gateway.deliveries.values()]
    try:
        yield
    finally:
        await gateway.accept.close()
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
