"""The process of ``passferry serve``: HTTP in front, delivery behind, until a signal ends it."""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import Callable

import structlog

from passferry.access import Access
from passferry.adapters.clock import SystemClock
from passferry.adapters.hashing import Argon2Hasher
from passferry.bootstrap import Gateway, StateError, assemble, check_state_dir, only_one, open_stores, running
from passferry.config import Settings
from passferry.entrypoints.http_server import HttpServer
from passferry.logs import configure
from passferry.ports import StoreLost

log = structlog.get_logger("passferry")

HEADS_EVERY = 60.0
STOP_SECONDS = 20


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
    configure(settings.log_format)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold passwords
    if not settings.orgs:
        raise StateError(
            "no org is configured", "set GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET and GENESYS_REGION"
        )
    clock = SystemClock()
    check_state_dir(settings.state_dir, create=True)
    with only_one(settings.state_dir):
        stores = open_stores(settings, clock.now(), create=True)
        hasher = Argon2Hasher() if settings.verifier else None
        gateway = assemble(settings, stores, clock=clock, hasher=hasher, fatal=_die)
        try:
            await _serve(gateway, hold=hold, ready=ready, stop=stop or asyncio.Event())
        finally:
            if hasher is not None:
                hasher.close()
            stores.database.close()


async def _serve(gateway: Gateway, *, hold: bool, ready: Callable[[str], None], stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = HttpServer(gateway, Access(gateway.stores.access, gateway.clock))
    listener = _listen(gateway.settings.listen)
    async with running(gateway, hold=hold):
        url = await server.start(listener)
        log.info("serving", url=url, settings=gateway.settings.describe())
        housekeeping = asyncio.create_task(_keep_house(gateway))
        try:
            ready(url)
            await server.until(stop)
            log.info("stopping")
            await gateway.accept.close()
            await server.stop(STOP_SECONDS)
        finally:
            housekeeping.cancel()


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
    while True:
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


def _die(reason: str) -> None:
    """A commit failed: what is on disk is not known any more, and only a new start finds out."""
    log.critical("store.lost", reason=reason)
    os._exit(1)
