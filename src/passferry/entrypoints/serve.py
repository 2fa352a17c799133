"""The processes of ``passferry serve``, HTTP in front and delivery behind, and of ``passferry worker``."""

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import NoReturn, TypeVar

import structlog

from passferry.access import WITHOUT_KEY, Access, provisioners, without_key
from passferry.adapters.hashing import Argon2Hasher
from passferry.bootstrap import CLOCK_UNCONFIRMED, Gateway, assemble, running
from passferry.config import Settings
from passferry.config.settings import LEFT_OUT
from passferry.config.tls import TlsUnusable
from passferry.entrypoints.http_server import HttpServer
from passferry.entrypoints.http_tls import LiveContext
from passferry.logs import configure
from passferry.state import (
    StateError,
    check_state_dir,
    only_one_serves,
    open_hand_over,
    open_stores,
    renew_pairs,
)
from passferry.store_ports import Caller, StoreFull, StoreLost

log = structlog.get_logger("passferry")
T = TypeVar("T")

HEADS_EVERY = 60.0
MOST_FILES = 65_536
WHO_PROVISIONS = (
    "keys without scim = … in [sources.NAME], and without a template for short names, may create, change and "
    'delete users: set "passwords" or "none" for all that shall not'
)
UNCONFIRMED = (
    "nothing expires until a target's answer has a Date near our time; does one answer? `passferry doctor`"
)
STOP_SECONDS = 20.0
"""For requests under way: longer than anybody waits for a delivery."""


async def serve(
    settings: Settings,
    *,
    hold: bool = False,
    ready: Callable[[str], None] = lambda url: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Run gateway and delivery until SIGTERM, SIGINT or ``stop``. Raises ``StateError`` before it starts.

    ``ready`` is told the URL once requests are answered.
    """
    with _process(settings) as gateway:
        stop = _stopped_by_signals(stop)
        renew_pairs(settings, gateway.clock)
        server = HttpServer(gateway, _access(gateway), _tls(settings), open_hand_over(settings))
        listener = _listen(gateway.settings.listen)
        async with _working(gateway, hold=hold):
            url = await server.start(listener)
            log.info("serving", url=url, settings=gateway.settings.describe())
            await _say_who_provisions(gateway)
            await _say_what_guards_nobody(gateway)
            await _say_what_is_left_out(gateway)
            ready(url)
            await server.until(stop)
            log.info("stopping")
            await asyncio.gather(server.stop(STOP_SECONDS), gateway.accept.close())


async def _say_who_provisions(gateway: Gateway) -> None:
    """Log of each org that is a proxy whose keys may provision there now; null if they cannot be read."""
    settings = gateway.settings
    callers = await _callers(gateway) if settings.proxies else None
    for org in sorted(settings.proxies):
        found = None if callers is None else provisioners(org, callers, settings.sources)
        names = None if found is None else [each.name for each in found]
        log.warning("scim.proxy", org=org, sources=names, hint=WHO_PROVISIONS)


async def _say_what_guards_nobody(gateway: Gateway) -> None:
    """Log of each table of a source that no key has the name of; of none if the keys cannot be read."""
    sources = gateway.settings.sources
    callers = await _callers(gateway) if sources else None
    for name in [] if callers is None else without_key(sources, callers):
        log.warning("source.without.key", source=name, hint=WITHOUT_KEY)


async def _say_what_is_left_out(gateway: Gateway) -> None:
    """Log of each org that is not configured any more how many live changes it has, sealed passwords all."""
    figures = await _asked(gateway.stores.figures.orgs()) or {}
    live = {org: each.waiting + each.parked for org, each in figures.items()}
    for org, changes in gateway.settings.left_out(live).items():
        log.warning("org.left.out", org=org, live=changes, hint=LEFT_OUT.format(org=org))


async def _callers(gateway: Gateway) -> list[Caller] | None:
    found = await _asked(gateway.stores.access.keys())
    return None if found is None else [caller for caller, _ in found]


async def _asked(look: Awaitable[T]) -> T | None:
    """What ``look`` finds; None where the store is full, away or busy, which is no reason not to serve."""
    try:
        return await look
    except StoreFull:
        return None
    except StoreLost as lost:
        _die(str(lost))


async def work(settings: Settings, *, watched: bool = False, stop: asyncio.Event | None = None) -> None:
    """Deliver until SIGTERM, SIGINT or ``stop``, and serve nobody. Raises ``StateError`` before it starts.

    ``watched``: whoever watches the process is answered, on the address of the settings.
    """
    if settings.database_url is None:
        raise StateError(
            "a worker needs PostgreSQL: `serve` alone delivers from SQLite",
            "set PASSFERRY_DATABASE_URL to a postgresql:// address",
        )
    with _process(settings) as gateway:
        stop = _stopped_by_signals(stop)
        server = HttpServer(gateway, _access(gateway), _tls(settings), only_watched=True) if watched else None
        listener = _listen(settings.listen) if watched else None
        async with _working(gateway):
            url = await server.start(listener) if server and listener else None
            log.info("working", url=url, settings=gateway.settings.describe())
            await _say_what_guards_nobody(gateway)
            await _say_what_is_left_out(gateway)
            await (server.until(stop) if server else stop.wait())
            log.info("stopping")
            if server:
                await server.stop(STOP_SECONDS)


@contextmanager
def _process(settings: Settings) -> Iterator[Gateway]:
    """The use cases of this process, alone on a state directory or together with others on PostgreSQL."""
    configure(settings.log_format)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold passwords
    _allow_files()
    if not settings.orgs:
        raise StateError(
            "no org is configured", "set GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET and GENESYS_REGION"
        )
    with ExitStack() as held:
        if settings.database_url is None:
            check_state_dir(settings.state_dir, create=True)
            held.enter_context(only_one_serves(settings.state_dir))
        stores = open_stores(settings, time.time(), create=True)
        held.callback(stores.database.close)
        hasher = Argon2Hasher() if settings.verifier else None
        if hasher is not None:
            held.callback(hasher.close)
        yield assemble(settings, stores, hasher=hasher, fatal=_die)


def _access(gateway: Gateway) -> Access:
    return Access(gateway.stores.access, gateway.clock, sources=gateway.settings.sources)


def _stopped_by_signals(stop: asyncio.Event | None) -> asyncio.Event:
    stop = stop or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def _working(gateway: Gateway, *, hold: bool = False) -> AsyncIterator[None]:
    """Deliver and keep house until the block ends."""
    async with running(gateway, hold=hold):
        housekeeping = asyncio.create_task(_keep_house(gateway))
        try:
            yield
        finally:
            housekeeping.cancel()


def _allow_files() -> None:
    """As many open files as we may have, since many orgs in trouble at once hold many connections.

    The usual 1024 would leave none for those who send changes.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tls(settings: Settings) -> LiveContext | None:
    if settings.tls is None:
        return None
    try:
        return LiveContext(settings.tls)
    except TlsUnusable as error:
        mistake = error.mistakes[0]
    raise StateError(f"the file of {mistake.key} {mistake.what}", mistake.hint)


def _listen(address: tuple[str, int]) -> socket.socket:
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        reason = error.strerror
        listener.close()
    else:
        return listener
    raise StateError(
        f"cannot listen on {host}:{port}: {reason}", "is another process using the port? --listen HOST:PORT"
    )


async def _keep_house(gateway: Gateway) -> None:
    """Log the heads of the audit chains, so that they are known elsewhere; empty the log of the database."""
    logged: dict[str, str] = {}
    unconfirmed = False
    while True:
        # Once: a gateway that is sent nothing for a week is not in trouble.
        if gateway.clock_unconfirmed() and not unconfirmed:
            log.warning("clock.unconfirmed", days=CLOCK_UNCONFIRMED / 86400.0, hint=UNCONFIRMED)
        unconfirmed = gateway.clock_unconfirmed()
        try:
            await _house_round(gateway, logged)
        except Exception as error:  # noqa: BLE001  # a full disk or a locked database passes; the next round looks again
            log.error("housekeeping.failed", kind=type(error).__name__)
        await asyncio.sleep(HEADS_EVERY)


async def _house_round(gateway: Gateway, logged: dict[str, str]) -> None:
    for org, head in (await gateway.stores.audit.heads()).items():
        if logged.get(org) != str(head):
            log.info("audit.head", org=org, head=str(head))
            logged[org] = str(head)
    for reason in gateway.unready():
        log.warning("not.ready", reason=reason)
    await gateway.stores.database.checkpoint()
    try:
        await gateway.keep_house()
    except StoreLost as lost:
        _die(str(lost))


def _die(reason: str) -> NoReturn:
    """A commit failed: what is on disk is not known any more, and only a new start finds out."""
    log.critical("store.lost", reason=reason)
    os._exit(1)
